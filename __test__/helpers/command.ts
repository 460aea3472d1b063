// Runs programs to their end and keeps what they said.

import { spawn } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

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
