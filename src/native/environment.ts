// State that all logs of one JavaScript environment (the main thread or a worker) share.

import { Channel } from '../queue/log-queue.js'
import { closed, fromNative, type WalError } from '../errors.js'
import { Stage } from './record-buffer.js'
import { later, soon } from '../util/timing.js'
import { loadNative, type Calls, type Completion, type Native, type NativeEnvironment } from './load.js'

interface Request {
  resolve(completion: Completion): void
  reject(reason: unknown): void
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
  readonly stage: Stage
  /** Native code may still hold a part of a batch. */
  batchIsLeft = false
  /** The channel whose records are on the stage. */
  #onStage: Channel | undefined
  #turnArmed = false
  #held = 0
  #kicksArmed = false
  #kicks: Channel[] = []
  readonly #channels = new Map<number, Channel>()
  readonly #requests = new Map<number, Request>()
  /** Channels that had more to settle when the last turn ended, oldest first. */
  #unfinished = new Set<Channel>()

  constructor(native: Native) {
    this.native = new native.Environment(() => this.#wake())
    this.calls = this.native.calls() as Calls
    this.Watcher = native.Watcher
    this.stage = new Stage(this.native.stage(), () => this.native.sharesStage())
    // On the main thread, `process.exit()` does not run the native side's own cleanup.
    process.once('exit', () => this.native.end())
  }

  /** Makes `channel` the owner of the stage, after passing the previous owner's records to native code. */
  clearStageFor(channel: Channel): void {
    if (this.#onStage === channel) return
    this.#onStage?.flush()
    this.#onStage = undefined
    this.stage.clear(channel.log)
    this.#onStage = channel
  }

  /** Makes the stage available to a new batch, after passing a channel's records on it to native code. */
  beginBatch(): void {
    this.#onStage?.flush()
    this.#onStage = undefined
    this.stage.clear(undefined)
    // A batch that an exception interrupted.
    if (this.batchIsLeft) this.calls.abort()
    this.batchIsLeft = true
  }

  /** Discards the batch that is being built. */
  abortBatch(): void {
    this.stage.clear(undefined)
    this.calls.abort()
    this.batchIsLeft = false
  }

  /** Keeps the event loop alive until the matching `letGo()`. */
  hold(): void {
    if (this.#held === 0) this.calls.hold(1)
    this.#held++
  }

  letGo(): void {
    if (--this.#held === 0) this.calls.hold(0)
  }

  /** Schedules a kick of the channel's log for the end of this turn, after all microtasks of the turn. */
  kickLater(channel: Channel): void {
    channel.diagnostics.listen()
    // The next tick runs when no microtask is left, so one kick covers the appends of all loops that a settled commit resumes. Schedule
    // before pushing: if the stack overflows in between, no kick would ever be scheduled again.
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

  /** Waits for a request just made to the native side, and keeps the process alive until it completes. */
  async request(request: number): Promise<Completion> {
    this.hold()
    try {
      return await this.listen(request)
    } finally {
      this.letGo()
    }
  }

  /** Waits for a request that may never complete, without keeping the process alive. */
  listen(request: number): Promise<Completion> {
    return new Promise((resolve, reject) => this.#requests.set(request, { resolve, reject }))
  }

  /**
   * Returns the channel for a log just opened. If this environment already has the log open, its existing channel is used, so that all its
   * appends settle in the order of their positions, and the new native handle is closed.
   */
  async join(log: number, identity: number, dir: string): Promise<Channel> {
    for (let channel; (channel = this.#find(identity)) !== undefined;) {
      if (channel.enter()) {
        // The handles that close the channel report how closing ends.
        const forget = () => this.native.forget(log)
        void this.request(this.native.close(log)).then(forget, forget)
        return channel
      }
      // The channel is closing: let its promises settle first.
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

  /** Forgets a log that has been closed. */
  remove(channel: Channel): void {
    this.#channels.delete(channel.log)
    this.native.forget(channel.log)
  }

  // Settling inside the wake would starve the event loop: the callbacks append again, the commit thread wakes again, and the callback never
  // yields.
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
      // The log was closed in this turn, after it was reported as ready.
      if (this.#channels.get(channel.log) !== channel) continue
      channel.diagnostics.tell()
      if (!channel.settle()) this.#unfinished.add(channel)
    }
    // Rearm last: work that arrives during this turn is handled by it and needs no second wake.
    if (this.calls.rearm() > 0) this.#complete(this.native.completions())
    this.#hear(this.#unfinished)
    if (this.#unfinished.size > 0) this.#wake()
  }

  /** Adds the channels whose logs have something to settle. */
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
