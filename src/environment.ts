// One per JavaScript environment (the main thread's or a worker's): what it shares among all the logs open in it.

import { Channel } from './channel.js'
import { closed, fromNative, type WalError } from './errors.js'
import { Stage } from './stage.js'
import { later, soon } from './timing.js'
import { loadNative, type Calls, type Completion, type Native, type NativeEnvironment } from './native.js'

interface Request {
  resolve(completion: Completion): void
  reject(reason: unknown): void
}

/** Operations after those settled before, up to and including this one, have failed. */
export interface Failure {
  upTo: number
  error: WalError
}

export class Environment {
  readonly native: NativeEnvironment
  readonly calls: Calls
  readonly Watcher: Native['Watcher']
  readonly stage: Stage
  /** A part of a batch may be left in native code. */
  batchIsLeft = false
  /** Whose records are on the stage. */
  #onStage: Channel | undefined
  #turnArmed = false
  #held = 0
  #kicksArmed = false
  #kicks: Channel[] = []
  readonly #channels = new Map<number, Channel>()
  readonly #requests = new Map<number, Request>()
  /** Channels that still have something to tell after the last turn, oldest first. */
  #unfinished = new Set<Channel>()

  constructor(native: Native) {
    this.native = new native.Environment(() => this.#wake())
    this.calls = this.native.calls() as Calls
    this.Watcher = native.Watcher
    this.stage = new Stage(this.native.stage(), () => this.native.sharesStage())
    // process.exit() does not run the native side's own cleanup on the main thread.
    process.once('exit', () => this.native.end())
  }

  /** Leaves the stage to `channel`: another's records on it cross now. */
  clearStageFor(channel: Channel): void {
    if (this.#onStage === channel) return
    this.#onStage?.flush()
    this.#onStage = undefined
    this.stage.clear(channel.log)
    this.#onStage = channel
  }

  /** Leaves the stage to a batch, which begins with nothing: a channel's records on it cross now. */
  beginBatch(): void {
    this.#onStage?.flush()
    this.#onStage = undefined
    this.stage.clear(undefined)
    // Of one that something threw in the middle of.
    if (this.batchIsLeft) this.calls.abort()
    this.batchIsLeft = true
  }

  /** Forgets what there is of the batch. */
  abortBatch(): void {
    this.stage.clear(undefined)
    this.calls.abort()
    this.batchIsLeft = false
  }

  /** While anything is held, the event loop goes on. */
  hold(): void {
    if (this.#held === 0) this.calls.hold(1)
    this.#held++
  }

  letGo(): void {
    if (--this.#held === 0) this.calls.hold(0)
  }

  /** Has the channel's log told to commit at the end of this turn, after everything that the turn's promises have set off. */
  kickLater(channel: Channel): void {
    channel.diagnostics.listen()
    // The next tick comes when no microtask is left, so the appends of all loops that one settled commit continues go into one kick.
    // Armed before it is remembered: the stack may end anywhere, and nothing would be kicked any more.
    if (!this.#kicksArmed) soon(this.#kickAll)
    this.#kicksArmed = true
    this.#kicks.push(channel)
  }

  readonly #kickAll = (): void => {
    const channels = this.#kicks
    this.#kicksArmed = false
    this.#kicks = []
    for (const channel of channels) channel.kick()
  }

  /** The completion of a request just made to the native side. */
  async request(request: number): Promise<Completion> {
    this.hold()
    try {
      return await this.listen(request)
    } finally {
      this.letGo()
    }
  }

  /** The same for a request that may never complete: it does not keep the process alive. */
  listen(request: number): Promise<Completion> {
    return new Promise((resolve, reject) => this.#requests.set(request, { resolve, reject }))
  }

  /**
   * The channel for a log just opened. A log open already in this environment goes on with the channel it has, so that everything
   * appended to it here settles in the order of positions; the new native handle is not needed then.
   */
  async join(log: number, identity: number, dir: string): Promise<Channel> {
    for (let channel; (channel = this.#find(identity)) !== undefined;) {
      if (channel.enter()) {
        // How closing ends is told to those who close the channel.
        const forget = () => this.native.forget(log)
        void this.request(this.native.close(log)).then(forget, forget)
        return channel
      }
      // It is closing: its promises come first.
      await channel.idle()
    }
    const channel = new Channel(this, log, identity, dir)
    this.#channels.set(log, channel)
    return channel
  }

  #find(identity: number): Channel | undefined {
    for (const channel of this.#channels.values()) {
      if (channel.identity === identity && !channel.quiet) return channel
    }
    return undefined
  }

  /** Lets go of a log that has been closed. */
  remove(channel: Channel): void {
    this.#channels.delete(channel.log)
    this.native.forget(channel.log)
  }

  // Settling inside the wake would starve the event loop: what is settled appends again, the commit thread wakes again, and the
  // callback never yields.
  #wake(): void {
    if (this.#turnArmed) return
    this.#turnArmed = true
    later(this.#turn)
  }

  readonly #turn = (): void => {
    this.#turnArmed = false
    const channels = this.#unfinished
    this.#unfinished = new Set()
    this.#hear(channels)
    for (const channel of channels) {
      // News of it came in the turn that it was closed in.
      if (this.#channels.get(channel.log) !== channel) continue
      channel.diagnostics.tell()
      if (!channel.settle()) this.#unfinished.add(channel)
    }
    // Not before: what comes during a turn is told in it, and needs no wake of its own.
    if (this.calls.rearm() > 0) this.#complete(this.native.completions())
    this.#hear(this.#unfinished)
    if (this.#unfinished.size > 0) this.#wake()
  }

  /** Adds the channels that there is news of. */
  #hear(channels: Set<Channel>): void {
    for (let log; (log = this.calls.news()) >= 0;) {
      const channel = this.#channels.get(log)
      if (channel !== undefined) channels.add(channel)
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

  /** The error of a raw call that has just been refused; `operation` where the native side does not name it. */
  refusal(operation?: string): Error {
    const refusal = this.native.refusal()
    return fromNative({ ...refusal, operation: refusal.operation ?? operation })
  }

  /** The failure that a negative `settled()` has announced. */
  failure(): Failure {
    const failure = this.native.failure()
    if (failure === null) throw closed('append')
    return { upTo: failure.upTo, error: fromNative(failure.error) }
  }
}

let environment: Promise<Environment> | undefined

/** This environment; loads the native module the first time, and again where that failed. */
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
