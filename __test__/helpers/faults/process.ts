// A process that appends, and what it told before it ended.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'
import { Wal, type RecoveryReport, type WalOptions } from '../../../index.js'
import { attemptOf, recordAt } from '../kill/records.mjs'

/** What appender.mjs is to do. */
export interface Job {
  dir: string
  seed: number
  options: WalOptions
  /** Every n-th record is appended with `durable`, and only those are told as acknowledged. Default 1. */
  durableEvery?: number
  /** Number of the first attempt. Default 1. */
  firstAttempt?: number
  inFlight?: number
  /** Ends after that many have been acknowledged; without it, at the first failure. */
  upTo?: number
  /** Rules for the shim, in force once the log is open. */
  arm?: string
  /** Appends on after a rejection. */
  goOn?: boolean
  /** Afterwards: try everything, tell and close; die at once; wait to be killed. */
  then: 'tell' | 'kill' | 'wait'
}

/** What the log did after its first failure; codes, where something was refused. */
export interface End {
  open?: string
  cause?: string
  failure?: string
  durable?: number
  again?: string
  sync?: string
  read?: number
  readError?: string
  close?: string
}

export interface Told {
  signal: NodeJS.Signals | null
  opened: boolean
  /** Attempts by position. */
  acknowledged: Map<number, number>
  /** Highest position resolved, durable or not. */
  written: number
  rejected: { attempt: number; code: string; cause: string }[]
  end?: End
  stderr: string
}

export interface Watch {
  env?: NodeJS.ProcessEnv
  /** Called for each line, with what was told so far. */
  onLine?: (word: string, told: Told, kill: () => void) => void
}

const script = fileURLToPath(new URL('./appender.mjs', import.meta.url))

/** Runs the job in a process of its own, to its end. */
export async function append(job: Job, { env, onLine }: Watch = {}): Promise<Told> {
  const child = spawn(process.execPath, [script, JSON.stringify(job)], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const told: Told = { signal: null, opened: false, acknowledged: new Map(), written: 0, rejected: [], stderr: '' }
  child.stderr.on('data', (data: Buffer) => (told.stderr += String(data)))
  const ended = new Promise<NodeJS.Signals | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (_code, signal) => resolve(signal))
  })
  for await (const line of createInterface({ input: child.stdout })) {
    const [word = '', ...rest] = line.split(' ')
    if (word === 'open') told.opened = true
    // A kill may have cut the line short: then it says nothing.
    else if (word === 'acknowledged' && rest[1]) {
      told.acknowledged.set(Number(rest[0]), Number(rest[1]))
      told.written = Math.max(told.written, Number(rest[0]))
    } else if (word === 'written' && line.endsWith(';')) told.written = Math.max(told.written, parseInt(rest[0], 10))
    else if (word === 'rejected' && rest[2]) told.rejected.push({ attempt: Number(rest[0]), code: rest[1], cause: rest[2] })
    else if (word === 'end') told.end = JSON.parse(line.slice(4)) as End
    onLine?.(word, told, () => child.kill('SIGKILL'))
  }
  told.signal = await ended
  return told
}

/** What is wrong with the records of an open log, given what its writer told. */
export async function flaws(wal: Wal, seed: number, { acknowledged, rejected }: Told): Promise<string[]> {
  const attempts = new Map<number, number>()
  const refused = new Set(rejected.filter(({ code }) => code !== 'ERR_WAL_POISONED').map(({ attempt }) => attempt))
  const wrong: string[] = []
  for await (const { position, value } of wal.readFrom('start')) {
    const attempt = attemptOf(value)
    attempts.set(position, attempt)
    if (!value?.equals(recordAt(seed, attempt))) wrong.push(`record ${position} is damaged`)
    if (refused.has(attempt)) wrong.push(`record ${position} had been rejected`)
  }
  for (const [position, attempt] of acknowledged) {
    const found = attempts.get(position)
    if (found !== attempt) wrong.push(`position ${position} was acknowledged for attempt ${attempt}, and holds ${found}`)
  }
  const expected = wal.nextPosition - wal.firstPosition
  if (attempts.size !== expected) wrong.push(`${attempts.size} records of ${expected}`)
  return wrong
}

/** Opens the log in this process, which is not the one that wrote it, and holds it to what that one told. */
export async function holds(t: ExecutionContext, { dir, seed, options }: Job, told: Told, label = ''): Promise<RecoveryReport> {
  const wal = await Wal.open(dir, options)
  t.teardown(() => wal.close().catch(() => {}))
  t.deepEqual(await flaws(wal, seed, told), [], label)
  // It takes appends: what was left behind is no obstacle.
  const next = wal.nextPosition
  t.is(await wal.append(recordAt(seed, 0)), next, label)
  await wal.close()
  return wal.recovery
}
