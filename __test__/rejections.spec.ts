// What a rejection tells: which operation it was, which position, and where the call came from.

import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { Wal, type WalError, type WalOptions } from '../index.js'
import { node } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { Shim, rule } from './helpers/faults/shim.js'
import { logOnFullDisk } from './helpers/full-disk.js'
import { temporaryLog } from './helpers/log.js'
import { has } from './helpers/needs.js'

const thisFile = path.basename(fileURLToPath(import.meta.url))

/** Refusals by the call that is refused; each is made in a function of that name. */
const refusals: { [name: string]: (t: ExecutionContext, wal: Wal) => unknown } = {
  open: (t) => Wal.open(temporaryDirectory(t), { fsync: 'never' } as never),
  append: (_, wal) => wal.append('x', { expect: 7 }),
  appendNothing: (_, wal) => wal.append({}),
  appendBatch: (_, wal) => wal.appendBatch(['x'], { expect: 7 }),
  enqueue: (_, wal) => wal.enqueue('x'.repeat(2000)),
  acknowledged: (_, wal) => wal.acknowledged(7),
  sync: (_, wal) => wal.sync({ signal: 1 } as never),
  truncateBefore: (_, wal) => wal.truncateBefore(7),
  truncateAfter: (_, wal) => wal.truncateAfter(7),
  reset: (_, wal) => wal.reset(0),
  readFrom: (_, wal) => wal.readFrom(0),
  next: (_, wal) => wal.readFrom(7).next(),
  writable: (_, wal) => wal.writable({ maxPendingBytes: 0 }),
  scrub: (_, wal) => wal.scrub({ bytesPerSecond: 0 }),
  backup: (_, wal) => wal.backup(''),
}

test('an error of opening has the stack of its caller', async (t) => {
  const theCaller = () => Wal.open(path.join(temporaryDirectory(t), 'log'), { create: false })
  const error = await t.throwsAsync<WalError>(theCaller(), { code: 'ERR_WAL_NOT_FOUND' })
  t.regex(error.stack ?? '', /called from:\n +at theCaller/)
})

for (const [name, refused] of Object.entries(refusals)) {
  test(`a refusal has the stack of its caller: ${name}`, async (t) => {
    const wal = await temporaryLog(t, { maxRecordBytes: 1000 })
    const error = await t.throwsAsync<WalError>(async () => refused(t, wal))
    t.is(error.name, 'WalError')
    t.is(typeof error.operation, 'string')
    t.true(error.stack?.includes(thisFile), error.stack)
    t.regex(error.stack ?? '', new RegExp(`\\b${name}\\b`))
  })
}

interface Told {
  code: string
  operation: string
  position?: number
  cause: string
  stack: string
}

async function whatWaits(t: ExecutionContext, options: WalOptions): Promise<Told[]> {
  const script = fileURLToPath(new URL('./helpers/faults/waiting.mjs', import.meta.url))
  for (let attempt = 0; attempt < 20; attempt++) {
    const shim = new Shim(t)
    const { stdout, stderr } = await node([script, JSON.stringify(options), rule('fdatasync', '*.wal', 1, 'EIO')], { env: shim.env })
    t.is(stderr, '')
    t.true(shim.fired().length > 0, 'the fault fired')
    const told = JSON.parse(stdout.toString()) as Told[] | null
    if (told !== null) return told
  }
  throw new Error('an fsync failed before all operations waited, every time')
}

test('a later rejection has its operation and position', async (t) => {
  if (!has(t, 'preload')) return
  const told = await whatWaits(t, {})
  t.deepEqual(
    told.map(({ operation, position }) => [operation, position]),
    [
      ['append', 2],
      ['appendBatch', 3],
      ['append', 5],
      ['sync', undefined],
      ['truncateBefore', 2],
      ['truncateAfter', 3],
      ['append', 4],
      ['reset', 10],
      ['append', 10],
    ]
  )
  for (const { code, cause, stack } of told) {
    t.is(code, 'ERR_WAL_POISONED')
    t.is(cause, 'EIO')
    t.notRegex(stack, /theCaller/)
  }
})

test('with captureStacks a later rejection has the stack of the call', async (t) => {
  if (!has(t, 'preload')) return
  const told = await whatWaits(t, { captureStacks: true })
  t.is(told.length, 9)
  for (const { operation, stack } of told) {
    t.regex(stack, /^WalError: .*\n(.*\n)* {2}called from:\n +at theCaller/, operation)
    t.is(stack.match(/called from/g)?.length, 1)
  }
})

test('with captureStacks the AbortError of an append has the stack of the call', async (t) => {
  const wal = await temporaryLog(t, { captureStacks: true })
  const controller = new AbortController()
  const theCaller = () => wal.append('x', { signal: controller.signal })
  const waiting = theCaller()
  controller.abort()
  const error = await t.throwsAsync(waiting, { name: 'AbortError' })
  t.regex(error.stack ?? '', /called from:\n +at theCaller/)
  t.is(await wal.append('y'), 2)
})

/** A log on a disk without any space; `makeRoom` makes some. */
test('on a full disk every append is rejected with its own position', async (t) => {
  if (!has(t, 'mount')) return
  const { wal } = await logOnFullDisk(t)
  const next = wal.nextPosition
  const large = Buffer.alloc(16 << 10)
  // The log may try to write in the middle of them, and give their positions back before the others are accepted.
  for (let attempt = 0; ; attempt++) {
    const results = await Promise.allSettled([wal.append(large), wal.appendBatch([large, large]), wal.append(large)])
    const told = results.map((result) => (result.status === 'rejected' ? (result.reason as WalError) : undefined))
    t.is(new Set(told).size, 3)
    t.deepEqual(
      told.map((error) => [error?.code, error?.operation]),
      [
        ['ERR_WAL_NO_SPACE', 'append'],
        ['ERR_WAL_NO_SPACE', 'appendBatch'],
        ['ERR_WAL_NO_SPACE', 'append'],
      ]
    )
    const positions = told.map((error) => error?.position)
    if (attempt < 20 && positions[2] !== next + 3) continue
    return t.deepEqual(positions, [next, next + 1, next + 3])
  }
})

test('the failure of an aborted append is reported by the next sync that is not aborted', async (t) => {
  if (!has(t, 'mount')) return
  const { wal, makeRoom } = await logOnFullDisk(t)
  const controller = new AbortController()
  const { signal } = controller
  const waiting = [wal.append(Buffer.alloc(16 << 10), { signal }), wal.sync({ signal })]
  controller.abort()
  for (const one of waiting) await t.throwsAsync(one as Promise<never>, { name: 'AbortError' })
  // Settles behind them.
  await wal.truncateBefore(1)
  makeRoom()
  await wal.append('again')
  await t.throwsAsync(wal.sync(), { code: 'ERR_WAL_NO_SPACE' })
  await wal.sync()
})

// One after the other: the settings are those of the whole process.
test.serial('with captureStacks errors are complete even if the program changes or disables the stacks of V8', async (t) => {
  const wal = await temporaryLog(t, { captureStacks: true })
  const { stackTraceLimit, prepareStackTrace } = Error
  const settings: [string, () => void][] = [
    ['none', () => (Error.stackTraceLimit = 0)],
    ['not a number', () => Reflect.deleteProperty(Error, 'stackTraceLimit')],
    ['call sites', () => (Error.prepareStackTrace = (_, sites) => sites)],
  ]
  for (const [name, set] of settings) {
    const controller = new AbortController()
    let waiting
    try {
      set()
      waiting = wal.append('x', { signal: controller.signal })
      controller.abort()
      const told = await Promise.allSettled([waiting])
      t.is((told[0] as PromiseRejectedResult).reason.name, 'AbortError', name)
    } finally {
      Object.assign(Error, { stackTraceLimit, prepareStackTrace })
    }
  }
  t.is(await wal.append('y'), settings.length + 1)
})
