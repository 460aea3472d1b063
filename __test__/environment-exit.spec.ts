// However an environment ends, nothing crashes, and what it accepted is in the log.

import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import path from 'node:path'
import test from 'ava'
import { Wal, type WalError } from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, values } from './helpers/log.js'

const options = { segmentBytes: SEGMENT_BYTES }

interface Stage {
  name: string
  /**
   * Runs with `Wal`, `dir`, `options` and `wal`, an open log; `worker(body)` plays another body in a worker that has the same,
   * `collect()` collects garbage. A backup goes to `dir + '/../copy'`.
   */
  body: string
  /** Records that must be in the log afterwards. */
  records: number
  /** Default 0. */
  code?: number
  stdout?: string
  /** Default: nothing. */
  stderr?: RegExp
}

// With segments that are larger than a block, so that blocks are full and are read ahead.
const ownLog = `const own = await Wal.open(dir + '/own'); for (let i = 0; i < 200; i++) own.enqueue('x'.repeat(20_000)); await own.sync();`

const stages: Stage[] = [
  { name: 'before the log is open', body: `Wal.open(dir + '/other').then(() => console.log('open'))`, records: 0, stdout: 'open\n' },
  { name: 'process.exit while opening', body: `Wal.open(dir + '/other'); process.exit()`, records: 0 },
  { name: 'after open', body: ``, records: 0 },
  { name: 'after close', body: `await wal.append('x'); await wal.close()`, records: 1 },
  { name: 'while closing', body: `wal.append('x'); wal.close().then(() => console.log('closed'))`, records: 1, stdout: 'closed\n' },
  { name: 'process.exit while closing', body: `wal.append('x'); wal.close(); process.exit()`, records: 1 },
  { name: 'idle, without close', body: `await wal.append('x')`, records: 1 },
  { name: 'with a pending append', body: `wal.append('x').then((position) => console.log(position))`, records: 1, stdout: '1\n' },
  { name: 'with something enqueued', body: `for (let i = 0; i < 1000; i++) wal.enqueue('x')`, records: 1000 },
  { name: 'with a pending sync', body: `wal.enqueue('x'); wal.sync().then(() => console.log('synced'))`, records: 1, stdout: 'synced\n' },
  {
    name: 'with a pending acknowledged',
    body: `wal.enqueue('x'); wal.acknowledged(1).then(() => console.log('acknowledged'))`,
    records: 1,
    stdout: 'acknowledged\n',
  },
  {
    name: 'with a pending read',
    body: `await wal.append('x'); wal.readFrom('start').next().then(({ value }) => console.log(value.position))`,
    records: 1,
    stdout: '1\n',
  },
  {
    name: 'with a reader left open',
    body: `await wal.append('x'); globalThis.reader = wal.readFrom('start'); await reader.next()`,
    records: 1,
  },
  {
    name: 'with followers that have quickly read everything',
    // Blocks are requested in pairs, so the last one is the first or the second of two.
    body: `
      ${ownLog}
      const read = async (count) => {
        const reader = own.readFrom('start', { follow: true })
        for (let i = 0; i < count; i++) await reader.next()
      }
      await read(200)
      await own.append('x')
      await read(201)
      console.log('read')`,
    records: 0,
    stdout: 'read\n',
  },
  { name: 'process.exit with pending appends', body: `for (let i = 0; i < 1000; i++) wal.append('x'); process.exit()`, records: 1000 },
  {
    name: 'process.exit in the middle of appending',
    body: `wal.append('x'); await wal.append('x'); wal.append('x'); process.exit()`,
    records: 3,
  },
  { name: 'process.exit with a pending read', body: `await wal.append('x'); wal.readFrom('start').next(); process.exit()`, records: 1 },
  { name: 'process.exit with a code', body: `wal.enqueue('x'); process.exit(7)`, records: 1, code: 7 },
  {
    name: 'an uncaught exception',
    body: `wal.enqueue('x'); process.on('uncaughtException', () => process.exit(3)); throw new Error()`,
    records: 1,
    code: 3,
  },
  {
    name: 'an exit listener that uses the log',
    body: `process.on('exit', () => { try { wal.enqueue('x') } catch ({ code }) { console.log(code) } })`,
    records: 0,
    stdout: 'ERR_WAL_CLOSED\n',
  },
  {
    name: 'process.exit during rolls',
    body: `for (let i = 0; i < 100; i++) wal.append('x'.repeat(20_000)); process.exit()`,
    records: 100,
  },
  {
    name: 'process.exit with a pending sync',
    body: `for (let i = 0; i < 1000; i++) wal.enqueue('x'); wal.sync(); process.exit()`,
    records: 1000,
  },
  {
    name: 'an uncaught exception without a handler',
    body: `wal.enqueue('x'); setTimeout(() => { throw 'thrown' })`,
    records: 1,
    code: 1,
    stderr: /thrown/,
  },
  {
    name: 'an unhandled rejection',
    body: `wal.enqueue('x'); Promise.reject('rejected')`,
    records: 1,
    code: 1,
    stderr: /rejected/,
  },
  { name: 'two handles', body: `const two = await Wal.open(dir, options); two.enqueue('x'); wal.enqueue('x'); process.exit()`, records: 2 },
  { name: 'a worker that ends by itself', body: `await worker("wal.append('x')")`, records: 1 },
  {
    name: 'a worker stays alive until its append has settled',
    body: `await worker("wal.append('x').then(console.log)", false)`,
    records: 1,
    stdout: '1\n',
  },
  {
    name: 'a worker stays alive until its batch and its sync have settled',
    body: `await worker("wal.appendBatch(['x', 'x']).then(({ last }) => console.log(last)); wal.sync().then(() => console.log('synced'))", false)`,
    records: 2,
    stdout: '2\nsynced\n',
  },
  {
    name: 'a worker with an idle open log ends by itself while others use the log',
    body: `const idle = worker("await wal.append('x'); globalThis.kept = wal", false); for (let i = 0; i < 100; i++) await wal.append('x'); await idle`,
    records: 101,
  },
  {
    name: 'a worker that exits with pending appends',
    body: `await worker("for (let i = 0; i < 1000; i++) wal.append('x'); process.exit()")`,
    records: 1000,
  },
  {
    name: 'a worker terminated with pending appends',
    body: `await worker("for (let i = 0; i < 1000; i++) wal.append('x'); parentPort.postMessage(0); for (;;);")`,
    records: 1000,
  },
  {
    name: 'a worker terminated while it opens, reads and closes',
    body: `
      await worker("Wal.open(dir + '/other'); parentPort.postMessage(0); for (;;);")
      await worker("await wal.append('x'); wal.readFrom('start').next(); parentPort.postMessage(0); for (;;);")
      await worker("wal.append('x'); wal.close(); parentPort.postMessage(0); for (;;);")`,
    records: 2,
  },
  {
    name: 'workers terminated one after the other',
    body: `for (let n = 0; n < 10; n++) await worker("const loop = async () => { for (;;) await wal.append('x') }; loop(); loop(); parentPort.postMessage(0)"); console.log(wal.nextPosition > 1)`,
    records: NaN,
    stdout: 'true\n',
  },
  {
    name: 'workers terminated during rolls',
    body: `
      const body = "for (let i = 0; i < 100; i++) wal.append('x'.repeat(20_000)); parentPort.postMessage(0); for (;;);"
      await Promise.all([worker(body), worker(body)])`,
    records: 200,
  },
  {
    name: 'a worker that throws',
    body: `await worker("wal.enqueue('x'); parentPort.postMessage(0); throw 'thrown'", false).catch((error) => console.log(error))`,
    records: 1,
    stdout: 'thrown\n',
  },
  {
    name: 'a worker terminated with a pending sync, and one with a pending roll of its own log',
    body: `
      await Promise.all([
        worker("for (let i = 0; i < 100; i++) wal.enqueue('x'); wal.sync(); parentPort.postMessage(0); for (;;);"),
        worker("const own = await Wal.open(dir + '/own', options); own.append(Buffer.alloc(1 << 17)); parentPort.postMessage(0); for (;;);"),
      ])
      const own = await Wal.open(dir + '/own', options)
      console.log(own.nextPosition, own.recovery.clean)`,
    records: 100,
    stdout: '2 true\n',
  },
  {
    name: 'process.exit with workers appending',
    body: `worker("for (;;) await wal.append('x')", false); worker("for (;;) await wal.append('x')", false); await wal.append('x'); process.exit()`,
    records: NaN,
  },
]

const fill = `for (let i = 0; i < 100; i++) wal.enqueue('x'.repeat(20_000));`
const view = `const view = await Wal.open(dir, { mode: 'readOnly' });`
// It sees the log as the writer has last told other processes, which is a few milliseconds ago.
const viewOfAll = `
  let view = await Wal.open(dir, { mode: 'readOnly' });
  while (view.nextPosition <= 100) { await view.close(); view = await Wal.open(dir, { mode: 'readOnly' }); }`
const wait = `parentPort.postMessage(0); for (;;);`

/** What may be under way when an environment ends, however it ends; `records` are in the log afterwards. */
const underWay: { name: string; body: string; records: number }[] = [
  {
    name: 'blocks being read ahead',
    body: `${ownLog} const reader = own.readFrom('start'); for (let i = 0; i < 60; i++) await reader.next();`,
    records: 0,
  },
  { name: 'a follower waiting', body: `await wal.append('x'); wal.readFrom('end', { follow: true }).next();`, records: 1 },
  {
    name: 'a follower reading on',
    body: `await wal.append('x'); const reader = wal.readFrom('start', { follow: true }); await reader.next(); reader.next(); wal.append('x');`,
    records: 2,
  },
  { name: 'a read-only handle', body: `await wal.append('x'); ${view}`, records: 1 },
  {
    name: 'a read-only handle being opened and closed',
    body: `await wal.append('x'); ${view} view.close(); Wal.open(dir, { mode: 'readOnly' });`,
    records: 1,
  },
  {
    name: 'a read-only handle and its followers',
    body: `
      await wal.append('x'); ${view} const reader = view.readFrom(1, { follow: true }); await reader.next(); reader.next();
      view.readFrom('end', { follow: true }).next(); wal.append('x');`,
    records: 2,
  },
  { name: 'a backup begun', body: `${fill} await wal.sync(); wal.backup(dir + '/../copy');`, records: 100 },
  {
    name: 'a backup in the middle',
    body: `${fill} await wal.sync(); await new Promise((onProgress) => { wal.backup(dir + '/../copy', { onProgress }) });`,
    records: 100,
  },
  {
    name: 'a backup through a read-only handle',
    body: `${fill} await wal.sync(); ${viewOfAll} await new Promise((onProgress) => { view.backup(dir + '/../copy', { onProgress }) });`,
    records: 100,
  },
  { name: 'a pending truncateBefore', body: `${fill} wal.truncateBefore(51);`, records: 50 },
  { name: 'a pending truncateAfter', body: `${fill} wal.truncateAfter(40); wal.enqueue('x');`, records: 41 },
  { name: 'a pending reset', body: `${fill} wal.reset(1000); wal.enqueue('x'); wal.enqueue('x');`, records: 2 },
  {
    name: 'truncations, and readers that they affect',
    body: `
      ${fill} await wal.sync(); const reader = wal.readFrom('start', { follow: true }); await reader.next(); reader.next();
      wal.readFrom('end', { follow: true }).next().catch(() => {}); wal.truncateBefore(11); wal.truncateAfter(20);`,
    records: 10,
  },
  {
    name: 'a handle dropped without close',
    body: `await (async () => { const dropped = await Wal.open(dir, options); dropped.enqueue('x'); })(); await collect(); wal.enqueue('x');`,
    records: 2,
  },
  {
    name: 'the only handle of a log dropped without close',
    body: `await (async () => { const dropped = await Wal.open(dir + '/own', options); dropped.append('x'); dropped.readFrom('end', { follow: true }).next(); })(); await collect();`,
    records: 0,
  },
  {
    name: 'a read-only handle dropped without close',
    body: `await wal.append('x'); await (async () => { ${view} view.readFrom('end', { follow: true }).next(); })(); await collect();`,
    records: 1,
  },
]

for (const { name, body, records } of underWay) {
  stages.push(
    { name: `process.exit with ${name}`, body: `${body} process.exit()`, records },
    { name: `process.exit a turn later with ${name}`, body: `${body} setImmediate(() => process.exit())`, records },
    {
      name: `an uncaught exception with ${name}`,
      body: `${body} setImmediate(() => { throw 'thrown' })`,
      records,
      code: 1,
      stderr: /thrown/,
    },
    { name: `a worker terminated with ${name}`, body: `await worker(${JSON.stringify(body + wait)})`, records },
    {
      name: `a worker terminated a turn later with ${name}`,
      body: `await worker(${JSON.stringify(`${body} setImmediate(() => { ${wait} })`)})`,
      records,
    },
    { name: `a worker that exits with ${name}`, body: `await worker(${JSON.stringify(`${body} process.exit()`)})`, records }
  )
}

/**
 * A copy is a log, with all that it is to hold, or does not open. It is opened for writing: mode `readOnly` also shows what there is of an
 * unfinished copy, as a log without CONTROL.
 */
async function copyIsWhole(copy: string): Promise<boolean> {
  try {
    const wal = await Wal.open(copy, { create: false })
    const read = await values(wal.readFrom('start'))
    await wal.close()
    return read.length === 100
  } catch (error) {
    return ['ERR_WAL_NOT_FOUND', 'ERR_WAL_CORRUPT'].includes((error as WalError).code)
  }
}

const script = path.join(root, '__test__', 'helpers', 'stage.mjs')

// Each is a process, some with workers that run for ever: a few at a time, so that some end all the while.
let free = 4 * availableParallelism()
const queue: (() => void)[] = []

async function inTurn<T>(play: () => Promise<T>): Promise<T> {
  if (free > 0) free--
  else await new Promise<void>((go) => queue.push(go))
  try {
    return await play()
  } finally {
    const next = queue.shift()
    if (next) next()
    else free++
  }
}

for (const { name, body, records, code = 0, stdout = '', stderr = /^$/ } of stages) {
  test(name, async (t) => {
    const around = temporaryDirectory(t)
    const dir = path.join(around, 'log')
    const result = await inTurn(() => node([script, dir, JSON.stringify(options), body]))
    t.regex(result.stderr, stderr)
    t.is(result.stdout.toString(), stdout)
    t.is(result.signal, null)
    t.is(result.code, code)

    const wal = await Wal.open(dir, options)
    t.teardown(() => wal.close())
    const read = await values(wal.readFrom('start'))
    t.true(read.every((value) => /^x+$/.test(value ?? '')))
    if (!Number.isNaN(records)) t.is(read.length, records)
    const copy = path.join(around, 'copy')
    if (existsSync(copy)) t.true(await copyIsWhole(copy))
  })
}
