// When a turn's records are committed: at once if nothing is under way, otherwise together with those of the turns that follow it in the same
// iteration of the event loop.

import test from 'ava'
import type { Native } from '../src/native/calls.js'
import { Environment, type OpenLog } from '../src/native/environment.js'
import { temporaryLog } from './helpers/log.js'

/** The next turn of this iteration of the event loop: no event of the system comes before it. */
const nextTurn = () => new Promise<void>((resolve) => process.nextTick(resolve))
const endOfIteration = () => new Promise<void>((resolve) => setImmediate(resolve))

/** An environment over an engine that does nothing, and a log whose kicks it counts. */
function played() {
  class NativeEnvironment {
    calls = () => ({})
    end = () => {}
  }
  const environment = new Environment({ Environment: NativeEnvironment } as unknown as Native)
  const events = { listen: () => {}, publish: () => {} }
  const played = { kicks: 0, log: 0, identity: 0, events, flush: () => {}, settle: () => true, kick: () => void played.kicks++ }
  const log: OpenLog & { kicks: number } = played
  return { environment, log }
}

test('a log with operations in flight is kicked after all turns of the iteration of the event loop', async (t) => {
  const { environment, log } = played()
  await endOfIteration()
  environment.scheduleKick(log, true)
  for (let turn = 0; turn < 10; turn++) {
    await nextTurn()
    t.is(log.kicks, 0)
  }
  await endOfIteration()
  t.is(log.kicks, 1)
})

test('a log with nothing in flight is kicked at the end of the turn, together with every other log that waits for a kick', async (t) => {
  const { environment, log: idle } = played()
  const { log: busy } = played()
  await endOfIteration()
  environment.scheduleKick(busy, true)
  environment.scheduleKick(idle, false)
  t.deepEqual([idle.kicks, busy.kicks], [0, 0])
  await nextTurn()
  t.deepEqual([idle.kicks, busy.kicks], [1, 1])
  environment.scheduleKick(busy, true)
  await endOfIteration()
  t.is(busy.kicks, 2)
})

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
  // One, if a commit thread was so slow that the first had not left when the others came.
  t.true(wal.stats().commits - commits <= 2)
})
