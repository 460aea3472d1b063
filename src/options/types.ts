// Types of the options.

import type { WalError } from '../errors.js'
import type { WalRecord } from '../records/block.js'
import type { Codec } from '../records/codec.js'
import type { SchemaCodec } from '../records/schema.js'
import type { BackupProgress } from '../reports/backup.js'
import type { SalvageProgress } from '../reports/salvage.js'

/**
 * A place in time: reading begins at the first record that was committed at `since` or later, also if the writer's clock was set back
 * meanwhile. If there is none, it begins after the last acknowledged record.
 */
export interface ReadSince {
  /** A `Date`, or milliseconds since 1970, from 0 to 8.64e15. */
  since: Date | number
}

/** Where reading begins: at a position, at the first record, after the last acknowledged one, or at a time. */
export type ReadStart = number | 'start' | 'end' | ReadSince

/** How opening treats damage, and whether the handle may write: see {@link WalOptions.mode}. */
export type Mode = 'strict' | 'prefix' | 'readOnly'

/** Options of `Wal.open`. */
export interface WalOptions {
  /**
   * When an append is acknowledged, and when it is durable (survives power loss).
   *
   * - `'always'`: acknowledged once an fsync that covers it has succeeded, or a direct write as durable as one. Appends that wait at the same
   *   time share it.
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
   * - `maxAgeMs`: removes a segment once its last record was committed that long ago by the wall clock, so no record is removed before it
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

/** Type of `WalCodecOptions.codec`, for a log that takes values of type `In` and returns values of type `T`. */
export type CodecOption<T, In = T> = 'json' | 'msgpack' | Codec<T, In> | SchemaCodec<T, In>

/** Options of `Wal.open` for a log with a codec. */
export interface WalCodecOptions<T, In = T> extends Omit<WalOptions, 'codec'> {
  /**
   * How this handle turns values into bytes and back: `'json'`, `'msgpack'`, a {@link SchemaCodec} with a schema that checks the values, or
   * your own functions.
   *
   * With a codec, everything appended is a value to encode, except a record made by `Record.put` or `Record.delete`, whose value is
   * encoded. A reader decodes the value of a record right before it returns the record. The codec is not stored in the log: open the log
   * with the same codec, or without one to see the bytes.
   *
   * @defaultValue no codec: bytes are appended and read
   */
  codec: CodecOption<T, In>
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

/** Options of `acknowledged`. */
export interface AcknowledgedOptions {
  /**
   * Rejects with an `AbortError` (code `ABORT_ERR`) when aborted, also if it is aborted already at the call. Only the wait ends: the records
   * may still be committed. If one of them is rejected, the next `acknowledged()`, `sync()` or `close()` rejects with its error.
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

/**
 * Decision about a record whose value cannot be decoded: fail the reader, skip the record, or return the record with another value.
 */
export type DecodeErrorAction<V = never> =
  | 'throw'
  | 'skip'
  | {
      /** Value of the record. The schema does not check it. */
      readonly value: V
    }

/**
 * Decides about a record whose value cannot be decoded. `error` has the code `ERR_WAL_CODEC`, and `record` has the stored bytes as its
 * value. The reader waits for a promise that it returns, so the function must not wait for the reader.
 */
export type DecodeErrorHandler<V = never> = (error: WalError, record: WalRecord) => DecodeErrorAction<V> | Promise<DecodeErrorAction<V>>

/** Options of `readFrom` and of `cursor.read`. `V` is the type of the values that `onDecodeError` may return. */
export interface ReadOptions<V = never> {
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
   * What the reader does with a record whose value the codec cannot decode. A log without a codec has none.
   *
   * - `'throw'`: `next()` rejects with `ERR_WAL_CODEC`, which has the record's `position`, and the reader ends. Records before it have been
   *   returned, and `reader.position` stays below it.
   * - `'skip'`: the record is not returned. `reader.position` advances over it, `limit` does not count it, `reader.undecodable` does.
   * - a function: decides for each such record. If it throws, `next()` rejects with what it has thrown, as after `'throw'`.
   *
   * @defaultValue `'throw'`
   */
  onDecodeError?: 'throw' | 'skip' | DecodeErrorHandler<V>
  /**
   * Give every record its own bytes instead of views of a shared block. Useful to post a record to a worker, or to keep a few records of
   * many.
   *
   * @defaultValue `false`
   */
  copy?: boolean
}

/** Options of `Wal.get` and `Wal.last`. */
export interface PointReadOptions {
  /** Rejects with an `AbortError` (code `ABORT_ERR`) when aborted. */
  signal?: AbortSignal
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

/** A state: bytes, a string (its UTF-8 is stored), or chunks of both in order, for a state that is larger than memory. */
export type SnapshotState = string | Uint8Array | Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>

/** What `checkpoint` stores, and how. */
export interface CheckpointInit {
  /**
   * The state has the effect of all records up to this position, inclusive, and of none after it. 0 is the state before the first record.
   *
   * From `firstPosition - 1` to `nextPosition - 1`; with `install`, any position.
   */
  position: number
  /**
   * The state. An iterable is consumed while it is written, in pieces of 256 KiB. Bytes must not change until the promise resolves.
   */
  state: SnapshotState
  /**
   * How many snapshots to keep, from 1. The log keeps the records after the oldest of them, so each of them can be continued from. As long
   * as there are fewer, the log is not truncated.
   *
   * @defaultValue 2: if the newest file is damaged, `restore` takes the one before, and replays more records
   */
  keep?: number
  /**
   * The state did not come from this log, but from elsewhere, such as a Raft leader. The log is reset to `position + 1` instead of truncated.
   *
   * @defaultValue `false`
   */
  install?: boolean
  /** Rejects with an `AbortError` when aborted, and leaves everything as it was. Ignored from the moment when the snapshot counts. */
  signal?: AbortSignal
}

/** Options of `restore`. */
export interface RestoreOptions {
  /** Checks the snapshot against this log, and finishes an interrupted `install`. */
  wal?: CheckpointLog
  /** Rejects with an `AbortError` when aborted. */
  signal?: AbortSignal
}

/** The part of a `Wal` that checkpoints use, whatever its values are. Only a `Wal` is accepted. */
export interface CheckpointLog {
  /** See `Wal.dir`. */
  readonly dir: string
  /** See `Wal.firstPosition`. */
  readonly firstPosition: number
  /** See `Wal.nextPosition`. */
  readonly nextPosition: number
  /** See `Wal.durablePosition`. */
  readonly durablePosition: number
  /** See `Wal.sync`. */
  sync(): Promise<void>
  /** See `Wal.truncateBefore`. */
  truncateBefore(position: number): Promise<void>
  /** See `Wal.reset`. */
  reset(position: number): Promise<void>
}
