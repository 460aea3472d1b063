// Writes that the JavaScript thread submits, on a kernel that is played: slow, out of order, full of excuses, or without them.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import test, { type ExecutionContext } from 'ava'
import { verify, Wal } from '../index.js'
import { node } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'
import { valueAt } from './helpers/writes/values.mjs'
import { script, Writes, type Mode } from './helpers/writes/shim.js'

/** Opens a log and checks every record in it. Returns the first and the next position. */
async function whole(t: ExecutionContext, dir: string, value = valueAt): Promise<[number, number]> {
  const wal = await Wal.open(dir)
  const wrong: number[] = []
  let next = wal.firstPosition
  for await (const record of wal.readFrom('start')) {
    if (record.position !== next || String(record.value ?? '') !== value(next)) wrong.push(record.position)
    next += 1
  }
  const ends: [number, number] = [wal.firstPosition, wal.nextPosition]
  await wal.close()
  t.deepEqual(wrong, [])
  t.is(next, ends[1])
  const { problems } = await verify(dir)
  t.deepEqual(problems, [])
  return ends
}

const modes: [Mode, string][] = [
  ['played', 'complete in order'],
  ['bad', 'complete in any order, and of three one has EAGAIN and one stops early'],
  ['no-submit', 'are all refused'],
  ['no-setup', 'are not to be had'],
]
for (const [mode, what] of modes) {
  test(`records are acknowledged in order, and all of them are there: writes that ${what}`, async (t) => {
    if (!has(t, 'preload', 'direct')) return
    const writes = new Writes(t, mode)
    const { code, stdout, stderr } = await node([script('styles'), writes.dir], { env: writes.env })
    t.is(stderr, '')
    t.is(code, 0)
    t.deepEqual((await whole(t, writes.dir)).join(' '), stdout.toString().trim())
    t.is(writes.count('changed'), 0, 'memory was used again while it was under way')
    t.is(writes.count('submitted') > 0, mode !== 'no-setup')
    if (mode === 'no-submit') t.true(writes.count('submitted') < 10, 'what is not supported is not tried for ever')
    t.log(['submitted', 'again', 'short', 'overtook'].map((what) => `${writes.count(what)} ${what}`).join(', '))
    if (mode === 'bad') t.true(writes.count('again') > 20 && writes.count('short') > 20 && writes.count('overtook') > 0)
  })
}

for (const submits of [true, false]) {
  test(`the event loop turns while a disk answers after a second: ${submits ? 'writes are submitted' : 'commit threads write'}`, async (t) => {
    if (!has(t, 'preload', 'direct')) return
    const writes = new Writes(t, 'played', submits ? {} : { FORELOG_ASYNC_WRITES: 'off' })
    const { code, stdout, stderr } = await node([script('slow'), writes.dir, writes.delay, '1000', writes.record], { env: writes.env })
    t.is(stderr, '')
    t.is(code, 0)
    const ticks = stdout.toString().trim().split('\n').map(Number)
    t.is(ticks.length, 5)
    // A timer of 2 ms fires some hundred times in a second, and never while the thread waits.
    ticks.forEach((count, i) => i === 2 || t.true(count > 20, `${ticks}`))
    const events = writes.events()
    const during = events.slice(events.indexOf('slow'), events.indexOf('fast'))
    t.is(during.includes('submitted'), submits)
    t.deepEqual(
      events.slice(0, events.indexOf('fast')).filter((event) => event.startsWith('blocked')),
      []
    )
  })
}

const ends = ['exit', 'throw', 'terminate', 'by itself', 'kill'] as const
for (const worker of [false, true]) {
  for (const end of ends.filter((end) => (worker ? end !== 'kill' : end !== 'terminate'))) {
    test(`nothing is lost when ${worker ? 'a worker' : 'a process'} ends with writes under way: ${end}`, async (t) => {
      if (!has(t, 'preload', 'direct')) return
      let submitted = 0
      for (const [ms, more, mode] of [
        [30, 0, 'played'],
        [30, 1, 'played'],
        [5, 4, 'played'],
        [0, 3, 'bad'],
        [20, 3, 'bad'],
      ] as const) {
        const writes = new Writes(t, mode)
        const job = { dir: writes.dir, delay: writes.delay, ms, end, more, worker }
        const { code, signal, stdout, stderr } = await node([script('ending'), JSON.stringify(job)], { env: writes.env })
        const label = `${ms} ms, ${more} more, ${mode}: ${stderr}`
        t.is(signal, end === 'kill' ? 'SIGKILL' : null, label)
        if (end !== 'kill') t.is(code, end === 'throw' && !worker ? 1 : 0, label)
        const told = (word: string) =>
          Math.max(150, ...[...stdout.toString().matchAll(new RegExp(`${word} (\\d+);`, 'g'))].map(([, n]) => Number(n)))
        const [, next] = await whole(t, writes.dir)
        t.is(told('accepted'), 151 + more, label)
        if (end === 'kill') t.true(next > told('acknowledged') && next <= told('accepted') + 1, label)
        else t.is(next, told('accepted') + 1, label)
        if (end === 'by itself') t.is(told('acknowledged'), told('accepted'), label)
        t.is(writes.count('changed'), 0, label)
        submitted += writes.count('submitted')
      }
      t.true(submitted > 0)
    })
  }
}

for (const waiting of [1, 2, 3]) {
  test(`a worker that blocks its thread with ${waiting} appends pending holds nobody up: another worker, a reader in another process`, async (t) => {
    if (!has(t, 'preload', 'direct')) return
    t.timeout(60_000)
    const writes = new Writes(t, 'played')
    const args = [script('shared'), writes.dir, writes.delay, '60', String(waiting)]
    const child = spawn(process.execPath, args, { env: writes.env, stdio: ['pipe', 'pipe', 'inherit'] })
    t.teardown(() => child.kill())
    const [told] = (await once(child.stdout, 'data')) as [Buffer]
    const last = Number(told.toString())
    t.is(last, 150 + waiting + 20)
    const view = await Wal.open(writes.dir, { mode: 'readOnly' })
    for await (const { position, value } of view.readFrom('start', { follow: true })) {
      if (String(value ?? '') !== valueAt(position)) t.fail(`record ${position}`)
      if (position === last) break
    }
    await view.close()
    child.stdin.end()
    const [code] = (await once(child, 'exit')) as [number]
    t.is(code, 0)
    await whole(t, writes.dir)
    t.true(writes.count('submitted') > 0)
    t.is(writes.count('changed'), 0)
  })
}

test('a reader that waits, with writes under way that have EAGAIN, gets each record once', async (t) => {
  if (!has(t, 'preload', 'direct')) return
  const writes = new Writes(t, 'bad')
  const body = `
    const { Wal } = await import(process.argv[1])
    const wal = await Wal.open(process.argv[2], { segmentBytes: 1 << 19 })
    const read = (async () => {
      const seen = []
      for await (const { position } of wal.readFrom('start', { follow: true })) {
        seen.push(position)
        if (position === 400) return seen
      }
    })()
    for (let n = 0; n < 400; n++) n % 7 ? wal.enqueue('x'.repeat(n * 9)) : await wal.append('x'.repeat(n * 9))
    await wal.sync()
    const seen = await read
    console.log(seen.length, seen.every((position, i) => position === i + 1))
    await wal.close()`
  const entry = new URL('../index.js', import.meta.url).href
  const { stdout, stderr } = await node(['--input-type=module', '-e', body, entry, writes.dir], { env: writes.env })
  t.is(stderr, '')
  t.is(stdout.toString(), '400 true\n')
})

test('records are there after many rounds in which a process ends by itself, on the kernel as it is', async (t) => {
  if (!has(t, 'linux')) return
  for (let more = 0; more < 6; more++) {
    const around = temporaryDirectory(t)
    const job = { dir: `${around}/log`, delay: `${around}/delay`, ms: 0, end: more % 2 ? 'exit' : 'by itself', more, worker: more > 2 }
    const { code } = await node([script('ending'), JSON.stringify(job)])
    t.is(code, 0)
    t.deepEqual(await whole(t, job.dir), [1, 152 + more])
  }
})
