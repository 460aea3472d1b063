// The events that logs publish on `node:diagnostics_channel`: channel names and types.

import type { WalError } from '../errors.js'
import type { RecoveryReport } from '../reports/recovery.js'

/**
 * Names of the channels of `node:diagnostics_channel` on which logs publish events.
 *
 * Each environment (main thread or worker) has its own subscribers. They get every event of the logs that are open there, whatever caused
 * it, in order and before the promises of the same commit resolve.
 *
 * To miss nothing, subscribe before opening. A later subscription takes effect with the environment's next operation on the log or the next
 * wake by it. Without subscribers nothing is recorded. If an event loop collects none of 1,024 events, the oldest are dropped.
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
  /** Opening, reading, verifying or scrubbing in this environment met damage: {@link CorruptEvent}. */
  corrupt: 'forelog:corrupt',
  /** An fsync failed, and the log accepts no more appends: {@link PoisonedEvent}. */
  poisoned: 'forelog:poisoned',
  /** The log's directory is no longer at its path, and the log accepts no more appends: {@link DetachedEvent}. */
  detached: 'forelog:detached',
  /** Retention by age met a segment created in the future: {@link ClockEvent}. */
  clock: 'forelog:clock',
} as const)

/** Fields of every event. */
export interface WalEvent {
  /** Absolute path of the log's directory. */
  dir: string
  /** Number of earlier events of the log that were dropped because they were not collected in time; absent if there are none. */
  dropped?: number
}

/** A commit. Its records are written, and durable if the policy or one of them asked for it. */
export interface AppendEvent extends WalEvent {
  /** Position of the first record of the commit. */
  first: number
  /** Position of the last record of the commit, inclusive. */
  last: number
  /** Number of records, including those of batches. */
  records: number
  /** Bytes of the records with their framing before compression. If a full disk cut the commit short, after compression. */
  bytes: number
  /** Duration of the commit, write and fsync, in microseconds. */
  durationUs: number
  /** Time from the acceptance of the oldest record until the commit was done, in microseconds. */
  waitUs: number
}

/** Segments were synced in one step of the log. */
export interface SyncEvent extends WalEvent {
  /** Last durable position after the syncs. */
  durablePosition: number
  /** Number of fsyncs. */
  fsyncs: number
  /** Total duration of these fsyncs in microseconds. */
  durationUs: number
}

/** The next segment was started, and the one before it sealed. */
export interface RollEvent extends WalEvent {
  /** File name of the new active segment. */
  segment: string
  /** First position of the new segment. */
  firstPosition: number
}

/** Records were removed, by a call or by retention. */
export interface TruncateEvent extends WalEvent {
  /** Name of the call, or `'retention'`. */
  operation: 'truncateBefore' | 'truncateAfter' | 'reset' | 'retention'
  /** First position of the log after the truncation. */
  firstPosition: number
  /** Next position of the log after the truncation. */
  nextPosition: number
  /** Number of segment files removed. */
  removedSegments: number
}

/** A log was opened. A further handle on a log that is already open in this environment publishes nothing. */
export interface RecoverEvent extends WalEvent {
  /** Report of what opening found and did: `Wal.recovery`. */
  recovery: RecoveryReport
}

/** Damage was met. */
export interface CorruptEvent extends WalEvent {
  /** `ERR_WAL_CORRUPT`, or `ERR_WAL_IO` if a verification met a file that cannot be read. */
  error: WalError
}

/** An fsync failed. */
export interface PoisonedEvent extends WalEvent {
  /** `ERR_WAL_POISONED`, with the failure of the operating system as its cause. */
  error: WalError
}

/** The log's directory was moved, removed or replaced. */
export interface DetachedEvent extends WalEvent {
  /** `ERR_WAL_DETACHED`; its message says what happened to the directory. */
  error: WalError
}

/**
 * Retention by age met a segment whose header says that it was created more than a minute in the future. The wall clock was ahead then, or
 * is behind now.
 *
 * Published once per segment and opening, if `retention.maxAgeMs` is set. The segment's creation time is ignored.
 */
export interface ClockEvent extends WalEvent {
  /** File name of the segment. */
  segment: string
  /** Creation time in the segment's header, in milliseconds since the epoch. */
  createdAt: number
  /** The wall clock when the segment was met, in milliseconds since the epoch. */
  now: number
}

/** The events by channel name. */
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
