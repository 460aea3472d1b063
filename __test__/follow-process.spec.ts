// Following a log that another process writes.

import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { createInterface } from 'node:readline'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { Wal, type WalOptions } from '../index.js'
import { cliScript } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, values } from './helpers/log.js'

const script = fileURLToPath(new URL('./helpers/follow/writer.mjs', import.meta.url))

/** A process that appends. */
class Writer {
  readonly child: ChildProcessWithoutNullStreams
  readonly exited: Promise<void>
  acknowledged = 0
  stderr = ''
  readonly #waiting: { line: RegExp; resolve: () => void }[] = []

  private constructor(dir: string, options: WalOptions) {
    this.child = spawn(process.execPath, [script, dir, JSON.stringify({ segmentBytes: SEGMENT_BYTES, ...options })])
    this.child.stderr.on('data', (data: Buffer) => (this.stderr += String(data)))
    this.child.stdin.on('error', () => {})
    this.exited = new Promise((resolve) => this.child.on('close', () => resolve()))
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      const [what, position] = line.split(' ')
      if (what === 'acknowledged') this.acknowledged = Number(position)
      for (const { resolve } of this.#waiting.filter((waiting) => waiting.line.test(line))) resolve()
    })
  }

  static async start(t: ExecutionContext, dir: string, options: WalOptions = {}): Promise<Writer> {
    const writer = new Writer(dir, options)
    t.teardown(() => writer.child.kill('SIGKILL'))
    await writer.says(/^open/)
    return writer
  }

  says(line: RegExp): Promise<void> {
    return Promise.race([
      new Promise<void>((resolve) => this.#waiting.push({ line, resolve })),
      this.exited.then(() => {
        throw new Error(`the writer has ended: ${this.stderr}`)
      }),
    ])
  }

  tell(line: string): void {
    this.child.stdin.write(`${line}\n`)
  }

  async end(): Promise<void> {
    this.tell('end')
    await this.exited
  }
}

const expected = (position: number, fill = '.'): string => `value-${position}`.padEnd(200, fill)

async function view(t: ExecutionContext, dir: string): Promise<Wal> {
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  t.teardown(() => wal.close())
  return wal
}

/** Follows from the start until `done` says so; every record is the next one and whole. */
async function follow(wal: Wal, done: (position: number) => boolean): Promise<number> {
  let next = 1
  for await (const { position, value } of wal.readFrom(1, { follow: true })) {
    if (position !== next || value?.toString() !== expected(next)) throw new Error(`at ${next}: ${position} ${String(value)}`)
    if (done(next++)) break
  }
  return next - 1
}

for (const fsync of ['always', 'os', { everyMs: 3 }] as const) {
  test(`a follower in another process sees every record in order while segments are rolled: ${JSON.stringify(fsync)}`, async (t) => {
    const dir = temporaryDirectory(t)
    const writer = await Writer.start(t, dir, { fsync })
    const wal = await view(t, dir)
    t.true((await follow(wal, (position) => position === 3000)) === 3000)
    // What the other process has acknowledged is all there, and it says so.
    await writer.says(/^acknowledged/)
    const { acknowledged } = writer
    t.is(await follow(wal, (position) => position === acknowledged), acknowledged)
    await writer.end()
    t.is(writer.stderr, '')
  })
}

test('after kill -9 of the writer a follower waits, and continues with the next writer', async (t) => {
  const dir = temporaryDirectory(t)
  let writer = await Writer.start(t, dir, { fsync: 'os' })
  const wal = await view(t, dir)
  let seen = 0
  let enough = Infinity
  const followed = follow(wal, (position) => (seen = position) >= enough)
  for (let kills = 0; kills < 4; kills++) {
    const target = seen + 500
    while (seen < target) await new Promise(setImmediate)
    writer.child.kill('SIGKILL')
    await writer.exited
    writer = await Writer.start(t, dir, { fsync: 'os' })
  }
  enough = seen + 500
  const last = await followed
  await writer.end()
  const after = await view(t, dir)
  const all = await values(after.readFrom('start'))
  t.true(all.length >= last)
  t.true(all.every((value, i) => value === expected(i + 1)))
})

test('a follower in another process fails once truncation has passed it', async (t) => {
  const dir = temporaryDirectory(t)
  const writer = await Writer.start(t, dir, { fsync: 'os' })
  const wal = await view(t, dir)
  const reader = wal.readFrom(1, { follow: true })
  await reader.next()
  while (writer.acknowledged < 5000) await writer.says(/^acknowledged/)
  writer.tell('truncate 4000')
  await writer.says(/^truncated/)
  const read = async () => {
    for await (const { position } of reader) if (position >= 4000) return t.fail(`got to ${position}`)
  }
  await t.throwsAsync(read, { code: 'ERR_WAL_TRUNCATED' })
  const { value } = await wal.readFrom(4000, { follow: true }).next()
  t.is(value?.value?.toString(), expected(4000))
  await writer.end()
})

test('truncateAfter in another process ends followers past it; the others drop prefetched records and see the new ones', async (t) => {
  const dir = temporaryDirectory(t)
  const writer = await Writer.start(t, dir, { fsync: 'os' })
  while (writer.acknowledged < 5000) await writer.says(/^acknowledged/)
  const wal = await view(t, dir)
  // Each of them has all up to the cut and far behind it at hand.
  const [before, ending, at, past] = [
    wal.readFrom(1, { follow: true }),
    wal.readFrom(1),
    wal.readFrom(500, { follow: true }),
    wal.readFrom(501),
  ]
  for (const reader of [before, ending, at, past]) t.false((await reader.next()).done)
  // The view may be behind what the writer has acknowledged.
  const end = wal.nextPosition
  t.true(end > 501)
  const last = wal.readFrom(end, { follow: true })
  writer.tell('cut 500')
  await writer.says(/^cut/)
  const read = async () => {
    for await (const { position } of last) t.true(position >= end)
  }
  await t.throwsAsync(read, { code: 'ERR_WAL_TRUNCATED' })

  t.like(await t.throwsAsync(past.next()), { code: 'ERR_WAL_TRUNCATED', position: 502 })
  t.is(String((await at.next()).value?.value), expected(501, '+'))
  let next = 2
  for await (const { position, value } of before) {
    t.deepEqual([position, String(value)], [next, expected(next, next > 500 ? '+' : '.')])
    if (next++ === 3000) break
  }
  const rest = await values(ending)
  t.is(rest.length, 499)
  t.true(rest.every((value, i) => value === expected(i + 2)))
  await writer.end()
  t.is(writer.stderr, '')
})

test('followers in another process end when they are aborted or closed, and do not use a thread each', async (t) => {
  const dir = temporaryDirectory(t)
  const writer = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => writer.close())
  const wal = await view(t, dir)
  const controller = new AbortController()
  const waiting = Array.from({ length: 100 }, () => wal.readFrom('end', { follow: true, signal: controller.signal }).next())
  const closing = Array.from({ length: 100 }, () => wal.readFrom('end', { follow: true }).next())
  const woken = wal.readFrom('end', { follow: true }).next()
  await writer.append('wakes all')
  t.is((await woken).value?.position, 1)
  await Promise.all([...waiting, ...closing])
  const again = Array.from({ length: 100 }, () => wal.readFrom(2, { follow: true, signal: controller.signal }).next())
  controller.abort()
  for (const { status } of await Promise.allSettled(again)) t.is(status, 'rejected')
  const last = wal.readFrom(2, { follow: true }).next()
  await wal.close()
  await t.throwsAsync(last, { code: 'ERR_WAL_CLOSED' })
})

test('forelog cat --follow prints what another process appends', async (t) => {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(dir)
  t.teardown(() => wal.close())
  await wal.append('one\n')
  const cat = spawn(process.execPath, [path.resolve(cliScript), 'cat', '--follow', dir])
  t.teardown(() => cat.kill('SIGKILL'))
  const lines = createInterface({ input: cat.stdout })[Symbol.asyncIterator]()
  t.is((await lines.next()).value, 'one')
  await wal.append('two\n')
  t.is((await lines.next()).value, 'two')
})
