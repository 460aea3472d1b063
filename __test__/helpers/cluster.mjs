// A cluster on one log: the primary writes, its workers, processes of their own, follow. Played by cluster.spec.ts; says in JSON what was seen.

import cluster from 'node:cluster'
import { once } from 'node:events'
import { Wal } from '../../index.js'

const [dir, workers, count] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const options = { segmentBytes: 64 * 1024, fsync: 'os' }
const value = (n) => `value-${n}`.padEnd(100, '.')
const codeOf = ({ code, pid }) => ({ code, pid })

const message = async (worker, what) => {
  for (;;) {
    const [said] = await once(worker, 'message')
    if (said.what === what) return said
  }
}

async function work() {
  const writing = await Wal.open(dir, options).catch(codeOf)
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  const appending = await wal.append('x').catch(codeOf)
  let next = 1
  let wrong = 0
  for await (const record of wal.readFrom('start', { follow: true })) {
    if (String(record.value) === 'end') break
    if (record.position !== next || String(record.value) !== value(next)) wrong += 1
    if (next === 1) process.send({ what: 'following' })
    next += 1
  }
  await wal.close()
  process.send({ what: 'followed', pid: process.pid, writing, appending, records: next - 1, wrong })
  // The writer's place, once it is free.
  process.once('message', async () => {
    const own = await Wal.open(dir, options)
    const position = await own.append('from a worker')
    await own.close()
    process.send({ what: 'written', position })
    process.disconnect()
  })
}

async function lead() {
  let wal = await Wal.open(dir, options)
  wal.enqueue(value(1))
  await wal.sync()
  const all = Array.from({ length: workers + 1 }, () => cluster.fork())
  const followed = all.slice(1).map((worker) => message(worker, 'followed'))
  await Promise.all(all.map((worker) => message(worker, 'following')))
  for (let n = 2; n <= count; n += 1) {
    if (n === count / 2) all[0].process.kill('SIGKILL')
    if (n % 50 === 0) await wal.append(value(n))
    else wal.enqueue(value(n))
  }
  await wal.append('end')
  const seen = await Promise.all(followed)
  await wal.close()
  const written = message(all[1], 'written')
  for (const worker of all.slice(1)) {
    if (worker === all[1]) worker.send('write')
    else worker.disconnect()
  }
  const { position } = await written
  wal = await Wal.open(dir, { mode: 'readOnly' })
  const { value: last } = await wal.readFrom(position).next()
  console.log(JSON.stringify({ primary: process.pid, seen, position, last: String(last.value) }))
}

await (cluster.isPrimary ? lead() : work())
