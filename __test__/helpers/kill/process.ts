// The processes of a kill test: started, listened to, killed.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import os from 'node:os'
import { fileURLToPath } from 'node:url'
import type { Contents, Knowledge } from './knowledge.js'

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

/** Appends until that many records have been acknowledged, or until the trap; `knowledge` learns what is told. */
export async function write(log: Log, knowledge: Knowledge, limit: number, trap?: Trap): Promise<Written> {
  let acknowledged = 0
  let inFlight = 0
  const args = [log.dir, log.seed, knowledge.nextAttempts(), log.segmentBytes].map(String)
  const end = await watch('writer', args, trap, (line, kill) => {
    // The kill may have cut the line short: then it says nothing.
    const [, word, a, b] = /^(appended|pending|before) (\d+)(?: (\d+))?\??;$/.exec(line) ?? []
    if (word === 'before') knowledge.truncated(Number(a), line.includes('?'))
    else if (word === 'pending') inFlight = Number(a)
    if (word !== 'appended') return
    knowledge.appended(Number(a), Number(b))
    acknowledged += 1
    if (!trap && acknowledged >= limit) kill()
  })
  return { ...end, inFlight }
}

export interface Checked {
  killed: boolean
  opened: boolean
  found?: Contents
  stderr: string
}

export async function check(log: Log, ending: 'close' | 'abandon', trap?: Trap): Promise<Checked> {
  let contents: Contents | undefined
  let complete = false
  const args = [log.dir, String(log.seed), String(log.segmentBytes), ending]
  const end = await watch('checker', args, trap, (line) => {
    const [word, a, b] = line.split(' ')
    if (word === 'open') contents = { first: Number(a), next: Number(b), attempts: new Map() }
    else if (word === 'end') complete = true
    else contents?.attempts.set(Number(word), a === 'damaged' ? NaN : Number(a))
  })
  return { ...end, opened: contents !== undefined, found: complete ? contents : undefined }
}
