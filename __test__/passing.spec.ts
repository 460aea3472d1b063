// No record passes one that was rejected, whatever its caller knows by then.

import test from 'ava'
import type { Wal, WalError } from '../index.js'
import { logOnFilledDisk, logOnFullDisk } from './helpers/full-disk.js'
import { values } from './helpers/log.js'
import { has } from './helpers/needs.js'

/** So large that it does not wait for the end of the turn, and that it needs a segment of its own. */
const large = Buffer.alloc(300 << 10)

/** Keeps the turn until the log has taken back the positions from `next` on. */
function awaitRejection(wal: Wal, next: number): void {
  for (const deadline = performance.now() + 60_000; wal.nextPosition !== next;) {
    if (performance.now() > deadline) throw new Error('nothing was rejected')
  }
}

const lastValues = async (wal: Wal, from: number) => values(wal.readFrom(from))

test('what is appended in the turn of a rejection is rejected after it, although there is space', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFullDisk(t)
  const next = wal.nextPosition
  const told: string[] = []
  const tells = (name: string, promise: Promise<unknown>) =>
    promise.then(
      () => told.push(`${name} is there`),
      (error: WalError) => told.push(`${name}: ${error.code} ${error.operation}`)
    )
  const all = [tells('first', wal.append(large))]
  awaitRejection(wal, next)
  makeRoom()
  all.push(
    tells('staged', wal.append('staged')),
    tells('keyed', wal.append({ key: 'k', value: 'v', version: { term: 1, index: 1 } })),
    tells('batch', wal.appendBatch(['a', 'b'])),
    tells('expected', wal.append('expected', { expect: next }))
  )
  t.throws(() => wal.enqueue('enqueued'), { code: 'ERR_WAL_NO_SPACE' })
  t.is(wal.nextPosition, next)
  await Promise.all(all)
  const rejected = (name: string, operation = 'append') => `${name}: ERR_WAL_NO_SPACE ${operation}`
  t.deepEqual(told, [rejected('first'), rejected('staged'), rejected('keyed'), rejected('batch', 'appendBatch'), rejected('expected')])
  t.is(await wal.append('after'), next)
  t.deepEqual(await lastValues(wal, next), ['after'])
})

test('who is told of a rejection may append at once', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFullDisk(t)
  const next = wal.nextPosition
  const again = [wal.append(large), wal.append('small')].map((append, i) => append.catch(() => wal.append(`again ${i}`)))
  awaitRejection(wal, next)
  makeRoom()
  t.deepEqual(await Promise.all(again), [next, next + 1])
  t.deepEqual(await lastValues(wal, next), ['again 0', 'again 1'])
})

test('what an acknowledgement sets off does not pass a record that is rejected with it', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFilledDisk(t)
  const next = wal.nextPosition
  const [first, second] = [wal.append('first'), wal.append(large)]
  const third = first.then(() => wal.append('third'))
  awaitRejection(wal, next + 1)
  makeRoom()
  await t.throwsAsync(second, { code: 'ERR_WAL_NO_SPACE' })
  await t.throwsAsync(third, { code: 'ERR_WAL_NO_SPACE' })
  await wal.append('fourth')
  t.deepEqual(await lastValues(wal, next), ['first', 'fourth'])
})

test('a stream is destroyed with the first rejection, and nothing written behind that is in the log', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFilledDisk(t)
  const next = wal.nextPosition
  const stream = wal.writable()
  const ended = new Promise<WalError>((resolve) => stream.once('error', resolve as (error: Error) => void))
  stream.write('first')
  stream.write(large)
  awaitRejection(wal, next + 1)
  makeRoom()
  stream.write('behind')
  const { code, position } = await ended
  t.deepEqual([code, position], ['ERR_WAL_NO_SPACE', next + 1])
  await wal.append('after')
  t.deepEqual(await lastValues(wal, next), ['first', 'after'])
})
