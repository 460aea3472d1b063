// The processes of a kill test: started, listened to, killed.

import { spawn } from 'node:child_process'
import { createInterface } from 'node:readline'
import os from 'node:os'
import { fileURLToPath } from 'node:url'

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
  acknowledged: number
  inFlight: number
  stderr: string
}

/** Appends until that many new records have been acknowledged, or until the trap. */
export async function write(dir: string, seed: number, limit: number, trap?: Trap): Promise<Written> {
  let first = 0
  let acknowledged = 0
  let inFlight = 0
  const end = await watch('writer', [dir, String(seed)], trap, (line, kill) => {
    const [a, b] = line.split(' ')
    if (a === 'open') first = Number(b)
    // The kill may have cut the line short: then it says nothing.
    else if (b !== undefined && Number(b) > acknowledged) {
      acknowledged = Number(a)
      inFlight = Number(b) - acknowledged
      if (!trap && acknowledged - first + 1 >= limit) kill()
    }
  })
  return { ...end, acknowledged, inFlight }
}

export interface Checked {
  killed: boolean
  opened: boolean
  intact: number
  next: number
  stderr: string
}

export async function check(dir: string, seed: number, ending: 'close' | 'abandon', trap?: Trap): Promise<Checked> {
  let opened = false
  let intact = 0
  let next = 0
  const end = await watch('checker', [dir, String(seed), ending], trap, (line) => {
    if (line === 'open') opened = true
    else [intact, next] = line.split(' ').map(Number) as [number, number]
  })
  return { ...end, opened, intact, next }
}
