// An HTTP service on a log: POST answers with the position of its body once that is durable, GET
// /metrics counts. A worker thread follows and prints every record once. SIGTERM loses nothing.
// Usage: node examples/service.mjs DIRECTORY [PORT [OPTIONS]], which are those of Wal.open as JSON

import { once } from 'node:events'
import { createServer } from 'node:http'
import { buffer } from 'node:stream/consumers'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../index.js' // in your project: from 'forelog'

const argv = process.argv.slice(2)
const [dir, port = '8080', options = '{}'] = argv
const wal = await Wal.open(dir, JSON.parse(options))
const STATUS = { ERR_WAL_BACKPRESSURE: 503, ERR_WAL_NO_SPACE: 503, ERR_WAL_TOO_LARGE: 413 }

const metric = ([name, value]) =>
  `forelog_${name.replace(/[A-Z]/g, '_$&').toLowerCase()} ${value}\n`
const isNumber = ([, value]) => typeof value === 'number'

async function answer(request) {
  if (request.method === 'GET' && request.url === '/metrics')
    return [200, Object.entries(wal.stats()).filter(isNumber).map(metric).join('')]
  if (request.method !== 'POST' || !(request.headers['content-length'] <= 1 << 20))
    return [400, 'POST a body of known length, at most 1 MiB, or GET /metrics\n']
  try {
    return [200, `${await wal.append(await buffer(request))}\n`]
  } catch ({ code, message }) {
    return [STATUS[code] ?? 500, `${message} (${code})\n`]
  }
}

if (isMainThread) {
  const from = wal.nextPosition
  const follower = new Worker(new URL(import.meta.url), { argv, workerData: from })
  const server = createServer(async (request, response) => {
    const [status, text] = await answer(request)
    if (!server.listening) response.setHeader('connection', 'close')
    response.writeHead(status).end(text)
  }).listen(port, () => console.log(`port ${server.address().port}, next position ${from}`))
  process.once('SIGTERM', async () => {
    await new Promise((closed) => server.close(closed))
    follower.postMessage(wal.acknowledgedPosition)
    await once(follower, 'exit')
    await wal.close()
  })
} else {
  // What it throws ends the process with code 1, to be started anew: a failed fsync, for one.
  const reader = wal.readFrom(workerData, { follow: true })
  let last = Infinity
  parentPort.once('message', (position) => {
    last = position
    if (last < workerData || last === reader.position) reader.return()
  })
  for await (const { position, value } of reader) {
    console.log(position, String(value))
    if (position === last) break
  }
  await wal.close()
}
