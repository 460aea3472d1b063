// Workers on one log that end in every way at any moment: the log goes on for the others, and holds all that anyone was told.

import test from 'ava'
import { Worker } from 'node:worker_threads'
import { Wal } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { random } from './helpers/kill/records.mjs'
import { SEGMENT_BYTES, collect } from './helpers/log.js'

const script = new URL('./helpers/worker.mjs', import.meta.url)
const ends = ['terminate', 'exit', 'throw', 'close'] as const
const WAVES = 4
const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)

test('no record acknowledged to a worker is lost, however the worker ends', async (t) => {
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const next = random(seed)
  const options = { segmentBytes: SEGMENT_BYTES }
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(dir, options)
  const told = new Map<number, string>()

  const play = async (name: string, end: (typeof ends)[number]): Promise<void> => {
    const after = 1 + Math.floor(next() * 200)
    const worker = new Worker(script, { workerData: { dir, options, name, end, after }, execArgv: [] })
    let count = 0
    worker.on('message', ([position, value]: [number, string]) => {
      t.false(told.has(position), `position ${position} was given twice`)
      told.set(position, value)
      count += 1
      if (end === 'terminate' && count === after) void worker.terminate()
    })
    const thrown: string[] = []
    worker.on('error', ({ message }) => thrown.push(message))
    await new Promise((ended) => worker.on('exit', ended))
    t.deepEqual(thrown, end === 'throw' ? ['on purpose'] : [])
    t.true(count > 0)
  }

  for (let wave = 0; wave < WAVES; wave += 1) {
    const workers = Promise.all(ends.map((end) => play(`${wave}-${end}`, end)))
    const own = `main:${wave}`
    told.set(await wal.append(own), own)
    await workers
    told.set(await wal.append(own), own)
  }
  const check = async (log: Wal): Promise<void> => {
    const found = new Map((await collect(log.readFrom('start'))).map(({ position, value }) => [position, String(value)]))
    t.deepEqual(
      [...told].filter(([position, value]) => found.get(position) !== value),
      []
    )
  }
  await check(wal)
  await wal.close()
  const again = await Wal.open(dir, options)
  t.true(again.recovery.clean)
  await check(again)
  await again.close()
})
