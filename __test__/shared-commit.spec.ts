// When a turn's records are committed: at once if nothing is under way, otherwise together with those of the turns that follow it in the same
// iteration of the event loop.

import test from 'ava'
import { temporaryLog } from './helpers/log.js'

/** The next turn of this iteration of the event loop: no event of the system comes before it. */
const nextTurn = () => new Promise<void>((resolve) => process.nextTick(resolve))

test('while a commit is under way, the records of all turns of one iteration of the event loop share the next one', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'always' })
  await wal.append('prepares the log')
  const { commits } = wal.stats()
  const positions = [wal.append('under way')]
  for (let turn = 0; turn < 10; turn++) {
    await nextTurn()
    positions.push(wal.append(`turn ${turn}`))
  }
  t.deepEqual(await Promise.all(positions), [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
  t.is(wal.stats().commits - commits, 2)
})

test('a record that finds nothing under way is committed at the end of its turn', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'always' })
  await wal.append('prepares the log')
  let isIterationOver = false
  const { commits } = wal.stats()
  const position = wal.append('alone')
  setImmediate(() => (isIterationOver = true))
  for (let turn = 0; turn < 3; turn++) await nextTurn()
  // Kicked twice in one iteration would be two commits.
  const second = wal.append('with company')
  t.false(isIterationOver)
  t.deepEqual(await Promise.all([position, second]), [2, 3])
  t.is(wal.stats().commits - commits, 2)
})
