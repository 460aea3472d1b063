// The log as a program sees it.

import { resolve } from 'node:path'
import { inspect, type InspectOptions } from 'node:util'
import { runBackup, type BackupReport } from './backup.js'
import { ACKNOWLEDGED, DURABLE_POSITION, FIRST, NEXT, PENDING_BYTES, WRITTEN, type BatchPositions, type Channel } from './channel.js'
import { Cursor, type CursorLog, type CursorPosition } from './cursor.js'
import { currentEnvironment, type Environment } from './environment.js'
import { closed, invalid } from './errors.js'
import {
  checkAppend,
  checkBackup,
  checkCursor,
  checkOpen,
  checkPosition,
  checkRead,
  checkScrub,
  type AppendOptions,
  type BackupOptions,
  type CursorOptions,
  type ReadOptions,
  type ScrubOptions,
  type WalOptions,
} from './options.js'
import { WalReader, type ReadRange } from './reader.js'
import { Entry, isBytes, toEntry, type RecordInit } from './record.js'
import { recoveryReport, type RecoveryReport, type Verification, type WalStats } from './reports.js'
import { Verifying } from './verify.js'

// A handle that is garbage without having been closed must not keep the log, and its lock, for ever.
const forgotten = new FinalizationRegistry<Channel>((channel) => channel.leave().catch(() => {}))

/** What an open handle is made of. */
interface Opened {
  environment: Environment
  channel: Channel
  dir: string
  recovery: RecoveryReport
}

/**
 * An open write-ahead log: one directory, one writer.
 *
 * Records get dense positions 1, 2, 3 … in the order of the calls, and promises are resolved in that order. An idle log does not keep the
 * process alive; whatever is waited for does.
 */
export class Wal {
  /** The directory, absolute. */
  readonly dir: string
  /** What opening found, and did. */
  readonly recovery: RecoveryReport
  readonly #environment: Environment
  readonly #channel: Channel
  readonly #readers = new Set<WeakRef<WalReader>>()
  readonly #scrubs = new Set<Verifying>()
  readonly #cursors = new Map<string, Promise<Cursor>>()
  #stats: WalStats | undefined
  #closed: Promise<void> | undefined

  /** Use {@link Wal.open}. */
  private constructor({ environment, channel, dir, recovery }: Opened) {
    this.#environment = environment
    this.#channel = channel
    this.dir = dir
    this.recovery = recovery
    forgotten.register(this, channel, this)
  }

  /**
   * Opens the log in a directory, creating both when they are missing. After a crash it recovers by itself.
   *
   * A log open already in this process, worker threads included, gets one more handle; the options must be equal.
   *
   * Rejects with `ERR_WAL_INVALID_ARG`, `ERR_WAL_LOCKED` (another process has it open), `ERR_WAL_NOT_FOUND` (with `create: false`),
   * `ERR_WAL_CORRUPT`, `ERR_WAL_FORMAT`, `ERR_WAL_NO_SPACE`, `ERR_WAL_IO` or `ERR_WAL_NATIVE_NOT_FOUND`.
   */
  static async open(dir: string, options?: WalOptions): Promise<Wal> {
    const checked = checkOpen(dir, options)
    const absolute = resolve(dir)
    const environment = await currentEnvironment()
    const { native } = environment
    const { log, identity } = await environment.request(native.open(absolute, checked))
    if (log === undefined || identity === undefined) throw closed('open')
    const recovery = recoveryReport(native.recovery(log))
    return new Wal({ environment, channel: await environment.join(log, identity), dir: absolute, recovery })
  }

  /**
   * Appends one record: a string or bytes (a value without a key), what `Record.put` or `Record.delete` made, or a plain object with
   * its fields. The input has been copied when the call returns.
   *
   * Resolves to the record's position once it is acknowledged: with `fsync: 'always'`, the default, or with `durable: true` it is on
   * the disk then, otherwise it has been handed to the operating system.
   *
   * Rejects at once, and takes no position, with `ERR_WAL_INVALID_ARG`, `ERR_WAL_TOO_LARGE`, `ERR_WAL_BACKPRESSURE`, `ERR_WAL_CONFLICT`
   * (with `expect`), `ERR_WAL_CLOSED`, `ERR_WAL_NO_SPACE` or `ERR_WAL_POISONED`; later with `ERR_WAL_NO_SPACE` (it is not in the log) or `ERR_WAL_POISONED` (unknown).
   */
  append(input: string | Uint8Array | RecordInit, options?: AppendOptions): Promise<number> {
    try {
      const terms = checkAppend(options)
      this.#checkOpen('append')
      if (input instanceof Entry) return this.#channel.append(input, terms)
      if (isBytes(input)) return this.#channel.appendValue(input, terms)
      return this.#channel.append(toEntry(input), terms)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Appends records as one atomic unit: after a crash all of them are in the log, or none. Otherwise like {@link Wal.append}; a batch
   * above `maxBatchBytes` is `ERR_WAL_TOO_LARGE`, one without records `ERR_WAL_INVALID_ARG`.
   */
  appendBatch(records: Iterable<string | Uint8Array | RecordInit>, options?: AppendOptions): Promise<BatchPositions> {
    try {
      const terms = checkAppend(options)
      this.#checkOpen('append')
      if (typeof records === 'string' || typeof records?.[Symbol.iterator] !== 'function') {
        throw invalid('records must be an iterable of records', 'append')
      }
      // All of them before the first is taken: an iterator, or a getter, may call us again.
      const entries: Entry[] = []
      for (const record of records) {
        if (record instanceof Entry) entries.push(record)
        else entries.push(isBytes(record) ? new Entry(undefined, record, false, undefined, undefined) : toEntry(record))
      }
      if (entries.length === 0) throw invalid('records must not be empty', 'append')
      this.#checkOpen('append')
      return this.#channel.appendBatch(entries, terms)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /**
   * Appends like {@link Wal.append} and returns the position at once, without a promise. The position is final once acknowledged: see
   * `acknowledgedPosition`, or wait for `sync()`.
   *
   * Throws when the call is refused. A record refused later is told by the next `sync()` or `close()`, whichever comes first.
   */
  enqueue(input: string | Uint8Array | RecordInit, options?: AppendOptions): number {
    const terms = checkAppend(options)
    this.#checkOpen('append')
    if (input instanceof Entry) return this.#channel.enqueue(input, terms)
    if (isBytes(input)) return this.#channel.enqueueValue(input, terms)
    return this.#channel.enqueue(toEntry(input), terms)
  }

  /**
   * Resolves when everything accepted so far is durable. Rejects with `ERR_WAL_CLOSED`, `ERR_WAL_POISONED` or `ERR_WAL_NO_SPACE`, and
   * with the failure of a record that was enqueued.
   */
  sync(): Promise<void> {
    try {
      this.#checkOpen('sync')
      return this.#channel.sync()
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
   * Rejects with `ERR_WAL_OUT_OF_RANGE` above `nextPosition`, `ERR_WAL_INVALID_ARG`, `ERR_WAL_CLOSED`, `ERR_WAL_POISONED`,
   * `ERR_WAL_NO_SPACE` (only where the log was opened on a disk so full that it could not go on) or `ERR_WAL_IO` (a file could not be
   * removed; the log starts at `position` all the same).
   */
  truncateBefore(position: number): Promise<void> {
    return this.#command('truncateBefore', position, 1)
  }

  /**
   * Makes `position` the last of the log: whatever was accepted after it is removed for good, and the next record appended gets the
   * position after it, from this call on. `firstPosition - 1` empties the log. What is kept is durable when the promise resolves; the kept
   * part of an atomic batch is a smaller batch. Readers that are past `position` end with `ERR_WAL_TRUNCATED`, others end there; cursors
   * that are past it go back to it, durably, and emit `'truncated'`.
   *
   * Rejects with `ERR_WAL_OUT_OF_RANGE` at `nextPosition` or above, `ERR_WAL_TRUNCATED` below `firstPosition - 1`, `ERR_WAL_INVALID_ARG`,
   * `ERR_WAL_CLOSED` or `ERR_WAL_POISONED`; with `ERR_WAL_NO_SPACE`, `ERR_WAL_CORRUPT` or `ERR_WAL_IO` nothing was removed, and what was
   * appended since the call is rejected likewise.
   */
  truncateAfter(position: number): Promise<void> {
    return this.#command('truncateAfter', position, 0)
  }

  /**
   * Empties the log, which goes on at `position`, be that below or above where it was: for the installation of a snapshot. It has
   * happened, durably, when the promise resolves; `nextPosition` is `position` from this call on. Readers end with `ERR_WAL_TRUNCATED`.
   *
   * Rejects like {@link Wal.truncateAfter}; any position from 1 on is in range.
   */
  reset(position: number): Promise<void> {
    return this.#command('reset', position, 1)
  }

  #command(name: 'truncateBefore' | 'truncateAfter' | 'reset', position: number, least: number): Promise<void> {
    try {
      checkPosition(position, least, name)
      this.#checkOpen(name)
      return this.#channel[name](position)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** Resolves when no more than half of `maxPendingBytes` is waiting; at once if that is so already. For use after `ERR_WAL_BACKPRESSURE`. */
  drain(): Promise<void> {
    return this.#channel.drain()
  }

  /**
   * Reads records in order, from a position, from the first (`'start'`) or from after the last (`'end'`), up to what was acknowledged at
   * the call, or with `follow` for as long as the log is open. Starting at `nextPosition` gives nothing, or waits.
   *
   * Bad arguments throw `ERR_WAL_INVALID_ARG`, `salvage` on a log that is not open in mode `'readOnly'` rejects with it. The first `next()`
   * rejects with `ERR_WAL_TRUNCATED` or `ERR_WAL_OUT_OF_RANGE`, any one with `ERR_WAL_CORRUPT`, `ERR_WAL_IO`, `ERR_WAL_CLOSED` or an
   * `AbortError`; one that follows also with `ERR_WAL_TRUNCATED` when the log was truncated past its place, and with `ERR_WAL_POISONED`
   * when nothing more can come.
   */
  readFrom(start: number | 'start' | 'end', options?: ReadOptions): WalReader {
    return this.#read(start, options)
  }

  #read(start: number | 'start' | 'end', options: ReadOptions | undefined, onKept?: ReadRange['onKept']): WalReader {
    const { follow = false, to = Infinity, limit = Infinity, salvage = false, copy = false, signal } = checkRead(start, options)
    const from = start === 'start' ? this.firstPosition : start === 'end' ? this.nextPosition : start
    const range = { from, to: Math.min(to, from + limit - 1), follow, salvage, copy, signal, onKept }
    const reader = new WalReader(this.#environment, this.#channel, range, this.#readers)
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
      return await scrub.run((watcher) => this.#environment.native.scrub(this.#channel.log, watcher))
    } finally {
      this.#scrubs.delete(scrub)
    }
  }

  /**
   * The cursor of that name, from 1 to 255 bytes of UTF-8: how far somebody has worked the log off. It is made if there is none, durably
   * when the promise resolves, standing where `start` says. The same handle gives the same object again.
   *
   * Rejects with `ERR_WAL_INVALID_ARG`, `ERR_WAL_TRUNCATED` or `ERR_WAL_OUT_OF_RANGE` (a `start` before the first position or after the
   * next one), `ERR_WAL_TOO_LARGE` (there are 4096 cursors), `ERR_WAL_CORRUPT` (the file of the cursors is damaged; the log itself
   * works), `ERR_WAL_FORMAT`, `ERR_WAL_READ_ONLY`, `ERR_WAL_NO_SPACE`, `ERR_WAL_IO`, `ERR_WAL_POISONED` or `ERR_WAL_CLOSED`.
   */
  async cursor(name: string, options?: CursorOptions): Promise<Cursor> {
    const from = checkCursor(name, options)
    this.#checkOpen('cursor')
    let cursor = this.#cursors.get(name)
    if (cursor === undefined) {
      cursor = this.#makeCursor(name, from)
      this.#cursors.set(name, cursor)
    }
    return cursor
  }

  async #makeCursor(name: string, from: number): Promise<Cursor> {
    const forget = () => this.#cursors.delete(name)
    const log: CursorLog = {
      acknowledgedPosition: () => this.acknowledgedPosition,
      read: (from, options, onKept) => this.#read(from, options, onKept),
      checkOpen: (operation) => this.#checkOpen(operation),
      forget,
    }
    try {
      const { cursor } = await this.#environment.request(this.#environment.native.cursor(this.#channel.log, name, from))
      if (cursor === undefined || this.#closed !== undefined) throw closed('cursor')
      return new Cursor(name, log, this.#environment, cursor)
    } catch (error) {
      forget()
      throw error
    }
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

  /** Position of the first record that can be read; `nextPosition` in an empty log. */
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

  /** Counters and histograms since the log was opened in this process. After closing, the last ones. */
  stats(): WalStats {
    return this.#stats ?? this.#channel.stats()
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
   * log is open there), `ERR_WAL_CORRUPT`, `ERR_WAL_NO_SPACE`, `ERR_WAL_IO`, `ERR_WAL_CLOSED` or an `AbortError`; then nothing but an
   * empty directory is left. After a crash in the middle the directory does not open as a log.
   */
  async backup(dir: string, options?: BackupOptions): Promise<BackupReport> {
    const checked = checkBackup(dir, options)
    this.#checkOpen('backup')
    const native = this.#environment.native.backup(this.#channel.log, resolve(dir))
    if (native === null) throw closed('backup')
    return runBackup(this.#environment, native, checked, () => this.#checkOpen('backup'))
  }

  /**
   * Closes this handle: appends are refused from now on, what was accepted is settled and made durable under every policy, and readers
   * end with `ERR_WAL_CLOSED`. The last handle releases the log. Idempotent: gives the same promise again.
   *
   * Rejects with `ERR_WAL_POISONED` after a failed fsync, and with the failure of a record that was enqueued.
   */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  #close(): Promise<void> {
    forgotten.unregister(this)
    for (const reader of this.#readers) reader.deref()?.close()
    for (const scrub of this.#scrubs) scrub.stop(closed('scrub'))
    for (const cursor of this.#cursors.values()) cursor.then((cursor) => cursor.release()).catch(() => {})
    return this.#channel.leave(() => (this.#stats = this.stats()))
  }

  /** Closes, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #checkOpen(operation: string): void {
    if (this.#closed !== undefined) throw closed(operation)
  }

  [Symbol.for('nodejs.util.inspect.custom')](_depth: number, options: InspectOptions): string {
    const { dir, firstPosition, nextPosition, acknowledgedPosition, durablePosition } = this
    const shown = { dir, firstPosition, nextPosition, acknowledgedPosition, durablePosition, closed: this.#closed !== undefined }
    return `Wal ${inspect(shown, options)}`
  }
}
