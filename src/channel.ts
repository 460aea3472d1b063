// What one environment and one log have to say to each other: operations go in, promises are settled in the order of positions.

import { checkArray, checkText, lengthOf, type Bytes } from './bytes.js'
import { Diagnostics, tellCorrupt } from './diagnostics.js'
import type { Environment, Failure } from './environment.js'
import { abandoned, AbortError, befell, calledFrom, closed, WalError, type Asked } from './errors.js'
import { aborts, type Heed } from './heed.js'
import {
  DURABLE,
  EXPECT,
  EXPIRES,
  KEY_BYTES,
  KEY_STRING,
  TOMBSTONE,
  VALUE_BYTES,
  VALUE_STRING,
  VERSION,
  type Calls,
  type NativeReader,
  type Manner,
  type Resumed,
} from './native.js'
import type { Terms } from './options.js'
import type { ReadStart, WalReader } from './reader.js'
import { checkShape, type Entry } from './record.js'
import { walStats, type WalStats } from './reports.js'
import { isAborted } from './signals.js'
import { later } from './timing.js'
import { Waiters, type Reject, type Resolve, type Run } from './waiters.js'

/** First and last position of a batch. */
export interface BatchPositions {
  /** Position of its first record. */
  first: number
  /** Position of its last record. */
  last: number
}

// Places in the array that `positions()` fills.
export const FIRST = 0
export const NEXT = 1
export const WRITTEN = 2
export const ACKNOWLEDGED = 3
export const DURABLE_POSITION = 4
export const PENDING_BYTES = 5
const MAX_PENDING_BYTES = 6
const CUTS = 7
const MAX_RECORD_BYTES = 8
const FAILING = 9

/** Until it crosses, a record has no position. */
const UNNUMBERED = 0

// Records that cross together at the most.
const STAGED = 512
// A turn that accepts more operations than this does not keep the disk waiting for its end.
const KICK_EVERY = 1024
// What a turn accepts at most where it has a chance to end; a fraction of a millisecond.
const LONG_TURN = 1024
const LONG_TURN_BYTES = 1 << 20
// So much keeps the disk busy until more comes; groups that are much larger are slower to gather and to write.
const DRAINED_BYTES = 4 << 20
// Promises settled in one turn of the event loop, a fraction of a millisecond with what they set off.
const LEAST_SETTLED = 128
const MOST_SETTLED = 1024

/** An append is never refused with one of these for itself, only when operations before it have failed. */
const FAILED_BEFORE = new Set(['ERR_WAL_NO_SPACE', 'ERR_WAL_READ_ONLY', 'ERR_WAL_IO', 'ERR_WAL_CORRUPT', 'ERR_WAL_TRUNCATED'])

// A promise's functions without a closure per promise.
let resolve: Resolve
let reject: Reject
let isCaptured = false
const capture = (res: (value: never) => void, rej: Reject): void => {
  resolve = res as Resolve
  reject = rej
  isCaptured = true
}

/** A promise whose functions have been captured. */
function promised<T>(): Promise<T> {
  isCaptured = false
  const promise = new Promise<T>(capture)
  if (!isCaptured) throw withoutStack(promise)
  return promise
}

/** The error for a promise whose executor did not run: where the stack ends there, a promise is rejected instead of throwing. */
function withoutStack(promise: Promise<unknown>): Error {
  promise.catch(() => {})
  return new RangeError('Maximum call stack size exceeded')
}

const termFlags = ({ durable, expect }: Terms): number => (durable ? DURABLE : 0) | (expect === undefined ? 0 : EXPECT)

/** The flag for a key or value that is to cross by itself: native code takes what is refused here for something else. */
function flagFor(name: string, bytes: Bytes, ifString: number, ifBytes: number): number {
  if (typeof bytes === 'string') {
    checkText(name, bytes, 'append')
    return ifString
  }
  let length = 0
  try {
    length = lengthOf(bytes)
  } catch {
    // It is no array, or only inherits from one.
  }
  if (length === 0) checkArray(name, bytes, 'append')
  return ifBytes
}

function flagsFor(key: Bytes | undefined, value: Bytes | undefined, tombstone: boolean, terms: number): number {
  checkShape(key, value, tombstone, 'append')
  let flags = tombstone ? terms | TOMBSTONE : terms
  if (key !== undefined) flags |= flagFor('key', key, KEY_STRING, KEY_BYTES)
  if (value !== undefined) flags |= flagFor('value', value, VALUE_STRING, VALUE_BYTES)
  return flags
}

/** A handle on the log, as far as it matters here. */
interface Open {
  isClosed: boolean
}

const OPEN: Open = { isClosed: false }

/** A promise, and what settles it. */
interface Heeded<T> {
  promise: Promise<T>
  resolve: Resolve
  reject: Reject
  /** Lets go of the signal, where the promise is not to be settled. */
  leave(): void
}

export class Channel {
  readonly log: number
  readonly identity: number
  readonly diagnostics: Diagnostics
  readonly #environment: Environment
  readonly #calls: Calls
  readonly #waiters = new Waiters()
  readonly #positions = new Float64Array(10)
  /** Operations are counted from one, here and in the engine alike: append, batch and sync, when they are accepted. */
  #issued = 0
  #settled = 0
  /** Of the operations after `#settled`, those up to here have succeeded and are still to be told. */
  #succeeded = 0
  /** Operations accepted since the kick at the end of the last turn. */
  #unkicked = 0
  /** A kick will come at the end of this turn. */
  #isKickDue = false
  /** The event loop is kept going for what has been issued, or is about to be. */
  #isHolding = false
  /** The records on the stage: they have been issued, and cross at the end of the turn at the latest. */
  #staged: Run | undefined
  /** Bytes that may go onto the stage before it is to be asked again what is pending. */
  #room = 0
  /** Bytes that a record on the stage may take. */
  #largest = 0
  /** It comes next, once what has been told in this turn has had its effects. */
  #failure: Failure | undefined
  /** Calls refused because operations up to `after` have failed: told once those are, and before anything later. */
  #late: { after: number; tell: () => void }[] = []
  /** Failure of an operation that nobody waits for. */
  #unheard: WalError | undefined
  /** The readers of all handles that hold something open; one that was dropped is not kept alive by that. */
  readonly readers = new Set<WeakRef<WalReader<unknown>>>()
  #cuts = 0
  #handles = 1
  #closing = false
  #idle: (() => void)[] = []
  #drained: (() => void)[] = []
  /** Something was refused for want of room, and nothing has been settled since. */
  #isOutOfRoom = false
  /** Once it is closed. */
  #lastStats: WalStats | undefined

  constructor(environment: Environment, log: number, identity: number, dir: string) {
    this.#environment = environment
    this.#calls = environment.calls
    this.log = log
    this.identity = identity
    this.diagnostics = new Diagnostics(environment.native, log, dir)
  }

  // Everything below looks at the fields of an entry once, and before anything is changed: they may be getters, which call the log again,
  // or close it.

  /** Accepts a record, gives its position. */
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
      if (expiresAt !== undefined) flags |= EXPIRES
      if (version !== undefined) flags |= VERSION
      this.#prepare()
      position = this.#calls.append(log, key, value, flags, expiresAt, term, index, terms.expect)
    }
    if (position < 0) throw this.#refusal()
    this.#issued++
    this.#unkicked++
    return position
  }

  /** Accepts a value without a key, gives its position. */
  enqueueValue(value: Bytes, terms: Terms): number {
    const flags = flagFor('value', value, VALUE_STRING, VALUE_BYTES) | termFlags(terms)
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

  /** Like `append`, but a refusal is thrown by this call, unless it is told later: the record does not cross with others. */
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

  /** Appends a value without a key that nothing is asked of. */
  appendValue(value: Bytes, terms: Terms): Promise<number> {
    return this.#stage(undefined, value, false, terms) ?? this.#wait(this.enqueueValue(value, terms), undefined)
  }

  /**
   * Accepts a record that crosses with others, and gives the promise of it; or nothing if the record has to cross by itself.
   *
   * Whatever can throw comes before the record is on the stage: one there without its promise, or a promise without its record, would give
   * every later promise the position of another record.
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
      // Nobody waits for what is not on the stage.
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

  /** What was pending at the last answer counts on; so it may be less than there is, never more. */
  #askForRoom(): void {
    if (this.#room >= this.#largest && this.#largest > 0) return
    const positions = this.positions()
    this.#room = positions[MAX_PENDING_BYTES] - positions[PENDING_BYTES]
    this.#largest = Math.min(positions[MAX_RECORD_BYTES], this.#environment.stage.largest)
  }

  /** Accepts the entries together. They are nobody's but ours: their fields do not change, and looking at them runs no other code. */
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
        if (expiresAt !== undefined) flags |= EXPIRES
        if (version !== undefined) flags |= VERSION
        this.#pushed(this.#calls.push(log, key, value, flags, expiresAt, version?.term, version?.index))
      }
      this.#pushed(this.#calls.pushAll(log))
      first = this.#calls.commit(log, termFlags(terms), terms.expect)
      this.#environment.batchIsLeft = false
      if (first < 0) throw this.#refusal()
    } catch (error) {
      // The next batch, of this log or another, begins with nothing.
      this.#environment.abortBatch()
      heeded?.leave()
      throw error
    }
    this.#issued++
    this.#unkicked++
    return this.#wait({ first, last: first + entries.length - 1 }, heeded, { operation: 'appendBatch', position: first })
  }

  /** What was on the stage is in the batch now, unless it was refused. */
  #pushed(answer: number): void {
    if (answer < 0) throw this.#environment.refusal()
    this.#environment.stage.clear(undefined)
  }

  /** Also tells what befell operations that nobody waits for. */
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
    // After a failure `drain` waits until that has been told: nothing is taken before.
    this.#isOutOfRoom ||= this.#isLate(error) || (error instanceof WalError && error.code === 'ERR_WAL_BACKPRESSURE')
    return error
  }

  /** The promise of a call that was refused. */
  refused<T>(error: unknown): Promise<T> {
    return new Promise((_, reject) => this.#refuse(error, reject))
  }

  #refuse(error: unknown, reject: Reject): void {
    if (this.#isLate(error)) this.#late.push({ after: this.positions()[FAILING], tell: () => reject(error) })
    else reject(error)
  }

  /**
   * Whether operations before this one have failed, and it is told after them. Whoever is told at once and appends again would be refused
   * in the same turn for ever.
   */
  #isLate(error: unknown): boolean {
    return error instanceof WalError && FAILED_BEFORE.has(error.code) && this.positions()[FAILING] > this.#settled
  }

  /**
   * To be called before an operation is handed over. Once that is accepted it is only counted, without another call: where the stack ends
   * in the middle, what has been counted here is what native code has counted.
   */
  #prepare(): void {
    if (this.#unkicked > 0 && this.#unkicked % KICK_EVERY === 0) this.#kickNow()
    else this.flush()
    this.#arm()
  }

  /** Keeps the event loop going, and has the log told at the end of the turn. */
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

  /** Has the records on the stage accepted, before anything that has to come after them. */
  flush(): void {
    const run = this.#staged
    if (run === undefined || run.size === 0) return
    this.#waiters.link(run)
    // Clears the stage unless it refuses.
    const first = this.#calls.appendAll()
    this.#staged = undefined
    if (first >= 0) run.first = first
    else this.#acceptEach(run)
  }

  /** Some of the records on the stage are refused: which ones shows when each crosses by itself. */
  #acceptEach(run: Run): void {
    const { stage } = this.#environment
    const records = [...stage.records()]
    const terms = stage.durable ? DURABLE : 0
    // From here on they are nobody's but ours, should the environment end.
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

  /** The promise of an operation that has just been accepted. */
  #wait<T>(value: T, heeded: Heeded<T> | undefined, asked?: Asked): Promise<T> {
    const promise = heeded?.promise ?? promised<T>()
    const [resolved, rejected] = heeded === undefined ? [resolve, reject] : [heeded.resolve, heeded.reject]
    if (typeof value === 'number') this.#waiters.push(this.#issued, value, resolved, rejected)
    else this.#waiters.begin(this.#issued, undefined, value, asked).add(resolved, rejected)
    return promise
  }

  /**
   * A promise that heeds the caller's wishes. To be made before the operation is accepted: a signal is an object of the caller's, whose
   * methods may throw, or call the log again.
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
        // Nobody hears it: the next one to ask does, as with `enqueue`.
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
    // Whatever was about to be issued has been refused.
    if (this.#issued === this.#settled) this.#letGo()
  }

  #kickNow(): void {
    this.flush()
    this.#calls.kick(this.log)
  }

  /**
   * Settles promises; false when there are more to settle. No more than half of what is in flight in one turn: what they set off is on
   * its way to the disk then while the others are settled.
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
      // Asking for more says that everything so far has been told. What was staged before that was appended before that.
      this.flush()
      const answer = this.#calls.settled(this.log)
      // Who is told that a commit is done has been told what it was.
      if (answer !== this.#succeeded) this.diagnostics.tellHeard()
      if (answer < 0) {
        this.#failure = this.#environment.failure()
        // Those told just now may append in answer. Until it is told, that comes behind the failure, and is refused.
        if (limit < most) return false
        this.#fail(this.#failure)
      } else if (answer > this.#succeeded) this.#succeeded = answer
      else break
    }
    this.#isOutOfRoom = false
    if (this.#drained.length > 0) this.#isFull() ? this.#awaitOthers() : this.#tellDrained()
    return true
  }

  /** Readers may hold records that are not in the log any more: they are told before whoever cut it off. */
  #heedCuts(): void {
    const cuts = this.readers.size === 0 ? this.#cuts : this.positions()[CUTS]
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

  /** Tells those refused behind operations up to this one. */
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
   * Resolves when no more than half of the bytes that may be pending are, and no more than `DRAINED_BYTES`. After a refusal not before
   * something has been settled: a record that needs more room than the other half would be refused again and again, and nothing else would
   * get its turn. A turn that has accepted much ends with it: where the disk is quick, whoever drains now and then would otherwise never
   * leave the event loop to others.
   */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#isFull() && !this.#isOutOfRoom) return void (this.#isLongTurn() ? later(resolve) : resolve())
      this.#drained.push(resolve)
      this.#awaitOthers()
    })
  }

  /** With nothing under way here, what is pending is another environment's, and only an operation of ours tells when it is done. */
  #awaitOthers(): void {
    if (this.#issued !== this.#settled) return
    try {
      // Unlike `sync` it leaves what nobody has heard to who asks for that.
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

  /** Nothing but calls and microtasks has run since so much was accepted. */
  #isLongTurn(): boolean {
    return this.#unkicked >= LONG_TURN || (this.#unkicked > 0 && this.#positions[PENDING_BYTES] > LONG_TURN_BYTES)
  }

  #isFull(): boolean {
    const positions = this.positions()
    return positions[PENDING_BYTES] > Math.min(positions[MAX_PENDING_BYTES] / 2, DRAINED_BYTES)
  }

  /** Up to date until the next call. After closing, what was last. */
  positions(): Float64Array {
    this.flush()
    this.#calls.positions(this.log, this.#positions)
    return this.#positions
  }

  /** After closing, what was last. */
  stats(): WalStats {
    if (this.#lastStats !== undefined) return this.#lastStats
    this.flush()
    this.diagnostics.listen()
    return walStats(this.#environment.native.stats(this.log))
  }

  /** A reader from a position, or from an end of the log. */
  reader(from: ReadStart, to: number, manner: Manner): NativeReader {
    this.flush()
    const start = from === 'start' ? 0 : from === 'end' ? -1 : from
    const reader = this.#environment.native.reader(this.log, start, to, manner)
    if (reader === null) throw this.#environment.refusal('read')
    return reader
  }

  /** A reader in the place of one under which the log was cut: it begins at `next`, or as the other one did. */
  resume(left: NativeReader, next: number | undefined, to: number, manner: Manner): Resumed {
    this.flush()
    const resumed = this.#environment.native.resume(this.log, left, next ?? 0, to, manner)
    if (resumed === null) throw this.#environment.refusal('read')
    return resumed
  }

  /** Everything has been settled and no more will come. */
  get quiet(): boolean {
    return this.#closing && this.#issued === this.#settled
  }

  /** Counts one more handle; false when the last one has left already. */
  enter(): boolean {
    if (this.#closing) return false
    this.#handles++
    return true
  }

  /** One handle leaves: settles everything accepted so far and makes it durable. The last one closes the log. */
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
