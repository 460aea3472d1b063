// examples/services/outbox.mjs, killed at random moments while clients post and a service downstream fails now and then.

import { EventEmitter, once } from 'node:events'
import { Agent, createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import path from 'node:path'
import { json } from 'node:stream/consumers'
import test, { type ExecutionContext } from 'ava'
import { Wal } from '../index.js'
import { Outbox, serve } from '../examples/services/outbox.mjs'
import { temporaryDirectory } from './helpers/directory.js'
import { random } from './helpers/kill/records.mjs'
import { has } from './helpers/needs.js'
import { call } from './helpers/service.js'
import { Life, seed } from './helpers/services.js'

const KILLS = 4
const CLIENTS = 16
const PADDING = '.'.repeat(4000)

/** A service that takes each position once. It fails now and then, before it has taken an event or after. Emits each position it takes. */
class Downstream extends EventEmitter {
  /** Ids of the events that were taken, by position, in the order of their arrival. */
  readonly taken = new Map<number, string>()
  duplicates = 0
  failures = 0
  url = ''

  static async start(t: ExecutionContext, next: () => number): Promise<Downstream> {
    const downstream = new Downstream()
    const take = async (request: IncomingMessage): Promise<number> => {
      const position = Number(request.headers['idempotency-key'])
      const { id } = (await json(request)) as { id: string }
      const luck = next()
      if (luck >= 0.05) downstream.#take(position, id)
      if (luck < 0.1) downstream.failures += 1
      return luck < 0.1 ? 503 : 204
    }
    const server = createServer((request, response) => {
      // A request that the kill cuts off has no answer.
      take(request).then(
        (status) => response.writeHead(status).end(),
        () => response.destroy()
      )
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    t.teardown(() => {
      server.close()
      server.closeAllConnections()
    })
    downstream.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    return downstream
  }

  #take(position: number, id: string): void {
    if (this.taken.has(position)) this.duplicates += 1
    else this.taken.set(position, id)
    this.emit('taken', position)
  }

  /** Resolves when a position has been taken. */
  async until(position: number): Promise<void> {
    while (!this.taken.has(position)) await once(this, 'taken')
  }
}

async function start(t: ExecutionContext, dir: string, url: string): Promise<{ life: Life; port: number }> {
  let life!: Life
  const port = await new Promise<number>((resolve, reject) => {
    life = new Life(t, 'outbox', [dir, 0, url], (line) => resolve(Number(/^port (\d+)$/.exec(line)?.[1])))
    void life.ended.then((how) => reject(new Error(`ended with ${how}: ${life.stderr}`)))
  })
  return { life, port }
}

test('what was answered is delivered once for each position and in order, however often the outbox is killed', async (t) => {
  if (!has(t, 'posix')) return
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const next = random(seed)
  const dir = path.join(temporaryDirectory(t), 'log')
  const downstream = await Downstream.start(t, random(seed + 1))
  const sent = new Set<string>()
  const answered = new Map<number, string>()

  const post = async (agent: Agent, port: number, id: string): Promise<number | undefined> => {
    sent.add(id)
    const answer = await call(agent, port, '/', JSON.stringify({ id, padding: PADDING }))
    if (typeof answer === 'string') return undefined
    t.is(answer.status, 202, answer.text)
    const position = Number(answer.text)
    t.false(answered.has(position), `${position} was answered twice`)
    answered.set(position, id)
    return position
  }

  for (let round = 0; round < KILLS; round += 1) {
    const { life, port } = await start(t, dir, downstream.url)
    // By what clients were told, or in the middle of a delivery.
    const at = 40 + Math.floor(next() * 100)
    const isByAnswers = next() < 0.5
    const until = isByAnswers ? answered.size + at : downstream.taken.size + at
    const check = () => {
      if ((isByAnswers ? answered.size : downstream.taken.size) >= until) life.kill('SIGKILL')
    }
    downstream.on('taken', check)
    let isOver = false
    void life.ended.then(() => (isOver = true))
    const client = async (c: number): Promise<void> => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      for (let n = 0; !isOver; n += 1) {
        await post(agent, port, `${round}-${c}-${n}`)
        check()
      }
      agent.destroy()
    }
    await Promise.all(Array.from({ length: CLIENTS }, (_, c) => client(c)))
    downstream.off('taken', check)
    t.is(await life.ended, 'SIGKILL')
    t.is(life.stderr, '')
  }

  const { life, port } = await start(t, dir, downstream.url)
  const agent = new Agent()
  const last = await post(agent, port, 'last')
  t.not(last, undefined)
  await downstream.until(last!)
  agent.destroy()
  life.kill('SIGTERM')
  t.is(await life.ended, 0)
  t.is(life.stderr, '')

  t.deepEqual(
    [...downstream.taken.keys()],
    Array.from({ length: last! }, (_, i) => i + 1)
  )
  t.deepEqual(
    [...answered].filter(([position, id]) => downstream.taken.get(position) !== id),
    []
  )
  t.deepEqual(
    [...downstream.taken.values()].filter((id) => !sent.has(id)),
    []
  )
  t.is(new Set(downstream.taken.values()).size, last!)
  t.true(downstream.failures > 0)
  t.log(`${last} events, ${answered.size} answered, ${downstream.failures} failures, ${downstream.duplicates} duplicates`)

  const wal = await Wal.open(dir)
  t.teardown(() => wal.close())
  t.deepEqual(wal.cursors(), [{ name: 'downstream', position: last! }])
  // Delivered events are removed.
  t.true(wal.firstPosition > 1)
})

test('the outbox says how far delivery is behind, and what is no event is refused', async (t) => {
  const gate = new EventEmitter()
  const begun = once(gate, 'begun')
  const outbox = await Outbox.open(temporaryDirectory(t), async () => {
    gate.emit('begun')
    await once(gate, 'open')
  })
  const server = await serve(outbox)
  const agent = new Agent()
  const ask = async (url: string, body?: string) => {
    const answer = await call(agent, (server.address() as AddressInfo).port, url, body)
    if (typeof answer === 'string') throw new Error(answer)
    return answer
  }
  t.is((await ask('/', 'no JSON')).status, 400)
  for (const body of ['null', '7', '{}', '{"id":7}']) t.is((await ask('/', body)).status, 422, body)
  const before = Date.now()
  t.deepEqual(await ask('/', '{"id":"a"}'), { status: 202, text: '1' })
  await begun
  const { lag, lagMs } = JSON.parse((await ask('/lag')).text)
  t.is(lag, 1)
  t.true(lagMs >= 0 && lagMs <= Date.now() - before)
  gate.emit('open')
  agent.destroy()
  server.close()
  await outbox.close()
})
