// The seam to the native module: loads it, and describes the calls that its generated types do not.

import { open } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { textOf, WalError } from './errors.js'
import type { Environment, Watcher } from '../native.js'

export type {
  Backup as NativeBackup,
  BlockData,
  Completion,
  Cursor as NativeCursor,
  ErrorData,
  Environment as NativeEnvironment,
  OpenOptions,
  Reader as NativeReader,
  Manner,
  Resumed,
  Salvage as NativeSalvage,
  Watcher as NativeWatcher,
} from '../native.js'

// Bits of `flags`; crates/node/src/wal.rs has the same.
export const TOMBSTONE = 1
export const DURABLE = 2
export const EXPIRES = 4
export const VERSION = 8
export const KEY_STRING = 16
export const KEY_BYTES = 32
export const VALUE_STRING = 64
export const VALUE_BYTES = 128
export const EXPECT = 256

// Bits of a record's meta in a block; its upper 27 bits are the index of its first extra.
export const META_KEY = 1
export const META_VALUE = 2
export const META_TOMBSTONE = 4
export const META_EXPIRES = 8
export const META_VERSION = 16
export const META_EXTRA_SHIFT = 5

type Bytes = string | Uint8Array | undefined

/** The calls made per record or per turn. A log is a number; a negative answer is a refusal, see `Environment.refusal()`. */
export interface Calls {
  /** Gives the record's position. The bytes have been copied when it returns. */
  append(log: number, key: Bytes, value: Bytes, flags: number, expiresAt?: number, term?: number, index?: number, expect?: number): number
  /** Appends what is on the stage to the log that it is for, and clears it, or refuses all of it. Gives the position of the first. */
  appendAll(): number
  /** Adds a record to the batch being built; there is one batch per environment. */
  push(log: number, key: Bytes, value: Bytes, flags: number, expiresAt?: number, term?: number, index?: number): number
  /** Adds what is on the stage to it. */
  pushAll(log: number): number
  /** Appends that batch; gives the position of its first record. */
  commit(log: number, flags: number, expect?: number): number
  /** Forgets that batch. */
  abort(): number
  sync(log: number): number
  truncateBefore(log: number, position: number): number
  truncateAfter(log: number, position: number): number
  reset(log: number, position: number): number
  kick(log: number): number
  /** How many operations have succeeded; negative when a failure comes next, see `Environment.failure()`. */
  settled(log: number): number
  /** Fills in first, next, written, acknowledged, durable, pending bytes and their limit, how many times the log was cut, the limit of a record. */
  positions(log: number, into: Float64Array): number
  /** From now on news wakes again; gives how many completions there are. */
  rearm(): number
  /** A log in which something has settled; negative when there is none left. */
  news(): number
  /** Whether the native side keeps the event loop alive. */
  hold(held: 0 | 1): number
}

export interface Native {
  Environment: typeof Environment
  Watcher: typeof Watcher
}

/** The first line of every message in a chain of causes, innermost first: the loader keeps no more of what it has tried. */
function attemptsOf(error: unknown): string[] {
  const messages: string[] = []
  const here = path.dirname(fileURLToPath(new URL('../native.js', import.meta.url)))
  for (let at = error; at instanceof Error; at = at.cause) {
    // What the loader itself says comes first, and names a bug of npm where none may be.
    if (at === error && at.cause != null) continue
    const [message] = textOf(at).split('\n', 1)
    // It looks for a module of WebAssembly too, which there is none of.
    if (!message.includes('wasi')) messages.unshift(message.replace("'./", `'${here}${path.sep}`))
  }
  return messages
}

/** The names of this platform's binaries. Which C library Linux has is for the loader to find out. */
function binaries(): string[] {
  const name = `${process.platform}-${process.arch}`
  return process.platform === 'linux' ? [`${name}-gnu`, `${name}-musl`] : process.platform === 'win32' ? [`${name}-msvc`] : [name]
}

/** Files that the loader would take: beside the package, and in packages of their own. */
function candidates(): string[] {
  const { resolve } = createRequire(import.meta.url)
  const files = []
  for (const name of binaries()) {
    for (const place of [`../forelog.${name}.node`, `forelog-${name}`]) {
      try {
        files.push(resolve(place))
      } catch {
        // The loader says that it is not there.
      }
    }
  }
  return files
}

/**
 * Says what an ELF file lacks of its end, if anything. The system's own loader maps such a file without looking, and the process ends by
 * SIGBUS when it touches what is not there.
 */
async function cutOff(file: string): Promise<string | undefined> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const { buffer: header, bytesRead } = await handle.read(Buffer.alloc(64), 0, 64, 0)
    if (bytesRead < 64) return `${file}: the file is cut off: it has ${size} bytes`
    // 64 bits, least significant byte first, as every platform that there are binaries for.
    if (header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) return undefined
    // The table of sections is the last thing in the file.
    const end = Number(header.readBigUInt64LE(40)) + header.readUInt16LE(58) * header.readUInt16LE(60)
    return size < end ? `${file}: the file is cut off: it has ${size} of ${end} bytes` : undefined
  } finally {
    await handle.close()
  }
}

/** What to do about it, by what the attempts say. */
function remedy(attempts: string[]): string {
  const says = (pattern: RegExp) => attempts.some((attempt) => pattern.test(attempt))
  if (says(/addons is disabled/)) {
    return 'start node without --no-addons, or, with its permission model, add --allow-addons'
  }
  if (attempts.every((attempt) => /^(Cannot find module|Unsupported) /.test(attempt))) {
    return 'run `npm install --include=optional` on the platform that it is to run on; in a checkout, `npm run build`'
  }
  if (says(/GLIBC|GLIBCXX|libc\.musl|ld-musl/)) {
    return 'the binary is for a newer or another C library: build it here, with `npm run build` in a checkout, or use a newer system'
  }
  return 'run `npm install --force --include=optional` on the platform that it is to run on; in a checkout, `npm run build`'
}

function notFound(attempts: string[], cause?: unknown): WalError {
  const tried = attempts.map((attempt) => `\n- ${attempt}`).join('')
  const message = `the native module of forelog for ${process.platform}-${process.arch} did not load: ${remedy(attempts)}. Tried:${tried}`
  return new WalError('ERR_WAL_NATIVE_NOT_FOUND', message, { operation: 'open', cause })
}

/**
 * Loads the native module. Only opening a log needs it, so importing the package works without.
 *
 * @throws `ERR_WAL_NATIVE_NOT_FOUND` with what was tried, and what each attempt said.
 */
export async function loadNative(): Promise<Native> {
  if (process.platform === 'linux') {
    const broken = await Promise.all(candidates().map((file) => cutOff(file).catch(() => undefined)))
    const cut = broken.filter((what) => what !== undefined)
    if (cut.length > 0) throw notFound(cut)
  }
  let native: Partial<Native>
  try {
    native = await import('../native.js')
  } catch (error) {
    throw notFound(attemptsOf(error), error)
  }
  const { Environment, Watcher } = native
  if (typeof Environment !== 'function' || typeof Watcher !== 'function')
    throw notFound(['the module that was loaded is not of this package'])
  return { Environment, Watcher }
}
