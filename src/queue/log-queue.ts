// The operation queue of one log in one environment: submits operations and settles their promises in order.

import { checkArray, checkText, lengthOf, type Bytes } from '../util/bytes.js'
import { Diagnostics, tellCorrupt } from '../observe/diagnostics.js'
import type { Environment, Failure } from '../native/environment.js'
import { abandoned, AbortError, befell, calledFrom, closed, WalError, type Asked } from '../errors.js'
import { aborts, type Heed } from '../util/call-options.js'
import type { Calls, NativeReader, Manner, Resumed } from '../native/load.js'
import type { Terms } from '../options/options.js'
import type { ReadStart, WalReader } from '../read/reader.js'
import { checkShape, type Entry } from '../records/record.js'
import { walStats, type WalStats } from '../reports/reports.js'
import { isAborted } from '../util/signals.js'
import { later } from '../util/timing.js'
import { Waiters, type Reject, type Resolve, type Run } from './pending-operations.js'
import {
  FLAG_DURABLE,
  FLAG_EXPECT,
  FLAG_EXPIRES,
  FLAG_KEY_BYTES,
  FLAG_KEY_STRING,
  FLAG_TOMBSTONE,
  FLAG_VALUE_BYTES,
  FLAG_VALUE_STRING,
  FLAG_VERSION,
  POSITIONS_LAST_FAILING,
  POSITIONS_LENGTH,
  POSITIONS_MAX_PENDING_BYTES,
  POSITIONS_MAX_RECORD_BYTES,
  POSITIONS_PENDING_BYTES,
  POSITIONS_TRUNCATIONS,
  START_END,
  START_FIRST,
} from '../native/wire.js'

/** First and last position of a batch. */
export interface BatchPositions {
  /** Position of the first record of the batch. */
  first: number
  /** Position of the last record of the batch, inclusive. */
  last: number
}

/** A staged record has no position until it is passed to native code. */
const UNNUMBERED = 0

// Maximum number of staged records, which are passed to native code in one call.
const STAGED = 512
// A turn that accepts more operations than this kicks the commit thread before it ends, so that the disk need not wait.
const KICK_EVERY = 1024
// Operations and bytes accepted in one turn above which `drain()` ends the turn: a fraction of a millisecond of work.
const LONG_TURN = 1024
const LONG_TURN_BYTES = 1 << 20
// Pending bytes that keep the disk busy until more come. Much larger groups are slower to gather and to write.
const DRAINED_BYTES = 4 << 20
// Limits of the promises settled in one turn of the event loop: a fraction of a millisecond, with the callbacks that they run.
const LEAST_SETTLED = 128
const MOST_SETTLED = 1024

/** Error codes that refuse an append to a log open for writing only because an earlier operation failed. */
const FAILED_BEFORE = new Set(['ERR_WAL_NO_SPACE', 'ERR_WAL_READ_ONLY', 'ERR_WAL_IO', 'ERR_WAL_CORRUPT', 'ERR_WAL_TRUNCATED'])

// Executor that stores a promise's functions in variables, so that no closure is made per promise.
let resolve: Resolve
let reject: Reject
let isCaptured = false
const capture = (res: (value: never) => void, rej: Reject): void => {
  resolve = res as Resolve
  reject = rej
  isCaptured = true
}

/** Creates a promise and captures its functions in `resolve` and `reject`. */
function promised<T>(): Promise<T> {
  isCaptured = false
  const promise = new Promise<T>(capture)
  if (!isCaptured) throw withoutStack(promise)
  return promise
}

/**
 * The error if a promise's executor did not run: when the stack overflows there, `new Promise` returns a rejected promise instead of
 * throwing.
 */
function withoutStack(promise: Promise<unknown>): Error {
  promise.catch(() => {})
  return new RangeError('Maximum call stack size exceeded')
}

const termFlags = ({ durable, expect }: Terms): number => (durable ? FLAG_DURABLE : 0) | (expect === undefined ? 0 : FLAG_EXPECT)

/**
 * Checks a key or value that is passed to native code by itself and returns its flag. Native code would misread a value that is refused
 * here.
 */
function flagFor(name: string, bytes: Bytes, ifString: number, ifBytes: number): number {
  if (typeof bytes === 'string') {
    checkText(name, bytes, 'append')
    return ifString
  }
  let length = 0
  try {
    length = lengthOf(bytes)
  } catch {
    // Not a typed array, or an object that only inherits from one.
  }
  if (length === 0) checkArray(name, bytes, 'append')
  return ifBytes
}

function flagsFor(key: Bytes | undefined, value: Bytes | undefined, tombstone: boolean, terms: number): number {
  checkShape(key, value, tombstone, 'append')
  let flags = tombstone ? terms | FLAG_TOMBSTONE : terms
  if (key !== undefined) flags |= flagFor('key', key, FLAG_KEY_STRING, FLAG_KEY_BYTES)
  if (value !== undefined) flags |= flagFor('value', value, FLAG_VALUE_STRING, FLAG_VALUE_BYTES)
  return flags
}

/** The part of a log handle that matters here. */
interface Open {
  isClosed: boolean
}

const OPEN: Open = { isClosed: false }

/** A promise with the functions that settle it. */
interface Heeded<T> {
  promise: Promise<T>
  resolve: Resolve
  reject: Reject
  /** Removes the listener from the signal, for a promise that will not be settled. */
  leave(): void
}

export class Channel {
  readonly log: number
  readonly identity: number
  readonly diagnostics: Diagnostics
  readonly #environment: Environment
  readonly #calls: Calls
  readonly #waiters = new Waiters()
  readonly #positions = new Float64Array(POSITIONS_LENGTH)
  /** Operations are counted from 1, here and in the engine: an append, batch, sync or truncation counts when it is accepted. */
  #issued = 0
  #settled = 0
  /** Operations after `#settled` up to this one have succeeded, and their promises are still to be resolved. */
  #succeeded = 0
  /** Operations accepted since the kick at the end of the last turn. */
  #unkicked = 0
  /** A kick is scheduled for the end of this turn. */
  #isKickDue = false
  /** The event loop is kept alive for operations that have been issued or are about to be. */
  #isHolding = false
  /** The staged records. They count as issued, and are passed to native code at the end of the turn at the latest. */
  #staged: Run | undefined
  /** Bytes that may be staged before the pending bytes have to be queried again. */
  #room = 0
  /** Largest record in bytes that may be staged. */
  #largest = 0
  /** A failure to report in the next turn, after the promises settled in this turn have run their callbacks. */
  #failure: Failure | undefined
  /** Calls refused because operations up to `after` failed. They are rejected after those operations, and before later ones settle. */
  #late: { after: number; tell: () => void }[] = []
  /** Failure of an operation without a waiting promise. The next `sync()` or the closing reports it. */
  #unheard: WalError | undefined
  /** Active readers of all handles. Held weakly, so that an unreferenced reader can be collected. */
  readonly readers = new Set<WeakRef<WalReader<unknown>>>()
  #cuts = 0
  #handles = 1
  #closing = false
  #idle: (() => void)[] = []
  #drained: (() => void)[] = []
  /** An append was refused for want of room, and nothing has been settled since. */
  #isOutOfRoom = false
  /** Set when the log is closed. */
  #lastStats: WalStats | undefined

  constructor(environment: Environment, log: number, identity: number, dir: string) {
    this.#environment = environment
    this.#calls = environment.calls
    this.log = log
    this.identity = identity
    this.diagnostics = new Diagnostics(environment.native, log, dir)
  }

  // The methods below read the fields of an entry once, before they change anything: the fields may be getters, which may call the log
  // again or close it.

  /** Accepts a record and returns its position. */
  enqueue(entry: Entry, terms: Terms, handle = OPEN): number {
    const { key, value, tombstone, expiresAt, version } = entry
    if (handle.isClosed) throw closed('append')
    let flags = flagsFor(key, value, tombstone, termFlags(terms))
    const { log } = this
    let position
    if (expiresAt === undefined && version === undefined && terms.expect === undefined) {
      this.#prepare()
      position = this.#calls.append(log, key, value, flags)
    } else {
      const [term, index] = [version?.term, version?.index]
      if (expiresAt !== undefined) flags |= FLAG_EXPIRES
      if (version !== undefined) flags |= FLAG_VERSION
      this.#prepare()
      position = this.#calls.append(log, key, value, flags, expiresAt, term, index, terms.expect)
    }
    if (position < 0) throw this.#refusal()
    this.#issued++
    this.#unkicked++
    return position
  }

  /** Accepts a value without a key and returns its position. */
  enqueueValue(value: Bytes, terms: Terms): number {
    const flags = flagFor('value', value, FLAG_VALUE_STRING, FLAG_VALUE_BYTES) | termFlags(terms)
    const { expect } = terms
    this.#prepare()
    const position =
      expect === undefined
        ? this.#calls.append(this.log, undefined, value, flags)
        : this.#calls.append(this.log, undefined, value, flags, undefined, undefined, undefined, expect)
    if (position < 0) throw this.#refusal()
    this.#issued++
    this.#unkicked++
    return position
  }

  append(entry: Entry, terms: Terms, handle = OPEN): Promise<number> {
    const { key, value, tombstone, expiresAt, version } = entry
    if (handle.isClosed) throw closed('append')
    const staged = expiresAt === undefined && version === undefined ? this.#stage(key, value, tombstone, terms) : undefined
    return staged ?? this.appendNow(entry, terms, handle)
  }

  /**
   * Appends like `append`, but passes the record to native code at once. Throws if the record is refused, unless the rejection has to wait
   * for earlier ones.
   */
  appendNow(entry: Entry, terms: Terms, handle = OPEN): Promise<number> {
    const heeded = terms.heed && this.#heeded<number>(terms.heed, 'append')
    let position
    try {
      position = this.enqueue(entry, terms, handle)
    } catch (error) {
      heeded?.leave()
      if (this.#isLate(error)) return this.refused(error)
      throw error
    }
    return this.#wait(position, heeded)
  }

  /** Appends a value without a key, with default options. */
  appendValue(value: Bytes, terms: Terms): Promise<number> {
    return this.#stage(undefined, value, false, terms) ?? this.#wait(this.enqueueValue(value, terms), undefined)
  }

  /**
   * Stages a record, so that it is passed to native code together with others, and returns its promise. Returns `undefined` if the record
   * has to be passed by itself.
   *
   * Everything that can throw comes before the record is complete on the stage. A staged record without its promise, or a promise without
   * its record, would give every later promise the position of another record.
   */
  #stage(
    key: Bytes | undefined,
    value: Bytes | undefined,
    tombstone: boolean,
    { durable, expect, heed }: Terms
  ): Promise<number> | undefined {
    if (expect !== undefined) return undefined
    const heeded = heed && this.#heeded<number>(heed, 'append')
    const { stage } = this.#environment
    const staged = this.#staged?.size ?? 0
    if (staged === 0) this.#environment.clearStageFor(this)
    else if (this.#unkicked % KICK_EVERY === 0) this.#kickNow()
    else if (stage.full || staged === STAGED) this.flush()
    this.#arm()
    const run = (this.#staged ??= this.#waiters.prepare(UNNUMBERED))
    const { size: before } = run
    if (before === 0) run.operation = this.#issued + 1
    let promise = heeded?.promise
    let size = 0
    try {
      if (heeded === undefined) promise = run.wait<number>()
      else run.add(heeded.resolve, heeded.reject)
      if (run.size === before) throw withoutStack(promise as Promise<number>)
      if (durable) stage.durable = true
      size = stage.put(key, value, tombstone, Math.min(this.#largest, this.#room))
    } finally {
      // The record was not staged, so drop its waiter.
      if (size === 0) run.size = before
    }
    if (size === 0) {
      heeded?.leave()
      this.#askForRoom()
      return undefined
    }
    this.#room -= size
    this.#issued++
    this.#unkicked++
    return promise
  }

  /** Queries how many bytes may be staged. `#room` is a lower bound: bytes acknowledged since this query are not added back. */
  #askForRoom(): void {
    if (this.#room >= this.#largest && this.#largest > 0) return
    const positions = this.positions()
    this.#room = positions[POSITIONS_MAX_PENDING_BYTES] - positions[POSITIONS_PENDING_BYTES]
    this.#largest = Math.min(positions[POSITIONS_MAX_RECORD_BYTES], this.#environment.stage.largest)
  }

  /** Accepts the entries as one batch. They belong to this package: their fields do not change, and reading them runs no other code. */
  appendBatch(entries: Entry[], terms: Terms): Promise<BatchPositions> {
    const heeded = terms.heed && this.#heeded<BatchPositions>(terms.heed, 'appendBatch')
    this.#prepare()
    const { log } = this
    this.#environment.beginBatch()
    let first
    try {
      const { stage } = this.#environment
      for (const { key, value, tombstone, expiresAt, version } of entries) {
        if (stage.full) this.#pushed(this.#calls.pushAll(log))
        if (expiresAt === undefined && version === undefined && stage.put(key, value, tombstone, stage.largest) > 0) continue
        this.#pushed(this.#calls.pushAll(log))
        let flags = flagsFor(key, value, tombstone, 0)
        if (expiresAt !== undefined) flags |= FLAG_EXPIRES
        if (version !== undefined) flags |= FLAG_VERSION
        this.#pushed(this.#calls.push(log, key, value, flags, expiresAt, version?.term, version?.index))
      }
      this.#pushed(this.#calls.pushAll(log))
      first = this.#calls.commit(log, termFlags(terms), terms.expect)
      this.#environment.batchIsLeft = false
      if (first < 0) throw this.#refusal()
    } catch (error) {
      // The next batch, of this log or another, starts empty.
      this.#environment.abortBatch()
      heeded?.leave()
      throw error
    }
    this.#issued++
    this.#unkicked++
    return this.#wait({ first, last: first + entries.length - 1 }, heeded, { operation: 'appendBatch', position: first })
  }

  /** Clears the stage, whose records are now in the batch; throws if they were refused. */
  #pushed(answer: number): void {
    if (answer < 0) throw this.#environment.refusal()
    this.#environment.stage.clear(undefined)
  }

  /** Syncs the log. Rejects also with the unreported failure of an earlier operation that has no waiting promise. */
  sync(heed?: Heed): Promise<void> {
    const asked = { operation: 'sync' }
    const heeded = this.#heeded<void>(heed, asked.operation)
    try {
      this.#prepare()
      if (this.#calls.sync(this.log) < 0) throw this.#refusal()
    } catch (error) {
      heeded.leave()
      throw error
    }
    this.#issued++
    this.#unkicked++
    const failed = (reason: unknown) => {
      this.#unheard = undefined
      heeded.reject(reason)
    }
    const done = () => (this.#unheard === undefined ? heeded.resolve(undefined) : failed(this.#unheard))
    this.#waiters.begin(this.#issued, undefined, undefined, asked).add(done, failed)
    return heeded.promise
  }

  truncateBefore(position: number, heed?: Heed): Promise<void> {
    return this.#command('truncateBefore', position, heed)
  }

  truncateAfter(position: number, heed?: Heed): Promise<void> {
    return this.#command('truncateAfter', position, heed)
  }

  reset(position: number, heed?: Heed): Promise<void> {
    return this.#command('reset', position, heed)
  }

  #command(operation: 'truncateBefore' | 'truncateAfter' | 'reset', position: number, heed: Heed | undefined): Promise<void> {
    const heeded = heed && this.#heeded<void>(heed, operation)
    try {
      this.#prepare()
      if (this.#calls[operation](this.log, position) < 0) throw this.#refusal()
    } catch (error) {
      heeded?.leave()
      throw error
    }
    this.#issued++
    this.#unkicked++
    return this.#wait<void>(undefined, heeded, { operation, position })
  }

  #refusal(): Error {
    const error = this.#environment.refusal()
    // Earlier failures refuse all appends until they are reported, so `drain` has to wait for that.
    this.#isOutOfRoom ||= this.#isLate(error) || (error instanceof WalError && error.code === 'ERR_WAL_BACKPRESSURE')
    return error
  }

  /** Returns the promise of a refused call. */
  refused<T>(error: unknown): Promise<T> {
    return new Promise((_, reject) => this.#refuse(error, reject))
  }

  #refuse(error: unknown, reject: Reject): void {
    if (this.#isLate(error)) this.#late.push({ after: this.positions()[POSITIONS_LAST_FAILING], tell: () => reject(error) })
    else reject(error)
  }

  /**
   * Whether a call was refused because earlier operations failed, so that its rejection has to come after theirs. If it was rejected at
   * once, a caller that appends again in response would be refused in the same turn forever.
   */
  #isLate(error: unknown): boolean {
    return error instanceof WalError && FAILED_BEFORE.has(error.code) && this.positions()[POSITIONS_LAST_FAILING] > this.#settled
  }

  /**
   * Called before an operation is passed to native code. After the operation is accepted it is only counted, without another call: wherever
   * the stack overflows, the counts here and in native code agree.
   */
  #prepare(): void {
    if (this.#unkicked > 0 && this.#unkicked % KICK_EVERY === 0) this.#kickNow()
    else this.flush()
    this.#arm()
  }

  /** Keeps the event loop alive, and schedules a kick for the end of the turn. */
  #arm(): void {
    if (!this.#isHolding) {
      this.#environment.hold()
      this.#isHolding = true
    }
    if (!this.#isKickDue) {
      this.#environment.kickLater(this)
      this.#isKickDue = true
    }
  }

  /** Passes the staged records to native code, before anything that has to come after them. */
  flush(): void {
    const run = this.#staged
    if (run === undefined || run.size === 0) return
    this.#waiters.link(run)
    this.#appended(run, this.#calls.appendAll())
  }

  /** Passes the staged records to native code and wakes a commit thread, in one call. */
  #kickNow(): void {
    const run = this.#staged
    if (run === undefined || run.size === 0) return void this.#calls.kick(this.log)
    this.#waiters.link(run)
    if (!this.#appended(run, this.#calls.appendAllAndKick())) this.#calls.kick(this.log)
  }

  /** Gives the staged records their positions, or passes each by itself if they were refused; false in that case. */
  #appended(run: Run, first: number): boolean {
    // Native code has cleared the stage, unless it refused the records.
    this.#staged = undefined
    if (first < 0) this.#acceptEach(run)
    else run.first = first
    return first >= 0
  }

  /** Passes the staged records one by one after they were refused together, to find out which are refused. */
  #acceptEach(run: Run): void {
    const { stage } = this.#environment
    const records = [...stage.records()]
    const terms = stage.durable ? FLAG_DURABLE : 0
    // Clear first: if the environment ends now, these records must not be appended a second time.
    stage.clear(undefined)
    this.#waiters.withdraw(run)
    this.#issued = run.operation - 1
    this.#largest = this.#room = 0
    for (const [i, record] of records.entries()) {
      const { key, value } = record
      const position = this.#calls.append(this.log, key, value, flagsFor(key, value, record.tombstone, terms))
      if (position < 0) {
        this.#refuse(this.#refusal(), run.rejects[i])
      } else {
        this.#issued++
        this.#waiters.push(this.#issued, position, run.resolves[i], run.rejects[i])
      }
    }
    stage.clear(this.log)
    if (this.#issued === this.#settled) this.#becomeIdle()
  }

  /** Returns the promise of an operation that has just been accepted. */
  #wait<T>(value: T, heeded: Heeded<T> | undefined, asked?: Asked): Promise<T> {
    const promise = heeded?.promise ?? promised<T>()
    const [resolved, rejected] = heeded === undefined ? [resolve, reject] : [heeded.resolve, heeded.reject]
    if (typeof value === 'number') this.#waiters.push(this.#issued, value, resolved, rejected)
    else this.#waiters.begin(this.#issued, undefined, value, asked).add(resolved, rejected)
    return promise
  }

  /**
   * Creates a promise with the caller's options. Called before the operation is accepted, because the signal is an object of the caller
   * whose methods may throw or call the log again.
   */
  #heeded<T>(heed: Heed | undefined, operation: string): Heeded<T> {
    const promise = promised<T>()
    const [resolved, rejected] = [resolve, reject]
    const { signal, site } = heed ?? { signal: undefined, site: undefined }
    const tell = site === undefined ? rejected : (reason: unknown) => rejected(calledFrom(reason, site))
    if (signal === undefined) return { promise, resolve: resolved, reject: tell, leave: () => {} }
    const leave = aborts.add(signal, () => tell(abandoned(signal, operation)))
    if (isAborted(signal)) {
      leave()
      promise.catch(() => {})
      throw new AbortError(signal)
    }
    return {
      promise,
      resolve: (value) => {
        leave()
        resolved(value)
      },
      reject: (reason) => {
        leave()
        // The promise has already been rejected by the signal, so the next `sync()` or the closing reports the failure, as with `enqueue`.
        if (isAborted(signal)) this.#unheard ??= reason as WalError
        tell(reason)
      },
      leave,
    }
  }

  kick(): void {
    this.#isKickDue = false
    this.#unkicked = 0
    this.#kickNow()
    // The operation that was about to be issued was refused.
    if (this.#issued === this.#settled) this.#letGo()
  }

  /**
   * Settles promises; false if there are more to settle. One turn settles at most half of the operations in flight, so that what their
   * callbacks append is on its way to the disk while the other half is settled.
   */
  settle(): boolean {
    const most = Math.min(Math.max((this.#issued - this.#settled) >> 1, LEAST_SETTLED), MOST_SETTLED)
    let limit = most
    this.#heedCuts()
    if (this.#failure !== undefined) this.#fail(this.#failure)
    for (;;) {
      limit -= this.#waiters.resolve(this.#succeeded, limit)
      if (this.#waiters.has(this.#succeeded)) return false
      this.#advance(this.#succeeded)
      // Calling `settled()` confirms that earlier settlements were delivered, so pass on first what was staged before that.
      this.flush()
      const answer = this.#calls.settled(this.log)
      // Publish diagnostics before resolving the promises of the same commit.
      if (answer !== this.#succeeded) this.diagnostics.tellHeard()
      if (answer < 0) {
        this.#failure = this.#environment.failure()
        // Callbacks of the promises settled just now may append. Report the failure in the next turn, so that those appends are refused
        // behind it.
        if (limit < most) return false
        this.#fail(this.#failure)
      } else if (answer > this.#succeeded) this.#succeeded = answer
      else break
    }
    this.#isOutOfRoom = false
    if (this.#drained.length > 0) this.#isFull() ? this.#awaitOthers() : this.#tellDrained()
    return true
  }

  /** Informs readers of truncations before the promises of the truncations resolve: they may hold records that are no longer in the log. */
  #heedCuts(): void {
    const cuts = this.readers.size === 0 ? this.#cuts : this.positions()[POSITIONS_TRUNCATIONS]
    if (cuts === this.#cuts) return
    this.#cuts = cuts
    for (const reader of this.readers) reader.deref()?.cut()
  }

  #fail({ upTo, error }: Failure): void {
    this.#failure = undefined
    tellCorrupt(this.diagnostics.dir, error)
    const unheard = () => (this.#unheard ??= befell(error, { operation: 'append' }))
    let told = this.#settled
    while (this.#waiters.has(upTo)) {
      this.#tellLate(this.#waiters.first - 1)
      if (this.#waiters.first > told + 1) unheard()
      told = this.#waiters.first
      this.#waiters.rejectFirst(befell(error, this.#waiters.asked))
    }
    if (upTo > told) unheard()
    this.#succeeded = upTo
    this.#advance(upTo)
    this.#tellLate(upTo)
  }

  /** Rejects the calls that were refused because operations up to this one failed. */
  #tellLate(upTo: number): void {
    let count = 0
    while (count < this.#late.length && this.#late[count].after <= upTo) count++
    if (count > 0) for (const { tell } of this.#late.splice(0, count)) tell()
  }

  #advance(upTo: number): void {
    if (upTo === this.#settled) return
    this.#settled = upTo
    if (upTo === this.#issued) this.#becomeIdle()
  }

  #letGo(): void {
    if (!this.#isHolding) return
    this.#isHolding = false
    this.#environment.letGo()
  }

  #becomeIdle(): void {
    this.#letGo()
    for (const idle of this.#idle.splice(0)) idle()
  }

  /** Resolves when everything accepted has been settled. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      if (this.#issued === this.#settled) resolve()
      else this.#idle.push(resolve)
    })
  }

  /**
   * Resolves when no more than half of the allowed pending bytes, and no more than `DRAINED_BYTES`, are pending.
   *
   * After a refusal it waits until something has been settled. Otherwise a record that needs more than the other half of the room would be
   * refused again and again, and nothing else would get its turn. After a turn that has accepted much it resolves in the next turn.
   * Otherwise, with a fast disk, a caller that drains now and then would never leave the event loop to others.
   */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#isFull() && !this.#isOutOfRoom) return void (this.#isLongTurn() ? later(resolve) : resolve())
      this.#drained.push(resolve)
      this.#awaitOthers()
    })
  }

  /**
   * If this environment has no operation in flight, the pending bytes belong to other environments. Issues a sync, whose settlement then
   * resolves the drain.
   */
  #awaitOthers(): void {
    if (this.#issued !== this.#settled) return
    try {
      // Unlike `sync()`, this does not consume the unreported failure.
      this.#prepare()
      if (this.#calls.sync(this.log) < 0) throw this.#refusal()
      this.#issued++
      this.#unkicked++
      this.#wait<void>(undefined, undefined, { operation: 'sync' }).catch(() => this.#tellDrained())
    } catch {
      this.#tellDrained()
    }
  }

  #tellDrained(): void {
    for (const drained of this.#drained.splice(0)) drained()
  }

  /** Whether this turn has already accepted much: only calls and microtasks have run since. */
  #isLongTurn(): boolean {
    return this.#unkicked >= LONG_TURN || (this.#unkicked > 0 && this.#positions[POSITIONS_PENDING_BYTES] > LONG_TURN_BYTES)
  }

  #isFull(): boolean {
    const positions = this.positions()
    return positions[POSITIONS_PENDING_BYTES] > Math.min(positions[POSITIONS_MAX_PENDING_BYTES] / 2, DRAINED_BYTES)
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
    this.diagnostics.listen()
    return walStats(this.#environment.native.stats(this.log))
  }

  /** Creates a reader from a position, or from an end of the log. */
  reader(from: ReadStart, to: number, manner: Manner): NativeReader {
    this.flush()
    const start = from === 'start' ? START_FIRST : from === 'end' ? START_END : from
    const reader = this.#environment.native.reader(this.log, start, to, manner)
    if (reader === null) throw this.#environment.refusal('read')
    return reader
  }

  /** Replaces a reader after a truncation by one that begins at `next`, or where the other one began. */
  resume(left: NativeReader, next: number | undefined, to: number, manner: Manner): Resumed {
    this.flush()
    const resumed = this.#environment.native.resume(this.log, left, next ?? 0, to, manner)
    if (resumed === null) throw this.#environment.refusal('read')
    return resumed
  }

  /** The channel is closing, everything has been settled, and no more operations will come. */
  get quiet(): boolean {
    return this.#closing && this.#issued === this.#settled
  }

  /** Adds a handle; false if the last one has already left. */
  enter(): boolean {
    if (this.#closing) return false
    this.#handles++
    return true
  }

  /** Removes a handle: settles everything accepted so far and makes it durable. The last one closes the log. */
  async leave(): Promise<void> {
    if (--this.#handles > 0) return this.sync()
    this.#closing = true
    await this.idle()
    try {
      await this.#environment.request(this.#environment.native.close(this.log))
    } finally {
      this.positions()
      this.#lastStats = this.stats()
      this.diagnostics.tell()
      this.#environment.remove(this)
    }
    if (this.#unheard !== undefined) throw this.#unheard
  }
}
