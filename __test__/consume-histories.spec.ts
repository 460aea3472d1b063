// Random histories of consumers over a played cursor: handlers that succeed, fail and hang, commits that fail, consumers that come and go.

import test, { type ExecutionContext } from 'ava'
import type { ConsumeOptions, HandlerCall } from '../index.js'
import type { Consumer } from '../src/consume/consumer.js'
import { WalError } from '../src/errors.js'
import { PlayedCursor, type PlayedHandle } from './helpers/played-cursor.js'
import { microtasks } from './helpers/scripted-clock.js'
import { random } from './helpers/kill/records.mjs'

const HISTORIES = 150
const STEPS = 120
const WINDOW = 12
const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)

interface PlayedCall {
  positions: number[]
  signal: AbortSignal
  succeed(): void
  fail(): void
}

class History {
  readonly cursor = new PlayedCursor()
  consumers: Consumer[] = []
  /** The handle of each consumer. */
  readonly handles = new Map<Consumer, PlayedHandle>()
  /** Calls that run. */
  calls: PlayedCall[] = []
  /** Positions that a handler has handled, or that are dead letters. */
  readonly settled = new Set<number>()
  readonly next: () => number
  readonly #t: ExecutionContext
  #checked = 0

  constructor(t: ExecutionContext, number: number) {
    this.#t = t
    this.next = random(number)
    this.cursor.isSlow = true
  }

  upTo(n: number): number {
    return 1 + Math.floor(this.next() * n)
  }

  pick<T>(from: T[]): T | undefined {
    return from[Math.floor(this.next() * from.length)]
  }

  join(options: ConsumeOptions & { batch?: number }): Consumer {
    const handler = (given: { position: number } | { position: number }[], call: HandlerCall) =>
      new Promise<void>((resolve, reject) => {
        const positions = [given].flat().map(({ position }) => position)
        const end = (settle: () => void) => () => {
          this.calls = this.calls.filter((other) => other !== played)
          settle()
        }
        const succeed = end(() => {
          // What a call does after it was given up does not count.
          if (!call.signal.aborted) for (const position of positions) this.settled.add(position)
          resolve()
        })
        const played: PlayedCall = { positions, signal: call.signal, succeed, fail: end(() => reject(new Error('no'))) }
        this.calls.push(played)
      })
    const deadLetter = ({ position }: { position: number }) => void this.settled.add(position)
    const backoff = { minMs: 10, maxMs: 100 }
    const handle = this.next() < 0.5 ? this.cursor.open() : this.cursor.handle
    const consumer = this.cursor.consume(handler, { backoff, deadLetter, window: WINDOW, commitEveryMs: 20, ...options }, handle)
    this.consumers.push(consumer)
    this.handles.set(consumer, handle)
    return consumer
  }

  leave(consumer: Consumer, graceMs: number | undefined): void {
    this.consumers.splice(this.consumers.indexOf(consumer), 1)
    // A last commit that fails passes: the records are delivered again.
    consumer.stop({ graceMs }).catch(this.#passes)
  }

  readonly #passes = ({ code }: WalError): void => void this.#t.true(code === 'ERR_WAL_NO_SPACE' || code === 'ERR_WAL_CLOSED', code)

  /** Closes the handle of a consumer, unless it is the one that is always open. The consumers of the handle fail. */
  close(consumer: Consumer): void {
    const closing = this.handles.get(consumer)!
    if (closing === this.cursor.handle) return
    for (const other of this.consumers) if (this.handles.get(other) === closing) other.done.catch(this.#passes)
    this.consumers = this.consumers.filter((other) => this.handles.get(other) !== closing)
    closing.close()
  }

  endCommit(succeeds: boolean): void {
    const commit = this.cursor.pending.shift()
    if (succeeds) commit?.succeed()
    else commit?.fail(new WalError('ERR_WAL_NO_SPACE', 'full'))
  }

  /** Checks what has to hold at every moment. */
  check(step: string): void {
    const { commits, stored, pending } = this.cursor
    this.#t.true(pending.length <= 1, `${step}: ${pending.length} commits at once`)
    for (const position of commits.slice(this.#checked)) {
      for (let n = 1; n <= position; n++) this.#t.true(this.settled.has(n), `${step}: ${n} is not handled, and ${position} is committed`)
    }
    this.#checked = commits.length
    for (const { positions } of this.calls) {
      this.#t.true(Math.max(...positions) <= stored + WINDOW || this.cursor.isClosed, `${step}: ${positions} runs, ${stored} is committed`)
    }
  }

  /** Lets everything succeed until all has been handled and committed. */
  async finish(): Promise<void> {
    const { cursor } = this
    for (let round = 0; cursor.stored < cursor.last; round++) {
      if (round > 500) throw new Error(`nothing goes on: ${cursor.stored} of ${cursor.last}`)
      for (const call of this.calls) call.succeed()
      await microtasks()
      this.endCommit(true)
      await cursor.clock.pass(100)
      this.check('finish')
    }
  }
}

async function step(history: History, isShared: boolean): Promise<void> {
  const { cursor, calls, consumers } = history
  const what = history.next()
  if (what < 0.1) cursor.append(history.upTo(10))
  else if (what < 0.5) history.pick(calls)?.succeed()
  else if (what < 0.65) history.pick(calls)?.fail()
  else if (what < 0.75) history.endCommit(history.next() < 0.8)
  else if (what < 0.95) await cursor.clock.pass(history.upTo(120))
  else if (isShared && (consumers.length < 2 || what < 0.975)) {
    const batch = history.next() < 0.3 ? history.upTo(4) : undefined
    history.join({ share: true, concurrency: history.upTo(4), retries: history.upTo(3) - 1, timeoutMs: 300, batch })
  } else if (isShared && what < 0.985) history.close(history.pick(consumers)!)
  else if (isShared) history.leave(history.pick(consumers)!, history.next() < 0.5 ? 0 : undefined)
  await microtasks()
}

test('no position is committed before everything up to it has been handled, and everything is, whatever happens', async (t) => {
  t.log(`seed ${seed} (FORELOG_SEED)`)
  let [commits, records] = [0, 0]
  for (let number = 0; number < HISTORIES; number++) {
    const history = new History(t, seed + number)
    history.join({ share: true, concurrency: history.upTo(4), retries: 1, timeoutMs: 300 })
    for (let n = 0; n < STEPS; n++) {
      await step(history, true)
      history.check(`seed ${seed + number}, step ${n}`)
    }
    history.join({ share: true })
    await history.finish()
    for (const consumer of history.consumers) t.like(consumer.stats(), { inFlight: 0, waiting: 0, lag: 0 })
    commits += history.cursor.commits.length
    records += history.cursor.last
  }
  t.log(`${commits} commits of ${records} records`)
  t.true(commits > HISTORIES * 3)
})

test('a single consumer with concurrency 1 begins no record before the one before it is settled', async (t) => {
  for (let number = 0; number < HISTORIES / 3; number++) {
    const history = new History(t, seed + number)
    history.join({ retries: 1, timeoutMs: 300 })
    for (let n = 0; n < STEPS; n++) {
      await step(history, false)
      for (const { positions, signal } of history.calls) {
        if (signal.aborted) continue
        const [position] = positions
        for (let before = 1; before < position; before++)
          t.true(history.settled.has(before), `seed ${seed + number}: ${position} before ${before}`)
      }
    }
    await history.finish()
  }
})
