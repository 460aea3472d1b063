// An outbox. POST answers 202 with the position of an event once the event is durable. A consumer
// posts every event to a service downstream, in order, each until that service has taken it.
//
//     node examples/services/outbox.mjs
//     node examples/services/outbox.mjs DIRECTORY PORT DOWNSTREAM-URL
//
// Without arguments it shows itself: 500 events, and a service downstream that fails at first. GET
// /lag says how far delivery is behind. SIGTERM ends it; kill -9 loses nothing that was answered.

import { EventEmitter, once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:http'
import os from 'node:os'
import path from 'node:path'
import { json } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { Record, Wal } from '../../index.js' // in your project: from 'forelog'

const STATUS = { ERR_WAL_BACKPRESSURE: 503, ERR_WAL_NO_SPACE: 503, ERR_WAL_TOO_LARGE: 413, ERR_WAL_CODEC: 422 }

export class Outbox {
  #wal
  #delivery

  static async open(dir, deliver) {
    const outbox = new Outbox()
    // Segments are removed once their events are delivered: retention waits for the cursor.
    outbox.#wal = await Wal.open(dir, { codec: 'json', segmentBytes: 64 << 10, retention: { maxBytes: 256 << 10 } })
    const cursor = await outbox.#wal.cursor('downstream')
    outbox.#delivery = cursor.consume(deliver, { retries: Infinity, backoff: { minMs: 10, maxMs: 5000 }, timeoutMs: 10_000 })
    return outbox
  }

  /** Resolves to the position of the event once it is durable. */
  add(event) {
    return this.#wal.append(Record.put(event.id, event))
  }

  /** How far delivery is behind: in events, and in milliseconds since the oldest of them was committed. */
  lag() {
    const { lag, lagMs, waiting } = this.#delivery.stats()
    return { lag, lagMs, waiting, first: this.#wal.firstPosition }
  }

  async close() {
    await this.#delivery.stop({ graceMs: 5000 })
    await this.#wal.close()
  }
}

/** Posts an event. One that is posted again has the same key, so that the service can tell. */
export const postTo =
  (url) =>
  async ({ position, value }, { signal }) => {
    const headers = { 'content-type': 'application/json', 'idempotency-key': String(position) }
    const { ok, status, body } = await fetch(url, { method: 'POST', headers, body: JSON.stringify(value), signal })
    await body?.cancel()
    if (!ok) throw new Error(`downstream answered ${status}`)
  }

async function answer(outbox, request) {
  try {
    if (request.method === 'GET' && request.url === '/lag') return [200, JSON.stringify(outbox.lag())]
    const event = await json(request)
    if (typeof event?.id !== 'string') return [422, 'an event is an object with an id']
    return [202, String(await outbox.add(event))]
  } catch (error) {
    return [STATUS[error.code] ?? (error instanceof SyntaxError ? 400 : 500), error.message]
  }
}

/** Resolves to a server that listens. */
export async function serve(outbox, port = 0) {
  const server = createServer(async (request, response) => {
    const [status, text] = await answer(outbox, request)
    if (!server.listening) response.setHeader('connection', 'close')
    response.writeHead(status, status === 503 ? { 'retry-after': '1' } : {}).end(text)
  })
  await once(server.listen(port, '127.0.0.1'), 'listening')
  return server
}

async function show() {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'forelog-example-'))
  const delivered = new EventEmitter()
  const taken = []
  let failures = 3
  const outbox = await Outbox.open(dir, ({ position, value }) => {
    if (position === 3 && failures-- > 0) throw new Error('503')
    if (taken.push(value.id) === 500) delivered.emit('all')
  })
  const server = await serve(outbox)
  const url = `http://127.0.0.1:${server.address().port}`
  const post = (_, n) => fetch(url, { method: 'POST', body: JSON.stringify({ id: `e${n}` }) })
  const all = once(delivered, 'all')
  const answers = await Promise.all(Array.from({ length: 500 }, post))
  console.log(`${answers.filter(({ status }) => status === 202).length} events are durable`)
  await all
  console.log(`${taken.length} events are delivered, ${new Set(taken).size} different ones`)
  server.close()
  server.closeAllConnections()
  await outbox.close()
  await rm(dir, { recursive: true })
}

async function main(dir, port, url) {
  const outbox = await Outbox.open(dir, postTo(url))
  const server = await serve(outbox, Number(port))
  console.log(`port ${server.address().port}`)
  process.once('SIGTERM', () => server.close(() => outbox.close()))
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2)
  await (args.length === 0 ? show() : main(...args))
}
