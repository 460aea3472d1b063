// Types of the options, and their checks: types and names are checked here, ranges in the engine.

import { resolve } from 'node:path'
import type { BackupProgress } from '../jobs/backup.js'
import { checkText } from '../util/bytes.js'
import type { Codec, CodecOption, NamedCodec } from '../records/codec.js'
import { AbortError, invalid, WalError, whileReading } from '../errors.js'
import type { SalvageProgress } from '../jobs/salvage.js'
import type { Heed } from '../util/call-options.js'
import type { OpenOptions } from '../native/load.js'
import { isAborted, isSignal } from '../util/signals.js'
import { START_END, START_FIRST } from '../native/wire.js'

/** How opening treats damage, and whether the handle may write: see {@link WalOptions.mode}. */
export type Mode = 'strict' | 'prefix' | 'readOnly'

/** Options of `Wal.open`. */
export interface WalOptions {
  /**
   * When an append is acknowledged, and when it is durable (survives power loss).
   *
   * - `'always'`: acknowledged once an fsync that covers it has succeeded. Appends that wait at the same time share one fsync.
   * - `{ everyMs: n }`: acknowledged once written, which survives a crash of the process. An fsync starts no later than `n` ms after the
   *   oldest write without one. From 1 to 3,600,000.
   * - `'os'`: acknowledged once written. The operating system decides when it becomes durable.
   *
   * @defaultValue `'always'`
   */
  fsync?:
    | 'always'
    | 'os'
    | {
        /** Milliseconds, from 1 to 3,600,000. */
        everyMs: number
      }
  /**
   * How opening treats damage, and whether the handle may write.
   *
   * - `'strict'`: corruption is an error and changes nothing.
   * - `'prefix'`: keeps the log up to the damage and continues it in a new segment. Everything after the damage is left out and stays on
   *   disk; the report names it. Opening reads the whole log to find the damage. If it cannot tell what came before the damage, it fails as
   *   with `'strict'`.
   * - `'readOnly'`: only reads. Nothing is written and no lock is taken, so it works on a damaged log, on a read-only file system and
   *   beside a writer in another process. `append`, `sync` and the like fail with `ERR_WAL_READ_ONLY`, and a missing log is
   *   `ERR_WAL_NOT_FOUND`.
   *
   * @defaultValue `'strict'`
   */
  mode?: Mode
  /**
   * Create the directory and the log if they are missing; with `false` a missing log is `ERR_WAL_NOT_FOUND`.
   *
   * @defaultValue `true`
   */
  create?: boolean
  /**
   * Target size of a segment file in bytes, from 64 KiB to 4 GiB.
   *
   * @defaultValue 64 MiB
   */
  segmentBytes?: number
  /**
   * Largest record in bytes: key, value and a few bytes of framing. From 1 to 1 GiB. A larger record is `ERR_WAL_TOO_LARGE`.
   *
   * @defaultValue 16 MiB
   */
  maxRecordBytes?: number
  /**
   * Largest batch in bytes, framing included. From 1 to 1 GiB. A larger batch is `ERR_WAL_TOO_LARGE`.
   *
   * @defaultValue 64 MiB
   */
  maxBatchBytes?: number
  /**
   * Limit of bytes accepted and not yet acknowledged, of all handles together. Above it appends are refused with `ERR_WAL_BACKPRESSURE`. If
   * nothing is pending, a record larger than the limit is accepted. From 1 KiB to 1 TiB.
   *
   * @defaultValue 64 MiB
   */
  maxPendingBytes?: number
  /**
   * How the commit thread compresses frames: `'none'`, `'lz4'` (fast) or `'zstd'` (smaller). A frame that would not become smaller is
   * stored uncompressed. A log written with one value opens with every other.
   *
   * @defaultValue `'none'`
   */
  compression?: 'none' | 'lz4' | 'zstd'
  /**
   * Automatic removal of whole sealed segments, oldest first. A segment is never removed while an open reader of this log still has to read
   * it or a cursor has not consumed it.
   *
   * - `maxBytes`: removes segments while all segment files together, the active one included, take more bytes than this.
   * - `maxAgeMs`: removes a segment once the one after it was started that long ago by the wall clock, so no record is removed before it
   *   has that age.
   * - `overrideCursors`: lets `maxBytes` remove segments that a cursor has not consumed yet. The cursor is moved and emits `'truncated'`.
   *   Without it, a cursor that is never committed lets the log grow.
   *
   * @defaultValue nothing is removed
   */
  retention?: {
    /**
     * Bytes, from 1.
     *
     * @defaultValue no limit
     */
    maxBytes?: number
    /**
     * Milliseconds, from 1.
     *
     * @defaultValue no limit
     */
    maxAgeMs?: number
    /**
     * Let `maxBytes` remove segments that a cursor has not consumed yet.
     *
     * @defaultValue `false`
     */
    overrideCursors?: boolean
  }
  /**
   * Open on NFS or SMB, although their locks and fsyncs cannot be trusted.
   *
   * @defaultValue `false`
   */
  allowUnsafeFilesystem?: boolean
  /**
   * Add the stack of the call to rejections that come after the call. Costs every operation of this handle a few microseconds. A refusal
   * during the call always has the caller's stack.
   *
   * @defaultValue `false`
   */
  captureStacks?: boolean
  /** Rejects with an `AbortError` when aborted. If the log opens nevertheless, it is closed again. */
  signal?: AbortSignal
  /** Not allowed here: a log with a codec is opened with {@link WalCodecOptions}. */
  codec?: undefined
}

/** Options of `Wal.open` for a log with a codec. */
export interface WalCodecOptions<T> extends Omit<WalOptions, 'codec'> {
  /**
   * How this handle turns values into bytes and back: `'json'`, `'msgpack'`, or your own functions.
   *
   * With a codec, everything appended is a value to encode, except a record made by `Record.put` or `Record.delete`, whose value is
   * encoded. The value of a record that is read is decoded on the first access to `value`. The codec is not stored in the log: open the log
   * with the same codec, or without one to see the bytes.
   *
   * @defaultValue no codec: bytes are appended and read
   */
  codec: CodecOption<T>
}

/** Options of `enqueue`. */
export interface EnqueueOptions {
  /**
   * Acknowledge the record only once it is durable, even if the log's `fsync` demands less.
   *
   * @defaultValue `false`
   */
  durable?: boolean
  /**
   * Append only if the record, or the first record of the batch, gets this position. Otherwise the call fails with `ERR_WAL_CONFLICT`,
   * which has the next position as `actual`, and nothing is appended. This is decided during the call: of several appends that expect the
   * same position, one succeeds.
   */
  expect?: number
}

/** Options of `sync`. */
export interface SyncOptions {
  /**
   * Rejects with an `AbortError` (code `ABORT_ERR`) when aborted. The operation itself goes on: a record may still be committed, and if it
   * fails, the next `sync()` or `close()` rejects with its error. If the signal is already aborted at the call, nothing is accepted.
   */
  signal?: AbortSignal
}

/** Options of `append` and `appendBatch`. */
export interface AppendOptions extends EnqueueOptions, SyncOptions {}

/** Options of `writable`. */
export interface WritableOptions {
  /**
   * Acknowledge every record only once it is durable, like `durable` of `append`. The end of the stream makes a sync in any case.
   *
   * @defaultValue `false`
   */
  durable?: boolean
  /**
   * Limit of this stream's bytes that are not acknowledged. Above it `write()` is held back until half of them are acknowledged. From 1.
   *
   * @defaultValue 1 MiB
   */
  maxPendingBytes?: number
  /** Destroys the stream with an `AbortError` when aborted. */
  signal?: AbortSignal
}

/** Options of `readFrom`. */
export interface ReadOptions {
  /**
   * At the end of the log, wait for the next record instead of ending. A `next()` that waits keeps the process alive and costs nothing
   * else.
   *
   * @defaultValue `false`
   */
  follow?: boolean
  /**
   * Last position to read, inclusive.
   *
   * @defaultValue the last position acknowledged at the call; with `follow`, no limit
   */
  to?: number
  /**
   * Maximum number of records to return. Records skipped by `skipExpired` do not count.
   *
   * @defaultValue no limit
   */
  limit?: number
  /**
   * Skip records whose `expiresAt` has passed, by the wall clock, when they would be returned. `reader.position` advances over them too.
   *
   * @defaultValue `false`: expired records are returned like others
   */
  skipExpired?: boolean
  /** Rejects with an `AbortError` (code `ABORT_ERR`) when aborted. */
  signal?: AbortSignal
  /**
   * Continue after damage, on a log opened in mode `'readOnly'`. Every intact record before and after the damage is returned, and never a
   * damaged one. The missing positions are in `reader.holes`. Bytes that the disk fails to read count as damaged.
   *
   * @defaultValue `false`: damage rejects
   */
  salvage?: boolean
  /**
   * Give every record its own bytes instead of views of a shared block. Useful to post a record to a worker, or to keep a few records of
   * many.
   *
   * @defaultValue `false`
   */
  copy?: boolean
}

/** Options of `Wal.cursor`. */
export interface CursorOptions {
  /**
   * Where a new cursor begins: at the first record (`'start'`), after the last acknowledged record (`'end'`), or at the position of the
   * first record to consume. Ignored if there already is a cursor of that name.
   *
   * @defaultValue `'start'`
   */
  start?: number | 'start' | 'end'
}

/** Options of `verify`. */
export interface VerifyOptions {
  /**
   * Called about every 100 ms with the bytes read so far and the total, the last time with both equal. An error that it throws ends the
   * verification, which rejects with it.
   */
  onProgress?: (done: number, total: number) => void
  /** Rejects with an `AbortError` (code `ABORT_ERR`) when aborted. */
  signal?: AbortSignal
}

/** Options of `Wal.scrub`. */
export interface ScrubOptions extends VerifyOptions {
  /**
   * Read rate in bytes per second, from 1.
   *
   * @defaultValue 16 MiB
   */
  bytesPerSecond?: number
}

/** Options of `backup`. */
export interface BackupOptions {
  /**
   * Called after each step, and once more when the copy is complete. If it throws, the backup is aborted and rejects with that error. After
   * the final call the copy is kept, even if that call throws.
   */
  onProgress?: (progress: BackupProgress) => void
  /** Aborts the backup, removes what has been copied, and rejects with an `AbortError`. */
  signal?: AbortSignal
}

/** Options of `salvage`. */
export interface SalvageOptions {
  /**
   * Called after each step, and once more when the new log is complete. If it throws, the salvage is aborted and rejects with that error.
   * After the final call the new log is kept, even if that call throws.
   */
  onProgress?: (progress: SalvageProgress) => void
  /** Aborts the salvage, removes what has been written of the new log, and rejects with an `AbortError`. */
  signal?: AbortSignal
  /**
   * Create the new log on a network file system, although its locks and fsyncs cannot be trusted.
   *
   * @defaultValue `false`
   */
  allowUnsafeFilesystem?: boolean
}

type Fields = { [name: string]: unknown }

/**
 * Copies the values of the options, whose names must all be known. Each property is read once, so no code of the caller runs after this.
 */
function known(options: unknown, names: ReadonlySet<string>, operation: string): Fields {
  if (options === undefined) return {}
  if (typeof options !== 'object' || options === null) throw invalid('options must be an object', operation)
  try {
    for (const name of Object.keys(options)) {
      if (!names.has(name)) throw invalid(`options.${name} is not known`, operation)
    }
    const values: Fields = {}
    for (const name of names) values[name] = (options as Fields)[name]
    return values
  } catch (error) {
    throw whileReading('options', operation, error)
  }
}

/** Copies the fields of an option that is an object with no other names than these; `undefined` if the option is anything else. */
function group(value: unknown, names: readonly string[], name: string): Fields | undefined {
  if (typeof value !== 'object' || value === null) return undefined
  try {
    if (Object.keys(value).some((key) => !names.includes(key))) return undefined
    return Object.fromEntries(names.map((key) => [key, (value as Fields)[key]]))
  } catch (error) {
    throw whileReading(`options.${name}`, 'open', error)
  }
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

function count(fields: Fields, name: string, operation: string): number | undefined {
  const value = fields[name]
  if (value === undefined || isCount(value)) return value
  throw invalid(`options.${name} must be a safe non-negative integer`, operation)
}

/** Checks a position; the last possible position is allowed. */
export function checkPosition(value: unknown, least: number, operation: string): number {
  if (isCount(value) && value >= least) return value
  throw invalid(`position must be a safe integer of at least ${least}`, operation)
}

function flag(fields: Fields, name: string, operation: string): boolean | undefined {
  const value = fields[name]
  if (value === undefined || typeof value === 'boolean') return value
  throw invalid(`options.${name} must be a boolean`, operation)
}

function signalOf({ signal }: Fields, operation: string): AbortSignal | undefined {
  if (signal === undefined || isSignal(signal)) return signal
  throw invalid('options.signal must be an AbortSignal', operation)
}

function fsync(value: unknown): Pick<OpenOptions, 'fsync' | 'everyMs'> {
  if (value === undefined) return {}
  if (value === 'always' || value === 'os') return { fsync: value }
  const everyMs = group(value, ['everyMs'], 'fsync')?.everyMs
  if (isCount(everyMs)) return { everyMs }
  throw invalid("options.fsync must be 'always', 'os' or { everyMs: milliseconds }", 'open')
}

function compression(value: unknown): WalOptions['compression'] {
  if (value === undefined || value === 'none' || value === 'lz4' || value === 'zstd') return value
  throw invalid("options.compression must be 'none', 'lz4' or 'zstd'", 'open')
}

function mode(value: unknown): Mode | undefined {
  if (value === undefined || value === 'strict' || value === 'prefix' || value === 'readOnly') return value
  throw invalid("options.mode must be 'strict', 'prefix' or 'readOnly'", 'open')
}

function retention(value: unknown): Pick<OpenOptions, 'retentionBytes' | 'retentionAgeMs' | 'retentionOverridesCursors'> {
  if (value === undefined) return {}
  const given = group(value, ['maxBytes', 'maxAgeMs', 'overrideCursors'], 'retention')
  if (given !== undefined) {
    const { maxBytes, maxAgeMs, overrideCursors } = given
    const isLimit = (limit: unknown): limit is number | undefined => limit === undefined || isCount(limit)
    const isFlag = overrideCursors === undefined || typeof overrideCursors === 'boolean'
    if (isLimit(maxBytes) && isLimit(maxAgeMs) && isFlag) {
      if (overrideCursors && maxBytes === undefined) throw invalid('options.retention.overrideCursors needs maxBytes', 'open')
      return { retentionBytes: maxBytes, retentionAgeMs: maxAgeMs, retentionOverridesCursors: overrideCursors }
    }
  }
  throw invalid('options.retention must be { maxBytes?: bytes, maxAgeMs?: milliseconds, overrideCursors?: boolean }', 'open')
}

const openNames = new Set([
  'fsync',
  'mode',
  'create',
  'segmentBytes',
  'maxRecordBytes',
  'maxBatchBytes',
  'maxPendingBytes',
  'compression',
  'retention',
  'allowUnsafeFilesystem',
  'captureStacks',
  'signal',
  'codec',
] satisfies (keyof WalOptions)[])

/** Resolves the path of a checked directory to an absolute path. */
export function absolute(dir: string, operation: string): string {
  try {
    return resolve(dir)
  } catch (cause) {
    // The working directory has been removed.
    throw new WalError('ERR_WAL_IO', `${dir} is relative, and the working directory cannot be told`, { operation, cause })
  }
}

export function checkDir(dir: unknown, operation: string): void {
  if (typeof dir !== 'string' || dir === '' || dir.includes('\0')) throw invalid('dir must be the path of a directory', operation)
  // The operating system would get a different name.
  checkText('dir', dir, operation)
}

function codec(value: unknown): NamedCodec | undefined {
  if (value === undefined) return undefined
  if (value === 'json' || value === 'msgpack') return { codec: value, name: value }
  if (typeof value === 'object' && value !== null) {
    try {
      const { encode, decode, name } = value as Fields
      const isNamed = name === undefined || typeof name === 'string'
      if (typeof encode === 'function' && typeof decode === 'function' && isNamed) return { codec: value as Codec<unknown>, name }
    } catch (error) {
      throw whileReading('options.codec', 'open', error)
    }
  }
  throw invalid("options.codec must be 'json', 'msgpack' or { encode, decode, name?: string }", 'open')
}

/** Options that belong to one handle. All others must be equal for every handle on a log. */
export interface HandleOptions {
  codec: NamedCodec | undefined
  captureStacks: boolean
  signal: AbortSignal | undefined
}

export function checkOpen(dir: unknown, options: unknown): { handle: HandleOptions; log: OpenOptions } {
  checkDir(dir, 'open')
  const fields = known(options, openNames, 'open')
  const captureStacks = flag(fields, 'captureStacks', 'open') === true
  const handle = { codec: codec(fields.codec), captureStacks, signal: signalOf(fields, 'open') }
  return { handle, log: logOptions(fields) }
}

function logOptions(fields: Fields): OpenOptions {
  return {
    ...fsync(fields.fsync),
    mode: mode(fields.mode),
    create: flag(fields, 'create', 'open'),
    segmentBytes: count(fields, 'segmentBytes', 'open'),
    maxRecordBytes: count(fields, 'maxRecordBytes', 'open'),
    maxBatchBytes: count(fields, 'maxBatchBytes', 'open'),
    maxPendingBytes: count(fields, 'maxPendingBytes', 'open'),
    compression: compression(fields.compression),
    ...retention(fields.retention),
    allowUnsafeFilesystem: flag(fields, 'allowUnsafeFilesystem', 'open'),
  }
}

const appendNames = new Set(['durable', 'expect', 'signal'] satisfies (keyof AppendOptions)[])
const enqueueNames = new Set(['durable', 'expect'] satisfies (keyof EnqueueOptions)[])

/** Per-append options, checked. */
export interface Terms {
  durable: boolean
  expect: number | undefined
  heed: Heed | undefined
}

/** The defaults. */
export const NO_TERMS: Terms = { durable: false, expect: undefined, heed: undefined }

function heed(fields: Fields, operation: string): Heed | undefined {
  const signal = signalOf(fields, operation)
  if (signal === undefined) return undefined
  if (isAborted(signal)) throw new AbortError(signal)
  return { signal, site: undefined }
}

function terms(options: unknown, names: ReadonlySet<string>, operation: string): Terms {
  const fields = known(options, names, operation)
  const [durable, expect] = [flag(fields, 'durable', operation) === true, count(fields, 'expect', operation)]
  return { durable, expect, heed: heed(fields, operation) }
}

export function checkAppend(options: AppendOptions | undefined, operation: string): Terms {
  return options === undefined ? NO_TERMS : terms(options, appendNames, operation)
}

export function checkEnqueue(options: EnqueueOptions | undefined): Terms {
  return options === undefined ? NO_TERMS : terms(options, enqueueNames, 'append')
}

const syncNames = new Set(['signal'] satisfies (keyof SyncOptions)[])

export function checkSync(options: SyncOptions | undefined): Heed | undefined {
  return options === undefined ? undefined : heed(known(options, syncNames, 'sync'), 'sync')
}

const WRITABLE_PENDING_BYTES = 1 << 20

const writableNames = new Set(['durable', 'maxPendingBytes', 'signal'] satisfies (keyof WritableOptions)[])

export function checkWritable(options: unknown): { durable: boolean; maxPendingBytes: number; signal: AbortSignal | undefined } {
  const fields = known(options, writableNames, 'append')
  const maxPendingBytes = count(fields, 'maxPendingBytes', 'append') ?? WRITABLE_PENDING_BYTES
  if (maxPendingBytes === 0) throw invalid('options.maxPendingBytes must be at least 1', 'append')
  return { durable: flag(fields, 'durable', 'append') === true, maxPendingBytes, signal: signalOf(fields, 'append') }
}

const readNames = new Set(['follow', 'to', 'limit', 'skipExpired', 'signal', 'salvage', 'copy'] satisfies (keyof ReadOptions)[])

export function checkRead(start: unknown, options: unknown): ReadOptions {
  if (start !== 'start' && start !== 'end' && !(isCount(start) && start > 0)) {
    throw invalid("start must be a position, 'start' or 'end'", 'read')
  }
  const fields = known(options, readNames, 'read')
  const follow = flag(fields, 'follow', 'read')
  const salvage = flag(fields, 'salvage', 'read')
  if (follow && salvage) throw invalid('options.follow and options.salvage exclude each other', 'read')
  return {
    follow,
    to: count(fields, 'to', 'read'),
    limit: count(fields, 'limit', 'read'),
    skipExpired: flag(fields, 'skipExpired', 'read'),
    salvage,
    copy: flag(fields, 'copy', 'read'),
    signal: signalOf(fields, 'read'),
  }
}

const cursorNames = new Set(['start'] satisfies (keyof CursorOptions)[])

const MAX_NAME_BYTES = 255

/** Checks the name and returns the start of a new cursor as the native side takes it. */
export function checkCursor(name: unknown, options: unknown): number {
  if (typeof name !== 'string') throw invalid('name must be a string', 'cursor')
  checkText('name', name, 'cursor')
  const bytes = Buffer.byteLength(name)
  if (bytes < 1 || bytes > MAX_NAME_BYTES) throw invalid(`name must be text of 1 to ${MAX_NAME_BYTES} bytes in UTF-8`, 'cursor')
  const { start = 'start' } = known(options, cursorNames, 'cursor')
  if (start === 'start') return START_FIRST
  if (start === 'end') return START_END
  if (isCount(start) && start > 0) return start
  throw invalid("options.start must be a position, 'start' or 'end'", 'cursor')
}

function watching(fields: Fields, operation: string): VerifyOptions {
  const { onProgress } = fields
  if (onProgress !== undefined && typeof onProgress !== 'function') throw invalid('options.onProgress must be a function', operation)
  return { onProgress: onProgress as VerifyOptions['onProgress'], signal: signalOf(fields, operation) }
}

const verifyNames = new Set(['onProgress', 'signal'] satisfies (keyof VerifyOptions)[])

export function checkVerify(dir: unknown, options: unknown): ScrubOptions {
  checkDir(dir, 'verify')
  return watching(known(options, verifyNames, 'verify'), 'verify')
}

const SCRUB_BYTES_PER_SECOND = 16 << 20

const scrubNames = new Set(['bytesPerSecond', 'onProgress', 'signal'] satisfies (keyof ScrubOptions)[])

export function checkScrub(options: unknown): ScrubOptions {
  const fields = known(options, scrubNames, 'scrub')
  const bytesPerSecond = count(fields, 'bytesPerSecond', 'scrub') ?? SCRUB_BYTES_PER_SECOND
  if (bytesPerSecond === 0) throw invalid('options.bytesPerSecond must be at least 1', 'scrub')
  return { ...watching(fields, 'scrub'), bytesPerSecond }
}

const backupNames = new Set(['onProgress', 'signal'] satisfies (keyof BackupOptions)[])

export function checkBackup(dir: unknown, options: unknown): BackupOptions {
  checkDir(dir, 'backup')
  const fields = known(options, backupNames, 'backup')
  const { onProgress } = fields
  if (onProgress !== undefined && typeof onProgress !== 'function') throw invalid('options.onProgress must be a function', 'backup')
  return { onProgress: onProgress as BackupOptions['onProgress'], signal: signalOf(fields, 'backup') }
}

const salvageNames = new Set(['onProgress', 'signal', 'allowUnsafeFilesystem'] satisfies (keyof SalvageOptions)[])

export function checkSalvage(dir: unknown, dest: unknown, options: unknown): SalvageOptions {
  checkDir(dir, 'salvage')
  checkDir(dest, 'salvage')
  const fields = known(options, salvageNames, 'salvage')
  const { onProgress } = fields
  if (onProgress !== undefined && typeof onProgress !== 'function') throw invalid('options.onProgress must be a function', 'salvage')
  return {
    onProgress: onProgress as SalvageOptions['onProgress'],
    signal: signalOf(fields, 'salvage'),
    allowUnsafeFilesystem: flag(fields, 'allowUnsafeFilesystem', 'salvage') === true,
  }
}

const instrumentNames = new Set(['meter', 'attributes', 'histograms'])

function isMeter(meter: unknown): boolean {
  try {
    return typeof (meter as { addBatchObservableCallback?: unknown } | undefined)?.addBatchObservableCallback === 'function'
  } catch (error) {
    throw whileReading('options.meter', 'instrument', error)
  }
}

/** Checks the options of `forelog/otel`. The types of OpenTelemetry must not be needed here, so the caller casts the result. */
export function checkInstrument(options: unknown): { meter: unknown; attributes: unknown; histograms: boolean } {
  const { meter, attributes, ...fields } = known(options, instrumentNames, 'instrument')
  if (!isMeter(meter)) throw invalid('options.meter must be a Meter of OpenTelemetry', 'instrument')
  if (attributes !== undefined && (typeof attributes !== 'object' || attributes === null)) {
    throw invalid('options.attributes must be an object', 'instrument')
  }
  return { meter, attributes, histograms: flag(fields, 'histograms', 'instrument') === true }
}
