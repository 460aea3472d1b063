// The public handle on a log.

import { inspect, type InspectOptions } from 'node:util'
import { consumption, type ConsumptionStats } from '../consume/consumption.js'
import { letterBox, type LetterBox } from '../consume/source.js'
import { AbortError, atPlace, closed, invalid, mustBe, readOnly, whileReading } from '../errors.js'
import { runBackup } from '../jobs/backup.js'
import { VerificationJob } from '../jobs/verify.js'
import type { Environment } from '../native/environment.js'
import {
  POSITIONS_ACKNOWLEDGED,
  POSITIONS_DURABLE,
  POSITIONS_FIRST,
  POSITIONS_NEXT,
  POSITIONS_PENDING_BYTES,
  POSITIONS_WRITTEN,
} from '../native/wire.js'
import { publishCorruption, publishDamage } from '../observe/publish.js'
import {
  checkAcknowledged,
  checkAppend,
  checkEnqueue,
  checkSync,
  checkWritable,
  DEFAULT_TERMS,
  type AppendTerms,
} from '../options/append.js'
import { checkPosition, checkTime } from '../options/check.js'
import { checkBackup, checkScrub } from '../options/jobs.js'
import { checkOpen } from '../options/open.js'
import { checkCursor, checkNewest, checkPointRead, checkRead, checkStart } from '../options/read.js'
import type {
  AcknowledgedOptions,
  AppendOptions,
  BackupOptions,
  CursorOptions,
  EnqueueOptions,
  PointReadOptions,
  ReadOptions,
  ReadStart,
  ScrubOptions,
  SyncOptions,
  WalCodecOptions,
  WalOptions,
  WritableOptions,
} from '../options/types.js'
import type { BatchPositions, LogQueue } from '../queue/log-queue.js'
import type { Handle } from '../queue/open-reader.js'
import type { Cursor } from '../read/cursor.js'
import { decodedView, Decoder } from '../read/decoder.js'
import { newestRecords, recordAt } from '../read/point.js'
import type { ReadRange } from '../read/range.js'
import { WalReadable } from '../read/readable.js'
import { WalReader } from '../read/reader.js'
import type { WalRecord } from '../records/block.js'
import type { Appendable, AppendableBytes, NoCodec } from '../records/codec.js'
import { Entry, sizeOf, toEntry, withOwnFields, withOwnValue } from '../records/record.js'
import type { Values } from '../records/values.js'
import type { BackupReport } from '../reports/backup.js'
import type { CursorPosition } from '../reports/log-stat.js'
import type { RecoveryReport } from '../reports/recovery.js'
import type { WalStats } from '../reports/stats.js'
import type { Verification } from '../reports/verification.js'
import { checkBytes, isBytes } from '../util/bytes.js'
import { calledFrom, callSite, type CallOptions } from '../util/call-options.js'
import { absoluteDir, type PathLike } from '../util/paths.js'
import { isAborted } from '../util/signals.js'
import { CursorHandles } from './cursor-handles.js'
import { openLog, unlessAborted, type Opened } from './opening.js'
import { WalWritable } from './writable.js'

// A handle that is garbage collected without `close()` must not hold the log, and its lock, forever.
const collected = new FinalizationRegistry<LogQueue>((queue) => void queue.leave().catch(() => {}))

type Callee = (...args: never[]) => unknown

/** Throws if the signal of an operation is aborted before the operation was accepted. */
function checkNotAborted({ call }: AppendTerms): void {
  const signal = call?.signal
  if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
}

/**
 * An open write-ahead log: one directory, one writer.
 *
 * Records get the consecutive positions 1, 2, 3 … in the order of the calls, and promises resolve in that order. An idle log does not keep
 * the process alive; a pending operation does.
 *
 * `T` is the type of the values that are read from a log that is opened with a codec, and `In` of those that are appended. They are the
 * same unless the codec says otherwise. Without a codec, strings and bytes are appended and buffers are read.
 */
export class Wal<T = NoCodec, In = T> {
  /** Absolute path of the directory. */
  readonly dir: string
  /** Report of what opening found and did. */
  readonly recovery: RecoveryReport
  readonly #environment: Environment
  readonly #queue: LogQueue
  readonly #values: Values | undefined
  readonly #captureStacks: boolean
  readonly #isReadOnly: boolean
  /** Open, without a codec and without `captureStacks`: `append` tests this one field instead of three. */
  #isPlain: boolean
  readonly #handle: Handle = { owner: this, readers: new Set(), isClosed: false }
  readonly #scrubs = new Set<VerificationJob>()
  readonly #cursors: CursorHandles<T>
  #closed: Promise<void> | undefined

  /** Not public: use {@link Wal.open}. */
  private constructor({ environment, queue, dir, recovery, values, captureStacks, isReadOnly }: Opened) {
    this.#environment = environment
    this.#queue = queue
    this.#values = values
    this.#captureStacks = captureStacks
    this.#isReadOnly = isReadOnly
    this.#isPlain = values === undefined && !captureStacks
    this.dir = dir
    this.recovery = recovery
    this.#cursors = new CursorHandles(environment, queue.log, {
      queue,
      firstPosition: () => this.firstPosition,
      acknowledgedPosition: () => this.acknowledgedPosition,
      read: (from, options, onKept) => this.#read(from, options, { onKept }),
      readStored: (from, options, onKept) => this.#read(from, options, { onKept, stored: true }) as WalReader<unknown> as WalReader,
      view: (record) => (values === undefined ? record : decodedView(record, values)) as WalRecord<T>,
      isOpen: () => !this.closed,
      checkOpen: (operation) => this.#checkOpen(operation),
    })
    collected.register(this, queue, this)
  }

  /**
   * Opens the log in a directory. Creates both if they are missing, and recovers from a crash if there was one.
   *
   * `dir` is a path, as everywhere in this package: a string, the UTF-8 of one, or a `file:` URL.
   *
   * If the log is already open in this process, worker threads included, this returns another handle on it. The options must then be equal,
   * except `codec` and `captureStacks`, which belong to each handle. When the promise resolves, everything that the log held is durable,
   * unless the disk is full.
   *
   * None of the errors changes what is in the log.
   *
   * @throws `ERR_WAL_INVALID_ARG`: an option is invalid, or differs from those with which the log is open; the message names it.
   * @throws `ERR_WAL_LOCKED`: another process has the log open.
   * @throws `ERR_WAL_NOT_FOUND`: there is no log, and `create` is `false` or the mode is `'readOnly'`.
   * @throws `ERR_WAL_CORRUPT`, `ERR_WAL_FORMAT`, `ERR_WAL_NO_SPACE`, `ERR_WAL_IO` or `ERR_WAL_NATIVE_NOT_FOUND`: see {@link WalErrorCode}.
   * @throws `ERR_WAL_READ_ONLY`: the file system is read-only.
   * @throws `ERR_WAL_TRUNCATED`: in mode `'readOnly'`, the writer truncated the log during every attempt to read it.
   * @throws `AbortError`: `signal` was aborted.
   * @example
   * ```ts
   * const bytes = await Wal.open('./data/bytes')
   * const events = await Wal.open<Event>('./data/events', { codec: 'json', fsync: { everyMs: 10 } })
   * const users = await Wal.open('./data/users', { codec: { schema: User } }) // a schema of Zod, Valibot or ArkType
   * ```
   */
  static open(dir: PathLike, options?: WalOptions): Promise<Wal>
  static open<T = unknown, In = T>(dir: PathLike, options: WalCodecOptions<T, In>): Promise<Wal<T, In>>
  static open(dir: PathLike, options?: WalOptions | WalCodecOptions<unknown>): Promise<Wal | Wal<unknown>>
  static async open<T, In>(dir: PathLike, options?: WalOptions | WalCodecOptions<T, In>): Promise<Wal | Wal<T, In>> {
    const { dir: path, log, handle } = checkOpen(dir, options)
    const { signal } = handle
    if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
    const site = callSite(Wal.open)
    const opening = openLog(path, log, handle).then(
      (opened) => new Wal<T, In>(opened),
      (error: unknown) => {
        throw calledFrom(error, site)
      }
    )
    return signal === undefined ? opening : unlessAborted(opening, signal)
  }

  /**
   * Appends one record.
   *
   * Without a codec, `input` is a string or bytes (a value without a key), a record made by `Record.put` or `Record.delete`, or a plain
   * object with the fields of a record. With a codec, it is a record made by `Record.put` or `Record.delete`, and anything else is a value
   * to encode. The input has been copied when the call returns.
   *
   * Resolves to the record's position once it is acknowledged. With `fsync: 'always'`, the default, or with `durable: true` the record is
   * then on the disk. Otherwise it has been handed to the operating system.
   *
   * No record overtakes a rejected one. After an append of this environment has been rejected, everything that the environment appends to
   * the log before the rejections have been delivered is rejected with the same error, after them.
   *
   * After a refusal with `ERR_WAL_BACKPRESSURE` later appends may succeed, because pending bytes are acknowledged all the time and a
   * smaller record may still fit. If order matters, stop at the first refusal, wait for `drain()` and retry that record first; or use
   * `writable()`.
   *
   * A record that is refused takes no position, and the promise rejects at once. After the record was accepted, a `WalError` has its `position`,
   * if it had got one. After an `AbortError` the append goes on, and its record may still be committed.
   *
   * @throws `ERR_WAL_INVALID_ARG`: refused, because the input or an option is invalid.
   * @throws `ERR_WAL_CODEC`: refused, because the codec cannot encode the value, or the value does not match the schema.
   * @throws `ERR_WAL_TOO_LARGE`, `ERR_WAL_BACKPRESSURE`, `ERR_WAL_CLOSED` or `ERR_WAL_READ_ONLY`: refused.
   * @throws `ERR_WAL_CONFLICT`: refused, because the position in `expect` is not the next one.
   * @throws `ERR_WAL_OUT_OF_RANGE`: refused, because positions end at 2^53 - 1.
   * @throws `ERR_WAL_NO_SPACE`, `ERR_WAL_READ_ONLY` or `ERR_WAL_IO`: rejected, or refused because an operation before this one failed. The record
   *   is not in the log. Appends work again once the cause is gone.
   * @throws `ERR_WAL_DETACHED`: refused or rejected. The record is not in the log.
   * @throws `ERR_WAL_POISONED`: refused; or rejected, and then it is unknown whether the record is in the log.
   * @throws `AbortError`: `signal` was aborted. If it was aborted at the call, the record was refused.
   * @example
   * ```ts
   * const position = await wal.append(Record.put('user:1', 'Ada'), { durable: true })
   * ```
   */
  append(this: Wal, input: AppendableBytes, options?: AppendOptions): Promise<number>
  append(input: Appendable<In>, options?: AppendOptions): Promise<number>
  append(input: AppendableBytes | Appendable<In>, options?: AppendOptions): Promise<number> {
    try {
      if (!this.#isPlain || options !== undefined) return this.#appendWith(input, options)
      if (input instanceof Entry) return this.#queue.append(input, DEFAULT_TERMS, this.#handle)
      if (isBytes(input)) return this.#queue.appendValue(input, DEFAULT_TERMS)
      const entry = toEntry(input)
      // A getter of the input may have called this handle.
      return this.#openQueue('append').append(entry, DEFAULT_TERMS)
    } catch (error) {
      return this.#queue.refused(whileReading('record', 'append', error))
    }
  }

  #appendWith(input: unknown, options: AppendOptions | undefined): Promise<number> {
    const terms = this.#withCallSite(checkAppend(options, 'append'), this.append)
    // The codec may call this handle.
    const entry = this.#entry(input, 'append')
    checkNotAborted(terms)
    return this.#openQueue('append').append(entry, terms, this.#handle)
  }

  /**
   * Appends records as one atomic unit: after a crash all of them are in the log, or none. Resolves to their first and last position.
   *
   * The iterable is consumed completely before the first record is copied, so bytes must not change during the iteration. Otherwise this
   * behaves like {@link Wal.append}.
   *
   * @throws `ERR_WAL_TOO_LARGE`: the batch is above `maxBatchBytes`, or a record above `maxRecordBytes`.
   * @throws `ERR_WAL_INVALID_ARG`: there is no record, or one is invalid; the message has its index.
   * @throws `ERR_WAL_CODEC`: a value cannot be encoded; the message has the index of its record.
   * @throws every other error of {@link Wal.append}. A later rejection has the `position` of the first record.
   * @example
   * ```ts
   * const { first, last } = await wal.appendBatch([Record.put('from', '90'), Record.put('to', '110')])
   * ```
   */
  appendBatch(this: Wal, records: Iterable<AppendableBytes>, options?: AppendOptions): Promise<BatchPositions>
  appendBatch(records: Iterable<Appendable<In>>, options?: AppendOptions): Promise<BatchPositions>
  appendBatch(records: Iterable<unknown>, options?: AppendOptions): Promise<BatchPositions> {
    try {
      const terms = this.#withCallSite(checkAppend(options, 'appendBatch'), this.appendBatch)
      this.#openQueue('appendBatch')
      if (typeof records === 'string' || typeof records?.[Symbol.iterator] !== 'function') {
        throw mustBe('records', 'an iterable of records', records, 'appendBatch')
      }
      // Collect all records before appending the first: an iterator, a getter or a codec may call this handle.
      const entries: Entry[] = []
      for (const record of records) {
        try {
          // Records made by the caller may change until all are collected, and a codec may reuse its memory for the next record.
          if (this.#values !== undefined) entries.push(withOwnValue(this.#values.entry(record, 'appendBatch')))
          else if (record instanceof Entry) entries.push(withOwnFields(record, 'appendBatch'))
          else entries.push(this.#entry(record, 'appendBatch'))
        } catch (error) {
          throw atPlace(`records[${entries.length}]`, error)
        }
      }
      if (entries.length === 0) throw invalid('records must have at least one record', 'appendBatch')
      checkNotAborted(terms)
      return this.#openQueue('appendBatch').appendBatch(entries, terms)
    } catch (error) {
      return this.#queue.refused(whileReading('records', 'appendBatch', error))
    }
  }

  #entry(input: unknown, operation: string): Entry {
    if (this.#values !== undefined) return this.#values.entry(input, operation)
    if (!isBytes(input)) return toEntry(input, operation)
    return new Entry(undefined, checkBytes('value', input, operation), false, undefined, undefined)
  }

  /**
   * Appends like {@link Wal.append} and returns the position at once, without a promise.
   *
   * The position is final once it is acknowledged: wait for `acknowledged()` or `sync()`. If the record is rejected after this call has
   * returned, the next `acknowledged()` that covers it, `sync()` or `close()` rejects with its error, whichever comes first.
   *
   * @throws a refusal of {@link Wal.append}, for example `ERR_WAL_INVALID_ARG`, `ERR_WAL_CODEC` or `ERR_WAL_BACKPRESSURE`. If earlier operations
   *   have failed and their rejections have not been delivered yet, it throws their error.
   * @example
   * ```ts
   * for (const line of lines) wal.enqueue(line)
   * await wal.acknowledged()
   * ```
   */
  enqueue(this: Wal, input: AppendableBytes, options?: EnqueueOptions): number
  enqueue(input: Appendable<In>, options?: EnqueueOptions): number
  enqueue(input: AppendableBytes | Appendable<In>, options?: EnqueueOptions): number {
    try {
      if (!this.#isPlain || options !== undefined) return this.#enqueueWith(input, options)
      if (input instanceof Entry) return this.#queue.enqueue(input, DEFAULT_TERMS, this.#handle)
      if (isBytes(input)) return this.#queue.enqueueValue(input, DEFAULT_TERMS)
      const entry = toEntry(input)
      // A getter of the input may have closed the log.
      return this.#openQueue('append').enqueue(entry, DEFAULT_TERMS)
    } catch (error) {
      throw whileReading('record', 'append', error)
    }
  }

  #enqueueWith(input: unknown, options: EnqueueOptions | undefined): number {
    const terms = checkEnqueue(options)
    const entry = this.#entry(input, 'append')
    return this.#openQueue('append').enqueue(entry, terms, this.#handle)
  }

  /**
   * Waits until the record at `position` and all before it are acknowledged. Without a position: everything that this thread has appended
   * so far, through any handle.
   *
   * Meant for records whose position is known before they are acknowledged, such as those of `enqueue`.
   *
   * Acknowledged means what the log's policy and `durable: true` say, as for `append`. Unlike `sync()` this makes nothing durable. Calls in one
   * iteration of the event loop, for records of that iteration, share promises of up to 256 records each, so a call a record costs little.
   *
   * Resolves at once if the record was acknowledged or truncated before. Call it before the first `await` after `enqueue`: the position of
   * a rejected record is given to another record, and a later call waits for that one.
   *
   * @throws `ERR_WAL_NO_SPACE`, `ERR_WAL_READ_ONLY`, `ERR_WAL_IO`, `ERR_WAL_DETACHED` or `ERR_WAL_POISONED`: the record, or one that shares the
   *   promise, was rejected. The error is that of an `append`, with the `position` of the first record that was rejected. Those before it are
   *   acknowledged. A failure up to `position` that has not been reported yet, of an enqueued record or an aborted append, also rejects a call,
   *   and counts as reported.
   * @throws `ERR_WAL_OUT_OF_RANGE`: no record has that position. For a record of another thread this may also mean that it was rejected.
   * @throws `ERR_WAL_READ_ONLY`: in mode `'readOnly'`, where a reader with `follow` waits for records.
   * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_CLOSED` or an `AbortError`.
   * @example
   * ```ts
   * const position = wal.enqueue(entry)
   * replicate(position, entry)
   * await wal.acknowledged(position)
   * ```
   */
  acknowledged(position?: number, options?: AcknowledgedOptions): Promise<void> {
    try {
      if (position !== undefined) checkPosition(position, 0, 'acknowledged')
      const call = this.#callOptions(checkAcknowledged(options), this.acknowledged)
      const queue = this.#openQueue('acknowledged')
      if (this.#isReadOnly) throw readOnly('acknowledged')
      return queue.acknowledged(position, call)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Makes everything accepted so far, through any handle, durable under every policy. Resolves once it is.
   *
   * @throws `ERR_WAL_CLOSED`, `ERR_WAL_READ_ONLY`, `ERR_WAL_POISONED`, `ERR_WAL_DETACHED`, `ERR_WAL_NO_SPACE` or `ERR_WAL_IO`.
   * @throws the error of an earlier record that was enqueued, or whose append was aborted by its signal.
   * @throws `ERR_WAL_INVALID_ARG`, or an `AbortError`, in which case the sync itself goes on.
   * @example
   * ```ts
   * wal.enqueue('a')
   * await wal.sync() // 'a' survives power loss
   * ```
   */
  sync(options?: SyncOptions): Promise<void> {
    try {
      const call = this.#callOptions(checkSync(options), this.sync)
      return this.#openQueue('sync').sync(call)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Removes the records before `position`, once everything accepted before the call is acknowledged.
   *
   * When the promise resolves, the new low mark is exact and survives power loss. Files are removed only as whole segments below it.
   * `nextPosition` empties the log, and a position at or below `firstPosition` changes nothing. This works on a full disk. Readers that are
   * still below `position` end with `ERR_WAL_TRUNCATED`. Cursors below it move to `position - 1` and emit `'truncated'`.
   *
   * If the low mark could not be written, the log is unchanged. If only a file could not be removed, the log starts at `position` nevertheless.
   * `firstPosition` says which of the two happened.
   *
   * @throws `ERR_WAL_OUT_OF_RANGE`: `position` is above `nextPosition`.
   * @throws `ERR_WAL_NO_SPACE`: only if the log was opened on a disk so full that it could not continue.
   * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_CLOSED`, `ERR_WAL_READ_ONLY`, `ERR_WAL_POISONED`, `ERR_WAL_DETACHED` or `ERR_WAL_IO`.
   * @example
   * ```ts
   * await wal.truncateBefore(snapshot.position + 1)
   * ```
   */
  truncateBefore(position: number): Promise<void> {
    return this.#command('truncateBefore', position, 1, this.truncateBefore)
  }

  /**
   * Removes the records after `position` for good.
   *
   * From this call on, the next record appended gets `position + 1`. `firstPosition - 1` empties the log. When the promise resolves, the
   * remaining records are durable. If `position` is inside an atomic batch, the records that are kept are a smaller batch. Readers that are
   * past `position` end with `ERR_WAL_TRUNCATED`, the others end at `position`. Cursors that are past it go back to it, durably, and emit
   * `'truncated'`.
   *
   * @throws `ERR_WAL_OUT_OF_RANGE`: `position` is `nextPosition` or above.
   * @throws `ERR_WAL_TRUNCATED`: `position` is below `firstPosition - 1`.
   * @throws `ERR_WAL_NO_SPACE`, `ERR_WAL_CORRUPT`, `ERR_WAL_IO`, or `ERR_WAL_READ_ONLY` if the file system is read-only: nothing was removed, and
   *   the appends since the call are rejected with the same error.
   * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_CLOSED`, `ERR_WAL_READ_ONLY`, `ERR_WAL_DETACHED` or `ERR_WAL_POISONED`.
   * @example
   * ```ts
   * await wal.truncateAfter(leader.lastCommonPosition)
   * ```
   */
  truncateAfter(position: number): Promise<void> {
    return this.#command('truncateAfter', position, 0, this.truncateAfter)
  }

  /**
   * Empties the log and continues it at `position`, which may be below or above where it was: for installing a snapshot.
   *
   * `nextPosition` is `position` from this call on, and the reset is durable when the promise resolves. Readers end with
   * `ERR_WAL_TRUNCATED`.
   *
   * @throws the errors of {@link Wal.truncateAfter}, except that every position from 1 on is in range.
   * @example
   * ```ts
   * await wal.reset(snapshot.position + 1)
   * ```
   */
  reset(position: number): Promise<void> {
    return this.#command('reset', position, 1, this.reset)
  }

  #command(name: 'truncateBefore' | 'truncateAfter' | 'reset', position: number, least: number, callee: Callee): Promise<void> {
    try {
      checkPosition(position, least, name)
      return this.#openQueue(name)[name](position, this.#callOptions(undefined, callee))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Waits until no more than half of `maxPendingBytes`, and no more than 4 MiB, is pending.
   *
   * For use after `ERR_WAL_BACKPRESSURE`, and now and then between calls of `enqueue`. If order matters, first retry the refused record
   * after `drain()`, then those after it. Resolves at once if little enough is pending already, with two exceptions: after a refusal it
   * waits until something has been acknowledged; and if this turn of the event loop has accepted 1,024 records or left more than 1 MiB
   * pending, it resolves in the next turn. Never rejects, and makes nothing durable.
   */
  drain(): Promise<void> {
    return this.#queue.drain()
  }

  /**
   * Creates a stream in object mode that appends its chunks in order. A chunk is anything that `append` takes.
   *
   * The stream waits where `append` would fail with `ERR_WAL_BACKPRESSURE`, and holds `write()` back while more than `maxPendingBytes` of
   * its own records are not acknowledged. Its end makes a sync, so `'finish'` means that everything written is durable, under every policy.
   * The log stays open.
   *
   * The first rejected record destroys the stream with its `WalError`. Records accepted before it go on. Records after it have not been
   * appended or are rejected with the same error. Destroying the stream takes no record back.
   *
   * @throws `ERR_WAL_INVALID_ARG`: an option is invalid.
   * @example
   * ```ts
   * await pipeline(source, wal.writable())
   * ```
   */
  writable(options?: WritableOptions): WalWritable {
    const { durable, maxPendingBytes, signal } = checkWritable(options)
    const terms = this.#withCallSite({ durable, expect: undefined, call: undefined }, this.writable)
    const append = (input: unknown) => {
      try {
        const entry = withOwnFields(this.#entry(input, 'append'), 'append')
        const acknowledged = this.#openQueue('append').appendNow(entry, terms)
        return { bytes: sizeOf(entry), acknowledged }
      } catch (error) {
        throw whileReading('record', 'append', error)
      }
    }
    return new WalWritable({ append, drain: () => this.drain(), sync: () => this.sync() }, maxPendingBytes, signal)
  }

  /**
   * Reads records in order from `start`: a position, the first record (`'start'`), after the last one (`'end'`), or the first one that was
   * committed at a time or later (`{ since }`).
   *
   * The reader ends at the last record that was acknowledged at the call. With `follow` it waits there for more, as long as the log is
   * open. Starting at `nextPosition` returns no records, or waits for the next. If truncation overtakes a reader from `'start'` before it
   * has returned a record, the reader starts over at the new beginning of the log, as if it had been created then. In mode `'readOnly'` the
   * end is the last record that the writer in another process has acknowledged at the first `next()`.
   *
   * A reader from `{ since }` begins where `positionAt` says when its first record is read. After that it leaves nothing out, so that records
   * that were committed while the clock was set back are among those that it returns.
   *
   * @throws `ERR_WAL_INVALID_ARG`: an argument is invalid. The errors below are rejections of `next()`.
   * @throws `ERR_WAL_INVALID_ARG`: `salvage` needs a log that is open in mode `'readOnly'`; or the codec cannot decode any value.
   * @throws `ERR_WAL_CODEC`: the codec cannot decode the value of the next record, and `onDecodeError` does not skip it.
   * @throws `ERR_WAL_TRUNCATED` or `ERR_WAL_OUT_OF_RANGE`: at the first `next()`, `start` is before the first record or after `nextPosition`.
   * @throws `ERR_WAL_TRUNCATED`: later, truncation of either end of the log has passed the reader.
   * @throws `ERR_WAL_CORRUPT`, `ERR_WAL_IO`, `ERR_WAL_CLOSED` or an `AbortError`: at any `next()`.
   * @throws `ERR_WAL_POISONED` or `ERR_WAL_DETACHED`: with `follow`, no more records can come.
   * @example
   * ```ts
   * for await (const record of wal.readFrom('start', { onDecodeError: 'skip' })) {
   *   if (!record.tombstone) apply(record.position, record.value)
   * }
   * ```
   */
  // For `Wal<any>`, which alone is a log of such values: its records are of type `any` too.
  readFrom(this: Wal<typeof Wal>, start: ReadStart, options?: ReadOptions<T>): WalReader<T>
  readFrom(this: Wal, start: ReadStart, options?: ReadOptions): WalReader
  readFrom(start: ReadStart, options?: ReadOptions<T>): WalReader<T>
  readFrom(start: ReadStart, options?: ReadOptions<T>): WalReader | WalReader<T> {
    return this.#read(start, options)
  }

  /**
   * Finds the first record that was committed at `time` or later, and resolves to its position. That is exact also if the writer's clock was
   * set back meanwhile. If there is none, resolves to the position after the last acknowledged record.
   *
   * `time` is a `Date`, or milliseconds since 1970. Records without a time, which older versions of Forelog have written, are before every
   * time. Reads the headers of a few segments and, within one segment, those of the frames.
   *
   * @throws `ERR_WAL_INVALID_ARG`: `time` is no valid time: an invalid `Date`, `NaN`, negative, or more than 8.64e15.
   * @throws `ERR_WAL_CORRUPT`, `ERR_WAL_IO`, `ERR_WAL_CLOSED` or `ERR_WAL_DETACHED`.
   * @example
   * ```ts
   * const position = await wal.positionAt(Date.now() - 3_600_000)
   * ```
   */
  async positionAt(time: Date | number): Promise<number> {
    const ms = checkTime('time', time, 'read')
    this.#checkOpen('read')
    const { position } = await this.#environment.request(this.#environment.native.positionAt(this.#queue.log, ms))
    if (position === undefined) throw closed('read')
    return position
  }

  /**
   * Reads the record at `position`. Resolves to `undefined` if no record can be read there: it is not acknowledged yet, `position` is
   * `nextPosition`, or a salvaged log has a hole there.
   *
   * The record has bytes and properties of its own, as with `copy: true`. It is found by the index of its segment, without a scan. Calls may
   * overlap. An expired record is returned like others.
   *
   * @throws `ERR_WAL_TRUNCATED`: `position` is before the first record (`error.firstPosition`), or was truncated meanwhile.
   * @throws `ERR_WAL_OUT_OF_RANGE`: `position` is after `nextPosition`.
   * @throws `ERR_WAL_CODEC`: the codec cannot decode the value.
   * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_CORRUPT`, `ERR_WAL_IO`, `ERR_WAL_CLOSED`, `ERR_WAL_DETACHED` or an `AbortError`.
   * @example
   * ```ts
   * const record = await wal.get(42)
   * console.log(record?.value)
   * ```
   */
  // For `Wal<any>`: see `readFrom`.
  get(this: Wal<typeof Wal>, position: number, options?: PointReadOptions): Promise<WalRecord<T> | undefined>
  get(this: Wal, position: number, options?: PointReadOptions): Promise<WalRecord | undefined>
  get(position: number, options?: PointReadOptions): Promise<WalRecord<T> | undefined>
  async get(position: number, options?: PointReadOptions): Promise<WalRecord | WalRecord<T> | undefined> {
    return recordAt(this, checkPosition(position, 1, 'read'), checkPointRead(options))
  }

  /**
   * Reads the newest `n` acknowledged records, oldest first; fewer if the log has fewer, and none if `n` is 0.
   *
   * The records have bytes and properties of their own, as with `copy: true`, and all of them are in memory at once. Only the part of the log
   * that has them is read. If a truncation removes some of them meanwhile, the newest of those that are left are read.
   *
   * @throws `ERR_WAL_TRUNCATED` or `ERR_WAL_OUT_OF_RANGE`: truncations overtook ten attempts.
   * @throws `ERR_WAL_CODEC`: the codec cannot decode the value of one of the records (`position`).
   * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_CORRUPT`, `ERR_WAL_IO`, `ERR_WAL_CLOSED`, `ERR_WAL_DETACHED` or an `AbortError`.
   * @example
   * ```ts
   * const [newest] = await wal.last(1)
   * ```
   */
  // For `Wal<any>`: see `readFrom`.
  last(this: Wal<typeof Wal>, n: number, options?: PointReadOptions): Promise<WalRecord<T>[]>
  last(this: Wal, n: number, options?: PointReadOptions): Promise<WalRecord[]>
  last(n: number, options?: PointReadOptions): Promise<WalRecord<T>[]>
  async last(n: number, options?: PointReadOptions): Promise<WalRecord[] | WalRecord<T>[]> {
    return newestRecords(this, n, checkNewest(n, options))
  }

  /**
   * Creates a stream in object mode of the records from `start` on. Takes the options of {@link Wal.readFrom}.
   *
   * Records are read as they are consumed, some blocks ahead. The end of the stream is that of the reader: with `follow` it does not end.
   * Destroying the stream closes its reader, even while it waits. If `signal` is aborted, the stream is destroyed with an `AbortError`. The
   * stream emits `'error'` with what `next()` of a reader rejects with.
   *
   * @throws `ERR_WAL_INVALID_ARG`: an argument is invalid.
   * @example
   * ```ts
   * await pipeline(wal.readable('start'), transform, other.writable())
   * ```
   */
  // For `Wal<any>`: see `readFrom`.
  readable(this: Wal<typeof Wal>, start?: ReadStart, options?: ReadOptions<T>): WalReadable<T>
  readable(this: Wal, start?: ReadStart, options?: ReadOptions): WalReadable
  readable(start?: ReadStart, options?: ReadOptions<T>): WalReadable<T>
  readable(start: ReadStart = 'start', options?: ReadOptions<T>): WalReadable | WalReadable<T> {
    const { signal, ...checked } = checkRead(start, options)
    return new WalReadable<T>(this.#read(start, checked as ReadOptions<T>), signal)
  }

  /** @internal Creates a reader whose `blocks()` return everything that the log stores about its records. */
  readDetailed(start: ReadStart, options?: ReadOptions<T>): WalReader<T> {
    return this.#read(start, options, { detailed: true })
  }

  #read(
    start: ReadStart,
    options: ReadOptions<T> | undefined,
    { onKept, detailed = false, stored = false }: Pick<ReadRange, 'onKept' | 'detailed'> & { stored?: boolean } = {}
  ): WalReader<T> {
    const { to = Infinity, limit = Infinity, ...flags } = checkRead(start, options)
    const { follow = false, salvage = false, copy = false, skipExpired = false, onDecodeError, signal } = flags
    const holed = this.recovery.holes.length > 0
    const decoder = this.#values && !stored ? new Decoder(this.#values, copy, onDecodeError) : undefined
    const begin = checkStart(start)
    const { from, since } = typeof begin === 'object' ? { from: 'start' as const, since: begin.since } : { from: begin, since: undefined }
    const range = { from, since, to, limit, follow, salvage, holed, copy, skipExpired, detailed, signal, decoder, onKept }
    const reader = new WalReader<T>(this.#environment, this.#queue, range, this.#handle)
    if (this.#closed !== undefined) reader.close()
    return reader
  }

  /**
   * Verifies the sealed segments in the background, at a limited rate, while appends and reads go on.
   *
   * Ends when the handle is closed. On Linux the segments are read from the disk itself, and their pages are dropped from the page cache.
   * To check a whole log, the active segment included, use `verify`.
   *
   * Damage is not an error: it is in the report's `problems`.
   *
   * @throws `ERR_WAL_INVALID_ARG`, `ERR_WAL_CLOSED`, `ERR_WAL_IO` or an `AbortError`.
   * @example
   * ```ts
   * const { problems } = await wal.scrub({ bytesPerSecond: 8 << 20 })
   * ```
   */
  async scrub(options?: ScrubOptions): Promise<Verification> {
    const checked = checkScrub(options)
    this.#checkOpen('scrub')
    const scrub = new VerificationJob(this.#environment, checked)
    this.#scrubs.add(scrub)
    try {
      const found = await scrub.run((watcher) => this.#environment.native.scrub(this.#queue.log, watcher))
      publishDamage(this.dir, 'scrub', found.problems)
      return found
    } finally {
      this.#scrubs.delete(scrub)
    }
  }

  /**
   * Opens the named cursor, a durable consumer position. Creates it if there is none of that name.
   *
   * A name has from 1 to 255 bytes of UTF-8. A new cursor begins at `start`, and is durable when the promise resolves. The same handle
   * returns the same object again until the cursor is deleted through any handle.
   *
   * @throws `ERR_WAL_INVALID_ARG`: the name or an option is invalid.
   * @throws `ERR_WAL_TRUNCATED` or `ERR_WAL_OUT_OF_RANGE`: `start` is before the first position or after the next one.
   * @throws `ERR_WAL_TOO_LARGE`: there are already 4096 cursors.
   * @throws `ERR_WAL_CORRUPT`: the file CURSORS is damaged. The log itself works.
   * @throws `ERR_WAL_FORMAT`, `ERR_WAL_READ_ONLY`, `ERR_WAL_NO_SPACE`, `ERR_WAL_IO`, `ERR_WAL_POISONED`, `ERR_WAL_DETACHED` or
   *   `ERR_WAL_CLOSED`.
   * @example
   * ```ts
   * const cursor = await wal.cursor('billing')
   * for await (const { position, value } of cursor.read()) {
   *   await send(value)
   *   await cursor.commit(position)
   * }
   * ```
   */
  // For `Wal<any>`: see `readFrom`.
  cursor(this: Wal<typeof Wal>, name: string, options?: CursorOptions): Promise<Cursor<T>>
  cursor(this: Wal, name: string, options?: CursorOptions): Promise<Cursor>
  cursor(name: string, options?: CursorOptions): Promise<Cursor<T>>
  async cursor(name: string, options?: CursorOptions): Promise<Cursor | Cursor<T>> {
    const from = checkCursor(name, options)
    this.#checkOpen('cursor')
    return this.#cursors.open(name, from)
  }

  /** @internal Takes dead letters: appends their keys and values as they are stored, past the codec of this handle. */
  [letterBox](): LetterBox {
    const terms = { ...DEFAULT_TERMS, durable: true }
    const append = async ({ key, value, tombstone }: WalRecord) =>
      this.#openQueue('append').append(new Entry(key, value, tombstone, undefined, undefined), terms)
    return { log: this.#queue, append, drain: () => this.drain() }
  }

  /**
   * Lists all cursors with their positions, in the byte order of their names.
   *
   * @throws `ERR_WAL_CORRUPT`, `ERR_WAL_FORMAT` or `ERR_WAL_IO`: the file CURSORS cannot be read.
   * @throws `ERR_WAL_READ_ONLY` or `ERR_WAL_CLOSED`.
   */
  cursors(): CursorPosition[] {
    this.#checkOpen('cursors')
    const cursors = this.#environment.native.cursors(this.#queue.log)
    if (cursors === null) throw this.#environment.refusal()
    return cursors
  }

  /**
   * Figures of the cursors that are or were consumed in this thread, through any handle. Those of several consumers are added up, and consumers
   * that have ended still count in `handled`, `retries` and `dead`. While a cursor has no consumer here, `lag` counts from where its last one
   * has left it.
   *
   * @example
   * ```ts
   * for (const { cursor, lag, dead } of wal.consumption()) console.log(`${cursor}: ${lag} behind, ${dead} dead`)
   * ```
   */
  consumption(): ConsumptionStats[] {
    return consumption(this.#queue, this.acknowledgedPosition)
  }

  /**
   * Position of the first record that can be read; `nextPosition` in an empty log. In mode `'readOnly'` this and the other positions follow
   * the writer in another process within milliseconds, without a read.
   */
  get firstPosition(): number {
    return this.#queue.positions()[POSITIONS_FIRST]
  }

  /** Position of the next record to be appended. */
  get nextPosition(): number {
    return this.#queue.positions()[POSITIONS_NEXT]
  }

  /** Last position handed to the operating system, 0 if there is none. The record survives a crash of the process. */
  get writtenPosition(): number {
    return this.#queue.positions()[POSITIONS_WRITTEN]
  }

  /** Last acknowledged position, 0 if there is none. Readers see the log up to here. */
  get acknowledgedPosition(): number {
    return this.#queue.positions()[POSITIONS_ACKNOWLEDGED]
  }

  /** Last position that survives power loss, 0 if there is none. */
  get durablePosition(): number {
    return this.#queue.positions()[POSITIONS_DURABLE]
  }

  /** Bytes accepted and not yet acknowledged, through all handles on the log. */
  get pendingBytes(): number {
    return this.#queue.positions()[POSITIONS_PENDING_BYTES]
  }

  /** Whether `close()` has been called on this handle. */
  get closed(): boolean {
    return this.#closed !== undefined
  }

  /**
   * Returns counters and histograms since the log was opened in this process, and its current state; after closing, the last values. Does
   * no I/O.
   */
  stats(): WalStats {
    return this.#queue.stats()
  }

  /**
   * Copies the log, up to its durable position now, into a directory while the log is appended to, rolled and truncated.
   *
   * The directory is created, and must be empty. Sealed segments become hard links, or clones, if the file system supports them; the rest
   * is copied. The copy opens as a log of its own. It has the positions of the original, which end at `lastPosition`, and continues from
   * there independently. It has the cursors of the original, none of them past its end.
   *
   * A read-only handle copies what the writer has made durable, or what a writer that is gone has left.
   *
   * If it rejects, at most an empty directory is left. After a crash during the backup, the directory does not open as a log.
   *
   * @throws `ERR_WAL_FORMAT`: the directory is not empty.
   * @throws `ERR_WAL_INVALID_ARG`: an argument is invalid, or the directory is inside the directory of the log.
   * @throws `ERR_WAL_LOCKED`: another backup or a log is open in the directory.
   * @throws `ERR_WAL_TRUNCATED`: truncation has overtaken the backup again and again.
   * @throws `ERR_WAL_CORRUPT`, `ERR_WAL_NO_SPACE`, `ERR_WAL_IO`, `ERR_WAL_CLOSED` or an `AbortError`.
   * @example
   * ```ts
   * const { lastPosition } = await wal.backup('./backups/today')
   * ```
   */
  async backup(dir: PathLike, options?: BackupOptions): Promise<BackupReport> {
    const dest = absoluteDir(dir, 'backup')
    const checked = checkBackup(options)
    this.#checkOpen('backup')
    const native = this.#environment.native.backup(this.#queue.log, dest)
    if (native === null) throw closed('backup')
    try {
      return await runBackup(this.#environment, native, checked, () => this.#checkOpen('backup'))
    } catch (error) {
      publishCorruption(this.dir, error)
      throw error
    }
  }

  /**
   * Closes this handle. The last handle on a log releases the log.
   *
   * From this call on appends are refused and readers end with `ERR_WAL_CLOSED`. Everything that was accepted is settled and made durable
   * under every policy. Idempotent: further calls return the same promise.
   *
   * The log is released even if the promise rejects.
   *
   * @throws `ERR_WAL_POISONED`: an fsync has failed.
   * @throws `ERR_WAL_DETACHED`: the directory is no longer at its path.
   * @throws the error of an enqueued record that was rejected.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  #close(): Promise<void> {
    collected.unregister(this)
    this.#isPlain = false
    this.#handle.isClosed = true
    for (const reader of this.#handle.readers) reader.deref()?.close()
    for (const scrub of this.#scrubs) scrub.stop(closed('scrub'))
    this.#cursors.release()
    return this.#queue.leave()
  }

  /** Closes the handle, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #checkOpen(operation: string): void {
    if (this.#closed !== undefined) throw closed(operation)
  }

  /** Returns the queue; throws if the handle is closed. */
  #openQueue(operation: string): LogQueue {
    if (this.#closed !== undefined) throw closed(operation)
    return this.#queue
  }

  #withCallSite(terms: AppendTerms, callee: Callee): AppendTerms {
    return this.#captureStacks ? { ...terms, call: this.#callOptions(terms.call, callee) } : terms
  }

  /** Adds the call site to the options of a call, if `captureStacks` is set. */
  #callOptions(call: CallOptions | undefined, callee: Callee): CallOptions | undefined {
    return this.#captureStacks ? { signal: call?.signal, site: callSite(callee) } : call
  }

  [Symbol.for('nodejs.util.inspect.custom')](_depth: number, options: InspectOptions): string {
    const { dir, firstPosition, nextPosition, acknowledgedPosition, durablePosition, closed } = this
    const shown = { dir, firstPosition, nextPosition, acknowledgedPosition, durablePosition, closed }
    return `Wal ${inspect(shown, options)}`
  }
}
