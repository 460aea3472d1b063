// What callers may ask, checked: types and names here, ranges in the engine.

import { resolve } from 'node:path'
import type { BackupProgress } from './backup.js'
import { checkText } from './bytes.js'
import type { Codec, CodecOption, NamedCodec } from './codec.js'
import { AbortError, invalid, WalError, whileReading } from './errors.js'
import type { SalvageProgress } from './salvage.js'
import type { Heed } from './heed.js'
import type { OpenOptions } from './native.js'
import { isAborted, isSignal } from './signals.js'

/** What opening does about damage, see {@link WalOptions.mode}. */
export type Mode = 'strict' | 'prefix' | 'readOnly'

/** Options of `Wal.open`. */
export interface WalOptions {
  /**
   * When an append is acknowledged, and when it is durable (survives power loss).
   *
   * - `'always'` (default): acknowledged once an fsync that covers it has succeeded. Appends that wait together share one fsync.
   * - `{ everyMs: n }`: acknowledged once written, which survives a crash of the process; an fsync starts no later than `n` ms after the
   *   oldest write without one. From 1 to 3,600,000.
   * - `'os'`: acknowledged once written; the operating system decides when it becomes durable.
   */
  fsync?:
    | 'always'
    | 'os'
    | {
        /** Milliseconds, from 1 to 3,600,000. */
        everyMs: number
      }
  /**
   * What opening does about damage.
   *
   * - `'strict'` (default): corruption is an error and changes nothing.
   * - `'prefix'`: goes on in front of the damage, in a new segment. What is behind it is left out, and stays on disk; the report names it.
   *   Opening reads the whole log, to find it. Where it cannot be told what came before the damage, it is an error as with `'strict'`.
   * - `'readOnly'`: for reading alone. Nothing is written and no lock is taken: works on a damaged log, on a read-only file system and
   *   beside a writer in another process. `append`, `sync` and the like are `ERR_WAL_READ_ONLY`, a missing log is `ERR_WAL_NOT_FOUND`.
   */
  mode?: Mode
  /** Create the directory and the log when they are missing; otherwise that is `ERR_WAL_NOT_FOUND`. Default `true`. */
  create?: boolean
  /** Target size of a segment file in bytes, from 64 KiB to 4 GiB. Default 64 MiB. */
  segmentBytes?: number
  /** Largest record in bytes: key, value and a few bytes of framing. From 1 to 1 GiB, default 16 MiB. Above it is `ERR_WAL_TOO_LARGE`. */
  maxRecordBytes?: number
  /** Largest batch in bytes, framing included. From 1 to 1 GiB, default 64 MiB. Above it is `ERR_WAL_TOO_LARGE`. */
  maxBatchBytes?: number
  /**
   * Bytes accepted and not yet acknowledged, of all handles together, above which appends are refused with `ERR_WAL_BACKPRESSURE`; when nothing
   * is pending, a larger record is taken. From 1 KiB to 1 TiB, default 64 MiB.
   */
  maxPendingBytes?: number
  /**
   * How the commit thread compresses frames: `'none'` (default), `'lz4'` (fast) or `'zstd'` (smaller). A frame that would not become
   * smaller is stored as it is. A log written with one value opens with every other.
   */
  compression?: 'none' | 'lz4' | 'zstd'
  /**
   * What is kept, by itself: whole sealed segments go, oldest first, never one that an open reader of this log still has to read or a
   * cursor has not done. Default: everything.
   *
   * - `maxBytes`: segments go while all segment files together, the active one's included, take more bytes than this.
   * - `maxAgeMs`: a segment goes once the one after it was begun that long ago, so that no record goes before its age. By the wall clock.
   * - `overrideCursors`: above `maxBytes` segments go whatever cursors have not done; these are moved, and tell. Default `false`: a cursor
   *   that stands still lets the log grow.
   */
  retention?: {
    /** Bytes, from 1. Default: no limit. */
    maxBytes?: number
    /** Milliseconds, from 1. Default: no limit. */
    maxAgeMs?: number
    /** Whether `maxBytes` counts more than what cursors have not done. Default `false`. */
    overrideCursors?: boolean
  }
  /** Open on NFS or SMB although their locks and fsyncs cannot be trusted. Default `false`. */
  allowUnsafeFilesystem?: boolean
  /**
   * Rejections that come later than the call carry its stack too, which costs every operation a few microseconds. For this handle. Default
   * `false`; a refusal at the call has the caller's stack always.
   */
  captureStacks?: boolean
  /** Ends the waiting with an `AbortError` when aborted. A log that opens all the same is closed again. */
  signal?: AbortSignal
  /** Not here: a log of values is opened with {@link WalCodecOptions}. */
  codec?: undefined
}

/** Options of `Wal.open` for a log of values. */
export interface WalCodecOptions<T> extends Omit<WalOptions, 'codec'> {
  /**
   * How values become bytes, for this handle: `'json'`, `'msgpack'`, or functions of your own. Everything appended is a value to encode
   * then, but for what `Record.put` and `Record.delete` made, whose value is encoded; what is read is decoded when `value` is looked at.
   * The log does not know of it: it is opened with the same one, or without to see the bytes. Default: none, bytes in and bytes out.
   */
  codec: CodecOption<T>
}

/** Options of `enqueue`. */
export interface EnqueueOptions {
  /** Acknowledge only once durable, whatever the log's `fsync` says. It can only strengthen it. Default `false`. */
  durable?: boolean
  /**
   * Append only if the record, or the first one of the batch, gets this position; otherwise that is `ERR_WAL_CONFLICT`, with `actual`, and
   * nothing is appended. Decided at the call: of several that expect the same position, one succeeds.
   */
  expect?: number
}

/** Options of `sync`. */
export interface SyncOptions {
  /**
   * Ends the waiting with an `AbortError` (code `ABORT_ERR`) when aborted. What was accepted goes on: a record may still be committed, and
   * should it fail, the next `sync()` or `close()` tells. Aborted at the call: nothing is accepted.
   */
  signal?: AbortSignal
}

/** Options of `append` and `appendBatch`. */
export interface AppendOptions extends EnqueueOptions, SyncOptions {}

/** Options of `writable`. */
export interface WritableOptions {
  /** Like `durable` of `append`, for every record. Default `false`; the end is durable in any case. */
  durable?: boolean
  /** Bytes of this stream not yet acknowledged above which `write()` is held back until half of them are. From 1. Default 1 MiB. */
  maxPendingBytes?: number
  /** Destroys the stream with an `AbortError` when aborted. */
  signal?: AbortSignal
}

/** Options of `readFrom`. */
export interface ReadOptions {
  /**
   * Go on as the log does: at the end, wait for the next record instead of ending. A `next()` that waits keeps the process alive and
   * costs nothing else. Default `false`.
   */
  follow?: boolean
  /** Last position to read, inclusive. Default: the last one acknowledged at the call; with `follow` there is none. */
  to?: number
  /** Most records to give; those that `skipExpired` passes over do not count. Default: no limit. */
  limit?: number
  /**
   * Pass over records whose `expiresAt` has come by the wall clock when it is their turn to be given. `reader.position` passes them too.
   * Default `false`: expired records are given like others.
   */
  skipExpired?: boolean
  /** Rejects with an `AbortError` (code `ABORT_ERR`) when aborted. */
  signal?: AbortSignal
  /**
   * Go on behind damage, on a log opened in mode `'readOnly'`: every record that holds is given, on both sides, and never a damaged one.
   * What is missing is in `reader.holes`. Bytes that the disk fails to read count as damaged. Default `false`: damage rejects.
   */
  salvage?: boolean
  /** Give every record bytes of its own instead of views of a shared block: to post it to a worker, or to keep few of many. Default `false`. */
  copy?: boolean
}

/** Options of `Wal.cursor`. */
export interface CursorOptions {
  /**
   * Where a new cursor begins: at the first record there is (`'start'`, the default), after the last one acknowledged (`'end'`), or at a
   * position, which is the first that is not done. It counts only where there is no cursor of that name yet.
   */
  start?: number | 'start' | 'end'
}

/** Options of `verify`. */
export interface VerifyOptions {
  /** Called now and then with the bytes read and all there are to read; the last time when both are the same. */
  onProgress?: (done: number, total: number) => void
  /** Rejects with an `AbortError` (code `ABORT_ERR`) when aborted. */
  signal?: AbortSignal
}

/** Options of `Wal.scrub`. */
export interface ScrubOptions extends VerifyOptions {
  /** How fast it reads, in bytes per second, from 1. Default 16 MiB. */
  bytesPerSecond?: number
}

/** Options of `backup`. */
export interface BackupOptions {
  /** Called now and then with how far it is, and once when the copy is complete, which then stays. What it throws rejects and, before that, ends the backup. */
  onProgress?: (progress: BackupProgress) => void
  /** Gives the backup up, removes what there is of it, and rejects with an `AbortError`. */
  signal?: AbortSignal
}

/** Options of `salvage`. */
export interface SalvageOptions {
  /** Called now and then with how far it is, and once when the new log is complete, which then stays. What it throws rejects and, before that, ends the salvage. */
  onProgress?: (progress: SalvageProgress) => void
  /** Gives the salvage up, removes what there is of the new log, and rejects with an `AbortError`. */
  signal?: AbortSignal
  /** Make the new log on a network file system, whose locks and fsyncs cannot be trusted. Default false. */
  allowUnsafeFilesystem?: boolean
}

type Fields = { [name: string]: unknown }

/** The values of the options, whose names must all be known. Each is looked at once: nothing that runs code of the caller's is left. */
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

/** The values of an option that is an object with these names at most; nothing if it is something else. */
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

/** A position, the last possible one included. */
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

/** The path of a directory that has been checked, from the root. */
export function absolute(dir: string, operation: string): string {
  try {
    return resolve(dir)
  } catch (cause) {
    // The working directory is gone.
    throw new WalError('ERR_WAL_IO', `${dir} is relative, and the working directory cannot be told`, { operation, cause })
  }
}

export function checkDir(dir: unknown, operation: string): void {
  if (typeof dir !== 'string' || dir === '' || dir.includes('\0')) throw invalid('dir must be the path of a directory', operation)
  // The system would be asked for another name.
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

/** What concerns the handle alone; the rest must be the same for every handle on a log. */
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

/** What an append asks for. */
export interface Terms {
  durable: boolean
  expect: number | undefined
  heed: Heed | undefined
}

/** Nothing in particular. */
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

/** The start of a new cursor as the native side takes it. */
export function checkCursor(name: unknown, options: unknown): number {
  if (typeof name !== 'string') throw invalid('name must be a string', 'cursor')
  checkText('name', name, 'cursor')
  const bytes = Buffer.byteLength(name)
  if (bytes < 1 || bytes > MAX_NAME_BYTES) throw invalid(`name must be text of 1 to ${MAX_NAME_BYTES} bytes in UTF-8`, 'cursor')
  const { start = 'start' } = known(options, cursorNames, 'cursor')
  if (start === 'start') return 0
  if (start === 'end') return -1
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

/** Of `forelog/otel`, whose types are not to be needed here: the caller names them. */
export function checkInstrument(options: unknown): { meter: unknown; attributes: unknown; histograms: boolean } {
  const { meter, attributes, ...fields } = known(options, instrumentNames, 'instrument')
  if (!isMeter(meter)) throw invalid('options.meter must be a Meter of OpenTelemetry', 'instrument')
  if (attributes !== undefined && (typeof attributes !== 'object' || attributes === null)) {
    throw invalid('options.attributes must be an object', 'instrument')
  }
  return { meter, attributes, histograms: flag(fields, 'histograms', 'instrument') === true }
}
