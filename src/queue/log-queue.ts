// The operation queue of one log in one environment: submits operations and settles their promises in order.

import { closed, WalError, type OperationContext } from '../errors.js'
import type { Calls } from '../native/calls.js'
import type { Environment, Failure, OpenLog } from '../native/environment.js'
import {
  FLAG_DURABLE,
  FLAG_EXPIRES,
  FLAG_VALUE_BYTES,
  FLAG_VALUE_STRING,
  FLAG_VERSION,
  POSITIONS_LAST_FAILING,
  POSITIONS_LENGTH,
  POSITIONS_MAX_PENDING_BYTES,
  POSITIONS_MAX_RECORD_BYTES,
  POSITIONS_PENDING_BYTES,
  POSITIONS_TRUNCATIONS,
} from '../native/wire.js'
import { EventPublisher, publishCorruption } from '../observe/publish.js'
import type { AppendTerms } from '../options/append.js'
import type { Entry } from '../records/record.js'
import { walStats, type WalStats } from '../reports/stats.js'
import type { Bytes } from '../util/bytes.js'
import { calledFrom, type CallOptions } from '../util/call-options.js'
import { later } from '../util/timing.js'
import { AcceptedPositions } from './accepted-positions.js'
import { Acknowledgements } from './acknowledgements.js'
import { submitBatch } from './batch.js'
import { callPromise, lastReject, lastResolve, newPromise, stackOverflow, type CallPromise } from './call-promise.js'
import { DrainWaiters, isFull, isLongTurn } from './drain-waiters.js'
import { FailureReports, mayFollowFailure } from './failure-reports.js'
import { ForeignRecords } from './foreign-records.js'
import type { OpenReaders } from './open-reader.js'
import { OperationCounter } from './operation-counter.js'
import { PendingOperations, type PendingRun, type Reject } from './pending-operations.js'
import { bytesFlag, recordFlags, termFlags } from './record-flags.js'

/** First and last position of a batch. */
export interface BatchPositions {
  /** Position of the first record of the batch. */
  first: number
  /** Position of the last record of the batch, inclusive. */
  last: number
}

/** A buffered record has no position until it is passed to native code. */
const UNNUMBERED = 0

// Maximum number of buffered records, which are passed to native code in one call.
const MAX_BUFFERED = 1024
// A turn that accepts more operations than this kicks before it ends, so that the disk need not wait.
const KICK_EVERY = 1024
// Limits of the promises settled in one turn of the event loop: a fraction of a millisecond, with the callbacks that they run.
const MIN_SETTLED = 128
const MAX_SETTLED = 1024

/** Why a record was refused, and how its promise is told. */
interface Refusal {
  error: unknown
  reject: Reject
}

/** Records whose promises are still to be rejected: refused ones, and those from one index on to another that were not passed on. */
interface LeftOver {
  error: unknown
  refusals: Refusal[]
  /** Number of refusals that have been delivered. */
  rejected: number
  rejects: Reject[]
  from: number
  to: number
  next: LeftOver | undefined
}

/** Default of the parameter that says which handle an append belongs to. */
const OPEN = { isClosed: false }

/**
 * Submits the operations of one log and settles their promises.
 *
 * Five kinds of state change together here, in an order that the comments explain: the record buffer, the counts, the positions, the
 * promises, and the failures. Each has a class of its own; this class has the order.
 */
export class LogQueue implements OpenLog {
  readonly log: number
  readonly identity: number
  readonly events: EventPublisher
  readonly #environment: Environment
  readonly #calls: Calls
  readonly #count: OperationCounter
  readonly #pending = new PendingOperations()
  readonly #accepted = new AcceptedPositions()
  readonly #acknowledgements = new Acknowledgements()
  readonly #foreign = new ForeignRecords(this)
  readonly #failures = new FailureReports()
  readonly #drain = new DrainWaiters()
  readonly #positions = new Float64Array(POSITIONS_LENGTH)
  /** Operations after the settled ones up to this one have succeeded, and their promises are still to be resolved. */
  #resolvable = 0
  /** The promises of the buffered records. They count as issued, and are passed to native code when the log is kicked at the latest. */
  #buffered: PendingRun | undefined
  /** Records that could not be passed on one by one, because the stack overflowed. */
  #leftOver: LeftOver | undefined
  /** Bytes that may be buffered before the pending bytes have to be queried again. */
  #room = 0
  /** Largest record in bytes that may be buffered. */
  #largest = 0
  /** A failure to report in the next turn, after the promises settled in this turn have run their callbacks. */
  #failure: Failure | undefined
  /** Active readers of all handles. */
  readonly readers: OpenReaders = new Set()
  /** Truncations of the end of the log that the readers know of. */
  #truncations = 0
  #handles = 1
  #isClosing = false
  /** Set when the log is closed. */
  #lastStats: WalStats | undefined

  constructor(environment: Environment, log: number, identity: number, dir: string) {
    this.#environment = environment
    this.#calls = environment.calls
    this.log = log
    this.identity = identity
    this.#count = new OperationCounter(environment, this)
    this.events = new EventPublisher(environment.native, log, dir)
  }

  // The methods below read the fields of an entry once, before they change anything: the fields may be getters, which may call the log
  // again or close it.

  /** Accepts a record and returns its position. */
  enqueue(entry: Entry, terms: AppendTerms, handle = OPEN): number {
    const { key, value, tombstone, expiresAt, version } = entry
    if (handle.isClosed) throw closed('append')
    let flags = termFlags(terms)
    let position
    if (expiresAt === undefined && version === undefined && terms.expect === undefined) {
      this.#prepare()
      position = this.#pass(key, value, tombstone, flags)
    } else {
      const [term, index] = [version?.term, version?.index]
      flags = recordFlags(key, value, tombstone, flags)
      if (expiresAt !== undefined) flags |= FLAG_EXPIRES
      if (version !== undefined) flags |= FLAG_VERSION
      this.#prepare()
      position = this.#calls.append(this.log, key, value, flags, expiresAt, term, index, terms.expect)
    }
    if (position < 0) throw this.#refusal()
    this.#count.issued++
    this.#count.unkicked++
    return (this.#accepted.first = this.#accepted.last = position)
  }

  /** Accepts a value without a key and returns its position. */
  enqueueValue(value: Bytes, terms: AppendTerms): number {
    const { expect } = terms
    let flags = termFlags(terms)
    let position
    if (expect === undefined) {
      this.#prepare()
      position = this.#pass(undefined, value, false, flags)
    } else {
      flags |= bytesFlag('value', value, FLAG_VALUE_STRING, FLAG_VALUE_BYTES)
      this.#prepare()
      position = this.#calls.append(this.log, undefined, value, flags, undefined, undefined, undefined, expect)
    }
    if (position < 0) throw this.#refusal()
    this.#count.issued++
    this.#count.unkicked++
    return (this.#accepted.first = this.#accepted.last = position)
  }

  /**
   * Passes a record to native code and returns its position, negative if it was refused. The record buffer, which is empty, is the quicker
   * way: a call without arguments costs less than one that has to look into them.
   */
  #pass(key: Bytes | undefined, value: Bytes | undefined, tombstone: boolean, terms: number): number {
    const { recordBuffer } = this.#environment
    // The record is no log's until it is passed on, so it is lost if the stack has no room for that call.
    this.#environment.claimBuffer(undefined)
    if (recordBuffer.put(key, value, tombstone, recordBuffer.largest) === 0) {
      return this.#calls.append(this.log, key, value, recordFlags(key, value, tombstone, terms))
    }
    if ((terms & FLAG_DURABLE) !== 0) recordBuffer.durable = true
    return this.#calls.appendFromBuffer(this.log)
  }

  append(entry: Entry, terms: AppendTerms, handle = OPEN): Promise<number> {
    const { key, value, tombstone, expiresAt, version } = entry
    if (handle.isClosed) throw closed('append')
    const buffered = expiresAt === undefined && version === undefined ? this.#bufferRecord(key, value, tombstone, terms) : undefined
    return buffered ?? this.appendNow(entry, terms, handle)
  }

  /**
   * Appends like `append`, but passes the record to native code at once. Throws if the record is refused, unless the rejection has to wait
   * for earlier ones.
   */
  appendNow(entry: Entry, terms: AppendTerms, handle = OPEN): Promise<number> {
    const called = terms.call && callPromise<number>(terms.call, 'append', this.#failures.keep)
    let position
    try {
      position = this.enqueue(entry, terms, handle)
    } catch (error) {
      called?.cancel()
      if (this.#followsFailure(error)) return this.refused(error)
      throw error
    }
    return this.#wait(position, called)
  }

  /** Appends a value without a key, with default options. */
  appendValue(value: Bytes, terms: AppendTerms): Promise<number> {
    return this.#bufferRecord(undefined, value, false, terms) ?? this.#wait(this.enqueueValue(value, terms), undefined)
  }

  /**
   * Buffers a record, so that it is passed to native code together with others, and returns its promise. Returns `undefined` if the record
   * has to be passed by itself.
   *
   * Everything that can throw comes before the record is complete in the buffer. A buffered record without its promise, or a promise without
   * its record, would give every later promise the position of another record.
   */
  #bufferRecord(
    key: Bytes | undefined,
    value: Bytes | undefined,
    tombstone: boolean,
    { durable, expect, call }: AppendTerms
  ): Promise<number> | undefined {
    if (expect !== undefined) return undefined
    const called = call && callPromise<number>(call, 'append', this.#failures.keep)
    const { recordBuffer } = this.#environment
    const buffered = this.#buffered?.size ?? 0
    if (buffered === 0) this.#environment.claimBuffer(this)
    else if (this.#count.unkicked % KICK_EVERY === 0) this.#kickNow()
    else if (recordBuffer.full || buffered === MAX_BUFFERED) this.flush()
    this.#count.prepare()
    const run = (this.#buffered ??= this.#pending.prepare(UNNUMBERED))
    const { size: before } = run
    if (before === 0) run.operation = this.#count.issued + 1
    let promise = called?.promise
    let size = 0
    try {
      if (called === undefined) promise = run.wait<number>()
      else run.add(called.resolve, called.reject)
      if (run.size === before) throw stackOverflow(promise as Promise<number>)
      if (durable) recordBuffer.durable = true
      size = recordBuffer.put(key, value, tombstone, Math.min(this.#largest, this.#room))
    } finally {
      // The record was not buffered, so drop its waiter.
      if (size === 0) run.size = before
    }
    if (size === 0) {
      called?.cancel()
      this.#askForRoom()
      return undefined
    }
    this.#room -= size
    this.#count.issued++
    this.#count.unkicked++
    return promise
  }

  /** Queries how many bytes may be buffered. `#room` is a lower bound: bytes acknowledged since this query are not added back. */
  #askForRoom(): void {
    if (this.#room >= this.#largest && this.#largest > 0) return
    const positions = this.positions()
    this.#room = positions[POSITIONS_MAX_PENDING_BYTES] - positions[POSITIONS_PENDING_BYTES]
    this.#largest = Math.min(positions[POSITIONS_MAX_RECORD_BYTES], this.#environment.recordBuffer.largest)
  }

  /** Accepts the entries as one batch. They belong to this package: their fields do not change, and reading them runs no other code. */
  appendBatch(entries: Entry[], terms: AppendTerms): Promise<BatchPositions> {
    const called = terms.call && callPromise<BatchPositions>(terms.call, 'appendBatch', this.#failures.keep)
    this.#prepare()
    this.#environment.beginBatch()
    let first
    try {
      first = submitBatch(this.#environment, this.log, entries, terms)
      if (first < 0) throw this.#refusal()
    } catch (error) {
      // The next batch, of this log or another, starts empty.
      this.#environment.abortBatch()
      called?.cancel()
      throw error
    }
    this.#count.issued++
    this.#count.unkicked++
    const last = first + entries.length - 1
    this.#accepted.first = first
    this.#accepted.last = last
    return this.#wait({ first, last }, called, { operation: 'appendBatch', position: first })
  }

  /** Syncs the log. Rejects also with the unreported failure of an earlier operation that has no waiting promise. */
  sync(call?: CallOptions): Promise<void> {
    const context = { operation: 'sync' }
    const called = callPromise<void>(call, context.operation, this.#failures.keep)
    try {
      this.#prepare()
      if (this.#calls.sync(this.log) < 0) throw this.#refusal()
    } catch (error) {
      called.cancel()
      throw error
    }
    this.#count.issued++
    this.#count.unkicked++
    const reject = (reason: unknown) => {
      this.#failures.reported()
      called.reject(reason)
    }
    const resolve = () => {
      const { unreported } = this.#failures
      if (unreported === undefined) called.resolve(undefined)
      else reject(unreported)
    }
    this.#pending.begin(this.#count.issued, undefined, undefined, context).add(resolve, reject)
    return called.promise
  }

  /**
   * Resolves once the record at `position` is acknowledged, or with `undefined` every record that this environment has appended. Throws the
   * unreported failure of such a record.
   */
  acknowledged(position: number | undefined, call?: CallOptions): Promise<void> {
    const failure = this.#failures.report(position)
    if (failure !== undefined) throw call?.site === undefined ? failure : calledFrom(failure, call.site)
    const operation = position === undefined ? this.#lastRecord() : this.#operationOf(position)
    if (operation > this.#count.settled) return this.#acknowledgements.wait(operation, call, this.#failures.keep)
    if (position === undefined || this.#foreign.isAcknowledged(position)) return Promise.resolve()
    return this.#foreign.wait(position, call)
  }

  /** Number of the operation that appended the record at this position. It is settled, or 0, if the record is another client's. */
  #operationOf(position: number): number {
    this.#noteAccepted()
    const operation = this.#accepted.operationOf(position)
    if (operation > this.#count.settled) return operation
    this.flush()
    this.#noteAccepted()
    return this.#accepted.operationOf(position)
  }

  /** Number of the last operation that appended a record. Passes on the buffered ones, because some of them may be refused. */
  #lastRecord(): number {
    this.flush()
    this.#noteAccepted()
    return this.#accepted.lastRecord
  }

  /** Notes the positions of what has been passed to native code. */
  #noteAccepted(): void {
    this.#accepted.note(this.#buffered?.size ? this.#buffered.operation - 1 : this.#count.issued, this.#count.settled)
  }

  truncateBefore(position: number, call?: CallOptions): Promise<void> {
    return this.#command('truncateBefore', position, call)
  }

  truncateAfter(position: number, call?: CallOptions): Promise<void> {
    return this.#command('truncateAfter', position, call)
  }

  reset(position: number, call?: CallOptions): Promise<void> {
    return this.#command('reset', position, call)
  }

  #command(operation: 'truncateBefore' | 'truncateAfter' | 'reset', position: number, call: CallOptions | undefined): Promise<void> {
    const called = call && callPromise<void>(call, operation, this.#failures.keep)
    try {
      this.#prepare()
      // A promise for records on both sides of a command could not say which of them failed.
      this.#acknowledgements.kicked(this.#count.issued)
      if (this.#calls[operation](this.log, position) < 0) throw this.#refusal()
    } catch (error) {
      called?.cancel()
      throw error
    }
    this.#count.issued++
    this.#count.unkicked++
    if (operation !== 'truncateBefore') this.#accepted.cut(operation === 'reset' ? 0 : position)
    return this.#wait<void>(undefined, called, { operation, position })
  }

  #refusal(): Error {
    const error = this.#environment.refusal()
    // Earlier failures refuse all appends until they are reported, so `drain` has to wait for that.
    this.#drain.isOutOfRoom ||= this.#followsFailure(error) || (error instanceof WalError && error.code === 'ERR_WAL_BACKPRESSURE')
    return error
  }

  /** Returns the promise of a refused call. */
  refused<T>(error: unknown): Promise<T> {
    return new Promise((_, reject) => this.#refuse(error, reject))
  }

  #refuse(error: unknown, reject: Reject): void {
    if (this.#followsFailure(error)) this.#failures.defer(this.positions()[POSITIONS_LAST_FAILING], () => reject(error))
    else reject(error)
  }

  /** Whether a call was refused because operations before it failed, so that its rejection has to come after theirs. */
  #followsFailure(error: unknown): boolean {
    return mayFollowFailure(error) && this.positions()[POSITIONS_LAST_FAILING] > this.#count.settled
  }

  /**
   * Called before an operation is passed to native code. After the operation is accepted it is only counted, without another call: wherever
   * the stack overflows, the counts here and in native code agree.
   */
  #prepare(): void {
    if (this.#count.unkicked > 0 && this.#count.unkicked % KICK_EVERY === 0) this.#kickNow()
    else this.flush()
    this.#accepted.note(this.#count.issued, this.#count.settled)
    this.#count.prepare()
  }

  /** Passes the buffered records to native code, before anything that has to come after them. */
  flush(): void {
    const run = this.#buffered
    if (run === undefined || run.size === 0) return
    this.#accepted.note(run.operation - 1, this.#count.settled)
    this.#pending.link(run)
    // Once native code has accepted the records and cleared the buffer, nothing may be called: the stack might overflow.
    const first = this.#calls.appendBuffered()
    if (first < 0) return this.#appendEach(run)
    this.#buffered = undefined
    run.first = this.#accepted.first = first
    this.#accepted.last = first + run.size - 1
  }

  /** Passes the buffered records to native code and has them committed, in one call. */
  #kickNow(): void {
    const run = this.#buffered
    this.#acknowledgements.kicked(this.#count.issued)
    this.#foreign.kicked()
    if (run === undefined || run.size === 0) return void this.#calls.kick(this.log)
    this.#accepted.note(run.operation - 1, this.#count.settled)
    this.#pending.link(run)
    // As in `flush`.
    const first = this.#calls.appendBufferedAndKick()
    if (first >= 0) {
      this.#buffered = undefined
      run.first = this.#accepted.first = first
      this.#accepted.last = first + run.size - 1
      return
    }
    this.#appendEach(run)
    this.#calls.kick(this.log)
  }

  /** Passes the buffered records one by one after they were refused together, to find out which are refused. */
  #appendEach(run: PendingRun): void {
    const { recordBuffer } = this.#environment
    const records = [...recordBuffer.records()]
    const terms = recordBuffer.durable ? FLAG_DURABLE : 0
    // Until the buffer is clear the records stay buffered if the stack overflows. After that they must not be appended a second time.
    this.#pending.removeNewest(run)
    recordBuffer.clear(this.log)
    this.#buffered = undefined
    this.#count.issued = run.operation - 1
    this.#largest = this.#room = 0
    const refusals: Refusal[] = []
    let [from, rejected] = [0, 0]
    try {
      for (; from < records.length; from++) {
        const { key, value, tombstone } = records[from]
        this.#accepted.note(this.#count.issued, this.#count.settled)
        const position = this.#calls.append(this.log, key, value, recordFlags(key, value, tombstone, terms))
        if (position < 0) {
          refusals.push({ error: this.#refusal(), reject: run.rejects[from] })
        } else {
          this.#count.issued++
          this.#accepted.first = this.#accepted.last = position
          this.#pending.push(this.#count.issued, position, run.resolves[from], run.rejects[from])
        }
      }
      for (; rejected < refusals.length; rejected++) this.#refuse(refusals[rejected].error, refusals[rejected].reject)
      this.#count.checkIdle()
    } catch (error) {
      // The stack is nearly used up, so nothing may be called. The end of the turn rejects what is left.
      this.#leftOver = { error, refusals, rejected, rejects: run.rejects, from, to: records.length, next: this.#leftOver }
    }
  }

  /** Rejects the records of which the stack overflowed while they were passed on one by one. */
  #rejectLeftOver(): void {
    for (let left = this.#leftOver; left !== undefined; left = left.next) {
      this.#leftOver = left.next
      for (const { error, reject } of left.refusals.slice(left.rejected)) this.#refuse(error, reject)
      for (let i = left.from; i < left.to; i++) left.rejects[i](left.error)
      this.#count.checkIdle()
    }
  }

  /** Returns the promise of an operation that has just been accepted. */
  #wait<T>(value: T, called: CallPromise<T> | undefined, context?: OperationContext): Promise<T> {
    const promise = called?.promise ?? newPromise<T>()
    const [resolve, reject] = called === undefined ? [lastResolve, lastReject] : [called.resolve, called.reject]
    if (typeof value === 'number') this.#pending.push(this.#count.issued, value, resolve, reject)
    else this.#pending.begin(this.#count.issued, undefined, value, context).add(resolve, reject)
    return promise
  }

  /** Has what was accepted committed. */
  kick(): void {
    this.#count.kicked()
    this.#rejectLeftOver()
    this.#kickNow()
    // Of what has just been passed on.
    this.#rejectLeftOver()
    this.#count.unrefIfIdle()
  }

  /**
   * Settles promises; false if there are more to settle. One turn settles at most half of the operations in flight, so that what their
   * callbacks append is on its way to the disk while the other half is settled.
   */
  settle(): boolean {
    const most = Math.min(Math.max((this.#count.issued - this.#count.settled) >> 1, MIN_SETTLED), MAX_SETTLED)
    let limit = most
    // A completed commit has made room for what has gathered, which is on its way now.
    this.#acknowledgements.kicked(this.#count.issued)
    this.#informReaders()
    if (this.#failure !== undefined) this.#reject(this.#failure)
    for (;;) {
      limit -= this.#pending.resolve(this.#resolvable, limit)
      limit -= this.#acknowledgements.resolve(this.#resolvable, limit)
      if (this.#pending.has(this.#resolvable) || this.#acknowledgements.has(this.#resolvable)) return false
      this.#count.settle(this.#resolvable)
      // Calling `settled()` confirms that earlier settlements were delivered, so pass on first what was buffered before that.
      this.flush()
      const settled = this.#calls.settled(this.log)
      // Publish events before resolving the promises of the same commit.
      if (settled !== this.#resolvable) this.events.publishRecorded()
      if (settled < 0) {
        this.#failure = this.#environment.failure()
        // Callbacks of the promises settled just now may append. Report the failure in the next turn, so that those appends are refused
        // behind it.
        if (limit < most) return false
        this.#reject(this.#failure)
      } else if (settled > this.#resolvable) this.#resolvable = settled
      else break
    }
    this.#drain.isOutOfRoom = false
    if (!this.#drain.isEmpty) isFull(this.positions()) ? this.#awaitOthers() : this.#drain.resolveAll()
    return true
  }

  /** Informs readers of truncations before the promises of the truncations resolve: they may hold records that are no longer in the log. */
  #informReaders(): void {
    const truncations = this.readers.size === 0 ? this.#truncations : this.positions()[POSITIONS_TRUNCATIONS]
    if (truncations === this.#truncations) return
    this.#truncations = truncations
    for (const reader of this.readers) reader.deref()?.onTruncation()
  }

  #reject(failure: Failure): void {
    this.#failure = undefined
    publishCorruption(this.events.dir, failure.error)
    const { upTo, error } = failure
    const { settled } = this.#count
    this.#noteAccepted()
    const rejected = { operation: 'append', position: this.#accepted.firstAfter(settled, upTo) }
    this.#failures.reject(this.#pending, settled, failure, this.#acknowledgements.lastReported(upTo), (after, to) =>
      this.#accepted.firstAfter(after, to)
    )
    this.#acknowledgements.reject(upTo, error, rejected)
    this.#accepted.rejected()
    this.#resolvable = failure.upTo
    this.#count.settle(failure.upTo)
    this.#failures.rejectRefused(failure.upTo)
  }

  /** Resolves when everything accepted has been settled. */
  idle(): Promise<void> {
    return this.#count.idle()
  }

  /**
   * Resolves when no more than half of the allowed pending bytes, and no more than 4 MiB, are pending.
   *
   * After a refusal it waits until something has been settled. Otherwise a record that needs more than the other half of the room would be
   * refused again and again, and nothing else would get its turn. After a turn that has accepted much it resolves in the next turn.
   * Otherwise, with a fast disk, a caller that drains now and then would never leave the event loop to others.
   */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      if (!isFull(this.positions()) && !this.#drain.isOutOfRoom) {
        if (isLongTurn(this.#count.unkicked, this.#positions)) later(resolve)
        else resolve()
        return
      }
      this.#drain.add(resolve)
      this.#awaitOthers()
    })
  }

  /**
   * If this environment has no operation in flight, the pending bytes belong to other environments. Issues a sync, whose settlement then
   * resolves the drain.
   */
  #awaitOthers(): void {
    if (!this.#count.isIdle) return
    try {
      // Unlike `sync()`, this does not consume the unreported failure.
      this.#prepare()
      if (this.#calls.sync(this.log) < 0) throw this.#refusal()
      this.#count.issued++
      this.#count.unkicked++
      this.#wait<void>(undefined, undefined, { operation: 'sync' }).catch(() => this.#drain.resolveAll())
    } catch {
      this.#drain.resolveAll()
    }
  }

  /** Positions of the log, valid until the next call; after closing, the last ones. */
  positions(): Float64Array {
    this.flush()
    this.#calls.positions(this.log, this.#positions)
    return this.#positions
  }

  /** Statistics of the log; after closing, the last ones. */
  stats(): WalStats {
    if (this.#lastStats !== undefined) return this.#lastStats
    this.flush()
    this.events.listen()
    return walStats(this.#environment.native.stats(this.log))
  }

  /** The log is closing, everything has been settled, and no more operations will come. */
  get isQuiet(): boolean {
    return this.#isClosing && this.#count.isIdle
  }

  /** Adds a handle; false if the last one has already left. */
  enter(): boolean {
    if (this.#isClosing) return false
    this.#handles++
    return true
  }

  /** Removes a handle: settles everything accepted so far and makes it durable. The last one closes the log. */
  async leave(): Promise<void> {
    if (--this.#handles > 0) return this.sync()
    this.#isClosing = true
    await this.idle()
    try {
      await this.#environment.request(this.#environment.native.close(this.log))
    } finally {
      this.positions()
      this.#lastStats = this.stats()
      this.events.publish()
      this.#environment.remove(this)
    }
    const { unreported } = this.#failures
    if (unreported !== undefined) throw unreported
  }
}
