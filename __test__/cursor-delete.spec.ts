// A cursor that is deleted through one handle, as all the others see it.

import test from 'ava'
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { Wal } from '../index.js'
import { filledLog, moves, SEGMENT_BYTES, temporaryLog, until } from './helpers/log.js'

const options = { segmentBytes: SEGMENT_BYTES }
const GONE = { code: 'ERR_WAL_NOT_FOUND' }

test('after a cursor is deleted through one handle, its name is a new cursor on another, and old objects stay unusable', async (t) => {
  const wal = await filledLog(t, 20)
  const other = await temporaryLog(t, options, wal.dir)
  const [deleted, held] = [await wal.cursor('a'), await other.cursor('a')]
  await held.commit(5)
  t.is(deleted.position, 5)
  await deleted.delete()
  t.deepEqual(other.cursors(), [])

  const again = await other.cursor('a', { start: 'end' })
  t.not(again, held)
  t.is(again.position, 20)
  t.is(await other.cursor('a'), again)
  for (const dead of [deleted, held]) {
    for (const position of [3, 20, 999]) {
      await t.throwsAsync(dead.commit(position), GONE)
      await t.throwsAsync(dead.rewind(position), GONE)
    }
    // One of its name is not what it deletes.
    await dead.delete()
  }
  t.is(await other.cursor('a'), again)
  t.deepEqual(wal.cursors(), [{ name: 'a', position: 20 }])

  const third = await wal.cursor('a')
  t.not(third, deleted)
  const [toDead, toLiving] = [
    [moves(deleted), moves(held)],
    [moves(again), moves(third)],
  ]
  await wal.truncateAfter(10)
  await until(() => toLiving.every((told) => told.length > 0))
  t.deepEqual(toLiving, [[{ from: 20, to: 10 }], [{ from: 20, to: 10 }]])
  t.deepEqual(toDead, [[], []])
  t.deepEqual([again.position, again.lag, third.lag], [10, 0, 0])
})

test('while a cursor is being deleted, its name already is a new cursor', async (t) => {
  const wal = await filledLog(t, 20)
  const other = await temporaryLog(t, options, wal.dir)
  for (let round = 0; round < 30; round++) {
    const [cursor, held] = [await wal.cursor('a', { start: 5 }), await other.cursor('a')]
    const deleting = cursor.delete()
    const made = await other.cursor('a', { start: 9 })
    await deleting
    t.not(made, held)
    t.is(made.position, 8)
    await made.commit(10)
    t.deepEqual(wal.cursors(), [{ name: 'a', position: 10 }])
    // Asked for before the deletion: that ends it, and does not bring it back.
    const asked = other.cursor('a')
    const ended = made.delete()
    t.is(await asked, made)
    await ended
    t.deepEqual(wal.cursors(), [])
    await t.throwsAsync(made.commit(11), GONE)
  }
})

test('a name whose cursor was deleted in a worker is a new cursor in the main thread, and the other way round', async (t) => {
  const wal = await filledLog(t, 20)
  const worker = new Worker(new URL('./helpers/cursor/deleter.mjs', import.meta.url), {
    workerData: { dir: wal.dir, options },
    execArgv: [],
  })
  const ask = async (what: string): Promise<unknown> => {
    worker.postMessage(what)
    const [answer] = await once(worker, 'message')
    return answer
  }
  const cursor = await wal.cursor('a')
  await cursor.commit(7)
  t.is(await ask('position'), 7)
  t.is(await ask('delete'), 'deleted')
  await t.throwsAsync(cursor.commit(8), GONE)
  const again = await wal.cursor('a')
  t.not(again, cursor)
  t.is(again.position, 0)
  t.is(await ask('position'), 0)
  await again.delete()
  t.is(await ask('commit'), 'ERR_WAL_NOT_FOUND')
  t.is(await ask('position'), 0)
  t.deepEqual(wal.cursors(), [{ name: 'a', position: 0 }])
  await t.throwsAsync(again.commit(1), GONE)
  worker.postMessage('end')
  await once(worker, 'exit')
})

test('a log with deleted cursors closes, and a new process finds only the remaining ones', async (t) => {
  const wal = await filledLog(t, 5)
  const other = await Wal.open(wal.dir, options)
  const held = await other.cursor('a')
  await (await wal.cursor('a')).delete()
  await (await wal.cursor('b')).commit(2)
  await Promise.all([wal.close(), other.close()])
  await t.throwsAsync(held.commit(1), { code: 'ERR_WAL_CLOSED' })
  const again = await temporaryLog(t, options, wal.dir)
  t.deepEqual(again.cursors(), [{ name: 'b', position: 2 }])
})
