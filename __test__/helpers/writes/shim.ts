// The preloaded shim of native/writes.c: what it shall do to submitted writes, and what it recorded.

import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { root } from '../command.js'
import { compile } from '../compile.js'
import { temporaryDirectory } from '../directory.js'

export type Mode = 'played' | 'bad' | 'no-setup' | 'no-submit'

export const script = (name: string): string => path.join(root, '__test__', 'helpers', 'writes', `${name}.mjs`)

/** A log in a temporary directory, and a process that plays its submitted writes. Needs `preload`. */
export class Writes {
  readonly dir: string
  /** A file that the process makes when the disk is to become slow. */
  readonly delay: string
  readonly record: string
  readonly env: NodeJS.ProcessEnv

  constructor(t: ExecutionContext, mode: Mode, more: NodeJS.ProcessEnv = {}) {
    const around = temporaryDirectory(t)
    this.dir = path.join(around, 'log')
    this.delay = path.join(around, 'delay')
    this.record = path.join(around, 'record')
    this.env = {
      ...process.env,
      LD_PRELOAD: compile('writes', '-shared', '-fPIC', '-ldl', '-pthread'),
      FORELOG_WRITES_DIR: this.dir,
      FORELOG_WRITES_RECORD: this.record,
      FORELOG_WRITES_MODE: mode,
      FORELOG_WRITES_DELAY: this.delay,
      ...more,
    }
  }

  /** Every event so far. */
  events(): string[] {
    return existsSync(this.record) ? readFileSync(this.record, 'utf8').trimEnd().split('\n') : []
  }

  count(event: string): number {
    return this.events().filter((line) => line === event).length
  }
}
