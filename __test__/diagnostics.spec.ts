// What a log tells on diagnostics_channel. One test after the other: subscribers are those of the whole process.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { closeSync, openSync, writeSync } from 'node:fs'
import path from 'node:path'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { channels, verify, Wal, type AppendEvent, type RecoverEvent, type WalError, type WalEvents } from '../index.js'
import { LogQueue } from '../src/queue/log-queue.js'
import type { Environment } from '../src/native/environment.js'
import { RecordBuffer } from '../src/native/record-buffer.js'
import { DEFAULT_TERMS } from '../src/options/append.js'
import { toEntry } from '../src/records/record.js'
import { bufferMemory } from './helpers/buffer-memory.js'
import { node, root } from './helpers/command.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { Shim, rule } from './helpers/faults/shim.js'
import { fill, temporaryLog, until } from './helpers/log.js'
import { has } from './helpers/needs.js'

type Name = keyof WalEvents
type Told = { [N in Name]: { name: N } & WalEvents[N] }[Name]

/** Everything that is told from now on, until the test ends or `stop` is called. */
function listen(t: ExecutionContext, ...names: Name[]): { told: Told[]; of<N extends Name>(name: N): WalEvents[N][]; stop(): void } {
  const told: Told[] = []
  const listeners = (names.length > 0 ? names : Object.values(channels)).map((name) => {
    const listener = (event: unknown) => told.push({ name, ...(event as object) } as Told)
    subscribe(name, listener)
    return () => unsubscribe(name, listener)
  })
  const stop = () => listeners.splice(0).forEach((end) => end())
  t.teardown(stop)
  return { told, stop, of: (name) => told.filter((event) => event.name === name) as never }
}

/** Where the positions of one event end the next one's begin. */
function isDense(t: ExecutionContext, events: WalEvents['forelog:append'][], last: number): void {
  let next = 1
  for (const { first, last, records, bytes, durationUs, waitUs } of events) {
    t.is(first, next)
    t.is(records, last - first + 1)
    t.true(bytes > 0 && durationUs > 0 && waitUs >= durationUs, JSON.stringify({ bytes, durationUs, waitUs }))
    next = last + 1
  }
  t.is(next, last + 1)
}

test.serial('without subscribers the engine records nothing', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 1000)
  for (let n = 0; n < 40; n++) await wal.append('x'.repeat(3000))
  await wal.truncateBefore(500)
  t.true(wal.stats().rolls > 1)
  t.like(wal.stats(), { events: 0, droppedEvents: 0 })
  const { told, stop } = listen(t, channels.sync)
  await wal.append('heard')
  const { events } = wal.stats()
  t.deepEqual([events, told.length], [1, 1], 'and no event of other channels than those subscribed to')
  stop()
  for (let n = 0; n < 3; n++) await wal.append('unheard')
  t.is(wal.stats().events, events)
  t.is(told.length, 1)
})

test.serial('every commit is published once, in order, and before its promises resolve', async (t) => {
  const { of } = listen(t, channels.append, channels.sync)
  const wal = await temporaryLog(t)
  const appended = () => of(channels.append)
  for (let n = 1; n <= 20; n++) {
    const position = await wal.append(`${n}`)
    t.is(appended().at(-1)?.last, position)
  }
  await Promise.all(Array.from({ length: 500 }, (_, n) => wal.append(`${n}`)))
  await wal.appendBatch(['a', 'b', 'c'])
  isDense(t, appended(), 523)
  t.is(appended().length, wal.stats().commits)
  t.true(appended().every(({ dir, dropped }) => dir === wal.dir && dropped === undefined))
  t.is(
    appended().reduce((sum, { bytes }) => sum + bytes, 0),
    wal.stats().bytes
  )
  const synced = of(channels.sync).map(({ durablePosition }) => durablePosition)
  t.deepEqual(
    synced,
    synced.toSorted((a, b) => a - b)
  )
  t.is(synced.at(-1), 523)
})

test.serial('rolls and truncations are published in their order between the commits', async (t) => {
  const wal = await temporaryLog(t)
  // Subscribing after opening counts from the next operation on.
  const { told, of } = listen(t)
  while (of(channels.roll).length < 3) await wal.append('x'.repeat(9000))
  const { firstPosition, segment } = of(channels.roll)[1]
  t.is(segments(wal.dir)[2], segment)
  const end = wal.nextPosition
  await wal.truncateBefore(firstPosition + 1)
  await wal.truncateAfter(end - 2)
  await wal.append('after')
  await wal.reset(1000)
  await wal.append('anew')
  await wal.truncateBefore(1000)

  const truncations = of(channels.truncate).map(({ dir, operation, firstPosition, nextPosition, removedSegments }) => {
    t.is(dir, wal.dir)
    return [operation, firstPosition, nextPosition, removedSegments]
  })
  t.deepEqual(truncations, [
    ['truncateBefore', firstPosition + 1, end, 2],
    ['truncateAfter', firstPosition + 1, end - 1, 0],
    ['reset', 1000, 1000, 3],
  ])
  t.is(of(channels.roll).length, wal.stats().rolls - 1, 'all but the first segment, which opening started')
  // A segment starts before the commit that did not fit into the one before it; what is cut off, after the one that it cuts.
  const order = told.filter(({ name }) => name !== channels.sync)
  for (const [i, event] of order.entries()) {
    if (event.name !== channels.roll) continue
    const next = order[i + 1]
    if (next.name === channels.append) t.is(next.first, event.firstPosition)
    else t.is(next.name, channels.truncate)
  }
  const names = order.slice(-7).map(({ name }) => name.slice('forelog:'.length))
  t.deepEqual(names, ['truncate', 'roll', 'truncate', 'append', 'roll', 'truncate', 'append'])
})

test.serial('removals by retention and fsyncs by everyMs are published as well', async (t) => {
  const { of } = listen(t, channels.truncate, channels.sync)
  const wal = await temporaryLog(t, { retention: { maxBytes: 192 * 1024 }, fsync: { everyMs: 1 } })
  await wal.append('alone')
  await until(() => of(channels.sync).some(({ durablePosition }) => durablePosition === 1))
  while (of(channels.truncate).length === 0) await wal.append('x'.repeat(9000))
  // A moment later it has its effect on the position too.
  await wal.sync()
  const [{ operation, firstPosition, removedSegments }] = of(channels.truncate)
  t.deepEqual([operation, removedSegments > 0], ['retention', true])
  t.true(firstPosition > 1 && firstPosition <= wal.firstPosition)
})

test.serial('opening publishes its report once per log and environment', async (t) => {
  const { of } = listen(t, channels.recover)
  const dir = temporaryDirectory(t)
  const wal = await temporaryLog(t, {}, dir)
  const other = await temporaryLog(t, {}, dir)
  await other.close()
  await wal.append('x')
  await wal.close()
  const again = await temporaryLog(t, {}, dir)
  const reports = of(channels.recover).map(({ dir, recovery }: RecoverEvent) => [dir, recovery])
  t.deepEqual(reports, [
    [wal.dir, wal.recovery],
    [wal.dir, again.recovery],
  ])
  t.like(again.recovery, { verdict: 'clean', created: false })
})

/** A log of several segments, of which the oldest is damaged at position 2; closed. */
async function damagedLog(t: ExecutionContext): Promise<string> {
  const wal = await temporaryLog(t)
  while (wal.stats().rolls < 3) await wal.append('v'.repeat(3000))
  await wal.close()
  const fd = openSync(path.join(wal.dir, segments(wal.dir)[0]), 'r+')
  writeSync(fd, Buffer.from([0xee]), 0, 1, 10_000)
  closeSync(fd)
  return wal.dir
}

test.serial('damage is published with its error by a reader, verify, scrub, salvage and opening', async (t) => {
  const dir = await damagedLog(t)
  const { told, of } = listen(t, channels.corrupt)
  const [segment] = segments(dir)
  const where = { segment, firstLost: 2, lastLost: 2 }

  const wal = await temporaryLog(t, {}, dir)
  const read = async () => {
    for await (const _ of wal.readFrom('start'));
  }
  const error = await t.throwsAsync<WalError>(read, { code: 'ERR_WAL_CORRUPT' })
  t.is(of(channels.corrupt)[0].error, error, 'the same error object that the reader got')
  await wal.scrub()
  await verify(dir)
  await wal.close()
  const view = await temporaryLog(t, { mode: 'readOnly' }, dir)
  for await (const _ of view.readFrom('start', { salvage: true }));
  await view.close()
  const cut = await temporaryLog(t, { mode: 'prefix' }, dir)
  await cut.close()

  for (const event of told) t.is(event.dir, dir)
  const errors = of(channels.corrupt).map(({ error }) => error)
  t.deepEqual(
    errors.map(({ operation }) => operation),
    ['read', 'scrub', 'verify', 'read', 'open']
  )
  for (const { name, code, segment, firstLost } of errors) {
    t.like({ name, code, segment, firstLost }, { name: 'WalError', code: 'ERR_WAL_CORRUPT', ...where, lastLost: undefined })
  }
  t.deepEqual([...new Set(errors.map(({ verdict }) => verdict))], ['damaged-sealed', undefined])
})

test.serial('a listener may end the reader that met damage, or close the log, and then nothing more is read', async (t) => {
  const dir = await damagedLog(t)
  const view = await temporaryLog(t, { mode: 'readOnly' }, dir)
  const controller = new AbortController()
  const { signal } = controller
  let end: (() => unknown) | undefined
  const onDamage = () => void end?.()
  subscribe(channels.corrupt, onDamage)
  t.teardown(() => unsubscribe(channels.corrupt, onDamage))
  const readers = [undefined, signal, undefined].map((signal) => view.readFrom('start', { salvage: true, signal }))
  // The damage comes after the first record.
  for (const reader of readers) t.is((await reader.next()).value?.position, 1)
  const [left, aborted, closed] = readers
  end = () => left.return()
  t.deepEqual(await left.next(), { done: true, value: undefined })
  end = () => controller.abort()
  await t.throwsAsync(aborted.next(), { name: 'AbortError' })
  end = () => view.close()
  await t.throwsAsync(closed.next(), { code: 'ERR_WAL_CLOSED' })
})

test.serial('an opening that is refused because of damage publishes it', async (t) => {
  const dir = await damagedLog(t)
  const { of } = listen(t, channels.corrupt, channels.recover)
  const newest = openSync(path.join(dir, segments(dir).at(-1)!), 'r+')
  writeSync(newest, Buffer.alloc(64, 0xee), 0, 64, 4200)
  closeSync(newest)
  const error = await t.throwsAsync(Wal.open(dir), { code: 'ERR_WAL_CORRUPT' })
  t.deepEqual(of(channels.corrupt), [{ name: channels.corrupt, dir, error }] as never)
  t.deepEqual(of(channels.recover), [])
})

test.serial('a failed fsync is published as poisoned, once, also to a later subscriber', async (t) => {
  if (!has(t, 'preload')) return
  const shim = new Shim(t)
  const script = `
    import { subscribe } from 'node:diagnostics_channel'
    import { writeFileSync } from 'node:fs'
    const { Wal, channels } = await import(process.argv[1])
    const told = []
    const listen = (who, ...names) => names.forEach((name) => subscribe(name, (event) => told.push([who, name, event])))
    const wal = await Wal.open(process.argv[2])
    await wal.append('durable')
    if (process.argv[3] === 'before') listen('early', channels.append, channels.poisoned)
    writeFileSync(process.env.FORELOG_FAULT_RULES, process.argv[4])
    const error = await wal.append('undecided').catch((error) => error)
    const atOnce = told.length
    if (process.argv[3] === 'after') listen('late', channels.poisoned)
    const stats = wal.stats()
    await wal.close().catch(() => {})
    const shown = told.map(([who, name, { dir, error }]) => [who, name, dir, error?.code, error?.cause?.code, error instanceof Error])
    console.log(JSON.stringify({ code: error.code, poisoned: stats.poisoned, atOnce, told: shown }))`
  for (const when of ['before', 'after'] as const) {
    shim.arm('')
    const rules = rule('fdatasync', '*.wal', 1, 'EIO')
    const args = ['--input-type=module', '-e', script, path.join(root, 'index.js'), shim.dir, when, rules]
    const fired = shim.fired().length
    const { stdout, stderr } = await node(args, { env: shim.env })
    t.is(stderr, '')
    t.is(shim.fired().length, fired + 1, 'the fault has happened')
    t.deepEqual(JSON.parse(String(stdout)), {
      code: 'ERR_WAL_POISONED',
      poisoned: true,
      atOnce: when === 'before' ? 1 : 0,
      told: [[when === 'before' ? 'early' : 'late', 'forelog:poisoned', shim.dir, 'ERR_WAL_POISONED', 'EIO', true]],
    })
  }
})

test.serial('each environment gets the events of its logs, whichever environment appends', async (t) => {
  const { of } = listen(t, channels.append)
  const wal = await temporaryLog(t)
  const script = `
    const { subscribe } = require('node:diagnostics_channel')
    const { parentPort, workerData } = require('node:worker_threads')
    import(workerData.entry).then(async ({ Wal, channels }) => {
      const wal = await Wal.open(workerData.dir, { segmentBytes: workerData.segmentBytes })
      const told = []
      subscribe(channels.append, (event) => told.push(event))
      for (let n = 0; n < 50; n++) await wal.append('from the worker')
      await wal.close()
      parentPort.postMessage(told)
    })`
  const entry = new URL('../index.js', import.meta.url).href
  const workerData = { entry, dir: wal.dir, segmentBytes: 64 * 1024 }
  const worker = new Worker(script, { eval: true, workerData, execArgv: [] })
  const told = await new Promise<WalEvents['forelog:append'][]>((resolve, reject) => {
    worker.once('message', resolve)
    worker.once('error', reject)
  })
  isDense(t, told, 50)
  await until(() => of(channels.append).at(-1)?.last === 50)
  isDense(t, of(channels.append), 50)
})

test.serial('a blocked event loop loses the oldest events and gets their number', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os', segmentBytes: 1 << 20 })
  const { of } = listen(t, channels.append)
  const entry = new URL('../index.js', import.meta.url).href
  // Whether the worker may begin, and whether it is done.
  const flags = new Int32Array(new SharedArrayBuffer(8))
  const script = `
    const { workerData } = require('node:worker_threads')
    import(workerData.entry).then(async ({ Wal }) => {
      const wal = await Wal.open(workerData.dir, { fsync: 'os', segmentBytes: 1 << 20 })
      Atomics.wait(workerData.flags, 0, 0)
      for (let n = 0; n < 1500; n++) await wal.append('x')
      Atomics.store(workerData.flags, 1, 1)
      Atomics.notify(workerData.flags, 1)
      await wal.close()
    })`
  await wal.append('first')
  const worker = new Worker(script, { eval: true, workerData: { entry, dir: wal.dir, flags }, execArgv: [] })
  const ended = new Promise((resolve) => worker.once('exit', resolve))
  await new Promise((online) => worker.once('online', online))
  // Nothing of this thread's event loop runs from here on until the worker has committed more than is kept.
  Atomics.store(flags, 0, 1)
  Atomics.notify(flags, 0)
  t.not(Atomics.wait(flags, 1, 0, 60_000), 'timed-out')
  await wal.append('last')
  await ended
  const events = of(channels.append)
  const dropped = events.reduce((sum, event) => sum + (event.dropped ?? 0), 0)
  t.true(dropped > 0)
  t.is(dropped, wal.stats().droppedEvents)
  t.is(events.length + dropped, wal.stats().commits)
  t.is(events.at(-1)?.last, 1502)
})

test.serial('a commit that completes while older events are being published is published before its promise resolves', async (t) => {
  const events: object[] = []
  const order: string[] = []
  const onAppend = (event: unknown) => order.push(`told ${(event as AppendEvent).last}`)
  subscribe(channels.append, onAppend)
  t.teardown(() => unsubscribe(channels.append, onAppend))
  const none = () => 0
  let isSettled = false
  const environment = {
    native: { listen: none, events: () => ({ dropped: 0, events: events.splice(0) }) },
    calls: {
      positions: none,
      append: () => 1,
      appendFromBuffer: () => 1,
      kick: none,
      // The commit thread is done just now.
      settled: () => {
        if (!isSettled) events.push({ kind: 'append', first: 1, last: 1 })
        isSettled = true
        return 1
      },
    },
    recordBuffer: new RecordBuffer(bufferMemory, () => true),
    claimBuffer: none,
    ref: none,
    unref: none,
    scheduleKick: none,
  }
  const queue = new LogQueue(environment as unknown as Environment, 0, 0, '')
  const waiting = queue.appendNow(toEntry({ value: 'x' }), DEFAULT_TERMS).then((position) => order.push(`resolved ${position}`))
  queue.events.publish()
  queue.settle()
  await waiting
  t.deepEqual(order, ['told 1', 'resolved 1'])
})
