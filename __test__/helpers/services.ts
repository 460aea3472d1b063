// The programs of examples/services as processes, which a spec kills and starts again.

import { spawn } from 'node:child_process'
import path from 'node:path'
import { createInterface } from 'node:readline'
import type { ExecutionContext } from 'ava'
import { root } from './command.js'

export const serviceProgram = (name: string): string => path.join(root, 'examples', 'services', `${name}.mjs`)

/** Shown by every spec with seeded kills; the variable repeats a run. */
export const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)

/** One run of a program, from its start to its end. */
export class Life {
  /** Whole lines that it has printed so far. */
  readonly lines: string[] = []
  /** How it ended: an exit code, or a signal. */
  readonly ended: Promise<number | NodeJS.Signals | null>
  stderr = ''
  readonly #child

  /** Calls `onLine` after each line. A program on Linux prints a line with one write, so none is cut off by a kill. */
  constructor(t: ExecutionContext, name: string, args: (string | number)[], onLine: (line: string, life: Life) => void = () => {}) {
    this.#child = spawn(process.execPath, [serviceProgram(name), ...args.map(String)], { stdio: ['ignore', 'pipe', 'pipe'] })
    t.teardown(() => this.#child.kill('SIGKILL'))
    this.#child.stderr.on('data', (data: Buffer) => (this.stderr += String(data)))
    const lines = createInterface({ input: this.#child.stdout })
    lines.on('line', (line) => {
      this.lines.push(line)
      onLine(line, this)
    })
    const read = new Promise((resolve) => lines.once('close', resolve))
    this.ended = new Promise((resolve) => this.#child.once('close', (code, signal) => void read.then(() => resolve(signal ?? code))))
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }
}

/** Runs a program to its end, or kills it after so many lines. Resolves to the run, and fails the test if it ended otherwise. */
export async function live(
  t: ExecutionContext,
  name: string,
  args: (string | number)[],
  killAfter = Infinity
): Promise<Life & { killed: boolean }> {
  const life = new Life(t, name, args, (_, { lines }) => {
    if (lines.length === killAfter) life.kill('SIGKILL')
  })
  const how = await life.ended
  t.is(life.stderr, '')
  t.true(how === 'SIGKILL' || how === 0, `ended with ${how}`)
  return Object.assign(life, { killed: how === 'SIGKILL' })
}
