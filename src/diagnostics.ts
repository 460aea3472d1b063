// What a log tells on `node:diagnostics_channel` to those who subscribe in this environment. Nothing is recorded for nobody.

import { channel } from 'node:diagnostics_channel'
import { damaged, fromNative, WalError } from './errors.js'
import type { NativeEnvironment } from './native.js'
import type { Damage, RecoveryReport } from './reports.js'

/**
 * Names of the channels of `node:diagnostics_channel` on which logs tell what they do. Each environment (worker) has its own subscribers
 * and gets every event of the logs that it has open, whoever caused it, in order and before the promises of the same commit resolve.
 *
 * Subscribe before opening to miss nothing; a later subscription counts from this environment's next operation on the log, or its next
 * news from it. Without subscribers nothing is recorded. An event loop that takes nothing for 1,024 events loses the oldest.
 */
export const channels = Object.freeze({
  /** A group of appends was committed: {@link AppendEvent}. */
  append: 'forelog:append',
  /** Segments were synced: {@link SyncEvent}. */
  sync: 'forelog:sync',
  /** A segment was started: {@link RollEvent}. */
  roll: 'forelog:roll',
  /** Records were removed from either end of the log: {@link TruncateEvent}. */
  truncate: 'forelog:truncate',
  /** A log was opened in this environment: {@link RecoverEvent}. */
  recover: 'forelog:recover',
  /** Damage was met by opening, reading, verifying or scrubbing here: {@link CorruptEvent}. */
  corrupt: 'forelog:corrupt',
  /** An fsync has failed, and the log takes nothing more: {@link PoisonedEvent}. */
  poisoned: 'forelog:poisoned',
  /** The log's directory is not at its path any more, and the log takes nothing more: {@link DetachedEvent}. */
  detached: 'forelog:detached',
  /** Retention by age met a segment from the future: {@link ClockEvent}. */
  clock: 'forelog:clock',
} as const)

/** What every event has. */
export interface WalEvent {
  /** Directory of the log, absolute. */
  dir: string
  /** Events of the log before this one that were lost, where there are any: nobody took them in time. */
  dropped?: number
}

/** One commit: written, and durable where the policy or a record in it asked for that. */
export interface AppendEvent extends WalEvent {
  /** Position of its first record. */
  first: number
  /** Position of its last record, inclusive. */
  last: number
  /** How many records it has, those of batches included. */
  records: number
  /** Bytes of the records with their framing, before compression; after it where a full disk cut the commit short. */
  bytes: number
  /** Of the commit, write and fsync, in microseconds. */
  durationUs: number
  /** From when its oldest record was accepted until it was done, in microseconds. */
  waitUs: number
}

/** Segments have been synced in one step of the log. */
export interface SyncEvent extends WalEvent {
  /** Last position that is durable now. */
  durablePosition: number
  /** How many fsyncs that were. */
  fsyncs: number
  /** Of these fsyncs together, in microseconds. */
  durationUs: number
}

/** The next segment has been started; the one before it is sealed. */
export interface RollEvent extends WalEvent {
  /** File name of the segment that is written from now on. */
  segment: string
  /** Position that it starts with. */
  firstPosition: number
}

/** Records have been removed, by a call or by retention. */
export interface TruncateEvent extends WalEvent {
  /** The call that did it, or `'retention'`. */
  operation: 'truncateBefore' | 'truncateAfter' | 'reset' | 'retention'
  /** First position of the log from now on. */
  firstPosition: number
  /** Position after the last of the log from now on. */
  nextPosition: number
  /** Segment files removed by it. */
  removedSegments: number
}

/** A log has been opened; a further handle on one that is open here tells nothing. */
export interface RecoverEvent extends WalEvent {
  /** What opening found, and did: the same as `Wal.recovery`. */
  recovery: RecoveryReport
}

/** Damage has been met. */
export interface CorruptEvent extends WalEvent {
  /** `ERR_WAL_CORRUPT`, or `ERR_WAL_IO` where verifying met a file that does not read. */
  error: WalError
}

/** An fsync has failed. */
export interface PoisonedEvent extends WalEvent {
  /** `ERR_WAL_POISONED`, with the failure of the operating system as its cause. */
  error: WalError
}

/** The log's directory was moved, removed or replaced. */
export interface DetachedEvent extends WalEvent {
  /** `ERR_WAL_DETACHED`; its message says what has become of the directory. */
  error: WalError
}

/**
 * A segment's header says that it was created more than a minute after now: the wall clock was ahead then, or is behind. Told once for each
 * segment after opening, where `retention.maxAgeMs` is set; the stamp counts for nothing.
 */
export interface ClockEvent extends WalEvent {
  /** File name of the segment. */
  segment: string
  /** When it was created by its header, in milliseconds since the epoch. */
  createdAt: number
  /** The wall clock when it was met, in milliseconds since the epoch. */
  now: number
}

/** The events by the names of their channels. */
export interface WalEvents {
  /** See `channels.append`. */
  'forelog:append': AppendEvent
  /** See `channels.sync`. */
  'forelog:sync': SyncEvent
  /** See `channels.roll`. */
  'forelog:roll': RollEvent
  /** See `channels.truncate`. */
  'forelog:truncate': TruncateEvent
  /** See `channels.recover`. */
  'forelog:recover': RecoverEvent
  /** See `channels.corrupt`. */
  'forelog:corrupt': CorruptEvent
  /** See `channels.poisoned`. */
  'forelog:poisoned': PoisonedEvent
  /** See `channels.detached`. */
  'forelog:detached': DetachedEvent
  /** See `channels.clock`. */
  'forelog:clock': ClockEvent
}

// Held here: Node forgets a channel that nobody holds.
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

/** The kinds that somebody subscribes to, as bits: crates/forelog/src/observe/events.rs has the same. */
function heardNow(): number {
  const { append, sync, roll, truncate, poisoned, detached, clock } = recorded
  let kinds = 0
  if (append.hasSubscribers) kinds |= 1
  if (sync.hasSubscribers) kinds |= 2
  if (roll.hasSubscribers) kinds |= 4
  if (truncate.hasSubscribers) kinds |= 8
  if (poisoned.hasSubscribers) kinds |= 16
  if (detached.hasSubscribers) kinds |= 32
  if (clock.hasSubscribers) kinds |= 64
  return kinds
}

/** Tells an error if it is about damage. */
export function tellCorrupt(dir: string, error: unknown): void {
  if (corrupt.hasSubscribers && error instanceof WalError && error.code === 'ERR_WAL_CORRUPT') corrupt.publish({ dir, error })
}

/** Tells damage that was no error. */
export function tellDamage(dir: string, operation: string, found: readonly (Damage & { kind?: string })[]): void {
  if (corrupt.hasSubscribers) for (const damage of found) corrupt.publish({ dir, error: damaged(damage, operation) })
}

/** Tells that a log has been opened. */
export function tellRecovery(dir: string, recovery: RecoveryReport): void {
  if (recover.hasSubscribers) recover.publish({ dir, recovery })
  const { damage, verdict } = recovery
  if (damage !== undefined) tellDamage(dir, 'open', [{ ...damage, kind: verdict }])
}

/** What the engine tells of one log. */
export class Diagnostics {
  readonly dir: string
  readonly #native: NativeEnvironment
  readonly #log: number
  /** Kinds that the engine records. */
  #heard = 0

  constructor(native: NativeEnvironment, log: number, dir: string) {
    this.#native = native
    this.#log = log
    this.dir = dir
    this.listen()
  }

  /** Has the engine record what somebody subscribes to, and nothing else. */
  listen(): void {
    const now = heardNow()
    if (now === this.#heard) return
    this.#heard = now
    this.#native.listen(this.#log, now)
  }

  /** Publishes what the engine has recorded, if it records anything. */
  tellHeard(): void {
    if (this.#heard !== 0) this.tell()
  }

  /** Publishes what the engine has recorded. */
  tell(): void {
    this.listen()
    const taken = this.#heard === 0 ? null : this.#native.events(this.#log)
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
