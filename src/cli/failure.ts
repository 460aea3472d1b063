// How a command reports a failure: a line with the error code, a line with the next command to type, and the exit code.

import { WalError } from '../index.js'
import { EXIT, exitCodeOf, type ExitCode } from './exit-codes.js'

/** A failure of the input of `append` or `import`. */
export class InputError extends Error {
  readonly code: string
  /** Number of the refused line, from 1. */
  readonly line: number | undefined

  constructor(message: string, { line, code = 'ERR_WAL_INVALID_ARG', cause }: { line?: number; code?: string; cause?: unknown } = {}) {
    super(line === undefined ? message : `line ${line}: ${message}`, cause === undefined ? undefined : { cause })
    this.name = 'InputError'
    this.code = code
    this.line = line
  }
}

/** Standard output cannot be written. */
export class OutputError extends Error {
  readonly code: string | undefined

  constructor(cause: NodeJS.ErrnoException) {
    super(`standard output cannot be written: ${cause.message}`, { cause })
    this.name = 'OutputError'
    this.code = cause.code
  }
}

/** The report of a failed command. */
export interface Failure {
  /** Text for standard error. */
  text: string
  exitCode: ExitCode
}

/** Quotes an argument for a POSIX shell. */
export const quoted = (argument: string): string =>
  /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`

/** Suggests what to do after an error of a command on the log in `dir`. */
function hint(error: WalError, dir: string): string | undefined {
  const log = quoted(dir)
  switch (error.code) {
    case 'ERR_WAL_NOT_FOUND':
      return `check the path; \`forelog append ${log} FILE\` creates a log there`
    case 'ERR_WAL_FORMAT':
      if (isDestination(error)) return 'give an empty directory, or one that does not exist yet, for the copy'
      return 'check the path, or use the version of forelog that wrote the log'
    case 'ERR_WAL_LOCKED':
      return `end that process, or only read the log: \`forelog cat ${log}\``
    case 'ERR_WAL_CORRUPT':
      return `\`forelog verify ${log}\` lists all damage; \`forelog salvage ${log} NEW\` makes a new log of all good records`
    case 'ERR_WAL_NO_SPACE':
      return 'free disk space, and run the command again'
    case 'ERR_WAL_POISONED':
      return `check the disk, then run \`forelog verify ${log}\``
    case 'ERR_WAL_DETACHED':
      return 'the directory was moved, removed or replaced meanwhile: run the command on the current path of the log'
    case 'ERR_WAL_READ_ONLY':
      return 'the file system is mounted read-only: mount it for writing, or use another directory'
    case 'ERR_WAL_TRUNCATED':
      return error.firstPosition === undefined ? undefined : `the log begins with position ${error.firstPosition}`
    case 'ERR_WAL_OUT_OF_RANGE':
      return `\`forelog cat ${log} --follow\` waits for records that are not written yet`
    case 'ERR_WAL_NATIVE_NOT_FOUND':
      return 'install forelog on this platform with its optional dependencies'
    default:
      return undefined
  }
}

/** Whether the path of the log is not a directory. */
const isNoDirectory = (error: WalError): boolean => (error.cause as NodeJS.ErrnoException | undefined)?.code === 'ENOTDIR'

/** Whether the destination directory of a copy is not empty. Nothing is wrong with the log itself. */
const isDestination = ({ code, operation, verdict }: WalError): boolean =>
  code === 'ERR_WAL_FORMAT' && (operation === 'backup' || operation === 'salvage') && verdict === undefined

function exitCode(error: unknown): ExitCode {
  if (error instanceof InputError) return EXIT.input
  if (error instanceof OutputError) return EXIT.system
  if (error instanceof WalError && isDestination(error)) return EXIT.usage
  if (error instanceof WalError) return isNoDirectory(error) ? EXIT.noLog : exitCodeOf(error.code)
  // Node's own errors of files and streams name the system call.
  return typeof (error as NodeJS.ErrnoException | undefined)?.syscall === 'string' ? EXIT.system : EXIT.bug
}

/** Describes a failure in one or two lines, never with a stack. `dir` is the directory of the log, for the hint. */
export function failure(error: unknown, dir: string | undefined): Failure {
  const { message, code } = (error ?? {}) as NodeJS.ErrnoException
  const text = `forelog: ${(message ?? String(error)).replaceAll('\n', ' ')}${code ? ` (${code})` : ''}\n`
  const next = error instanceof WalError && dir !== undefined ? hint(error, dir) : undefined
  return { text: next === undefined ? text : `${text}  next: ${next}\n`, exitCode: exitCode(error) }
}
