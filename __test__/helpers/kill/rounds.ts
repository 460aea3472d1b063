// Rounds of kill -9: a process appends, truncates and makes backups until it is killed, then a fresh one opens the log and tells what it
// holds, and what the backups hold.

import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { cutRoll, cutTruncation } from './directory.js'
import { Knowledge } from './knowledge.js'
import { check, write, type Log, type Moment, type Trap } from './process.js'
import { random } from './records.mjs'

const ROUNDS_PER_LOG = 10

export interface Plan {
  rounds: number
  seed: number
  /** strace is there: kills at certain system calls, in rolls, truncations and recovery. */
  traced: boolean
  onRound?: (round: number, counts: Counts) => void
}

export interface Counts {
  kills: number
  inFlight: number
  inRoll: number
  inTruncation: number
  inRecovery: number
  inCut: number
  inReset: number
  inBackup: number
  backups: number
  acknowledged: number
}

/** Kills as planned; throws at the first promise that is broken, and leaves that log where it is. */
export async function kill({ rounds, seed, traced, onRound }: Plan): Promise<Counts> {
  const next = random(seed)
  const upTo = (n: number): number => 1 + Math.floor(next() * n)
  const pick = <T>(...all: T[]): T => all[upTo(all.length) - 1]

  // A roll renames a spare, then fsyncs the directory (files get fdatasync): before either call the
  // new segment is not in use yet.
  const inRoll = (): Trap => ({ syscall: pick('renameat', 'fsync'), nth: 1 + upTo(4) })
  // The low mark is durable by then, and the file of a segment below it goes. Opening removes a spare or two.
  const inTruncation = (): Trap => ({ syscall: 'unlinkat', nth: 1 + upTo(4) })
  // Recovery confirms CONTROL, and after a kill it rolls: all of these come while the log opens.
  const inRecovery = (): Trap => ({ syscall: pick('pwrite64', 'fdatasync', 'renameat', 'fsync'), nth: upTo(3) })
  const earliest: Trap = { syscall: 'pwrite64', nth: 1 }

  const counts: Counts = {
    kills: 0,
    inFlight: 0,
    inRoll: 0,
    inTruncation: 0,
    inRecovery: 0,
    inCut: 0,
    inReset: 0,
    inBackup: 0,
    backups: 0,
    acknowledged: 0,
  }
  const around = mkdtempSync(path.join(os.tmpdir(), 'forelog-kill-'))
  let log: Log = { dir: '', seed, segmentBytes: 0 }
  let knowledge = new Knowledge()
  const fail = (round: number, what: string): never => {
    throw new Error(`seed ${seed}, round ${round}, ${log.dir}: ${what}`)
  }

  for (let round = 0; round < rounds; round += 1) {
    if (round % ROUNDS_PER_LOG === 0) {
      log = { dir: path.join(around, `log-${round}`), seed, segmentBytes: pick(64 << 10, 1 << 20) }
      knowledge = new Knowledge()
    }
    const limit = upTo(600)
    const kind = traced || [1, 2, 4, 7].includes(round % 10) ? round % 10 : 0
    const moments: { [kind: number]: Moment } = {
      1: { inside: 'after', limit },
      2: { inside: 'reset', limit },
      3: { trap: inRoll(), limit },
      4: { inside: 'backup', later: upTo(20) - 1, limit },
      6: { trap: inTruncation(), limit },
      7: { inside: pick('after', 'backup'), limit },
      8: { trap: inRoll(), limit },
    }
    const before = knowledge.acknowledged
    const written = await write(log, knowledge, moments[kind] ?? { limit })
    if (written.stderr || !written.killed) fail(round, written.stderr || 'the writer ended by itself')
    counts.kills += 1
    counts.acknowledged += knowledge.acknowledged - before
    if (written.inFlight > 0) counts.inFlight += 1
    if (cutRoll(log.dir)) counts.inRoll += 1
    if (cutTruncation(log.dir)) counts.inTruncation += 1
    if (knowledge.pending === 'after') counts.inCut += 1
    if (knowledge.pending === 'reset') counts.inReset += 1
    for (const copy of knowledge.copies) {
      const { found, refused, stderr } = await check({ ...log, dir: copy.dir }, 'close')
      if (stderr || !(found || refused)) fail(round, stderr || `${copy.dir} neither opens nor is refused`)
      const flaws = knowledge.copyFlaws(copy, found)
      if (flaws.length > 0) fail(round, [...flaws, refused].join('\n'))
      if (copy.done) counts.backups += 1
      else counts.inBackup += 1
      rmSync(copy.dir, { recursive: true, force: true })
    }

    if (kind === 5 || kind === 9) {
      for (const recovery of [inRecovery(), earliest]) {
        const { killed, opened, stderr } = await check(log, 'abandon', recovery)
        if (stderr) fail(round, stderr)
        if (killed) counts.kills += 1
        if (killed && !opened) {
          counts.inRecovery += 1
          break
        }
        // The trap was beyond the end of recovery. The process did not close the log: once more.
      }
    }
    const { found, refused, stderr } = await check(log, pick('close', 'abandon'))
    if (stderr || !found) fail(round, stderr || refused || 'the log did not open')
    const flaws = found ? knowledge.flaws(found) : []
    if (flaws.length > 0) fail(round, flaws.join('\n'))
    onRound?.(round + 1, counts)
    if (round % ROUNDS_PER_LOG === ROUNDS_PER_LOG - 1) rmSync(log.dir, { recursive: true })
  }
  rmSync(around, { recursive: true })
  return counts
}

export const summary = ({
  kills,
  inFlight,
  inRoll,
  inTruncation,
  inRecovery,
  inCut,
  inReset,
  inBackup,
  backups,
  acknowledged,
}: Counts): string =>
  `${kills} kills: ${inFlight} with appends in flight, ${inRoll} inside a roll, ${inTruncation} while segments were removed, ` +
  `${inCut} inside truncateAfter, ${inReset} inside reset, ${inBackup} inside a backup, ${inRecovery} during recovery; ` +
  `${backups} backups whole, ${acknowledged} acknowledged records, 0 lost`
