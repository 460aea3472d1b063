// Several handles on one log, in one environment and in several.

import { once } from 'node:events'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { Wal } from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, fill, numbered, temporaryLog, values } from './helpers/log.js'

const options = { segmentBytes: SEGMENT_BYTES }

test('two handles share positions, and settle in their order', async (t) => {
  const one = await temporaryLog(t, options)
  const two = await Wal.open(one.dir, options)
  t.teardown(() => two.close())
  const settled: number[] = []
  const appends = Array.from({ length: 1000 }, (_, i) => (i % 3 ? one : two).append('x').then((at) => settled.push(at)))
  await Promise.all(appends)
  t.deepEqual(
    settled,
    Array.from({ length: 1000 }, (_, i) => i + 1)
  )
  t.is(one.nextPosition, two.nextPosition)
})

test('closing one handle makes what was accepted durable and leaves the other open', async (t) => {
  const one = await temporaryLog(t, { ...options, fsync: 'os' })
  const two = await Wal.open(one.dir, { ...options, fsync: 'os' })
  // Nothing is acknowledged yet: it has nothing to read.
  const reader = two.readFrom('start')
  one.enqueue('x')
  await one.close()
  t.is(two.durablePosition, 1)
  await t.throwsAsync(one.append('x'), { code: 'ERR_WAL_CLOSED' })
  t.true((await reader.next()).done)
  t.is(await two.append('y'), 2)
  await two.close()
  const again = await Wal.open(one.dir, { ...options, fsync: 'os' })
  t.deepEqual(await values(again.readFrom('start')), ['x', 'y'])
  await again.close()
})

test('options other than those the log is open with are refused', async (t) => {
  const wal = await temporaryLog(t, options)
  await t.throwsAsync(Wal.open(wal.dir, { ...options, fsync: 'os' }), { code: 'ERR_WAL_INVALID_ARG' })
  t.is(await wal.append('still open'), 1)
})

test('many logs can be open at the same time', async (t) => {
  const wals = await Promise.all(Array.from({ length: 20 }, () => temporaryLog(t, options)))
  await Promise.all(wals.map((wal) => fill(wal, 50)))
  for (const wal of wals) t.deepEqual(await values(wal.readFrom('start')), numbered(1, 50))
  await Promise.all(wals.map((wal) => wal.close()))
})

test('workers share the writer: every position is used once, and no record is missing', async (t) => {
  const wal = await temporaryLog(t, options)
  const script = `
    import { parentPort, workerData } from 'node:worker_threads'
    const { Wal } = await import(workerData.entry)
    const wal = await Wal.open(workerData.dir, workerData.options)
    const positions = await Promise.all(Array.from({ length: 500 }, () => wal.append(String(workerData.n))))
    await wal.close()
    parentPort.postMessage(positions)`
  const entry = pathToFileURL(path.join(root, 'index.js')).href
  const work = async (n: number): Promise<number[]> => {
    const url = new URL(`data:text/javascript,${encodeURIComponent(script)}`)
    const worker = new Worker(url, { workerData: { dir: wal.dir, options, entry, n }, execArgv: [] })
    const [[positions], [code]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')])
    t.is(code, 0)
    return positions
  }
  const own = Promise.all(Array.from({ length: 500 }, () => wal.append('0')))
  const all = await Promise.all([own, work(1), work(2), work(3)])
  t.deepEqual(
    all.flat().toSorted((a, b) => a - b),
    Array.from({ length: 2000 }, (_, i) => i + 1)
  )
  const read = await values(wal.readFrom('start'))
  for (const [n, positions] of all.entries()) t.true(positions.every((position) => read[position - 1] === String(n)))
})

/** Runs a script that collects garbage, with the package and a directory as its arguments. */
async function prints(t: ExecutionContext, script: string, output: string): Promise<void> {
  const result = await node(['--expose-gc', '--input-type=module', '-e', script, path.join(root, 'index.js'), temporaryDirectory(t)])
  t.is(result.stderr, '')
  t.is(result.stdout.toString(), output)
  t.is(result.code, 0)
}

test('a handle that is garbage-collected without closing releases its log', async (t) => {
  const script = `
    const { Wal } = await import(process.argv[1])
    let wal = await Wal.open(process.argv[2])
    wal.enqueue('kept')
    wal = undefined
    // Once the garbage collector has closed it, the options may differ.
    for (;;) {
      globalThis.gc()
      await new Promise(setImmediate)
      const opened = await Wal.open(process.argv[2], { fsync: 'os' }).catch((error) => error.code)
      if (opened === 'ERR_WAL_INVALID_ARG') continue
      console.log(opened.nextPosition)
      break
    }`
  await prints(t, script, '2\n')
})

test('handles that are garbage-collected without closing release the lock to other processes, in workers too', async (t) => {
  const script = `
    import { execFileSync } from 'node:child_process'
    import { Worker } from 'node:worker_threads'
    const [, entry, dir, worker] = process.argv
    const { Wal } = await import(entry)
    const open = async () => void (await Wal.open(dir)).enqueue('kept')
    await Promise.all([open(), open(), open()])
    const inWorker = 'import(' + JSON.stringify(entry) + ').then(({ Wal }) => Wal.open(' + JSON.stringify(dir) + ')).then((wal) => wal.enqueue("kept"))'
    await new Promise((ended) => new Worker(inWorker, { eval: true }).on('exit', ended))
    const other = 'import(' + JSON.stringify(entry) + ').then(({ Wal }) => Wal.open(' + JSON.stringify(dir) + ')).then((wal) => console.log(wal.nextPosition), ({ code }) => console.log(code))'
    for (;;) {
      globalThis.gc()
      await new Promise(setImmediate)
      const said = String(execFileSync(process.execPath, ['-e', other])).trim()
      if (said === 'ERR_WAL_LOCKED') continue
      console.log(said)
      break
    }`
  await prints(t, script, '5\n')
})

test('a reader keeps its log open until it has ended, and no longer', async (t) => {
  const script = `
    const { Wal } = await import(process.argv[1])
    const open = async () => {
      const wal = await Wal.open(process.argv[2])
      await wal.append('x')
      return wal.readFrom('start', { follow: true })
    }
    const reader = await open()
    const collect = async () => {
      globalThis.gc()
      await new Promise(setImmediate)
      return Wal.open(process.argv[2], { fsync: 'os' }).catch((error) => error.code)
    }
    await reader.next()
    for (let n = 0; n < 20; n++) console.assert(await collect() === 'ERR_WAL_INVALID_ARG', 'closed')
    const next = reader.next()
    const other = await Wal.open(process.argv[2])
    await other.append('y')
    console.log(String((await next).value.value))
    await other.close()
    await reader.return()
    let wal
    while ((wal = await collect()) === 'ERR_WAL_INVALID_ARG');
    console.log(wal.nextPosition)`
  await prints(t, script, 'y\n3\n')
})
