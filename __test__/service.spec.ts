// examples/service.mjs, which people will copy: pressed by clients, killed, told to end, out of room.

import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent } from 'node:http'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { check, resolveConfig } from 'prettier'
import { Wal } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { Shim, rule } from './helpers/faults/shim.js'
import { random } from './helpers/kill/records.mjs'
import { collect } from './helpers/log.js'
import { smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'
import { Service, call, press, serviceScript, type Answer, type Told } from './helpers/service.js'

const CLIENTS = 16
const KILLS = 5
const MOST = 20_000
const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)
const options = { segmentBytes: 64 << 10 }

/** Everything in the log, by position. Beside a writer it may be a moment behind. */
async function contents(dir: string): Promise<Map<number, string>> {
  const wal = await Wal.open(dir, { ...options, mode: 'readOnly' })
  const records = await collect(wal.readFrom('start'))
  await wal.close()
  return new Map(records.map(({ position, value }) => [position, String(value)]))
}

/** The log as the service leaves it. */
async function end(t: ExecutionContext, service: Service, dir: string): Promise<Map<number, string>> {
  service.child.kill('SIGTERM')
  t.is(await service.ended, 0)
  return contents(dir)
}

/** Every answer is true, and nothing is in the log that nobody sent. */
function hold(t: ExecutionContext, log: Map<number, string>, told: Told[]): void {
  const wrong = told.flatMap(({ answered }) => [...answered]).filter(([position, body]) => log.get(position) !== body)
  t.deepEqual(wrong, [])
  const sent = new Set(told.flatMap((round) => [...round.sent]))
  t.deepEqual(
    [...log.values()].filter((body) => !sent.has(body)),
    []
  )
  t.is(new Set(log.values()).size, log.size)
}

/** The follower printed the records from where it began, each once and in order. */
function follows(t: ExecutionContext, service: Service, log: Map<number, string>): void {
  const expected = service.followed().map((_, i) => [service.from + i, log.get(service.from + i)])
  t.deepEqual(service.followed(), expected as [number, string][])
}

test('after repeated kill -9 under load every answer was true, and the follower saw each record once', async (t) => {
  if (!has(t, 'posix')) return
  t.timeout(600_000)
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const next = random(seed)
  const dir = path.join(temporaryDirectory(t), 'log')
  const rounds: [Service, Told][] = []
  for (let round = 0; round < KILLS; round += 1) {
    const service = await Service.start(t, dir, options)
    const answers = 50 + Math.floor(next() * 800)
    const told = await press(service, `round${round}`, CLIENTS, MOST, ({ answered }) => {
      if (answered.size >= answers) service.child.kill('SIGKILL')
      return false
    })
    t.is(await service.ended, 'SIGKILL')
    t.true(told.answered.size >= answers)
    rounds.push([service, told])
  }
  const log = await contents(dir)
  hold(
    t,
    log,
    rounds.map(([, told]) => told)
  )
  for (const [service] of rounds) follows(t, service, log)
  t.log(`${log.size} records, ${rounds.reduce((sum, [service]) => sum + service.followed().length, 0)} seen by followers`)
})

test('SIGTERM under load: every request is answered or refused, none is lost, and the follower sees the last one', async (t) => {
  if (!has(t, 'posix')) return
  t.timeout(600_000)
  const dir = path.join(temporaryDirectory(t), 'log')
  const service = await Service.start(t, dir, options)
  let terminated = false
  const told = await press(service, 'term', CLIENTS, MOST, ({ answered }) => {
    if (answered.size >= 500 && !terminated) terminated = service.child.kill('SIGTERM')
    return false
  })
  t.is(await service.ended, 0)
  t.is(service.stderr, '')
  t.deepEqual(Object.keys(told.statuses), ['200'])
  // It did not wait for the clients to stop.
  t.true(told.sent.size < MOST)
  for (const code of told.broken) t.true(['ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(code), code)
  const log = await contents(dir)
  // What had no answer was not taken either.
  t.deepEqual(log, new Map([...told.answered].toSorted(([a], [b]) => a - b)))
  follows(t, service, log)
  t.is(service.followed().length, log.size)
  const wal = await Wal.open(dir, options)
  t.true(wal.recovery.clean)
  await wal.close()
})

test('SIGTERM without a request: it ends, whether there are records or not', async (t) => {
  if (!has(t, 'posix')) return
  const dir = path.join(temporaryDirectory(t), 'log')
  for (const bodies of [0, 1]) {
    const service = await Service.start(t, dir)
    const told = await press(service, 'one', 1, bodies, () => false)
    t.is(told.answered.size, bodies)
    service.child.kill('SIGTERM')
    t.is(await service.ended, 0)
    t.is(service.followed().length, bodies)
  }
})

test('/metrics counts what was appended, as text exposition', async (t) => {
  const service = await Service.start(t, path.join(temporaryDirectory(t), 'log'))
  const told = await press(service, 'counted', 1, 10, () => false)
  const agent = new Agent()
  const ask = async (url: string, body?: string): Promise<Answer> => {
    const answer = await call(agent, service.port, url, body)
    if (typeof answer === 'string') throw new Error(answer)
    return answer
  }
  const lines = (await ask('/metrics')).text.trimEnd().split('\n')
  const metrics = new Map(
    lines.map((line) => {
      const [, name, value] = /^([a-z_]+) (\d+)$/.exec(line) ?? []
      t.not(name, undefined, line)
      return [name, Number(value)]
    })
  )
  t.true(told.answered.size > 0)
  t.is(metrics.get('forelog_appends'), told.answered.size)
  t.is(metrics.get('forelog_pending_bytes'), 0)
  // One client that waits for each answer: an fsync for each.
  t.true((metrics.get('forelog_fsyncs') ?? 0) >= told.answered.size)
  t.is((await ask('/')).status, 400)
  t.is((await ask('/', '.'.repeat((1 << 20) + 1))).status, 400)
})

test('a request above the limit of pending bytes is answered with 503, and is not in the log', async (t) => {
  if (!has(t, 'posix')) return
  const dir = path.join(temporaryDirectory(t), 'log')
  const service = await Service.start(t, dir, { ...options, maxPendingBytes: 1024 })
  const told = await press(service, 'much', 64, MOST, ({ statuses }) => (statuses['503'] ?? 0) > 0)
  t.deepEqual(Object.keys(told.statuses).toSorted(), ['200', '503'])
  t.deepEqual(await end(t, service, dir), new Map([...told.answered].toSorted(([a], [b]) => a - b)))
})

test('a full disk is answered with 503, and with 200 when there is space again', async (t) => {
  if (!has(t, 'mount')) return
  t.timeout(600_000)
  const disk = smallDisk(t, '2m')
  const filler = path.join(disk, 'filler')
  writeFileSync(filler, Buffer.alloc(1 << 20))
  const dir = path.join(disk, 'log')
  const service = await Service.start(t, dir, options)
  const before = await press(service, 'before', 4, MOST, ({ statuses }) => (statuses['503'] ?? 0) > 0)
  t.deepEqual(Object.keys(before.statuses).toSorted(), ['200', '503'])
  rmSync(filler)
  const after = await press(service, 'after', 4, MOST, ({ answered }) => answered.size >= 20)
  t.true(after.answered.size >= 20)
  const log = await end(t, service, dir)
  t.deepEqual(log, new Map([...before.answered, ...after.answered].toSorted(([a], [b]) => a - b)))
})

test('a failed fsync ends the service with code 1, and the next one has every answered record', async (t) => {
  if (!has(t, 'preload')) return
  const shim = new Shim(t)
  shim.arm(rule('fdatasync', '*.wal', 20, 'EIO'))
  const service = await Service.start(t, shim.dir, options, shim.env)
  const told = await press(service, 'failing', 4, MOST, () => false)
  t.is(await service.ended, 1)
  t.true(told.answered.size > 0)
  t.is(shim.fired().length, 1)
  const next = await Service.start(t, shim.dir, options)
  const again = await press(next, 'again', 4, 20, () => false)
  t.true(again.answered.size > 0)
  hold(t, await end(t, next, shim.dir), [told, again])
})

test('the service has less than 60 lines of 100 columns', async (t) => {
  const source = readFileSync(serviceScript, 'utf8')
  t.true(await check(source, { ...(await resolveConfig(serviceScript)), printWidth: 100, filepath: serviceScript }))
  t.true(source.trimEnd().split('\n').length < 60)
})
