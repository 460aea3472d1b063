// Figures of the cursors that are consumed in this environment, over all their consumers, also those that have ended.

import type { Consumer, ConsumerStats } from './consumer.js'

/** Counted from the first consumer on. */
const TOTALS = ['handled', 'retries', 'dead'] as const

/** Figures of a consumed cursor: see `Wal.consumption`. Those of its consumers are added up. */
export interface ConsumptionStats extends ConsumerStats {
  /** Name of the cursor. */
  cursor: string
  /** Number of consumers that are running. */
  consumers: number
}

interface Consumed {
  running: Set<Consumer>
  /** Of the consumers that have ended. `undefined` before the first one has. */
  ended: ConsumerStats | undefined
}

const consumedOf = new WeakMap<object, Map<string, Consumed>>()

/** Adds a consumer of a cursor. Returns the function to be called when it has ended. */
export function addConsumer(log: object, cursor: string, consumer: Consumer): () => void {
  const ofLog = consumedOf.get(log) ?? new Map<string, Consumed>()
  consumedOf.set(log, ofLog)
  const consumed = ofLog.get(cursor) ?? { running: new Set(), ended: undefined }
  ofLog.set(cursor, consumed)
  consumed.running.add(consumer)
  return () => {
    consumed.running.delete(consumer)
    consumed.ended = sum(consumer.stats(), consumed.ended)
  }
}

/**
 * Figures of every cursor of the log that has or had a consumer in this environment, in the order of their first consumers. The log is
 * acknowledged up to a position.
 */
export function consumption(log: object, acknowledged: number): ConsumptionStats[] {
  return [...(consumedOf.get(log) ?? [])].map(([cursor, { running, ended }]) => {
    let stats = ended as ConsumerStats
    for (const consumer of running) stats = sum(consumer.stats(), stats)
    // The next consumer begins after what was committed. Meanwhile the lag grows, and nobody has the record that it begins with.
    const lag = running.size > 0 ? stats.lag : Math.max(0, acknowledged - stats.committed)
    const lagMs = running.size > 0 ? stats.lagMs : lag === 0 ? 0 : undefined
    return { ...stats, lag, lagMs, cursor, consumers: running.size }
  })
}

/** The figures of the cursor are those of `stats`, which are the newer ones. */
function sum(stats: ConsumerStats, others: ConsumerStats | undefined): ConsumerStats {
  if (others === undefined) return stats
  const both = { ...stats, inFlight: stats.inFlight + others.inFlight, waiting: stats.waiting + others.waiting }
  for (const total of TOTALS) both[total] += others[total]
  return both
}
