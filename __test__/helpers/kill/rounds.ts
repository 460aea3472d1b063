// Rounds of kill -9: a process appends and truncates until it is killed, then a fresh one opens the log and tells what it holds.

import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { cutRoll, cutTruncation } from './directory.js'
import { Knowledge } from './knowledge.js'
import { check, write, type Log, type Trap } from './process.js'
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
  acknowledged: number
}

/** Kills as planned; throws at the first promise that is broken, and leaves that log where it is. */
export async function kill({ rounds, seed, traced, onRound }: Plan): Promise<Counts> {
  const next = random(seed)
  const upTo = (n: number): number => 1 + Math.floor(next() * n)
  const pick = <T>(...all: T[]): T => all[upTo(all.length) - 1]

  // A roll renames a spare, then fsyncs the directory (files get fdatasync): before either call the
  // new segment is not in use yet.
  const inRoll = (): Trap => ({ syscall: pick('rename', 'fsync'), nth: 1 + upTo(4) })
  // The low mark is durable by then, and the file of a segment below it goes. Opening removes a spare or two.
  const inTruncation = (): Trap => ({ syscall: 'unlink', nth: 1 + upTo(4) })
  // Recovery confirms CONTROL, and after a kill it rolls: all of these come while the log opens.
  const inRecovery = (): Trap => ({ syscall: pick('pwrite64', 'fdatasync', 'rename', 'fsync'), nth: upTo(3) })
  const earliest: Trap = { syscall: 'pwrite64', nth: 1 }

  const counts: Counts = { kills: 0, inFlight: 0, inRoll: 0, inTruncation: 0, inRecovery: 0, acknowledged: 0 }
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
    const kind = traced ? round % 10 : 0
    const trap = kind === 3 || kind === 8 ? inRoll() : kind === 6 ? inTruncation() : undefined
    const before = knowledge.acknowledged
    const written = await write(log, knowledge, upTo(600), trap)
    if (written.stderr || !written.killed) fail(round, written.stderr || 'the writer ended by itself')
    counts.kills += 1
    counts.acknowledged += knowledge.acknowledged - before
    if (written.inFlight > 0) counts.inFlight += 1
    if (cutRoll(log.dir)) counts.inRoll += 1
    if (cutTruncation(log.dir)) counts.inTruncation += 1

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
    const { found, stderr } = await check(log, pick('close', 'abandon'))
    if (stderr || !found) fail(round, stderr || 'the log did not open')
    const flaws = found ? knowledge.flaws(found) : []
    if (flaws.length > 0) fail(round, flaws.join('\n'))
    onRound?.(round + 1, counts)
    if (round % ROUNDS_PER_LOG === ROUNDS_PER_LOG - 1) rmSync(log.dir, { recursive: true })
  }
  rmSync(around, { recursive: true })
  return counts
}

export const summary = ({ kills, inFlight, inRoll, inTruncation, inRecovery, acknowledged }: Counts): string =>
  `${kills} kills: ${inFlight} with appends in flight, ${inRoll} inside a roll, ${inTruncation} while segments were removed, ` +
  `${inRecovery} during recovery; ${acknowledged} acknowledged records, 0 lost`
