// Following: a reader that goes on as the log does.

import test from 'ava'
import { Record } from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { fill, numbered, SEGMENT_BYTES, temporaryLog } from './helpers/log.js'
import path from 'node:path'

for (const fsync of ['always', 'os', { everyMs: 3 }] as const) {
  test(`a follower returns every record in order, and none before it is acknowledged: ${JSON.stringify(fsync)}`, async (t) => {
    const wal = await temporaryLog(t, { fsync })
    const count = 5000
    const follow = async () => {
      let next = 1
      for await (const { position, value } of wal.readFrom('start', { follow: true })) {
        if (position !== next || value?.toString() !== `value-${next}`) throw new Error(`at ${next}: ${position} ${value}`)
        if (position > wal.acknowledgedPosition) throw new Error(`${position} is not acknowledged`)
        if (next++ === count) return
      }
    }
    const followed = Promise.all([follow(), follow(), follow()])
    for (let n = 1; n <= count; n++) {
      if (n % 7 === 0) await wal.append(`value-${n}`)
      else wal.enqueue(`value-${n}`)
    }
    await followed
    t.true(wal.stats().rolls > 0)
  })
}

test('a follower ends at its limits', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await fill(wal, 2)
  const read = async (options: object) => {
    const values: string[] = []
    for await (const records of wal.readFrom('start', { follow: true, ...options }).batches())
      for (const { value } of records) values.push(String(value))
    return values
  }
  const both = Promise.all([read({ to: 5 }), read({ limit: 4 })])
  for (let n = 3; n <= 6; n++) await wal.append(`value-${n}`)
  t.deepEqual(await both, [numbered(1, 5), numbered(1, 4)])
})

test("a follower from 'end' returns the records appended after the call", async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 3)
  const reader = wal.readFrom('end', { follow: true })
  const next = reader.next()
  await wal.append(Record.put('key', 'new'))
  const { value } = await next
  t.is(value?.position, 4)
  t.is(reader.position, 4)
  await reader.return()
})

test('aborting ends a waiting follower', async (t) => {
  const wal = await temporaryLog(t)
  const controller = new AbortController()
  const reader = wal.readFrom('start', { follow: true, signal: controller.signal })
  const next = reader.next()
  controller.abort('enough')
  const error = await t.throwsAsync(next, { name: 'AbortError', code: 'ABORT_ERR' })
  t.is(error.cause, 'enough')
  t.is(await wal.append('after'), 1)
})

test('closing ends a waiting follower', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 1)
  const reader = wal.readFrom('start', { follow: true })
  await reader.next()
  const next = reader.next()
  await wal.close()
  await t.throwsAsync(next, { code: 'ERR_WAL_CLOSED' })
  t.is(reader.position, 1)
})

test('return() settles the pending next() of a waiting follower', async (t) => {
  const wal = await temporaryLog(t)
  const reader = wal.readFrom('start', { follow: true })
  const next = reader.next()
  await reader.return()
  t.true((await next).done)
})

test('many followers wait without holding up reads, appends or each other', async (t) => {
  const wal = await temporaryLog(t)
  const readers = Array.from({ length: 200 }, () => wal.readFrom('start', { follow: true }))
  const first = readers.map((reader) => reader.next())
  await wal.append('one')
  t.true((await Promise.all(first)).every(({ value }) => value?.position === 1))
  const second = readers.map((reader) => reader.next())
  const other = await wal.readFrom('start').next()
  t.is(String(other.value?.value), 'one')
  await wal.append('two')
  t.true((await Promise.all(second)).every(({ value }) => value?.position === 2))
})

test('truncateAfter: a follower that is not past it drops prefetched records and continues with the new ones', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 5000)
  const readers = [wal.readFrom('start', { follow: true }), wal.readFrom(20, { follow: true }), wal.readFrom('start', { follow: true })]
  for (const reader of readers) await reader.next()
  // What it waits for comes behind the cut as well.
  const last = wal.readFrom(4999, { follow: true })
  for (const position of [4999, 5000]) t.is((await last.next()).value?.position, position)
  await wal.truncateAfter(5000)
  const waiting = last.next()
  await wal.truncateAfter(20)
  await t.throwsAsync(waiting, { code: 'ERR_WAL_TRUNCATED' })
  const batches = readers[2].batches()
  const rest = await batches.next()
  t.deepEqual([rest.value?.at(0)?.position, rest.value?.at(-1)?.position], [2, 20])

  const waits = batches.next()
  for (let n = 21; n <= 5000; n++) wal.enqueue(`other-${n}`)
  await wal.sync()
  t.is(String((await waits).value?.[0].value), 'other-21')
  for (const reader of readers.slice(0, 2)) {
    for (let next = reader.position + 1; next <= 5000; next++) {
      const { value } = await reader.next()
      if (value?.position !== next || String(value.value) !== `${next > 20 ? 'other' : 'value'}-${next}`)
        throw new Error(`at ${next}: ${value?.position} ${String(value?.value)}`)
    }
  }
})

test('truncateAfter and reset: a follower past them ends with an error that has the positions', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 50)
  const past = wal.readFrom('start', { follow: true })
  for (let n = 1; n <= 22; n++) await past.next()
  const just = wal.readFrom(21, { follow: true })
  const waiting = wal.readFrom('end', { follow: true }).next()
  await wal.truncateAfter(21)
  await wal.append('other')
  t.like(await t.throwsAsync(past.next()), { code: 'ERR_WAL_TRUNCATED', position: 23 })
  await t.throwsAsync(waiting, { code: 'ERR_WAL_TRUNCATED' })
  t.is(past.position, 22)
  for (const value of ['value-21', 'other']) t.is(String((await just.next()).value?.value), value)
  const next = just.next()
  await wal.reset(100)
  await t.throwsAsync(next, { code: 'ERR_WAL_TRUNCATED' })
})

const stage = path.join(root, '__test__', 'helpers', 'stage.mjs')
const stages: { name: string; body: string; stdout: string }[] = [
  {
    name: 'a follower that waits keeps the process alive',
    body: `
      const controller = new AbortController()
      const reader = wal.readFrom('end', { follow: true, signal: controller.signal })
      reader.next().catch(({ code }) => console.log(code))
      // Unreferenced: only the follower keeps the loop going until it fires.
      setTimeout(() => controller.abort(), 50).unref()`,
    stdout: 'ABORT_ERR\n',
  },
  {
    name: 'a follower without a pending next() does not keep the process alive',
    body: `
      await wal.append('x')
      globalThis.reader = wal.readFrom('start', { follow: true })
      console.log((await reader.next()).value.position)`,
    stdout: '1\n',
  },
  {
    name: 'a process exits with a follower waiting',
    body: `wal.readFrom('end', { follow: true }).next(); setImmediate(() => process.exit())`,
    stdout: '',
  },
  {
    name: 'a worker is terminated with a follower waiting',
    body: `
      await worker("wal.readFrom('end', { follow: true }).next(); parentPort.postMessage(0)")
      console.log(await wal.append('x'))`,
    stdout: '1\n',
  },
]

for (const { name, body, stdout } of stages) {
  test(name, async (t) => {
    const result = await node([stage, temporaryDirectory(t), JSON.stringify({ segmentBytes: SEGMENT_BYTES }), body])
    t.is(result.stderr, '')
    t.is(result.stdout.toString(), stdout)
    t.is(result.code, 0)
  })
}

test('the options of a follower are checked', async (t) => {
  const wal = await temporaryLog(t)
  t.throws(() => wal.readFrom('start', { follow: 1 as never }), { code: 'ERR_WAL_INVALID_ARG', message: /follow/ })
  await t.throwsAsync(wal.readFrom(3, { follow: true }).next(), { code: 'ERR_WAL_OUT_OF_RANGE' })
})
