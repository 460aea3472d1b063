// An aborted signal ends the waiting, not what is waited for.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { getEventListeners } from 'node:events'
import { existsSync } from 'node:fs'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import test, { type ExecutionContext } from 'ava'
import { channels, Record, Wal, type AbortError, type AppendOptions, type RecoverEvent } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { numbered, temporaryLog, until, values } from './helpers/log.js'

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void

const aborted = { name: 'AbortError', code: 'ABORT_ERR' }

/** Every way to wait, as a list; the records are `value-1`, `value-2` … */
const waits = (wal: Wal, options: AppendOptions): Promise<unknown>[] => [
  wal.append('value-1', options),
  wal.append(Record.put('k', 'value-2'), options),
  wal.append(Record.put('k', 'value-3', { expiresAt: 1 }), options),
  wal.appendBatch(['value-4', 'value-5'], options),
  wal.sync({ signal: options.signal }),
  wal.append('value-6', { ...options, expect: 6 }),
]

test('aborting an append rejects its promise with an AbortError, and the record is appended all the same', async (t) => {
  const wal = await temporaryLog(t)
  const controller = new AbortController()
  const waiting = waits(wal, { signal: controller.signal })
  controller.abort('enough')
  for (const one of waiting) {
    const error = await t.throwsAsync<AbortError>(one as Promise<never>, { ...aborted, message: /itself goes on/ })
    t.is(error.cause, 'enough')
  }
  await wal.sync()
  t.is(wal.durablePosition, 6)
  t.deepEqual(await values(wal.readFrom('start')), numbered(1, 6))
})

test('an append with an aborted signal is refused: it takes no position and copies nothing', async (t) => {
  const wal = await temporaryLog(t)
  const signal = AbortSignal.abort('why')
  for (const refused of waits(wal, { signal })) {
    const error = await t.throwsAsync(refused as Promise<never>, aborted)
    t.is(error.cause, 'why')
  }
  const untouched = {
    [Symbol.iterator]: () => {
      throw new Error('was iterated')
    },
  }
  await t.throwsAsync(wal.appendBatch(untouched, { signal }), aborted)
  t.is(wal.nextPosition, 1)
  t.is(wal.pendingBytes, 0)
})

test('a signal that is never aborted, or aborted after the append has settled, changes nothing', async (t) => {
  const wal = await temporaryLog(t)
  const controller = new AbortController()
  const [one, two, three, batch, sync, six] = await Promise.all(waits(wal, { signal: controller.signal }))
  t.deepEqual([one, two, three, batch, sync, six], [1, 2, 3, { first: 4, last: 5 }, undefined, 6])
  controller.abort()
  t.is(await wal.append('more'), 7)
})

test('promises with and without a signal are resolved in the order of positions', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  const { signal } = new AbortController()
  const resolved: number[] = []
  const appends = Array.from({ length: 1000 }, (_, i) => wal.append('x', i % 3 === 0 ? { signal } : undefined))
  await Promise.all(appends.map((append) => append.then((position) => resolved.push(position))))
  t.deepEqual(
    resolved,
    resolved.toSorted((a, b) => a - b)
  )
  t.is(resolved.length, 1000)
})

/** A signal's own listener functions, counted. */
function counted(t: ExecutionContext): { controller: AbortController; listeners: () => number; most: () => number } {
  const controller = new AbortController()
  const { signal } = controller
  const { addEventListener } = signal
  const listeners = () => getEventListeners(signal, 'abort').length
  let most = 0
  signal.addEventListener = (...args: unknown[]) => {
    addEventListener.apply(signal, args as never)
    most = Math.max(most, listeners())
  }
  t.teardown(() => controller.abort())
  return { controller, listeners, most: () => most }
}

test('ten thousand appends with one signal share one listener, which is removed with the last of them', async (t) => {
  const wal = await temporaryLog(t)
  const warnings: Error[] = []
  const onWarning = (warning: Error) => warnings.push(warning)
  process.on('warning', onWarning)
  t.teardown(() => process.off('warning', onWarning))
  const { controller, listeners, most } = counted(t)
  const { signal } = controller
  for (const end of ['acknowledged', 'aborted']) {
    const readers = Array.from({ length: 20 }, () => wal.readFrom('end', { follow: true, signal }).return())
    await Promise.all(readers)
    t.is(listeners(), 0)
    const waiting: Promise<unknown>[] = Array.from({ length: 10_000 }, () => wal.append('x', { signal }))
    if (end === 'aborted') waiting.push(...Array.from({ length: 20 }, () => wal.readFrom('end', { follow: true, signal }).next()))
    t.is(listeners(), 1)
    if (end === 'aborted') controller.abort()
    await Promise.allSettled(waiting)
    t.is(listeners(), 0)
  }
  t.is(most(), 1)
  // Warnings are emitted on a tick of their own.
  await setTimeout(0)
  t.deepEqual(warnings, [])
})

test('aborting Wal.open rejects its promise, and the log is closed again', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  await t.throwsAsync(Wal.open(dir, { signal: AbortSignal.abort() }), aborted)
  t.false(existsSync(dir))
  const controller = new AbortController()
  const opening = Wal.open(dir, { signal: controller.signal })
  controller.abort('enough')
  const error = await t.throwsAsync(opening, aborted)
  t.is(error.cause, 'enough')
  // While it were open, other options would be refused.
  let wal: Wal | undefined
  await until(async () => {
    wal = await Wal.open(dir, { maxRecordBytes: 1000 }).catch(() => undefined)
    return wal !== undefined
  })
  await wal?.close()
})

test('a signal that is aborted once the log is open does not close it', async (t) => {
  const { controller, listeners } = counted(t)
  const wal = await temporaryLog(t, { signal: controller.signal })
  await setTimeout(0)
  t.is(listeners(), 0)
  controller.abort()
  t.is(await wal.append('x'), 1)
})

test('enqueue does not wait, so it takes no signal', async (t) => {
  const wal = await temporaryLog(t)
  t.throws(() => wal.enqueue('x', { signal: new AbortController().signal } as never), { code: 'ERR_WAL_INVALID_ARG', message: /signal/ })
})

test('an append whose signal is aborted while its record is encoded is refused', async (t) => {
  let controller = new AbortController()
  const codec = { encode: (value: string) => (controller.abort(), value), decode: String }
  const wal = await Wal.open<string>(temporaryDirectory(t), { codec })
  t.teardown(() => wal.close())
  await t.throwsAsync(wal.append('x', { signal: controller.signal }), aborted)
  controller = new AbortController()
  await t.throwsAsync(wal.appendBatch(['x', 'y'], { signal: controller.signal }), aborted)
  t.is(wal.nextPosition, 1)
})

test('logs that are opened and read with one signal share one listener', async (t) => {
  const { controller, listeners, most } = counted(t)
  const { signal } = controller
  const wals = await Promise.all(Array.from({ length: 20 }, () => temporaryLog(t, { signal })))
  t.is(listeners(), 0)
  const waiting = wals.map((wal) => wal.readFrom('end', { follow: true, signal }).next())
  const scrubs = wals.map((wal) => wal.scrub({ signal }))
  t.is(most(), 1)
  await Promise.all(scrubs)
  controller.abort()
  for (const next of waiting) await t.throwsAsync(next, aborted)
  t.is(listeners(), 0)
})

test('an abort at the moment when the log has opened either rejects Wal.open or leaves the log open', async (t) => {
  let [rejected, opened] = [0, 0]
  for (let steps = 0; steps < 16; steps++) {
    const controller = new AbortController()
    const dir = temporaryDirectory(t)
    const onRecover = (event: unknown) => {
      if ((event as RecoverEvent).dir !== dir) return
      let later = Promise.resolve()
      for (let step = 0; step < steps; step++) later = later.then(() => {})
      void later.then(() => controller.abort())
    }
    subscribe(channels.recover, onRecover)
    const wal = await Wal.open(dir, { signal: controller.signal }).catch((error: AbortError) => {
      t.is(error.name, 'AbortError')
      return undefined
    })
    unsubscribe(channels.recover, onRecover)
    if (wal === undefined) {
      rejected++
      continue
    }
    opened++
    await setTimeout(0)
    t.true(controller.signal.aborted)
    t.is(await wal.append('x'), 1, `aborted ${steps} steps later`)
    await wal.close()
  }
  t.true(rejected > 0 && opened > 0)
})

test('a reader that is garbage-collected leaves no listener on its signal or its log', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append('x')
  const { controller, listeners } = counted(t)
  const { signal } = controller
  const dropOne = async () => void (await wal.readFrom(1, { follow: true, signal }).next())
  for (let n = 0; n < 20; n++) await dropOne()
  t.is(listeners(), 1)
  await until(() => {
    gc()
    return listeners() === 0 && wal.stats().readers === 0
  })
  t.is(await wal.append('y'), 2)
})
