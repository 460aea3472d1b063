// The exit codes of all commands. The help, docs/operations.md and the tests take the table from here.

import type { WalErrorCode } from '../index.js'

export const EXIT = {
  done: 0,
  damage: 1,
  usage: 2,
  noLog: 3,
  locked: 4,
  system: 5,
  input: 6,
  position: 7,
  bug: 70,
} as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT]

/** Meaning of every exit code, except those of signals. */
export const meanings: { readonly [code in ExitCode]: string } = {
  [EXIT.done]: 'success; no damage was found',
  [EXIT.damage]: 'damage: bytes or files of the log are not as they were written',
  [EXIT.usage]: 'wrong usage: an unknown command or option, or a value out of range',
  [EXIT.noLog]: 'no log at that path: it is missing, or has other files or a log of a newer version',
  [EXIT.locked]: 'another process has the log open for writing',
  [EXIT.system]: 'the system failed: disk full, no permission, an I/O error, or output that cannot be written',
  [EXIT.input]: 'the input cannot be read, or one of its lines or records was refused',
  [EXIT.position]: 'the log does not have the position: it was truncated, or is not written yet',
  [EXIT.bug]: 'a bug in forelog itself',
}

/** A command ended by a signal exits with this plus the number of the signal, as in shells. */
export const SIGNALLED = 128

const codes: { readonly [code in WalErrorCode]: ExitCode } = {
  ERR_WAL_LOCKED: EXIT.locked,
  ERR_WAL_NOT_FOUND: EXIT.noLog,
  ERR_WAL_CORRUPT: EXIT.damage,
  ERR_WAL_CLOSED: EXIT.bug,
  ERR_WAL_POISONED: EXIT.system,
  ERR_WAL_DETACHED: EXIT.system,
  ERR_WAL_NO_SPACE: EXIT.system,
  ERR_WAL_TOO_LARGE: EXIT.input,
  ERR_WAL_TRUNCATED: EXIT.position,
  ERR_WAL_OUT_OF_RANGE: EXIT.position,
  ERR_WAL_CONFLICT: EXIT.bug,
  ERR_WAL_BACKPRESSURE: EXIT.bug,
  ERR_WAL_READ_ONLY: EXIT.system,
  ERR_WAL_FORMAT: EXIT.noLog,
  ERR_WAL_INVALID_ARG: EXIT.usage,
  ERR_WAL_CODEC: EXIT.bug,
  ERR_WAL_IO: EXIT.system,
  ERR_WAL_BUSY: EXIT.bug,
  ERR_WAL_TIMEOUT: EXIT.bug,
  ERR_WAL_HANDLER: EXIT.bug,
  ERR_WAL_DEAD_LETTER: EXIT.bug,
  ERR_WAL_NATIVE_NOT_FOUND: EXIT.system,
}

/** Returns the exit code for the code of a `WalError`. */
export const exitCodeOf = (code: WalErrorCode): ExitCode => codes[code]

/** Returns the table that `--help` prints. */
export function exitCodeTable(): string {
  const rows = Object.entries(meanings).map(([code, meaning]) => `  ${code.padStart(4)}  ${meaning}`)
  return ['Exit codes:', ...rows, `  ${SIGNALLED}+n  ended by signal n: 130 for Ctrl-C, 143 for SIGTERM`].join('\n')
}
