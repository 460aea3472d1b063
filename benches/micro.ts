import fs from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import Benchmark from 'benchmark'
import type { Forelog, WalRecord } from './lib/forelog.js'

/**
 * What single steps across the boundary between JavaScript and Rust cost, in one process and without rivals. The figures guide changes of the
 * binding, and prove nothing against others. Each cycle does `BLOCK` operations; the table is per operation.
 */
const BLOCK = 512
const SECONDS_PER_ROW = 1
const key = Buffer.from('key:000000000001')
const value = Buffer.alloc(100, 'v')
const text = 'v'.repeat(100)

const { Wal, Record } = (await import(process.argv[2])) as Forelog
// Beside the compiled benches, in the folder that is never committed.
const dir = join(fileURLToPath(new URL('.', import.meta.url)), '..', '.data', `micro-${process.pid}`)
fs.mkdirSync(dir, { recursive: true })
const wal = await Wal.open(dir, { fsync: 'os' })
for (let index = 0; index < BLOCK; index++) wal.enqueue(Record.put(key, value))
await wal.sync()
const ready = Record.put(key, value)
/** Keeps results alive, so that no optimiser removes what made them. */
let sink: unknown

const rows: [name: string, block: () => void | Promise<void>][] = [
  ['Record.put(key, value)', () => repeat(() => (sink = Record.put(key, value)))],
  ['enqueue, 100 B buffer', () => appended(() => wal.enqueue(value))],
  ['enqueue, 100 B string', () => appended(() => wal.enqueue(text))],
  ['enqueue, record made before', () => appended(() => wal.enqueue(ready))],
  ['enqueue, new Record.put', () => appended(() => wal.enqueue(Record.put(key, value)))],
  ['append, 100 B buffer, awaited together', awaitedTogether],
  ['read, positions only', () => read((record) => (sink = record.position))],
  ['read, key and value', () => read((record) => (sink = record.key!.length + record.value!.length))],
]

function repeat(operation: () => void): void {
  for (let count = 0; count < BLOCK; count++) operation()
}

/** `drain` resolves at once unless the log is behind: then the row is bound by the disk, and says little. */
async function appended(operation: () => void): Promise<void> {
  repeat(operation)
  await wal.drain()
}

async function awaitedTogether(): Promise<void> {
  const promises: Promise<number>[] = []
  repeat(() => promises.push(wal.append(value)))
  sink = await Promise.all(promises)
}

async function read(visit: (record: WalRecord) => void): Promise<void> {
  for await (const records of wal.readFrom('start', { limit: BLOCK }).batches()) for (const record of records) visit(record)
}

const suite = new Benchmark.Suite('boundary')
for (const [name, block] of rows) {
  suite.add(name, {
    defer: true,
    maxTime: SECONDS_PER_ROW,
    fn: (deferred: { resolve(): void }) => void Promise.resolve(block()).then(() => deferred.resolve()),
  })
}
suite.on('cycle', ({ target }: { target: Benchmark }) => {
  const perSecond = target.hz * BLOCK
  console.log(`${String(target.name).padEnd(42)} ${((1 / perSecond) * 1e9).toFixed(0).padStart(6)} ns ± ${target.stats.rme.toFixed(1)} %`)
})
suite.on('error', ({ target }: { target: Benchmark & { error?: unknown } }) => console.error(String(target.name), target.error))
suite.on('complete', async () => {
  await wal.close()
  fs.rmSync(dir, { recursive: true, force: true })
  if (sink === undefined) process.exitCode = 1
})
suite.run({ async: true })
