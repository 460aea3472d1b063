// The processes of a kill test: started, listened to, killed.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import os from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Command, Contents, Knowledge } from './knowledge.js'

/** What is written where. */
export interface Log {
  dir: string
  seed: number
  segmentBytes: number
}

const script = (name: string): string => fileURLToPath(new URL(`./${name}.mjs`, import.meta.url))

/** Kills the process when one of its threads enters its `nth` system call of this name. */
export interface Trap {
  syscall: string
  nth: number
}

/** What a writer tells before it calls it. */
export type Word = Command | 'backup'

/** When a writer is killed: by a trap, inside what it has just called, or when it has been told of so many records. */
export interface Moment {
  trap?: Trap
  inside?: Word
  /** What is inside goes on while so many more lines are told. Default 0. */
  later?: number
  limit: number
}

/** The question mark: not every architecture has every call. */
function underStrace({ syscall, nth }: Trap): string[] {
  const calls = `?${syscall}`
  // Not with --seccomp-bpf: strace 6.1 does not deliver injected signals then.
  const only = ['-f', '-qq', '-o', os.devNull]
  return ['strace', ...only, '-e', `trace=${calls}`, '-e', `inject=${calls}:signal=SIGKILL:when=${nth}`]
}

/** Runs a script of this directory to its end; gives each line it says to `onLine`. */
async function watch(
  name: string,
  args: string[],
  trap: Trap | undefined,
  onLine: (line: string, kill: () => void) => void
): Promise<{ killed: boolean; stderr: string }> {
  const [file = '', ...rest] = [...(trap ? underStrace(trap) : []), process.execPath, script(name), ...args]
  const child = spawn(file, rest, { stdio: ['ignore', 'pipe', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (data: Buffer) => (stderr += String(data)))
  const ended = new Promise<NodeJS.Signals | null>((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (_code, signal) => resolve(signal))
  })
  for await (const line of createInterface({ input: child.stdout })) onLine(line, () => child.kill('SIGKILL'))
  return { killed: (await ended) === 'SIGKILL', stderr }
}

export interface Written {
  killed: boolean
  /** Appends that were accepted and not acknowledged at the end. */
  inFlight: number
  stderr: string
}

/** Appends until its moment comes; `knowledge` learns what is told. */
export async function write(log: Log, knowledge: Knowledge, { trap, inside, later = 0, limit }: Moment): Promise<Written> {
  let acknowledged = 0
  let inFlight = 0
  let left = Infinity
  const args = [log.dir, log.seed, knowledge.nextAttempts(), log.segmentBytes].map(String)
  const end = await watch('writer', args, trap, (line, kill) => {
    // The kill may have cut the line short: then it says nothing.
    const [, word = '', a, b, c, asked] = /^(\w+) (\d+)(?: (\d+))?(?: (\d+))?(\?)?;$/.exec(line) ?? []
    if (word === 'pending') inFlight = Number(a)
    else if (word === 'backup') {
      const dir = `${log.dir}-${a}`
      if (asked) knowledge.copyAsked(dir)
      else knowledge.copied(dir, Number(b), Number(c))
    } else if (word === 'appended') {
      knowledge.appended(Number(a), Number(b))
      acknowledged += 1
    } else if (word && asked) knowledge.asked(word as Command, Number(a), Number(b))
    else if (word) knowledge.done()
    if (trap) return
    if (inside && left === Infinity && acknowledged > 0 && asked && word === inside) left = later
    if (inside ? left-- <= 0 : acknowledged >= limit) kill()
  })
  return { ...end, inFlight }
}

export interface Checked {
  killed: boolean
  opened: boolean
  found?: Contents
  /** It does not open, and why. */
  refused?: string
  stderr: string
}

export async function check(log: Log, ending: 'close' | 'abandon', trap?: Trap): Promise<Checked> {
  let contents: Contents | undefined
  let complete = false
  let refused: string | undefined
  const args = [log.dir, String(log.seed), String(log.segmentBytes), ending]
  const end = await watch('checker', args, trap, (line) => {
    const [word, a, b] = line.split(' ')
    if (word === 'open') contents = { first: Number(a), next: Number(b), attempts: new Map() }
    else if (word === 'end') complete = true
    else if (word === 'refused') refused = line
    else contents?.attempts.set(Number(word), a === 'damaged' ? NaN : Number(a))
  })
  return { ...end, opened: contents !== undefined, found: complete ? contents : undefined, refused }
}
