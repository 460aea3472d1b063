// Runs programs to their end and keeps what they said.

import { fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ExecutionContext } from 'ava'

export const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Result {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: Buffer
  stderr: string
}

export interface CommandOptions {
  input?: Uint8Array | string
  cwd?: string
  env?: NodeJS.ProcessEnv
}

export function command(file: string, args: string[], options: CommandOptions = {}): Promise<Result> {
  const { input, ...spawnOptions } = options
  const child = spawn(file, args, { ...spawnOptions, stdio: 'pipe' })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout.on('data', (data: Buffer) => stdout.push(data))
  child.stderr.on('data', (data: Buffer) => stderr.push(data))
  // A program that ends before it has read everything is judged by its exit code.
  child.stdin.on('error', () => {})
  child.stdin.end(input)
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      resolve({ code, signal, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() })
    })
  })
}

export const node = (args: string[], options?: CommandOptions): Promise<Result> => command(process.execPath, args, options)

export const cliScript = path.join(root, 'dist', 'cli', 'main.js')
export const demoScript = path.join(root, 'dist', 'demo', 'main.js')

export const forelog = (args: string[], options?: CommandOptions): Promise<Result> => node([cliScript, ...args], options)
export const demo = (args: string[], options?: CommandOptions): Promise<Result> => node([demoScript, ...args], options)

/** A process that has opened a log. It keeps it open until the first message, or until the test ends. */
export async function holder(t: ExecutionContext, dir: string): Promise<ChildProcess> {
  const script = `
    const { Wal } = await import(process.argv[1])
    globalThis.wal = await Wal.open(process.argv[2])
    process.send('open')
    process.on('message', () => process.exit())`
  const child = fork('-e', [], { execArgv: ['--input-type=module', '-e', script, path.join(root, 'index.js'), dir] })
  t.teardown(() => child.kill())
  await once(child, 'message')
  return child
}
