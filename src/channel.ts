// What one environment and one log have to say to each other: operations go in, promises are settled in the order of positions.

import { Diagnostics, tellCorrupt } from './diagnostics.js'
import type { Environment, Failure } from './environment.js'
import { abandoned, befell, calledFrom, WalError, type Asked } from './errors.js'
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
  type Resumed,
} from './native.js'
import type { Terms } from './options.js'
import type { ReadStart, WalReader } from './reader.js'
import type { Entry } from './record.js'
import { walStats, type WalStats } from './reports.js'
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

type Bytes = string | Uint8Array | undefined

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
const capture = (res: (value: never) => void, rej: Reject): void => {
  resolve = res as Resolve
  reject = rej
}

const termFlags = ({ durable, expect }: Terms): number => (durable ? DURABLE : 0) | (expect === undefined ? 0 : EXPECT)

function flagsOf(entry: Pick<Entry, 'key' | 'value' | 'tombstone'> & Partial<Entry>, terms: number): number {
  const { key, value } = entry
  let flags = terms
  if (key !== undefined) flags |= typeof key === 'string' ? KEY_STRING : KEY_BYTES
  if (value !== undefined) flags |= typeof value === 'string' ? VALUE_STRING : VALUE_BYTES
  if (entry.tombstone) flags |= TOMBSTONE
  if (entry.expiresAt !== undefined) flags |= EXPIRES
  if (entry.version !== undefined) flags |= VERSION
  return flags
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

  /** Accepts a record, gives its position. */
  enqueue(entry: Entry, terms: Terms): number {
    this.flush()
    const flags = flagsOf(entry, termFlags(terms))
    const { log } = this
    let position
    if ((flags & (EXPIRES | VERSION | EXPECT)) === 0) {
      position = this.#calls.append(log, entry.key, entry.value, flags)
    } else {
      const { version } = entry
      position = this.#calls.append(log, entry.key, entry.value, flags, entry.expiresAt, version?.term, version?.index, terms.expect)
    }
    this.#accepted(position)
    return position
  }

  /** Accepts a value without a key, gives its position. */
  enqueueValue(value: string | Uint8Array, terms: Terms): number {
    this.flush()
    const flags = (typeof value === 'string' ? VALUE_STRING : VALUE_BYTES) | termFlags(terms)
    const { expect } = terms
    const position =
      expect === undefined
        ? this.#calls.append(this.log, undefined, value, flags)
        : this.#calls.append(this.log, undefined, value, flags, undefined, undefined, undefined, expect)
    this.#accepted(position)
    return position
  }

  append(entry: Entry, terms: Terms): Promise<number> {
    const { key, value, tombstone, expiresAt, version } = entry
    const run = expiresAt === undefined && version === undefined ? this.#stage(key, value, tombstone, terms) : undefined
    return run === undefined ? this.appendNow(entry, terms) : this.#waitIn(run, terms.heed)
  }

  /** Like `append`, but a refusal is thrown by this call, unless it is told later: the record does not cross with others. */
  appendNow(entry: Entry, terms: Terms): Promise<number> {
    try {
      return this.#wait(this.enqueue(entry, terms), terms.heed)
    } catch (error) {
      if (this.#isLate(error)) return this.refused(error)
      throw error
    }
  }

  appendValue(value: string | Uint8Array, terms: Terms): Promise<number> {
    const run = this.#stage(undefined, value, false, terms)
    return run === undefined ? this.#wait(this.enqueueValue(value, terms), terms.heed) : this.#waitIn(run, terms.heed)
  }

  /** Accepts a record that crosses with others; gives the run of those that wait for them, or nothing if it has to cross by itself. */
  #stage(key: Bytes, value: Bytes, tombstone: boolean, { durable, expect }: Terms): Run | undefined {
    if (expect !== undefined) return undefined
    const { stage } = this.#environment
    if (this.#staged === undefined) this.#environment.clearStageFor(this)
    else if (this.#unkicked % KICK_EVERY === 0) this.#kickNow()
    else if (stage.full || this.#staged.size === STAGED) this.flush()
    const size = stage.put(key, value, tombstone, Math.min(this.#largest, this.#room))
    if (size === 0) {
      this.#askForRoom()
      return undefined
    }
    this.#room -= size
    if (durable) stage.durable = true
    this.#issue()
    return (this.#staged ??= this.#waiters.begin(this.#issued, UNNUMBERED))
  }

  /** What was pending at the last answer counts on; so it may be less than there is, never more. */
  #askForRoom(): void {
    if (this.#room >= this.#largest && this.#largest > 0) return
    const positions = this.positions()
    this.#room = positions[MAX_PENDING_BYTES] - positions[PENDING_BYTES]
    this.#largest = Math.min(positions[MAX_RECORD_BYTES], this.#environment.stage.largest)
  }

  appendBatch(entries: Entry[], terms: Terms): Promise<BatchPositions> {
    this.flush()
    this.#environment.clearStageFor(undefined)
    const { log } = this
    const { stage } = this.#environment
    for (const entry of entries) {
      const { key, value, tombstone, expiresAt, version } = entry
      if (stage.full) this.#pushed(this.#calls.pushAll(log))
      if (expiresAt === undefined && version === undefined && stage.put(key, value, tombstone, stage.largest) > 0) continue
      this.#pushed(this.#calls.pushAll(log))
      this.#pushed(this.#calls.push(log, key, value, flagsOf(entry, 0), expiresAt, version?.term, version?.index))
    }
    this.#pushed(this.#calls.pushAll(log))
    const first = this.#calls.commit(log, termFlags(terms), terms.expect)
    this.#accepted(first)
    return this.#wait({ first, last: first + entries.length - 1 }, terms.heed, { operation: 'appendBatch', position: first })
  }

  /** What was on the stage is in the batch now; if it was refused, there is no batch. */
  #pushed(answer: number): void {
    this.#environment.stage.clear(undefined)
    if (answer >= 0) return
    this.#calls.abort()
    throw this.#environment.refusal()
  }

  /** Also tells what befell operations that nobody waits for. */
  sync(heed?: Heed): Promise<void> {
    this.flush()
    this.#accepted(this.#calls.sync(this.log))
    const asked = { operation: 'sync' }
    const promise = new Promise<void>(capture)
    if (heed !== undefined) this.#heed(heed, asked)
    const [resolved, rejected] = [resolve, reject]
    const failed = (reason: unknown) => {
      this.#unheard = undefined
      rejected(reason)
    }
    const done = () => (this.#unheard === undefined ? resolved(undefined) : failed(this.#unheard))
    this.#waiters.begin(this.#issued, undefined, undefined, asked).add(done, failed)
    return promise
  }

  truncateBefore(position: number, heed?: Heed): Promise<void> {
    this.flush()
    this.#accepted(this.#calls.truncateBefore(this.log, position))
    return this.#wait<void>(undefined, heed, { operation: 'truncateBefore', position })
  }

  truncateAfter(position: number, heed?: Heed): Promise<void> {
    this.flush()
    this.#accepted(this.#calls.truncateAfter(this.log, position))
    return this.#wait<void>(undefined, heed, { operation: 'truncateAfter', position })
  }

  reset(position: number, heed?: Heed): Promise<void> {
    this.flush()
    this.#accepted(this.#calls.reset(this.log, position))
    return this.#wait<void>(undefined, heed, { operation: 'reset', position })
  }

  #accepted(answer: number): void {
    if (answer < 0) throw this.#refusal()
    this.#issue()
    if (this.#unkicked % KICK_EVERY === 0) this.#calls.kick(this.log)
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

  #issue(): void {
    if (this.#issued++ === this.#settled) this.#environment.hold()
    if (++this.#unkicked === 1) this.#environment.kickLater(this)
  }

  /** Has the records on the stage accepted, before anything that has to come after them. */
  flush(): void {
    const run = this.#staged
    if (run === undefined) return
    this.#staged = undefined
    const first = this.#calls.appendAll()
    if (first >= 0) run.first = first
    else this.#acceptEach(run)
    this.#environment.stage.clear(this.log)
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
      const position = this.#calls.append(this.log, key, value, flagsOf(record, terms))
      if (position < 0) {
        this.#refuse(this.#refusal(), run.rejects[i])
      } else {
        this.#issued++
        this.#waiters.push(this.#issued, position, run.resolves[i], run.rejects[i])
      }
    }
    if (this.#issued === this.#settled) this.#becomeIdle()
  }

  #wait<T>(value: T, heed: Heed | undefined, asked?: Asked): Promise<T> {
    const promise = new Promise<T>(capture)
    if (heed !== undefined) this.#heed(heed, asked)
    if (typeof value === 'number') this.#waiters.push(this.#issued, value, resolve, reject)
    else this.#waiters.begin(this.#issued, undefined, value, asked).add(resolve, reject)
    return promise
  }

  #waitIn(run: Run, heed: Heed | undefined): Promise<number> {
    if (heed === undefined) return run.wait()
    const promise = new Promise<number>(capture)
    this.#heed(heed)
    run.add(resolve, reject)
    return promise
  }

  /** Puts functions that heed the caller's wishes in the place of those of the promise just made. */
  #heed({ signal, site }: Heed, { operation }: Asked = { operation: 'append' }): void {
    const [resolved, rejected] = [resolve, reject]
    const tell = site === undefined ? rejected : (reason: unknown) => rejected(calledFrom(reason, site))
    reject = tell
    if (signal === undefined) return
    const done = aborts.add(signal, () => tell(abandoned(signal, operation)))
    resolve = (value) => {
      done()
      resolved(value)
    }
    reject = (reason) => {
      done()
      // Nobody hears it: the next one to ask does, as with `enqueue`.
      if (signal.aborted) this.#unheard ??= reason as WalError
      tell(reason)
    }
  }

  kick(): void {
    this.#unkicked = 0
    this.#kickNow()
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

  #becomeIdle(): void {
    this.#environment.letGo()
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
      if (!this.#isFull() && !this.#isOutOfRoom) return void (this.#isLongTurn() ? setImmediate(resolve) : resolve())
      this.#drained.push(resolve)
      this.#awaitOthers()
    })
  }

  /** With nothing under way here, what is pending is another environment's, and only an operation of ours tells when it is done. */
  #awaitOthers(): void {
    if (this.#issued !== this.#settled) return
    try {
      this.#accepted(this.#calls.sync(this.log))
      // Unlike `sync` it leaves what nobody has heard to who asks for that.
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

  /** A reader from a position, or from an end of the log, of no more than `most` records. */
  reader(from: ReadStart, to: number, most: number, follow: boolean, salvage: boolean): NativeReader {
    this.flush()
    const start = from === 'start' ? 0 : from === 'end' ? -1 : from
    const reader = this.#environment.native.reader(this.log, start, to, most, follow, salvage)
    if (reader === null) throw this.#environment.refusal('read')
    return reader
  }

  /** A reader in the place of one under which the log was cut: it begins at `next`, or as the other one did. */
  resume(left: NativeReader, next: number | undefined, to: number, most: number, follow: boolean): Resumed {
    this.flush()
    const resumed = this.#environment.native.resume(this.log, left, next ?? 0, to, most, follow)
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
