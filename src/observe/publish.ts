// Publishes the events of logs on `node:diagnostics_channel`. Without subscribers the engine records nothing.

import { channel } from 'node:diagnostics_channel'
import { WalError } from '../errors.js'
import type { NativeEnvironment } from '../native/calls.js'
import { fromNative } from '../native/error.js'
import { EVENT_APPEND, EVENT_CLOCK, EVENT_DETACHED, EVENT_POISONED, EVENT_ROLL, EVENT_SYNC, EVENT_TRUNCATE } from '../native/wire.js'
import type { Damage } from '../reports/damage.js'
import type { RecoveryReport } from '../reports/recovery.js'
import { channels, type WalEvent } from './events.js'

// Kept in variables, because Node forgets a channel without references.
const recover = channel(channels.recover)
const corrupt = channel(channels.corrupt)
const recorded = {
  append: channel(channels.append),
  sync: channel(channels.sync),
  roll: channel(channels.roll),
  truncate: channel(channels.truncate),
  poisoned: channel(channels.poisoned),
  detached: channel(channels.detached),
  clock: channel(channels.clock),
}

/** Kinds of events with a subscriber in this environment, as bits. */
function subscribedKinds(): number {
  const { append, sync, roll, truncate, poisoned, detached, clock } = recorded
  let kinds = 0
  if (append.hasSubscribers) kinds |= EVENT_APPEND
  if (sync.hasSubscribers) kinds |= EVENT_SYNC
  if (roll.hasSubscribers) kinds |= EVENT_ROLL
  if (truncate.hasSubscribers) kinds |= EVENT_TRUNCATE
  if (poisoned.hasSubscribers) kinds |= EVENT_POISONED
  if (detached.hasSubscribers) kinds |= EVENT_DETACHED
  if (clock.hasSubscribers) kinds |= EVENT_CLOCK
  return kinds
}

/** Publishes an error on `corrupt` if its code is `ERR_WAL_CORRUPT`. */
export function publishCorruption(dir: string, error: unknown): void {
  if (corrupt.hasSubscribers && error instanceof WalError && error.code === 'ERR_WAL_CORRUPT') corrupt.publish({ dir, error })
}

/** Converts damage found by a check to the error that a reader would report for it. */
function damageError({ kind, message, ...where }: Damage & { kind?: string }, operation: string): WalError {
  const code = kind === 'unreadable' ? 'ERR_WAL_IO' : 'ERR_WAL_CORRUPT'
  return new WalError(code, message, { operation, verdict: kind, ...where })
}

/** Publishes damage that was reported without an error. */
export function publishDamage(dir: string, operation: string, found: readonly (Damage & { kind?: string })[]): void {
  if (corrupt.hasSubscribers) for (const damage of found) corrupt.publish({ dir, error: damageError(damage, operation) })
}

/** Publishes that a log was opened, and the damage that opening met, if any. */
export function publishRecovery(dir: string, recovery: RecoveryReport): void {
  if (recover.hasSubscribers) recover.publish({ dir, recovery })
  const { damage, verdict } = recovery
  if (damage !== undefined) publishDamage(dir, 'open', [{ ...damage, kind: verdict }])
}

/** Collects and publishes the events that the engine records for one log. */
export class EventPublisher {
  readonly dir: string
  readonly #native: NativeEnvironment
  readonly #log: number
  /** Kinds of events that the engine records, as bits. */
  #kinds = 0

  constructor(native: NativeEnvironment, log: number, dir: string) {
    this.#native = native
    this.#log = log
    this.dir = dir
    this.listen()
  }

  /** Makes the engine record exactly the kinds of events that have a subscriber. */
  listen(): void {
    const now = subscribedKinds()
    if (now === this.#kinds) return
    this.#kinds = now
    this.#native.listen(this.#log, now)
  }

  /** Publishes what the engine has recorded. Does nothing if no kind was recorded at the last look. */
  publishRecorded(): void {
    if (this.#kinds !== 0) this.publish()
  }

  /** Updates the recorded kinds and publishes what the engine has recorded. */
  publish(): void {
    this.listen()
    const taken = this.#kinds === 0 ? null : this.#native.events(this.#log)
    if (taken === null) return
    let { dropped } = taken
    for (const { kind, error, ...fields } of taken.events) {
      const event: WalEvent & { error?: WalError } = { dir: this.dir, ...fields }
      if (error !== undefined) event.error = fromNative(error)
      if (dropped > 0) event.dropped = dropped
      dropped = 0
      recorded[kind].publish(event)
    }
  }
}
