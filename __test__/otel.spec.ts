// The figures as OpenTelemetry metrics, collected by its own SDK.

import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  MetricReader,
  type DataPoint,
  type Histogram,
} from '@opentelemetry/sdk-metrics'
import test from 'ava'
import type { Wal } from '../index.js'
import { instrument } from '../dist/otel.js'
import { node, root } from './helpers/command.js'
import { fill, temporaryLog } from './helpers/log.js'

/** Collects when it is asked to. */
class Collector extends MetricReader {
  protected override async onForceFlush(): Promise<void> {}
  protected override async onShutdown(): Promise<void> {}
}

interface Point {
  value: unknown
  attributes: Record<string, unknown>
}

function setUp(temporality = AggregationTemporality.CUMULATIVE) {
  const reader = new Collector({ aggregationTemporalitySelector: () => temporality })
  const provider = new MeterProvider({ readers: [reader] })
  const exporter = new InMemoryMetricExporter(temporality)
  /** What is exported now, by name. */
  const collect = async (): Promise<Map<string, { unit: string; points: Point[] }>> => {
    const { resourceMetrics, errors } = await reader.collect()
    if (errors.length > 0) throw errors[0]
    exporter.reset()
    await new Promise((done) => exporter.export(resourceMetrics, done))
    const metrics = exporter.getMetrics().flatMap(({ scopeMetrics }) => scopeMetrics.flatMap(({ metrics }) => metrics))
    return new Map(
      metrics.map(({ descriptor, dataPoints }) => [
        descriptor.name,
        { unit: descriptor.unit, points: dataPoints.map(({ value, attributes }: DataPoint<unknown>) => ({ value, attributes })) },
      ])
    )
  }
  return { meter: provider.getMeter('test'), collect }
}

const only = (metrics: Map<string, { points: Point[] }>, name: string, dir: string): unknown =>
  metrics.get(name)?.points.find(({ attributes }) => attributes['forelog.dir'] === dir)?.value

test('counters, gauges, positions and quantiles are those of stats(), log by log', async (t) => {
  const logs: Wal[] = [await temporaryLog(t), await temporaryLog(t)]
  const { meter, collect } = setUp()
  instrument(logs, { meter, attributes: { service: 'orders' } })
  await fill(logs[0], 500)
  await logs[0].appendBatch(['a', 'b'])
  while (logs[1].stats().rolls < 3) await logs[1].append('x'.repeat(5000))
  await logs[1].scrub()
  await logs[1].truncateBefore(logs[1].nextPosition)

  const metrics = await collect()
  for (const wal of logs) {
    const stats = wal.stats()
    const figures: Record<string, number> = {
      'forelog.appends': stats.appends,
      'forelog.batches': stats.batches,
      'forelog.record.size': stats.bytes,
      'forelog.commits': stats.commits,
      'forelog.fsyncs': stats.fsyncs,
      'forelog.rolls': stats.rolls,
      'forelog.segments.removed': stats.removedSegments,
      'forelog.written.size': stats.writtenBytes,
      'forelog.scrub.runs': stats.scrub.runs,
      'forelog.scrub.size': stats.scrub.bytes,
      'forelog.pending.size': 0,
      'forelog.segments': stats.segments,
      'forelog.disk.size': stats.diskBytes,
      'forelog.used.size': stats.usedBytes,
      'forelog.segments.future': 0,
      'forelog.readers': 0,
      'forelog.active.fill': stats.activeBytes / stats.activeCapacity,
      'forelog.poisoned': 0,
      'forelog.detached': 0,
      'forelog.recovery.duration': wal.recovery.durationMs / 1e3,
    }
    for (const [name, value] of Object.entries(figures)) t.is(only(metrics, name, wal.dir), value, name)
    const of = (name: string) => metrics.get(name)!.points.filter(({ attributes }) => attributes['forelog.dir'] === wal.dir)
    const positions = of('forelog.position').map(({ attributes, value }) => [attributes['forelog.horizon'], value])
    t.deepEqual(positions, [
      ['first', wal.firstPosition],
      ['written', wal.nextPosition - 1],
      ['acknowledged', wal.nextPosition - 1],
      ['durable', wal.durablePosition],
    ])
    const waits = of('forelog.commit.wait.quantile').map(({ attributes, value }) => [attributes['quantile'], value])
    const { p50, p90, p99, p999 } = stats.waitUs
    t.deepEqual(waits, [
      [0.5, p50 * 1e-6],
      [0.9, p90 * 1e-6],
      [0.99, p99 * 1e-6],
      [0.999, p999 * 1e-6],
    ])
  }
  t.is(only(metrics, 'forelog.scrub.finished', logs[0].dir), undefined, 'without a scrub there is no time of the last one')
  t.is(only(metrics, 'forelog.scrub.finished', logs[1].dir), logs[1].stats().scrub.finishedAt! / 1e3)
  t.deepEqual(
    ['forelog.appends', 'forelog.disk.size', 'forelog.commit.duration.quantile'].map((name) => metrics.get(name)?.unit),
    ['{record}', 'By', 's']
  )
  t.true([...metrics.values()].every(({ points }) => points.every(({ attributes }) => attributes['service'] === 'orders')))
})

test('figures of consumers are added up for each cursor, and those that have ended still count', async (t) => {
  const wal = await temporaryLog(t)
  const { meter, collect } = setUp()
  instrument(wal, { meter })
  const [mails, letters] = [await wal.cursor('mails'), await wal.cursor('letters')]
  await wal.appendBatch(['1', '2', '3', '4'])
  const figures = async (cursor: string) => {
    const found: Record<string, unknown> = {}
    for (const [name, { points }] of await collect()) {
      const point = points.find(({ attributes }) => attributes['forelog.cursor'] === cursor)
      if (point !== undefined) found[name.replace('forelog.consumer', '')] = point.value
    }
    return found
  }
  t.deepEqual(await figures('mails'), {})

  const dead: number[] = []
  const options = {
    follow: false,
    retries: 1,
    backoff: () => 0,
    deadLetter: ({ position }: { position: number }) => void dead.push(position),
  }
  await mails.consume(({ position }) => {
    if (position === 2) throw new Error('poisoned')
  }, options).done
  t.deepEqual(dead, [2])
  const ended = { s: 0, '.handled': 3, '.retries': 1, '.dead': 1, '.lag': 0, '.in_flight': 0, '.waiting': 0 }
  t.deepEqual(await figures('mails'), ended)
  await wal.append('5')
  t.deepEqual(await figures('mails'), { ...ended, '.lag': 1 }, 'the lag grows while nothing consumes the cursor')

  // Two more share the other cursor, and hold a record each.
  let finish = (): void => {}
  const finished = new Promise<void>((resolve) => (finish = resolve))
  const sharers = [1, 2].map(() => letters.consume(() => finished, { share: true }))
  while (wal.consumption().find(({ cursor }) => cursor === 'letters')?.inFlight !== 2) await new Promise(setImmediate)
  t.deepEqual(await figures('letters'), { ...ended, s: 2, '.handled': 0, '.retries': 0, '.dead': 0, '.lag': 5, '.in_flight': 2 })
  finish()
  await Promise.all(sharers.map((consumer) => consumer.stop()))
  const { handled, consumers } = wal.consumption()[1]
  t.deepEqual([handled, consumers], [(await figures('letters'))['.handled'], 0])
})

test('a closed log is no longer observed, and after the last one nothing is', async (t) => {
  const logs = [await temporaryLog(t), await temporaryLog(t)]
  // Of what is cumulative the SDK would repeat the last value.
  const { meter, collect } = setUp(AggregationTemporality.DELTA)
  let callbacks = 0
  const add = meter.addBatchObservableCallback.bind(meter)
  const remove = meter.removeBatchObservableCallback.bind(meter)
  meter.addBatchObservableCallback = (...args) => (callbacks++, add(...args))
  meter.removeBatchObservableCallback = (...args) => (callbacks--, remove(...args))
  instrument(logs, { meter })
  const counted = async () => (await collect()).get('forelog.poisoned')?.points.map(({ attributes }) => attributes['forelog.dir']) ?? []
  t.deepEqual(await counted(), [logs[0].dir, logs[1].dir])
  await logs[0].close()
  t.deepEqual(await counted(), [logs[1].dir])
  t.is(callbacks, 1)
  await logs[1].close()
  t.deepEqual(await counted(), [])
  t.is(callbacks, 0)
})

test.serial('histograms record every commit and fsync, until they are unregistered', async (t) => {
  const wal = await temporaryLog(t)
  const other = await temporaryLog(t)
  const { meter, collect } = setUp()
  const unregister = instrument(wal, { meter, histograms: true })
  for (let n = 0; n < 10; n++) await wal.append('x')
  await fill(wal, 100)
  await other.append('not ours')
  const { commits } = wal.stats()
  const metrics = await collect()
  const histogram = (name: string) => only(metrics, name, wal.dir) as Histogram
  t.deepEqual(
    ['forelog.commit.records', 'forelog.commit.duration', 'forelog.commit.wait'].map((name) => histogram(name).count),
    [commits, commits, commits]
  )
  t.is(histogram('forelog.commit.records').sum, 110)
  t.true(histogram('forelog.fsync.duration').count > 0)
  t.true(histogram('forelog.commit.wait').sum! >= histogram('forelog.commit.duration').sum!)
  t.is(only(metrics, 'forelog.commit.records', other.dir), undefined)
  t.false(metrics.has('forelog.commit.wait.quantile'))

  unregister()
  const { events } = wal.stats()
  await wal.append('unheard')
  t.is(wal.stats().events, events)
})

test('bad arguments are refused and named', async (t) => {
  const wal = await temporaryLog(t)
  const { meter } = setUp()
  const cases: [unknown, unknown, RegExp][] = [
    [wal, undefined, /options.meter/],
    [wal, { meter: {} }, /options.meter/],
    [wal, { meter, attributes: 'a' }, /options.attributes/],
    [wal, { meter, histograms: 1 }, /options.histograms/],
    [wal, { meter, histogram: true }, /histogram/],
    [undefined, { meter }, /wals/],
    [[wal, {}], { meter }, /wals/],
  ]
  for (const [wals, options, message] of cases) {
    t.throws(() => instrument(wals as never, options as never), { code: 'ERR_WAL_INVALID_ARG', message })
  }
})

test('forelog/otel is a separate entry, and the package itself never loads OpenTelemetry', async (t) => {
  const script = `console.log(typeof (await import('forelog/otel')).instrument)`
  const { stdout, stderr } = await node(['--input-type=module', '-e', script], { cwd: root })
  t.is(stderr, '')
  t.is(String(stdout), 'function\n')
  const modules = readdirSync(path.join(root, 'dist'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js'))
  t.true(modules.includes('otel.js'))
  for (const name of modules) t.false(readFileSync(path.join(root, 'dist', name), 'utf8').includes("'@opentelemetry/"), name)
  const { peerDependenciesMeta } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  t.deepEqual(peerDependenciesMeta, { '@opentelemetry/api': { optional: true } })
})
