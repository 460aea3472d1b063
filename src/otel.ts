// Exports the statistics of logs as OpenTelemetry metrics. Needs only the types of the API; the meter given by the caller does the work.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import type { Attributes, BatchObservableResult, Meter, MetricOptions, Observable } from '@opentelemetry/api'
import type { ConsumptionStats } from './consume/consumption.js'
import { invalid, whileReading } from './errors.js'
import { Wal } from './log/wal.js'
import { channels, type AppendEvent, type SyncEvent, type WalEvent } from './observe/events.js'
import { checkInstrument } from './options/instrument.js'
import type { Histogram, WalStats } from './reports/stats.js'

/** Options of `instrument`. */
export interface InstrumentOptions {
  /** The meter, for instance `metrics.getMeter('my-service')`. */
  meter: Meter
  /** Attributes of every measurement, beside `forelog.dir`, the log's directory. */
  attributes?: Attributes
  /**
   * Record the durations and sizes of every commit and fsync from now on as histograms, by subscribing to `diagnostics_channel`. The logs
   * then record these events.
   *
   * @defaultValue `false`: quantiles since opening, as gauges
   */
  histograms?: boolean
}

type Read = (stats: WalStats, wal: Wal) => number | undefined
type Instrument = [name: string, unit: string, description: string, read: Read]

const counters: Instrument[] = [
  ['forelog.appends', '{record}', 'Records accepted one by one', (stats) => stats.appends],
  ['forelog.batches', '{batch}', 'Batches accepted', (stats) => stats.batches],
  ['forelog.record.size', 'By', 'Bytes of all records accepted', (stats) => stats.bytes],
  ['forelog.commits', '{commit}', 'Groups of appends committed', (stats) => stats.commits],
  ['forelog.fsyncs', '{fsync}', 'Fsyncs of everything', (stats) => stats.fsyncs],
  ['forelog.rolls', '{segment}', 'Segments started', (stats) => stats.rolls],
  ['forelog.segments.removed', '{segment}', 'Segments removed by truncation', (stats) => stats.removedSegments],
  ['forelog.segments.future', '{segment}', 'Segments met whose stamps are from the future', (stats) => stats.futureSegments],
  ['forelog.written.size', 'By', 'Bytes written to segments, framing included', (stats) => stats.writtenBytes],
  ['forelog.events.dropped', '{event}', 'Events lost because an event loop was too busy to take them', (stats) => stats.droppedEvents],
  ['forelog.scrub.runs', '{run}', 'Scrubs that came to their end', ({ scrub }) => scrub.runs],
  ['forelog.scrub.size', 'By', 'Bytes of good frames that scrubs have read', ({ scrub }) => scrub.bytes],
  ['forelog.scrub.problems', '{problem}', 'Problems that scrubs have found', ({ scrub }) => scrub.problems],
]

const sums: Instrument[] = [
  ['forelog.pending.size', 'By', 'Bytes accepted and not yet acknowledged', (stats) => stats.pendingBytes],
  ['forelog.segments', '{segment}', 'Segments of the log', (stats) => stats.segments],
  ['forelog.disk.size', 'By', 'Bytes that the segment files take', (stats) => stats.diskBytes],
  ['forelog.allocated.size', 'By', 'Bytes of the disk that all files of the log occupy', (stats) => stats.allocatedBytes],
  ['forelog.used.size', 'By', 'Bytes of the segments that are in use', (stats) => stats.usedBytes],
  ['forelog.readers', '{reader}', 'Readers that still have something to read', (stats) => stats.readers],
  ['forelog.followers', '{reader}', 'Readers that wait at the end of the log', (stats) => stats.followers],
]

const gauges: Instrument[] = [
  ['forelog.active.fill', '1', 'Part of the active segment that is used', (s) => s.activeBytes / s.activeCapacity || 0],
  ['forelog.poisoned', '1', '1 once an fsync has failed, until the log is reopened', (stats) => Number(stats.poisoned)],
  [
    'forelog.detached',
    '1',
    '1 once the directory is not at its path any more, until the log is reopened',
    (stats) => Number(stats.detached),
  ],
  ['forelog.scrub.finished', 's', 'When the last scrub ended, since the epoch', ({ scrub }) => scrub.finishedAt && scrub.finishedAt / 1e3],
  ['forelog.recovery.duration', 's', 'Duration of opening', ({ recovery }) => recovery.durationMs / 1e3],
]

type ConsumerInstrument = [name: string, unit: string, description: string, read: (stats: ConsumptionStats) => number]

const consumerCounters: ConsumerInstrument[] = [
  ['forelog.consumer.handled', '{record}', 'Records that handlers have handled', (stats) => stats.handled],
  ['forelog.consumer.retries', '{attempt}', 'Attempts after the first', (stats) => stats.retries],
  ['forelog.consumer.dead', '{record}', 'Records that went to the dead letters', (stats) => stats.dead],
]

const consumerSums: ConsumerInstrument[] = [
  ['forelog.consumers', '{consumer}', 'Consumers that are running', (stats) => stats.consumers],
  ['forelog.consumer.lag', '{record}', 'Acknowledged records that have not been handled', (stats) => stats.lag],
  ['forelog.consumer.in_flight', '{record}', 'Records in handlers that are running', (stats) => stats.inFlight],
  ['forelog.consumer.waiting', '{record}', 'Records that wait for their next attempt', (stats) => stats.waiting],
]

const POSITION = 'forelog.position'
const horizons: [string, (wal: Wal) => number][] = [
  ['first', (wal) => wal.firstPosition],
  ['written', (wal) => wal.writtenPosition],
  ['acknowledged', (wal) => wal.acknowledgedPosition],
  ['durable', (wal) => wal.durablePosition],
]

const distributions: [name: string, unit: string, description: string, scale: number, read: (stats: WalStats) => Histogram][] = [
  ['forelog.commit.records', '{record}', 'Records per commit', 1, (stats) => stats.group],
  ['forelog.commit.duration', 's', 'Duration of commits', 1e-6, (stats) => stats.commitUs],
  ['forelog.commit.wait', 's', "From a commit's oldest record until it was done", 1e-6, (stats) => stats.waitUs],
  ['forelog.fsync.duration', 's', 'Duration of fsyncs of segments', 1e-6, (stats) => stats.fsyncUs],
]
const quantiles = [
  [0.5, 'p50'],
  [0.9, 'p90'],
  [0.99, 'p99'],
  [0.999, 'p999'],
] as const

// From tens of microseconds on fast disks to seconds on a struggling one.
const SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]
const RECORDS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000]

/**
 * Registers the statistics of one or more logs (`wal.stats()`, positions and `wal.consumption()`) with a meter.
 *
 * They are read in one callback when the meter's reader collects, and cost nothing otherwise. A closed log is dropped at the next
 * collection. When no open log is left, everything is unregistered.
 *
 * Returns a function that unregisters at once.
 *
 * @throws `ERR_WAL_INVALID_ARG`: an argument is invalid.
 * @example
 * ```ts
 * const unregister = instrument(wal, { meter: metrics.getMeter('my-service') })
 * ```
 */
export function instrument(wals: Wal | Iterable<Wal>, options: InstrumentOptions): () => void {
  const { meter, attributes, histograms } = checkInstrument(options) as Required<InstrumentOptions>
  const open = new Set(logsOf(wals))
  const attributesOf = ({ dir }: { dir: string }): Attributes => ({ ...attributes, 'forelog.dir': dir })

  const made: [Observable, Read][] = []
  const register = (instruments: Instrument[], make: (name: string, options: MetricOptions) => Observable) => {
    for (const [name, unit, description, read] of instruments) made.push([make(name, { unit, description }), read])
  }
  register(counters, (name, options) => meter.createObservableCounter(name, options))
  register(sums, (name, options) => meter.createObservableUpDownCounter(name, options))
  register(gauges, (name, options) => meter.createObservableGauge(name, options))
  const ofConsumers: [Observable, ConsumerInstrument[3]][] = []
  for (const [name, unit, description, read] of consumerCounters)
    ofConsumers.push([meter.createObservableCounter(name, { unit, description }), read])
  for (const [name, unit, description, read] of consumerSums)
    ofConsumers.push([meter.createObservableUpDownCounter(name, { unit, description }), read])
  const position = meter.createObservableGauge(POSITION, { description: 'Positions of the log' })
  const spread = histograms ? [] : distributions.map((distribution) => ({ ...quantileGauge(meter, distribution) }))

  const observe = (result: BatchObservableResult): void => {
    for (const wal of open) {
      if (wal.closed) {
        open.delete(wal)
        continue
      }
      const stats = wal.stats()
      const attributes = attributesOf(wal)
      for (const [observable, read] of made) {
        const value = read(stats, wal)
        if (value !== undefined) result.observe(observable, value, attributes)
      }
      for (const consumed of wal.consumption()) {
        const ofCursor = { ...attributes, 'forelog.cursor': consumed.cursor }
        for (const [observable, read] of ofConsumers) result.observe(observable, read(consumed), ofCursor)
      }
      for (const [horizon, read] of horizons) result.observe(position, read(wal), { ...attributes, 'forelog.horizon': horizon })
      for (const { gauge, values } of spread) {
        for (const [quantile, value] of values(stats)) result.observe(gauge, value, { ...attributes, quantile })
      }
    }
    if (open.size === 0) unregister()
  }
  const observables = [...[...made, ...ofConsumers].map(([observable]) => observable), position, ...spread.map(({ gauge }) => gauge)]
  meter.addBatchObservableCallback(observe, observables)
  const ends = histograms ? recordHistograms(meter, open, attributesOf) : []

  const unregister = (): void => {
    open.clear()
    meter.removeBatchObservableCallback(observe, observables)
    for (const end of ends.splice(0)) end()
  }
  return unregister
}

function logsOf(wals: Wal | Iterable<Wal>): Wal[] {
  const isIterable = (value: unknown): value is Iterable<unknown> => typeof value === 'object' && value !== null && Symbol.iterator in value
  try {
    const logs: unknown[] = isIterable(wals) ? [...wals] : [wals]
    if (!logs.every((wal): wal is Wal => wal instanceof Wal))
      throw invalid('wals must be a Wal of this copy of the package, or an iterable of them', 'instrument')
    return logs
  } catch (error) {
    throw whileReading('wals', 'instrument', error)
  }
}

function quantileGauge(meter: Meter, [name, unit, description, scale, read]: (typeof distributions)[number]) {
  const gauge = meter.createObservableGauge(`${name}.quantile`, { unit, description: `${description}, since opening` })
  const values = (stats: WalStats) => {
    const histogram = read(stats)
    return histogram.count === 0 ? [] : quantiles.map(([quantile, field]) => [quantile, histogram[field] * scale] as const)
  }
  return { gauge, values }
}

/** Subscribes to the events of commits and syncs, and returns the functions that end the subscriptions. */
function recordHistograms(meter: Meter, open: Set<Wal>, attributesOf: (event: WalEvent) => Attributes): (() => void)[] {
  const [records, duration, wait, fsync] = distributions.map(([name, unit, description, scale]) =>
    meter.createHistogram(name, { unit, description, advice: { explicitBucketBoundaries: scale === 1 ? RECORDS : SECONDS } })
  )
  const isOurs = ({ dir }: WalEvent) => [...open].some((wal) => wal.dir === dir)
  const on = <E extends WalEvent>(name: string, record: (event: E, attributes: Attributes) => void) => {
    const listener = (event: unknown): void => {
      if (isOurs(event as E)) record(event as E, attributesOf(event as E))
    }
    subscribe(name, listener)
    return () => unsubscribe(name, listener)
  }
  return [
    on<AppendEvent>(channels.append, (event, attributes) => {
      records.record(event.records, attributes)
      duration.record(event.durationUs / 1e6, attributes)
      wait.record(event.waitUs / 1e6, attributes)
    }),
    on<SyncEvent>(channels.sync, (event, attributes) => fsync.record(event.durationUs / event.fsyncs / 1e6, attributes)),
  ]
}
