// The preloaded shim of native/fault.c: which faults it shall inject, and what it recorded.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { compile } from '../compile.js'
import { temporaryDirectory } from '../directory.js'

/** Errors after which a log goes on, and EIO, which leaves unknown what was done. */
export type Failure = 'EIO' | 'ENOSPC' | 'EDQUOT' | 'EFBIG' | 'EROFS' | 'EACCES' | 'EPERM' | 'ENOMEM' | 'EAGAIN' | 'ENOENT' | 'EXDEV'
export type Action = Failure | 'HALF' | 'LOSE' | 'CUT'
/** `direct` is a pwrite64 past the page cache, durable when it returns; `pwrite64` is any other. */
export type Syscall = 'pwrite64' | 'direct' | 'pread64' | 'fdatasync' | 'fsync' | 'ftruncate64' | 'rename' | 'unlink'

/** The `nth` call of that name on a file that matches, up to the `last`-th, is failed. */
export const rule = (call: Syscall, pattern: string, nth: number, action: Action, last = nth): string =>
  `${call} ${pattern} ${nth} ${last} ${action}\n`

/** The two slots of CONTROL; recovery does not look at the page behind them. */
export const SLOTS = 'CONTROL@[04]*'
export const isHint = (call: Call): boolean => call.file === 'CONTROL' && call.offset >= 8192

/** A call on a file of the log; times are monotonic nanoseconds. */
export interface Call {
  began: number
  ended: number
  name: Syscall
  /** Below the log's directory, which itself is `.`. */
  file: string
  offset: number
  length: number
  result: number
  /** Number of the rule that befell it, 0 for none. */
  fault: number
}

/** Of a process whose calls on files below `dir` are recorded, and failed as the rules say. Needs `preload`. */
export const shimEnvironment = (dir: string, record: string, rules: string): NodeJS.ProcessEnv => ({
  ...process.env,
  LD_PRELOAD: compile('fault', '-shared', '-fPIC', '-ldl', '-pthread'),
  FORELOG_FAULT_DIR: dir,
  FORELOG_FAULT_LOG: record,
  FORELOG_FAULT_RULES: rules,
  // The shim sees calls of the C library, and submitted writes are none.
  FORELOG_ASYNC_WRITES: 'off',
})

export class Shim {
  readonly dir: string
  readonly #record: string
  readonly #rules: string

  /** For a log in a temporary directory, or one of that name that exists already. */
  constructor(t: ExecutionContext, dir?: string) {
    const around = temporaryDirectory(t)
    this.dir = dir ?? path.join(around, 'log')
    this.#record = path.join(around, 'record')
    this.#rules = path.join(around, 'rules')
    mkdirSync(this.dir, { recursive: true })
  }

  /** Rules in force from the start of the next process. */
  arm(rules: string): void {
    writeFileSync(this.#rules, rules)
  }

  get env(): NodeJS.ProcessEnv {
    return shimEnvironment(this.dir, this.#record, this.#rules)
  }

  /** Every call so far, in the order in which they ended. */
  calls(): Call[] {
    if (!existsSync(this.#record)) return []
    const lines = readFileSync(this.#record, 'utf8').trimEnd().split('\n')
    return lines.map((line) => {
      const [began, ended, name, file, offset, length, result, , fault] = line.split(' ')
      const numbers = { began: Number(began), ended: Number(ended), offset: Number(offset), length: Number(length) }
      return { ...numbers, name: name as Syscall, file, result: Number(result), fault: Number(fault) }
    })
  }

  /** The calls that a rule befell: proof that the fault happened. */
  fired(): Call[] {
    return this.calls().filter((call) => call.fault > 0)
  }
}
