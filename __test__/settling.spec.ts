// Promises settle in the order of positions, in each thread by itself.

import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { SEGMENT_BYTES, temporaryLog } from './helpers/log.js'

const script = new URL('./helpers/settling.mjs', import.meta.url)
const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)
const COUNT = 3000

for (const fsync of ['always', 'os', { everyMs: 2 }] as const) {
  test(`every operation settles, in several workers at once: ${JSON.stringify(fsync)}`, async (t) => {
    t.log(`seed ${seed} (FORELOG_SEED)`)
    const options = { segmentBytes: SEGMENT_BYTES, fsync }
    const wal = await temporaryLog(t, options)
    const work = async (n: number): Promise<number[]> => {
      const worker = new Worker(script, { workerData: { dir: wal.dir, options, seed: seed + n, count: COUNT }, execArgv: [] })
      const [[settled]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')])
      return settled
    }
    const all = await Promise.all([1, 2, 3].map(work))
    for (const settled of all) {
      t.true(settled.length > COUNT / 2)
      const early = settled.findIndex((position, i) => i > 0 && position < settled[i - 1])
      t.is(early, -1, `${settled[early - 1]} before ${settled[early]}`)
    }
    const positions = all.flat().filter(Number.isInteger)
    t.is(new Set(positions).size, positions.length)
  })
}

test('a worker that opens the log with other options is refused', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'always' })
  const worker = new Worker(script, {
    workerData: { dir: wal.dir, options: { segmentBytes: SEGMENT_BYTES, fsync: 'os' }, seed, count: 1 },
    execArgv: [],
  })
  const [error] = await once(worker, 'error')
  t.is(error.code, 'ERR_WAL_INVALID_ARG')
  t.is(await wal.append('still open'), 1)
})
