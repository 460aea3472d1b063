// State that all logs of one JavaScript environment (the main thread or a worker) share.

import { closed, type WalError } from '../errors.js'
import { later, soon } from '../util/timing.js'
import type { Calls, Completion, Native, NativeEnvironment } from './calls.js'
import { fromNative } from './error.js'
import { loadNative } from './load.js'
import { RecordBuffer } from './record-buffer.js'

/** Whether this is Node.js itself, and not a runtime that resembles it. */
function isNode(): boolean {
  const { versions } = process
  return versions.uv !== undefined && versions.bun === undefined && versions.deno === undefined
}

interface Request {
  resolve(completion: Completion): void
  reject(reason: unknown): void
}

/** The operation queue of an open log, as its environment drives it. */
export interface OpenLog {
  /** Number of the log. */
  readonly log: number
  readonly events: {
    /** Makes the engine record the kinds of events that have a subscriber. */
    listen(): void
    /** Publishes what the engine has recorded. */
    publish(): void
  }
  /** Passes the buffered records to native code. */
  flush(): void
  /** Passes the buffered records to native code, and has them committed. */
  kick(): void
  /** Settles promises; false if there are more to settle. */
  settle(): boolean
}

/** A failure of all operations after those settled before, up to and including `upTo`. */
export interface Failure {
  upTo: number
  error: WalError
}

export class Environment {
  readonly native: NativeEnvironment
  readonly calls: Calls
  readonly Watcher: Native['Watcher']
  /** Small records of this turn. Only one log, or a batch, uses it at a time. */
  readonly recordBuffer: RecordBuffer
  /** Native code may still hold a part of a batch. */
  isBatchLeft = false
  /** The log whose records are in the buffer. */
  #bufferOwner: OpenLog | undefined
  #isTurnScheduled = false
  #submitsWrites = false
  #refs = 0
  /** A kick is scheduled for the end of this turn. */
  #isKickSoon = false
  /** A kick is scheduled for the end of this iteration of the event loop. */
  #isKickLater = false
  #toKick: OpenLog[] = []
  readonly #logs = new Map<number, OpenLog>()
  readonly #requests = new Map<number, Request>()
  /** Logs that had more to settle when the last turn ended, oldest first. */
  #toResume = new Set<OpenLog>()

  constructor(native: Native) {
    this.native = new native.Environment(() => this.#wake())
    this.calls = this.native.calls() as Calls
    this.Watcher = native.Watcher
    this.recordBuffer = new RecordBuffer(
      () => this.native.recordBuffer(),
      () => this.native.sharesRecordBuffer()
    )
    // On the main thread, `process.exit()` does not run the native side's own cleanup.
    process.once('exit', () => this.native.end())
  }

  /** Makes this thread submit the writes of logs that are opened from now on, where the system and the runtime allow it. */
  submitWrites(): void {
    if (this.#submitsWrites) return
    this.#submitsWrites = true
    // The event loop of another runtime cannot wait for the disk. Unlike a wake, which may be called many times in one iteration of the event
    // loop, this is called once in each, so a turn may run at once. If one is scheduled, it collects the same logs.
    if (isNode()) this.native.submitWrites(() => void (this.#isTurnScheduled || this.#turn()))
  }

  /** Makes the record buffer available to a log, or with `undefined` to a single call, after passing the previous owner's records on. */
  claimBuffer(owner: OpenLog | undefined): void {
    if (owner !== undefined && this.#bufferOwner === owner) return
    this.#bufferOwner?.flush()
    this.#bufferOwner = undefined
    this.recordBuffer.clear(owner?.log)
    this.#bufferOwner = owner
  }

  /** Makes the record buffer available to a new batch, after passing the records of a log in it to native code. */
  beginBatch(): void {
    this.claimBuffer(undefined)
    // A batch that an exception interrupted.
    if (this.isBatchLeft) this.calls.abort()
    this.isBatchLeft = true
  }

  /** Discards the batch that is being built. */
  abortBatch(): void {
    this.recordBuffer.clear(undefined)
    this.calls.abort()
    this.isBatchLeft = false
  }

  /** Keeps the event loop alive until the matching `unref()`. */
  ref(): void {
    if (this.#refs === 0) this.calls.ref()
    this.#refs++
  }

  unref(): void {
    if (--this.#refs === 0) this.calls.unref()
  }

  /**
   * Schedules a kick of the log, after all microtasks of the turn. `isBusy` says that the log has operations in flight: then the kick waits for
   * the other events of this iteration of the event loop, so that they share a commit. A service with 64 connections then makes a fourth of
   * the commits.
   */
  scheduleKick(log: OpenLog, isBusy: boolean): void {
    log.events.listen()
    // The next tick runs when no microtask is left, so one kick covers the appends of all loops that a settled commit resumes. Schedule
    // before pushing: if the stack overflows in between, no kick would ever be scheduled again.
    if (!isBusy) {
      if (!this.#isKickSoon) soon(this.#kickSoon)
      this.#isKickSoon = true
    } else if (!this.#isKickSoon) {
      if (!this.#isKickLater) later(this.#kickLater)
      this.#isKickLater = true
    }
    this.#toKick.push(log)
  }

  readonly #kickSoon = (): void => {
    this.#isKickSoon = false
    this.#kickAll()
  }

  readonly #kickLater = (): void => {
    this.#isKickLater = false
    this.#kickAll()
  }

  #kickAll(): void {
    const logs = this.#toKick
    this.#toKick = []
    for (const log of logs) log.kick()
  }

  /** Waits for a request just made to the native side, and keeps the process alive until it completes. */
  async request(request: number): Promise<Completion> {
    this.ref()
    try {
      return await this.listen(request)
    } finally {
      this.unref()
    }
  }

  /** Waits for a request that may never complete, without keeping the process alive. */
  listen(request: number): Promise<Completion> {
    return new Promise((resolve, reject) => this.#requests.set(request, { resolve, reject }))
  }

  /** Adds a log that was opened: from now on its promises are settled. */
  add(log: OpenLog): void {
    this.#logs.set(log.log, log)
  }

  /** Returns the logs that are open or closing. */
  logs(): Iterable<OpenLog> {
    return this.#logs.values()
  }

  /** Forgets a log that was closed. */
  remove(log: OpenLog): void {
    this.#logs.delete(log.log)
    this.native.forget(log.log)
  }

  // Settling inside the wake would starve the event loop: the callbacks append again, a commit thread wakes again, and the callback never
  // yields. A completed write is different: see `submitWrites`.
  #wake(): void {
    if (this.#isTurnScheduled) return
    this.#isTurnScheduled = true
    later(this.#turn)
  }

  readonly #turn = (): void => {
    this.#isTurnScheduled = false
    const ready = this.#toResume
    this.#toResume = new Set()
    this.#collectReady(ready)
    for (const log of ready) {
      // The log was closed in this turn, after it was reported as ready.
      if (this.#logs.get(log.log) !== log) continue
      log.events.publish()
      if (!log.settle()) this.#toResume.add(log)
    }
    // Rearm last: work that arrives during this turn is handled by it and needs no second wake.
    if (this.calls.rearm() > 0) this.#complete(this.native.completions())
    this.#collectReady(this.#toResume)
    if (this.#toResume.size > 0) this.#wake()
  }

  /** Adds the logs that have something to settle. */
  #collectReady(ready: Set<OpenLog>): void {
    for (let number; (number = this.calls.nextReadyLog()) >= 0;) {
      const log = this.#logs.get(number)
      if (log !== undefined) ready.add(log)
    }
  }

  #complete(completions: Completion[]): void {
    for (const completion of completions) {
      const request = this.#requests.get(completion.request)
      this.#requests.delete(completion.request)
      if (completion.error === undefined) request?.resolve(completion)
      else request?.reject(fromNative(completion.error))
    }
  }

  /** Returns the error of a raw call that has just been refused. `operation` is used if the native side does not name one. */
  refusal(operation?: string): Error {
    const refusal = this.native.refusal()
    return fromNative({ ...refusal, operation: refusal.operation ?? operation })
  }

  /** Returns the failure that a negative result of `settled()` announced. */
  failure(): Failure {
    const failure = this.native.failure()
    if (failure === null) throw closed('append')
    return { upTo: failure.upTo, error: fromNative(failure.error) }
  }
}

let environment: Promise<Environment> | undefined

/** Returns this environment. Loads the native module on the first call, and again if that failed. */
export function currentEnvironment(): Promise<Environment> {
  environment ??= loadNative().then(
    (native) => new Environment(native),
    (error: unknown) => {
      environment = undefined
      throw error
    }
  )
  return environment
}
