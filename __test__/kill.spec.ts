// kill -9, for real: whatever was acknowledged is there for the next process, without any repair.

import test, { type ExecutionContext } from 'ava'
import { temporaryDirectory } from './helpers/directory.js'
import { cutRoll } from './helpers/kill/directory.js'
import { check, write, type Trap } from './helpers/kill/process.js'
import { random } from './helpers/kill/records.mjs'
import { has } from './helpers/needs.js'

const ROUNDS = 50
const ROUNDS_PER_LOG = 10
const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)
const next = random(seed)
const upTo = (n: number): number => 1 + Math.floor(next() * n)

// A roll renames a spare, then fsyncs the directory (files get fdatasync): before either call the
// new segment is not in use yet.
const inRoll = (): Trap => ({ syscall: next() < 0.5 ? 'rename' : 'fsync', nth: 1 + upTo(4) })

// Recovery confirms CONTROL, and after a kill it rolls: all of these come while the log opens.
const inRecovery = (): Trap => ({ syscall: ['pwrite64', 'fdatasync', 'rename', 'fsync'][upTo(4) - 1] as string, nth: upTo(3) })
const earliest: Trap = { syscall: 'pwrite64', nth: 1 }

interface Counts {
  inFlight: number
  inRoll: number
  inRecovery: number
}

/** Opens the log after a kill and holds it to what was acknowledged. */
async function survives(t: ExecutionContext, dir: string, acknowledged: number): Promise<void> {
  const { killed, intact, next: end, stderr } = await check(dir, seed, next() < 0.5 ? 'close' : 'abandon')
  t.is(stderr, '')
  t.true(intact >= acknowledged, `${acknowledged} acknowledged, ${intact} intact${killed ? ' (abandoned)' : ''}`)
  t.is(intact, end - 1, 'a record that was never acknowledged is damaged')
}

/** Kills the process that recovers, before it is through. */
async function killRecovery(t: ExecutionContext, dir: string): Promise<boolean> {
  for (const trap of [inRecovery(), earliest]) {
    const { killed, opened, stderr } = await check(dir, seed, 'abandon', trap)
    t.is(stderr, '')
    if (killed && !opened) return true
    // The trap was beyond the end of recovery. The process did not close the log: once more.
  }
  return false
}

test(`no acknowledged record is lost in ${ROUNDS} kills`, async (t) => {
  if (!has(t, 'posix')) return
  t.timeout(300_000)
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const traced = has(t, 'strace')
  const counts: Counts = { inFlight: 0, inRoll: 0, inRecovery: 0 }

  let dir = ''
  let acknowledged = 0
  for (let round = 0; round < ROUNDS; round += 1) {
    if (round % ROUNDS_PER_LOG === 0) {
      dir = temporaryDirectory(t)
      acknowledged = 0
    }
    const kind = traced ? round % 10 : 0
    const trap = kind === 3 || kind === 8 ? inRoll() : undefined
    const written = await write(dir, seed, upTo(600), trap)
    t.is(written.stderr, '')
    t.true(written.killed)
    if (written.inFlight > 0) counts.inFlight += 1
    if (cutRoll(dir)) counts.inRoll += 1
    if ((kind === 5 || kind === 9) && (await killRecovery(t, dir))) counts.inRecovery += 1
    // A process killed before it said anything leaves what its predecessors said.
    acknowledged = Math.max(acknowledged, written.acknowledged)
    await survives(t, dir, acknowledged)
  }

  t.log(
    `${ROUNDS} kills: ${counts.inFlight} with appends in flight, ${counts.inRoll} inside a roll, ` +
      `${counts.inRecovery} during recovery; 0 acknowledged records lost`
  )
  t.true(counts.inFlight >= 40)
  if (traced) {
    t.true(counts.inRoll >= 5)
    t.true(counts.inRecovery >= 5)
  }
})
