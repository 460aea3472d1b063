// The records of one cursor, handed out to its consumers. One reader, one watermark and one commit at a time, however many they are.

import { closed, deleted, WalError } from '../errors.js'
import type { FeedOptions } from '../options/consume.js'
import type { WalRecord } from '../records/block.js'
import type { Clock } from '../util/timing.js'
import { Committer } from './committer.js'
import type { Member, MemberFeed } from './member.js'
import type { Source, SourceReader } from './source.js'
import { Turn } from './turn.js'
import { Watermark, type Taken } from './watermark.js'

const isClosed = (error: unknown): boolean => error instanceof WalError && error.code === 'ERR_WAL_CLOSED'

export class Feed implements MemberFeed {
  readonly options: FeedOptions
  /** Number of records that had expired. */
  expired = 0
  /** Why nothing more is handed out. */
  failure: { error: unknown } | undefined
  readonly #clock: Clock
  readonly #turn: Pick<Turn, 'isLong'>
  readonly #pumpLater = (): void => this.pump()
  readonly #onClosed: () => void
  /** Resolves when no consumer is left and nothing is committed any more. */
  readonly closed: Promise<void>
  #resolveClosed!: () => void
  /** In the order in which they get the next records. */
  #members: Member[] = []
  #source: Source
  #watermark!: Watermark
  #committer!: Committer
  #reader: SourceReader | undefined
  /** Records taken from the log, or given back, that no member has. In order. */
  #ready: Taken[] = []
  #isReading = false
  #hasEnded = false
  #isPumping = false
  /** Number of members that wait for their last commit. */
  #leaving = 0
  #isClosed = false
  /** Set while the feed waits to start, or to start over. Never rejects. */
  #starting: Promise<void> | undefined

  /** Hands out nothing before `predecessor` has resolved: it is the end of another feed of the cursor. */
  constructor(
    source: Source,
    options: FeedOptions,
    clock: Clock,
    onClosed: () => void,
    predecessor?: Promise<void>,
    turn: Pick<Turn, 'isLong'> = new Turn()
  ) {
    this.options = { ...options }
    this.#clock = clock
    this.#turn = turn
    this.#onClosed = onClosed
    this.#source = source
    this.closed = new Promise((resolve) => (this.#resolveClosed = resolve))
    this.#prepare(source)
    if (predecessor === undefined) this.#start(source)
    else this.#starting = this.#startAfter(predecessor)
  }

  /** Whether this feeds the consumers of a cursor that is no more. */
  get isDeleted(): boolean {
    return this.#source.isDeleted()
  }

  /** Whether all consumers share the cursor. */
  get isShared(): boolean {
    return this.#members.every(({ isShared }) => isShared)
  }

  /** Everything up to here has been handled. */
  get watermark(): number {
    return this.#watermark.position
  }

  /** The first record that was taken and has not been handled. */
  get oldest(): WalRecord | undefined {
    return this.#watermark.oldest
  }

  get committed(): number {
    return this.#committer.committed
  }

  join(member: Member): void {
    this.#members.push(member)
    this.pump()
  }

  /** Removes a member that is idle. Resolves when everything up to the watermark has been committed, and rejects if it was not. */
  async leave(member: Member): Promise<void> {
    this.#members = this.#members.filter((other) => other !== member)
    this.pump()
    this.#leaving++
    try {
      await this.#flush()
    } finally {
      // The last one to leave may not be the last one whose commit ends.
      this.#leaving--
      this.closeIfEmpty()
    }
  }

  async #flush(): Promise<void> {
    const committer = this.#committer
    try {
      await committer.flush()
    } catch (error) {
      await this.#starting
      // If the feed has started over meanwhile, there is nothing to commit: the others get those records again.
      if (committer === this.#committer) throw error
    }
  }

  isCurrent(taken: Taken): boolean {
    return taken.owner === this.#watermark
  }

  finish(taken: Taken): void {
    if (!this.isCurrent(taken)) return
    this.#watermark.finish(taken)
    this.#committer.advance(this.watermark)
    this.#hurryIfMuch()
  }

  /** Commits without a wait if half of the window waits for it. */
  #hurryIfMuch(): void {
    if (this.watermark - this.committed >= this.options.window / 2) this.#committer.hurry()
  }

  giveBack(taken: Taken[]): void {
    const current = taken.filter((one) => this.isCurrent(one))
    if (current.length > 0) this.#ready = [...current, ...this.#ready].sort((a, b) => a.position - b.position)
  }

  pump(): void {
    if (this.#isPumping || this.#isClosed || this.#starting !== undefined) return
    this.#isPumping = true
    for (let member; !this.#turn.isLong(this.#pumpLater) && (member = this.#memberWithRoom()) !== undefined && this.#fill(member.batch);) {
      member.start(this.#ready.splice(0, member.batch))
    }
    this.#isPumping = false
    if (this.#hasEnded && this.#ready.length === 0 && this.#members.every(({ isIdle }) => isIdle)) {
      for (const member of this.#members) member.stop()
    }
  }

  /** Returns the member whose turn it is, if one has room. */
  #memberWithRoom(): Member | undefined {
    this.#noticeEnd()
    if (this.failure !== undefined) return undefined
    const at = this.#members.findIndex(({ hasRoom }) => hasRoom)
    if (at < 0) return undefined
    const [member] = this.#members.splice(at, 1)
    this.#members.push(member)
    return member
  }

  /** Fails the members whose handle is closed, and all of them if the cursor was deleted. */
  #noticeEnd(): void {
    for (const member of this.#members) if (!member.source.isOpen()) member.fail(closed('consume'))
    if (this.failure === undefined && this.isDeleted) this.#fail(deleted(this.#source.name, 'consume'))
  }

  notice(): void {
    this.#noticeEnd()
    const failure = this.#reader?.failure
    if (failure !== undefined && this.failure === undefined) this.#end(failure)
  }

  /** Makes up to `count` records ready that are available. False if there are none: then they are waited for. */
  #fill(count: number): boolean {
    while (this.#ready.length < count && !this.#isReading && !this.#hasEnded) {
      const room = this.options.window - (this.#watermark.head - this.committed)
      if (room <= 0) {
        this.#committer.hurry()
        break
      }
      const reader = this.#reader as SourceReader
      const records = reader.takeNow(Math.min(count - this.#ready.length, room))
      if (records.length > 0) this.#take(records)
      else if (this.#ready.length > 0) break
      else void this.#read(reader)
    }
    return this.#ready.length > 0
  }

  #take(records: WalRecord[]): void {
    for (const record of records) {
      const taken = this.#watermark.take(record)
      const { expiresAt } = record
      if (this.options.skipExpired && expiresAt !== undefined && expiresAt <= Date.now()) {
        this.expired++
        this.finish(taken)
      } else this.#ready.push(taken)
    }
  }

  /** Waits for the next record. */
  async #read(reader: SourceReader): Promise<void> {
    this.#isReading = true
    let failure: { error: unknown } | undefined
    let record: WalRecord | undefined
    try {
      record = (await reader.next()).value
    } catch (error) {
      failure = { error }
    }
    if (reader !== this.#reader || this.#isClosed) return
    this.#isReading = false
    if (failure !== undefined) return this.#end(failure.error)
    if (record === undefined) this.#hasEnded = true
    else this.#take([record])
    this.pump()
  }

  /** Starts over through the handle of another member if the own one was closed; otherwise fails. */
  #end(error: unknown): void {
    if (!isClosed(error) || this.#openSource() === undefined) return this.#fail(error)
    if (this.#starting !== undefined) return
    void this.#reader?.return()
    // A commit that is under way moves the cursor, and may do so although its handle is closed.
    this.#starting = this.#startAfter(this.#committer.close())
  }

  #openSource(): Source | undefined {
    return this.#members.find(({ source }) => source.isOpen())?.source
  }

  async #startAfter(end: Promise<void>): Promise<void> {
    await end
    this.#starting = undefined
    if (this.#isClosed) return
    const source = this.#openSource()
    if (source === undefined) return this.#fail(closed('consume'))
    this.#prepare(source)
    this.#start(source)
    this.pump()
  }

  /**
   * Reads on after the committed position. What was taken before and not committed is read again: nothing is known about truncations that
   * the reader of the closed handle would have noticed.
   */
  #prepare(source: Source): void {
    this.#source = source
    this.#watermark = new Watermark(source.position())
    this.#ready = []
    this.#isReading = this.#hasEnded = false
    this.#committer = new Committer(source, this.#clock, this.options.commitEveryMs, {
      onCommitted: () => {
        this.#hurryIfMuch()
        this.pump()
      },
      onFailure: (error) => this.#end(error),
    })
  }

  /** Reading begins only when no other feed of the cursor commits: it acknowledges truncations. */
  #start(source: Source): void {
    this.#reader = source.readStored(this.watermark + 1, this.options.follow)
  }

  /** Stops all members, which finish what is in their hands. */
  #fail(error: unknown): void {
    this.failure ??= { error }
    for (const member of this.#members) member.fail(error)
  }

  /** Closes the feed if it has no consumer, and nothing of one is committed any more. */
  closeIfEmpty(): void {
    if (this.#isClosed || this.#leaving > 0 || this.#members.length > 0) return
    // The cursor is still in the hands of the feed that this one waits for.
    if (this.#starting === undefined) this.#close()
    else void this.#starting.then(() => this.closeIfEmpty())
  }

  #close(): void {
    this.#isClosed = true
    void this.#committer.close()
    void this.#reader?.return()
    this.#onClosed()
    this.#resolveClosed()
  }
}
