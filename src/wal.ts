// The log as a program sees it.

import { inspect, type InspectOptions } from 'node:util'
import { checkBytes, isBytes } from './bytes.js'
import { runBackup, type BackupReport } from './backup.js'
import { ACKNOWLEDGED, DURABLE_POSITION, FIRST, NEXT, PENDING_BYTES, WRITTEN, type BatchPositions, type Channel } from './channel.js'
import { valuesOf, type Appendable, type AppendableBytes, type Decoded, type NoCodec, type Values } from './codec.js'
import { Cursor, type CursorLog, type CursorPosition } from './cursor.js'
import { tellCorrupt, tellDamage, tellRecovery } from './diagnostics.js'
import { currentEnvironment, type Environment } from './environment.js'
import { AbortError, calledFrom, callSite, closed, invalid, whileReading } from './errors.js'
import { aborts, type Heed } from './heed.js'
import type { OpenOptions } from './native.js'
import {
  absolute,
  checkAppend,
  checkBackup,
  checkCursor,
  checkEnqueue,
  checkOpen,
  checkPosition,
  checkRead,
  checkScrub,
  checkSync,
  checkWritable,
  NO_TERMS,
  type AppendOptions,
  type BackupOptions,
  type CursorOptions,
  type EnqueueOptions,
  type HandleOptions,
  type ReadOptions,
  type ScrubOptions,
  type SyncOptions,
  type Terms,
  type WalCodecOptions,
  type WalOptions,
  type WritableOptions,
} from './options.js'
import { WalReader, type Handle, type ReadRange, type ReadStart } from './reader.js'
import { Entry, sizeOf, toEntry, withOwnFields, withOwnValue } from './record.js'
import { isAborted } from './signals.js'
import { recoveryReport, type RecoveryReport, type Verification, type WalStats } from './reports.js'
import { Verifying } from './verify.js'
import { WalWritable } from './writable.js'

// A handle that is garbage without having been closed must not keep the log, and its lock, for ever.
const forgotten = new FinalizationRegistry<Channel>((channel) => channel.leave().catch(() => {}))

type Callee = (...args: never[]) => unknown

/** What opens unless the signal is aborted before: then it is closed as soon as it is there. */
function unlessAborted<T>(opening: Promise<Wal<T>>, signal: AbortSignal): Promise<Wal<T>> {
  return new Promise((resolve, reject) => {
    const done = aborts.add(signal, () => {
      reject(new AbortError(signal))
      opening.then((wal) => wal.close()).catch(() => {})
    })
    // In one go: what has been given to the caller is not closed any more.
    opening.then(
      (wal) => (done(), resolve(wal)),
      (error: unknown) => (done(), reject(error))
    )
  })
}

/** Throws if whoever asked has given up before anything was accepted. */
function checkWanted({ heed }: Terms): void {
  const signal = heed?.signal
  if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
}

/** A cursor that a handle has been asked for, once it is there. */
interface Held<V> {
  made: Promise<Cursor<V>>
  cursor?: Cursor<V>
}

/** What an open handle is made of. */
interface Opened {
  environment: Environment
  channel: Channel
  dir: string
  recovery: RecoveryReport
  values: Values | undefined
  captureStacks: boolean
}

/**
 * An open write-ahead log: one directory, one writer.
 *
 * Records get dense positions 1, 2, 3 … in the order of the calls, and promises are resolved in that order. An idle log does not keep the
 * process alive; whatever is waited for does.
 *
 * `T` is what a log opened with a codec holds: such values are appended, and read again. Without a codec strings and bytes go in, and
 * buffers come out.
 */
export class Wal<T = NoCodec> {
  /** The directory, absolute. */
  readonly dir: string
  /** What opening found, and did. */
  readonly recovery: RecoveryReport
  readonly #environment: Environment
  readonly #channel: Channel
  readonly #values: Values | undefined
  readonly #captureStacks: boolean
  /** Open, with no codec and no stacks to capture: then an append has one thing less to look at each. */
  #isPlain: boolean
  readonly #handle: Handle = { owner: this, readers: new Set(), isClosed: false }
  readonly #scrubs = new Set<Verifying>()
  readonly #cursors = new Map<string, Held<Decoded<T>>>()
  #closed: Promise<void> | undefined

  /** Use {@link Wal.open}. */
  private constructor({ environment, channel, dir, recovery, values, captureStacks }: Opened) {
    this.#environment = environment
    this.#channel = channel
    this.#values = values
    this.#captureStacks = captureStacks
    this.#isPlain = values === undefined && !captureStacks
    this.dir = dir
    this.recovery = recovery
    forgotten.register(this, channel, this)
  }

  /**
   * Opens the log in a directory, creating both when they are missing. After a crash it recovers by itself.
   *
   * A log open already in this process, worker threads included, gets one more handle; the options must be equal, but for `codec` and
   * `captureStacks`, which are each handle's own. What the log held is durable when the promise resolves, unless the disk is full.
   *
   * Rejects with `ERR_WAL_INVALID_ARG` (also for other options than those that it is open with), `ERR_WAL_LOCKED` (another process has it
   * open), `ERR_WAL_NOT_FOUND` (with `create: false` or mode `'readOnly'`), `ERR_WAL_CORRUPT`, `ERR_WAL_FORMAT`, `ERR_WAL_NO_SPACE`,
   * `ERR_WAL_READ_ONLY` (the file system is), `ERR_WAL_TRUNCATED` (in mode `'readOnly'`: truncation has overtaken every look), `ERR_WAL_IO`, `ERR_WAL_NATIVE_NOT_FOUND` or an `AbortError`. None of them changes what is in
   * the log.
   */
  static open(dir: string, options?: WalOptions): Promise<Wal>
  static open<T = unknown>(dir: string, options: WalCodecOptions<T>): Promise<Wal<T>>
  static async open<T>(dir: string, options?: WalOptions | WalCodecOptions<T>): Promise<Wal | Wal<T>> {
    const { log, handle } = checkOpen(dir, options)
    const { signal } = handle
    if (signal !== undefined && isAborted(signal)) throw new AbortError(signal)
    const site = callSite(Wal.open)
    const opening = Wal.#open<T>(absolute(dir, 'open'), log, handle).catch((error: unknown) => {
      throw calledFrom(error, site)
    })
    return signal === undefined ? opening : unlessAborted(opening, signal)
  }

  static async #open<T>(dir: string, options: OpenOptions, { codec, captureStacks, signal }: HandleOptions): Promise<Wal<T>> {
    const [environment, values] = await Promise.all([currentEnvironment(), valuesOf(codec)])
    const { native } = environment
    if (signal?.aborted) throw new AbortError(signal)
    // A scan that takes long ends with the signal, and does not keep the process.
    const watcher = signal && new environment.Watcher()
    const done = signal && aborts.add(signal, () => watcher?.stop())
    const opening = environment.request(native.open(dir, options, watcher)).finally(done)
    const { log, identity } = await opening.catch((error: unknown) => {
      tellCorrupt(dir, error)
      throw error
    })
    if (log === undefined || identity === undefined) throw closed('open')
    const recovery = recoveryReport(native.recovery(log))
    const channel = await environment.join(log, identity, dir)
    // Another handle on a log that is open here has recovered nothing.
    if (channel.log === log) tellRecovery(dir, recovery)
    return new Wal<T>({ environment, channel, dir, recovery, values, captureStacks })
  }

  /**
   * Appends one record: a string or bytes (a value without a key), what `Record.put` or `Record.delete` made, or a plain object with
   * its fields. With a codec: what `Record.put` or `Record.delete` made, or anything else as a value to encode. The input has been copied
   * when the call returns.
   *
   * Resolves to the record's position once it is acknowledged: with `fsync: 'always'`, the default, or with `durable: true` it is on
   * the disk then, otherwise it has been handed to the operating system.
   *
   * Rejects at once, and takes no position, with `ERR_WAL_INVALID_ARG` (with the codec's error as `cause`, if that threw),
   * `ERR_WAL_TOO_LARGE`, `ERR_WAL_BACKPRESSURE`, `ERR_WAL_CONFLICT` (with `expect`), `ERR_WAL_CLOSED`, `ERR_WAL_READ_ONLY`,
   * `ERR_WAL_OUT_OF_RANGE` (positions end at 2^53 - 1), `ERR_WAL_NO_SPACE`, `ERR_WAL_IO`, `ERR_WAL_POISONED`, `ERR_WAL_DETACHED` or, if
   * `signal` is aborted already, an `AbortError`; later with `ERR_WAL_NO_SPACE`, `ERR_WAL_READ_ONLY` or `ERR_WAL_IO` (it is not in the log, and
   * appends work again once the cause is gone), `ERR_WAL_DETACHED` (it is not in the log), `ERR_WAL_POISONED` (unknown) or an `AbortError` (it
   * goes on, and may still be committed). A later rejection has the record's `position`, if it had got one.
   *
   * No record passes one that was rejected: once an append of this environment's has been rejected, whatever it appends to the log before
   * its promises have been told is rejected with the same error, after them.
   *
   * After a refusal with `ERR_WAL_BACKPRESSURE` later appends may succeed: what waits shrinks all the time, and a smaller record may still
   * fit. Where order matters, stop at the first refusal, wait for `drain()` and go on with that record; or let `writable()` do so.
   */
  append(this: Wal, input: AppendableBytes, options?: AppendOptions): Promise<number>
  append(input: Appendable<T>, options?: AppendOptions): Promise<number>
  append(input: AppendableBytes | Appendable<T>, options?: AppendOptions): Promise<number> {
    try {
      if (!this.#isPlain || options !== undefined) return this.#appendWith(input, options)
      if (input instanceof Entry) return this.#channel.append(input, NO_TERMS, this.#handle)
      if (isBytes(input)) return this.#channel.appendValue(input, NO_TERMS)
      const entry = toEntry(input)
      // A getter may have called us.
      return this.#openChannel('append').append(entry, NO_TERMS)
    } catch (error) {
      return this.#channel.refused(whileReading('record', 'append', error))
    }
  }

  #appendWith(input: unknown, options: AppendOptions | undefined): Promise<number> {
    const terms = this.#heeding(checkAppend(options, 'append'), this.append)
    // A codec may call us again.
    const entry = this.#entry(input, 'append')
    checkWanted(terms)
    return this.#openChannel('append').append(entry, terms, this.#handle)
  }

  /**
   * Appends records as one atomic unit: after a crash all of them are in the log, or none. Resolves to their first and last position.
   * All of them are taken from the iterable before the first is copied, so bytes must not change while it is run through. Otherwise like
   * {@link Wal.append}; a batch above `maxBatchBytes` is `ERR_WAL_TOO_LARGE`, one without records `ERR_WAL_INVALID_ARG`. A
   * later rejection has the `position` of the first.
   */
  appendBatch(this: Wal, records: Iterable<AppendableBytes>, options?: AppendOptions): Promise<BatchPositions>
  appendBatch(records: Iterable<Appendable<T>>, options?: AppendOptions): Promise<BatchPositions>
  appendBatch(records: Iterable<unknown>, options?: AppendOptions): Promise<BatchPositions> {
    try {
      const terms = this.#heeding(checkAppend(options, 'appendBatch'), this.appendBatch)
      this.#openChannel('appendBatch')
      if (typeof records === 'string' || typeof records?.[Symbol.iterator] !== 'function') {
        throw invalid('records must be an iterable of records', 'appendBatch')
      }
      // All of them before the first is taken: an iterator, a getter or a codec may call us again.
      const entries: Entry[] = []
      for (const record of records) {
        // What the caller made may change until all are here, and a codec may use its memory again for the next record.
        if (this.#values !== undefined) entries.push(withOwnValue(this.#values.entry(record, 'appendBatch')))
        else if (record instanceof Entry) entries.push(withOwnFields(record, 'appendBatch'))
        else entries.push(this.#entry(record, 'appendBatch'))
      }
      if (entries.length === 0) throw invalid('records must not be empty', 'appendBatch')
      checkWanted(terms)
      return this.#openChannel('appendBatch').appendBatch(entries, terms)
    } catch (error) {
      return this.#channel.refused(whileReading('records', 'appendBatch', error))
    }
  }

  #entry(input: unknown, operation: string): Entry {
    if (this.#values !== undefined) return this.#values.entry(input, operation)
    if (!isBytes(input)) return toEntry(input, operation)
    return new Entry(undefined, checkBytes('value', input, operation), false, undefined, undefined)
  }

  /**
   * Appends like {@link Wal.append} and returns the position at once, without a promise. The position is final once acknowledged: see
   * `acknowledgedPosition`, or wait for `sync()`.
   *
   * Throws when the call is refused; so it is, with their error, while operations before it have failed and their promises have not been
   * told. A record refused later is told by the next `sync()` or `close()`, whichever comes first.
   */
  enqueue(this: Wal, input: AppendableBytes, options?: EnqueueOptions): number
  enqueue(input: Appendable<T>, options?: EnqueueOptions): number
  enqueue(input: AppendableBytes | Appendable<T>, options?: EnqueueOptions): number {
    try {
      if (!this.#isPlain || options !== undefined) return this.#enqueueWith(input, options)
      if (input instanceof Entry) return this.#channel.enqueue(input, NO_TERMS, this.#handle)
      if (isBytes(input)) return this.#channel.enqueueValue(input, NO_TERMS)
      const entry = toEntry(input)
      // A getter may have closed the log.
      return this.#openChannel('append').enqueue(entry, NO_TERMS)
    } catch (error) {
      throw whileReading('record', 'append', error)
    }
  }

  #enqueueWith(input: unknown, options: EnqueueOptions | undefined): number {
    const terms = checkEnqueue(options)
    const entry = this.#entry(input, 'append')
    return this.#openChannel('append').enqueue(entry, terms, this.#handle)
  }

  /**
   * Resolves when everything accepted so far, by any handle, is durable, under every policy. Rejects with `ERR_WAL_CLOSED`,
   * `ERR_WAL_READ_ONLY`, `ERR_WAL_POISONED`, `ERR_WAL_DETACHED`, `ERR_WAL_NO_SPACE` or `ERR_WAL_IO`, with the failure of a record that was enqueued, or that nobody waited
   * for any more, or with an `AbortError`: then the sync itself goes on.
   */
  sync(options?: SyncOptions): Promise<void> {
    try {
      const heed = this.#traced(checkSync(options), this.sync)
      return this.#openChannel('sync').sync(heed)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Makes `position` the first of the log, once everything accepted before is acknowledged. The low mark is exact and survives power
   * loss when the promise resolves; of the files, whole segments below it are removed. `nextPosition` empties the log; a position that
   * the log starts at or after changes nothing. It works on a full disk. Readers that are still below end with `ERR_WAL_TRUNCATED`;
   * cursors that are move to `position - 1`, and emit `'truncated'`.
   *
   * Rejects with `ERR_WAL_OUT_OF_RANGE` above `nextPosition`, `ERR_WAL_INVALID_ARG`, `ERR_WAL_CLOSED`, `ERR_WAL_READ_ONLY`, `ERR_WAL_POISONED`,
   * `ERR_WAL_DETACHED`, `ERR_WAL_NO_SPACE` (only where the log was opened on a disk so full that it could not go on) or `ERR_WAL_IO`. If the low
   * mark could not be written, the log is as before; if only a file could not be removed, the log starts at `position` all the same:
   * `firstPosition` says which.
   */
  truncateBefore(position: number): Promise<void> {
    return this.#command('truncateBefore', position, 1, this.truncateBefore)
  }

  /**
   * Makes `position` the last of the log: whatever was accepted after it is removed for good, and the next record appended gets the
   * position after it, from this call on. `firstPosition - 1` empties the log. What is kept is durable when the promise resolves; the kept
   * part of an atomic batch is a smaller batch. Readers that are past `position` end with `ERR_WAL_TRUNCATED`, others end there; cursors
   * that are past it go back to it, durably, and emit `'truncated'`.
   *
   * Rejects with `ERR_WAL_OUT_OF_RANGE` at `nextPosition` or above, `ERR_WAL_TRUNCATED` below `firstPosition - 1`, `ERR_WAL_INVALID_ARG`,
   * `ERR_WAL_CLOSED`, `ERR_WAL_READ_ONLY`, `ERR_WAL_DETACHED` or `ERR_WAL_POISONED`; with `ERR_WAL_NO_SPACE`, `ERR_WAL_CORRUPT`, `ERR_WAL_IO` or a file system that is read-only nothing was removed, and what was
   * appended since the call is rejected likewise.
   */
  truncateAfter(position: number): Promise<void> {
    return this.#command('truncateAfter', position, 0, this.truncateAfter)
  }

  /**
   * Empties the log, which goes on at `position`, be that below or above where it was: for the installation of a snapshot. It has
   * happened, durably, when the promise resolves; `nextPosition` is `position` from this call on. Readers end with `ERR_WAL_TRUNCATED`.
   *
   * Rejects like {@link Wal.truncateAfter}; any position from 1 on is in range.
   */
  reset(position: number): Promise<void> {
    return this.#command('reset', position, 1, this.reset)
  }

  #command(name: 'truncateBefore' | 'truncateAfter' | 'reset', position: number, least: number, callee: Callee): Promise<void> {
    try {
      checkPosition(position, least, name)
      return this.#openChannel(name)[name](position, this.#traced(undefined, callee))
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Resolves when no more than half of `maxPendingBytes` is waiting, and no more than 4 MiB; at once if that is so already, but after a
   * refusal not before something has been acknowledged, and where this turn of the event loop has accepted 1,024 records or left more than
   * 1 MiB waiting, in the next one. For use after `ERR_WAL_BACKPRESSURE`: with what was refused first, then with what came after it, if
   * their order matters; and now and then between calls of `enqueue`. Never rejects, and makes nothing durable.
   */
  drain(): Promise<void> {
    return this.#channel.drain()
  }

  /**
   * A stream in object mode whose chunks are what `append` takes, in their order. It waits instead of failing with `ERR_WAL_BACKPRESSURE`,
   * and holds `write()` back while more than `maxPendingBytes` of its own are not acknowledged.
   *
   * `'finish'` says that everything written is durable, under every policy: the end asks for a sync. The log stays open. The first
   * record that is rejected destroys the stream with its `WalError`; those accepted before go on, those after it have not been appended or
   * are rejected likewise. Destroying it takes nothing back. Bad options throw `ERR_WAL_INVALID_ARG`.
   */
  writable(options?: WritableOptions): WalWritable {
    const { durable, maxPendingBytes, signal } = checkWritable(options)
    const terms = this.#heeding({ durable, expect: undefined, heed: undefined }, this.writable)
    const append = (input: unknown) => {
      try {
        const entry = withOwnFields(this.#entry(input, 'append'), 'append')
        const acknowledged = this.#openChannel('append').appendNow(entry, terms)
        return { bytes: sizeOf(entry), acknowledged }
      } catch (error) {
        throw whileReading('record', 'append', error)
      }
    }
    return new WalWritable({ append, drain: () => this.drain(), sync: () => this.sync() }, maxPendingBytes, signal)
  }

  /**
   * Reads records in order, from a position, from the first (`'start'`) or from after the last (`'end'`), up to what was acknowledged at
   * the call, or with `follow` for as long as the log is open. Starting at `nextPosition` gives nothing, or waits. Where truncation passes a
   * reader from `'start'` before it has given a record, it begins anew where the log begins then, as if it were called then.
   *
   * In mode `'readOnly'` what counts is what the writer in another process has acknowledged at the first `next()`.
   *
   * Bad arguments throw `ERR_WAL_INVALID_ARG`, `salvage` on a log that is not open in mode `'readOnly'` rejects with it. The first `next()`
   * rejects with `ERR_WAL_TRUNCATED` or `ERR_WAL_OUT_OF_RANGE`, any one with `ERR_WAL_CORRUPT`, `ERR_WAL_IO`, `ERR_WAL_CLOSED` or an
   * `AbortError`; one that follows also with `ERR_WAL_TRUNCATED` when the log was truncated past its place, and with `ERR_WAL_POISONED` or
   * `ERR_WAL_DETACHED` when nothing more can come.
   */
  readFrom(start: ReadStart, options?: ReadOptions): WalReader<Decoded<T>> {
    return this.#read(start, options)
  }

  /** @internal A reader whose `blocks()` have everything that the log holds of its records. */
  readDetailed(start: ReadStart, options?: ReadOptions): WalReader<Decoded<T>> {
    return this.#read(start, options, undefined, true)
  }

  #read(start: ReadStart, options: ReadOptions | undefined, onKept?: ReadRange['onKept'], detailed = false): WalReader<Decoded<T>> {
    const { to = Infinity, limit = Infinity, ...flags } = checkRead(start, options)
    const { follow = false, salvage = false, copy = false, skipExpired = false, signal } = flags
    const holed = this.recovery.holes.length > 0
    const range = { from: start, to, limit, follow, salvage, holed, copy, skipExpired, detailed, signal, values: this.#values, onKept }
    const reader = new WalReader<Decoded<T>>(this.#environment, this.#channel, range, this.#handle)
    if (this.#closed !== undefined) reader.close()
    return reader
  }

  /**
   * Verifies the sealed segments in the background, at a pace; appends and reads go on. Ended by `close()`. On Linux it reads the disk
   * itself: what the page cache holds of these segments is dropped. For a whole log, the active segment included, see `verify`.
   *
   * Damage is no error: it is in the report's `problems`. Rejects with `ERR_WAL_INVALID_ARG`, `ERR_WAL_CLOSED`, `ERR_WAL_IO` or an
   * `AbortError`.
   */
  async scrub(options?: ScrubOptions): Promise<Verification> {
    const checked = checkScrub(options)
    this.#checkOpen('scrub')
    const scrub = new Verifying(this.#environment, checked)
    this.#scrubs.add(scrub)
    try {
      const found = await scrub.run((watcher) => this.#environment.native.scrub(this.#channel.log, watcher))
      tellDamage(this.dir, 'scrub', found.problems)
      return found
    } finally {
      this.#scrubs.delete(scrub)
    }
  }

  /**
   * The cursor of that name, from 1 to 255 bytes of UTF-8: how far somebody has worked the log off. It is made if there is none, durably
   * when the promise resolves, standing where `start` says. The same handle gives the same object again, until the cursor is deleted
   * through whatever handle.
   *
   * Rejects with `ERR_WAL_INVALID_ARG`, `ERR_WAL_TRUNCATED` or `ERR_WAL_OUT_OF_RANGE` (a `start` before the first position or after the
   * next one), `ERR_WAL_TOO_LARGE` (there are 4096 cursors), `ERR_WAL_CORRUPT` (the file of the cursors is damaged; the log itself
   * works), `ERR_WAL_FORMAT`, `ERR_WAL_READ_ONLY`, `ERR_WAL_NO_SPACE`, `ERR_WAL_IO`, `ERR_WAL_POISONED`, `ERR_WAL_DETACHED` or
   * `ERR_WAL_CLOSED`.
   */
  async cursor(name: string, options?: CursorOptions): Promise<Cursor<Decoded<T>>> {
    const from = checkCursor(name, options)
    this.#checkOpen('cursor')
    const known = this.#cursors.get(name)
    // Another handle may have deleted it.
    if (known !== undefined && !known.cursor?.isDeleted()) return known.made
    const held: Held<Decoded<T>> = { made: this.#makeCursor(name, from) }
    this.#cursors.set(name, held)
    try {
      held.cursor = await held.made
      return held.cursor
    } catch (error) {
      if (this.#cursors.get(name) === held) this.#cursors.delete(name)
      throw error
    }
  }

  async #makeCursor(name: string, from: number): Promise<Cursor<Decoded<T>>> {
    const log: CursorLog<Decoded<T>> = {
      acknowledgedPosition: () => this.acknowledgedPosition,
      read: (from, options, onKept) => this.#read(from, options, onKept),
      checkOpen: (operation) => this.#checkOpen(operation),
    }
    const { cursor } = await this.#environment.request(this.#environment.native.cursor(this.#channel.log, name, from))
    if (cursor === undefined || this.#closed !== undefined) throw closed('cursor')
    return new Cursor(name, log, this.#environment, cursor)
  }

  /**
   * All cursors with their positions, in the order of their names' bytes.
   *
   * Throws `ERR_WAL_CORRUPT`, `ERR_WAL_FORMAT` or `ERR_WAL_IO` when the file of the cursors does not read, `ERR_WAL_READ_ONLY` or
   * `ERR_WAL_CLOSED`.
   */
  cursors(): CursorPosition[] {
    this.#checkOpen('cursors')
    const cursors = this.#environment.native.cursors(this.#channel.log)
    if (cursors === null) throw this.#environment.refusal()
    return cursors
  }

  /**
   * Position of the first record that can be read; `nextPosition` in an empty log. In mode `'readOnly'` this and the other positions
   * follow the writer in another process within milliseconds, without a read.
   */
  get firstPosition(): number {
    return this.#channel.positions()[FIRST]
  }

  /** Position that the next record appended will get. */
  get nextPosition(): number {
    return this.#channel.positions()[NEXT]
  }

  /** Last position handed to the operating system, 0 when none. It survives a crash of the process. */
  get writtenPosition(): number {
    return this.#channel.positions()[WRITTEN]
  }

  /** Last position acknowledged, 0 when none: readers see the log up to here. */
  get acknowledgedPosition(): number {
    return this.#channel.positions()[ACKNOWLEDGED]
  }

  /** Last position that survives power loss, 0 when none. */
  get durablePosition(): number {
    return this.#channel.positions()[DURABLE_POSITION]
  }

  /** Bytes accepted and not yet acknowledged, of the whole log. */
  get pendingBytes(): number {
    return this.#channel.positions()[PENDING_BYTES]
  }

  /** Whether `close()` has been called on this handle. */
  get closed(): boolean {
    return this.#closed !== undefined
  }

  /** Counters and histograms since the log was opened in this process, and how things stand. After closing, the last ones. Does no I/O. */
  stats(): WalStats {
    return this.#channel.stats()
  }

  /**
   * Copies the log as it is durable now into a directory, which is created and must be empty, while it is appended to, rolled and
   * truncated. Sealed segments become hard links, or clones, where the file system can; the rest is copied. The copy opens as a log of
   * its own with the positions of the original, which end at `lastPosition`, and goes on from there apart from the original. It has the
   * cursors of the original, none of them past its end.
   *
   * In a handle that only reads it copies what the writer has made durable, or what a writer that is gone has left.
   *
   * Rejects with `ERR_WAL_FORMAT` (not empty), `ERR_WAL_INVALID_ARG` (in the directory of the log), `ERR_WAL_LOCKED` (another backup or a
   * log is open there), `ERR_WAL_CORRUPT`, `ERR_WAL_TRUNCATED` (truncation has overtaken it again and again), `ERR_WAL_NO_SPACE`, `ERR_WAL_IO`, `ERR_WAL_CLOSED` or an `AbortError`; then nothing but an
   * empty directory is left. After a crash in the middle the directory does not open as a log.
   */
  async backup(dir: string, options?: BackupOptions): Promise<BackupReport> {
    const checked = checkBackup(dir, options)
    this.#checkOpen('backup')
    const native = this.#environment.native.backup(this.#channel.log, absolute(dir, 'backup'))
    if (native === null) throw closed('backup')
    try {
      return await runBackup(this.#environment, native, checked, () => this.#checkOpen('backup'))
    } catch (error) {
      tellCorrupt(this.dir, error)
      throw error
    }
  }

  /**
   * Closes this handle: appends are refused from now on, what was accepted is settled and made durable under every policy, and readers
   * end with `ERR_WAL_CLOSED`. The last handle releases the log. Idempotent: gives the same promise again.
   *
   * Rejects with `ERR_WAL_POISONED` after a failed fsync, with `ERR_WAL_DETACHED` where the directory is not at its path any more, and with
   * the failure of a record that was enqueued. The log is released all the same.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  #close(): Promise<void> {
    forgotten.unregister(this)
    this.#isPlain = false
    this.#handle.isClosed = true
    for (const reader of this.#handle.readers) reader.deref()?.close()
    for (const scrub of this.#scrubs) scrub.stop(closed('scrub'))
    for (const { made } of this.#cursors.values()) made.then((cursor) => cursor.release()).catch(() => {})
    return this.#channel.leave()
  }

  /** Closes, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #checkOpen(operation: string): void {
    if (this.#closed !== undefined) throw closed(operation)
  }

  /** The channel, while the handle is open. */
  #openChannel(operation: string): Channel {
    if (this.#closed !== undefined) throw closed(operation)
    return this.#channel
  }

  #heeding(terms: Terms, callee: Callee): Terms {
    return this.#captureStacks ? { ...terms, heed: this.#traced(terms.heed, callee) } : terms
  }

  #traced(heed: Heed | undefined, callee: Callee): Heed | undefined {
    return this.#captureStacks ? { signal: heed?.signal, site: callSite(callee) } : heed
  }

  [Symbol.for('nodejs.util.inspect.custom')](_depth: number, options: InspectOptions): string {
    const { dir, firstPosition, nextPosition, acknowledgedPosition, durablePosition, closed } = this
    const shown = { dir, firstPosition, nextPosition, acknowledgedPosition, durablePosition, closed }
    return `Wal ${inspect(shown, options)}`
  }
}
