// Named cursors: how far somebody has worked the log off, whatever happens in between.

import { once } from 'node:events'
import { closeSync, openSync, readFileSync, statfsSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import test, { type ExecutionContext } from 'ava'
import { Cursor, verify, Wal, type WalOptions } from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { collect, fill, filledLog, moves, numbered, SEGMENT_BYTES, temporaryLog, until, values } from './helpers/log.js'
import { smallDisk } from './helpers/mount.js'
import { has } from './helpers/needs.js'

const options = { segmentBytes: SEGMENT_BYTES }

async function reopen(t: ExecutionContext, wal: Wal, more: WalOptions = {}): Promise<Wal> {
  await wal.close()
  return temporaryLog(t, more, wal.dir)
}

test('a cursor continues after the last committed record, in the next process too', async (t) => {
  let wal = await filledLog(t, 10)
  let cursor = await wal.cursor('billing')
  t.true(cursor instanceof Cursor)
  t.deepEqual([cursor.name, cursor.position, cursor.lag], ['billing', 0, 10])
  t.deepEqual(await values(cursor.read()), numbered(1, 10))
  t.is(await cursor.commit(4), undefined)
  t.deepEqual([cursor.position, cursor.lag], [4, 6])
  t.deepEqual(wal.cursors(), [{ name: 'billing', position: 4 }])

  wal = await reopen(t, wal)
  t.deepEqual(wal.cursors(), [{ name: 'billing', position: 4 }])
  cursor = await wal.cursor('billing')
  t.is(cursor.position, 4)
  t.deepEqual(await values(cursor.read({ limit: 3 })), numbered(5, 7))
  await cursor.commit(10)
  t.is(cursor.lag, 0)
  t.deepEqual(await values(cursor.read()), [])
  t.is(await wal.cursor('billing'), cursor, 'the same handle gives the same object')
})

test('a new cursor begins at the given position, and an existing one stays where it is', async (t) => {
  const wal = await filledLog(t, 10)
  await wal.truncateBefore(3)
  const at = async (name: string, start?: number | 'start' | 'end') => (await wal.cursor(name, { start })).position
  t.is(await at('default'), 2)
  t.is(await at('start', 'start'), 2)
  t.is(await at('end', 'end'), 10)
  t.is(await at('number', 7), 6)
  t.is(await at('next', 11), 10)
  t.is(await at('end', 5), 10)
  await t.throwsAsync(wal.cursor('low', { start: 2 }), { code: 'ERR_WAL_TRUNCATED' })
  await t.throwsAsync(wal.cursor('high', { start: 12 }), { code: 'ERR_WAL_OUT_OF_RANGE' })
  t.deepEqual(
    wal.cursors().map(({ name }) => name),
    ['default', 'end', 'next', 'number', 'start']
  )
})

test('commit only moves a cursor forwards, up to the last acknowledged record; another method moves it back', async (t) => {
  let wal = await filledLog(t, 10)
  let cursor = await wal.cursor('a')
  await cursor.commit(6)
  await cursor.commit(2)
  t.is(cursor.position, 6)
  await t.throwsAsync(cursor.commit(11), { code: 'ERR_WAL_OUT_OF_RANGE', message: /11/ })
  t.is(cursor.position, 6)
  await Promise.all([10, 7, 9].map((position) => cursor.commit(position)))
  t.is(cursor.position, 10)

  await cursor.rewind(3)
  t.is(cursor.position, 3)
  await t.throwsAsync(cursor.rewind(4), { code: 'ERR_WAL_OUT_OF_RANGE' })
  await wal.truncateBefore(3)
  await t.throwsAsync(cursor.rewind(1), { code: 'ERR_WAL_TRUNCATED' })
  wal = await reopen(t, wal)
  cursor = await wal.cursor('a')
  t.is(cursor.position, 3)
})

for (const fsync of ['os', { everyMs: 3_600_000 }] as const) {
  test(`under ${JSON.stringify(fsync)} the log is durable up to the position of a committed cursor`, async (t) => {
    const wal = await temporaryLog(t, { fsync })
    for (let n = 1; n <= 10; n++) await wal.append(`${n}`)
    const cursor = await wal.cursor('a')
    t.is(wal.durablePosition, 0)
    await cursor.commit(5)
    t.true(wal.durablePosition >= 5)
    t.is(cursor.position, 5)
  })
}

test('a consumer that is killed at any moment repeats no record whose commit resolved, and skips none', async (t) => {
  if (!has(t, 'posix')) return
  const wal = await filledLog(t, 60)
  await wal.close()
  const script = fileURLToPath(new URL('./helpers/cursor/consumer.mjs', import.meta.url))
  const done = new Set<number>()
  let doing = 0
  let rounds = 0
  for (let ended = false; !ended; rounds++) {
    const [nth, when] = [1 + ((rounds * 5) % 7), ['before', 'during', 'after'][rounds % 3]]
    const { code, signal, stdout, stderr } = await node([script, wal.dir, JSON.stringify(options), `${nth}`, when])
    const lines = stdout.toString().trim().split('\n')
    ended = lines.at(-1) === 'end'
    t.deepEqual([code, signal, stderr], ended ? [0, null, ''] : [null, 'SIGKILL', ''])
    for (const [word, position] of lines.map((line) => [line.split(' ')[0], Number(line.split(' ')[1])] as const)) {
      // What it did last may have been committed before it could tell, or not.
      if (word === 'from') t.true(position === doing + 1 || (position === doing && !done.has(doing)), `from ${position}, after ${doing}`)
      if (word === 'doing') {
        t.false(done.has(position), `${position} is done twice`)
        doing = position
      }
      if (word === 'done') done.add(position)
    }
  }
  t.is(doing, 60)
  t.true(rounds > 12)
  const again = await temporaryLog(t, options, wal.dir)
  t.deepEqual(again.cursors(), [{ name: 'queue', position: 60 }])
})

async function roll(wal: Wal, times: number): Promise<void> {
  const { rolls } = wal.stats()
  while (wal.stats().rolls < rolls + times) await wal.append('x'.repeat(5000))
}

test('retention keeps the records that a cursor has not passed', async (t) => {
  for (const retention of [{ maxAgeMs: 1 }, { maxBytes: 1 }]) {
    const wal = await temporaryLog(t, { retention })
    const slow = await wal.cursor('slow')
    const fast = await wal.cursor('fast')
    const told = moves(slow)
    await roll(wal, 3)
    await fast.commit(wal.acknowledgedPosition)
    await roll(wal, 1)
    t.is(wal.firstPosition, 1)
    t.deepEqual(await values(slow.read({ limit: 1 })), ['x'.repeat(5000)])
    await slow.commit(wal.acknowledgedPosition)
    await until(() => wal.firstPosition > 1)
    t.deepEqual(told, [])
  }
})

test('with overrideCursors, retention.maxBytes removes records that a cursor has not passed, and the cursor reports it', async (t) => {
  const wal = await temporaryLog(t, { retention: { maxBytes: SEGMENT_BYTES * 2, overrideCursors: true } })
  const cursor = await wal.cursor('slow')
  const told = moves(cursor)
  await roll(wal, 5)
  // What the last roll lets go of is gone once the next step is done.
  await wal.sync()
  t.true(wal.firstPosition > 1)
  t.is(cursor.position, wal.firstPosition - 1)
  await until(() => told.at(-1)?.to === wal.firstPosition - 1)
  t.is(told[0].from, 0)
})

test('a deleted cursor holds no records back, and its name is a new cursor', async (t) => {
  const wal = await temporaryLog(t, { retention: { maxAgeMs: 1 } })
  const cursor = await wal.cursor('slow')
  await roll(wal, 3)
  t.is(wal.firstPosition, 1)
  await cursor.commit(2)
  await cursor.delete()
  t.deepEqual(wal.cursors(), [])
  await until(() => wal.firstPosition > 1)
  await t.throwsAsync(cursor.commit(wal.acknowledgedPosition), { code: 'ERR_WAL_NOT_FOUND' })
  await t.throwsAsync(cursor.rewind(0), { code: 'ERR_WAL_NOT_FOUND' })
  await t.notThrowsAsync(cursor.delete())
  const another = await wal.cursor('slow', { start: 'end' })
  t.is(another.position, wal.acknowledgedPosition)
  await t.throwsAsync(cursor.commit(wal.acknowledgedPosition), { code: 'ERR_WAL_NOT_FOUND' })
  const again = await reopen(t, wal)
  t.deepEqual(
    again.cursors().map(({ name }) => name),
    ['slow']
  )
})

test('truncateBefore moves a cursor that is below it, and the cursor reports the move once', async (t) => {
  const wal = await filledLog(t, 20)
  const behind = await wal.cursor('behind')
  const ahead = await wal.cursor('ahead')
  await behind.commit(3)
  await ahead.commit(15)
  const [toldBehind, toldAhead] = [moves(behind), moves(ahead)]
  const truncated = once(behind, 'truncated')
  await wal.truncateBefore(11)
  t.deepEqual([behind.position, behind.lag, ahead.position], [10, 10, 15])
  t.deepEqual(await truncated, [{ from: 3, to: 10 }])
  t.deepEqual(await values(behind.read()), numbered(11, 20))
  await wal.truncateBefore(13)
  await until(() => toldBehind.length === 2)
  t.deepEqual(toldBehind, [
    { from: 3, to: 10 },
    { from: 10, to: 12 },
  ])
  t.deepEqual(toldAhead, [])
})

test('a cursor that truncation moved while it was not open reports the move when it is opened', async (t) => {
  let wal = await filledLog(t, 20)
  await (await wal.cursor('a')).commit(3)
  wal = await reopen(t, wal)
  await wal.truncateBefore(11)
  wal = await reopen(t, wal)
  const cursor = await wal.cursor('a')
  t.is(cursor.position, 10)
  t.deepEqual(await once(cursor, 'truncated'), [{ from: 3, to: 10 }])
  await cursor.commit(12)
  wal = await reopen(t, wal)
  const [told, other] = [moves(await wal.cursor('a')), await wal.cursor('b')]
  await wal.truncateAfter(12)
  await other.commit(12)
  t.deepEqual(told, [], 'after a commit the move is not reported again')
})

test('truncateAfter moves cursors past the new end back to it, durably', async (t) => {
  let wal = await filledLog(t, 20)
  let cursor = await wal.cursor('a')
  const below = await wal.cursor('below')
  await cursor.commit(18)
  await below.commit(2)
  const toldBelow = moves(below)
  let truncated = once(cursor, 'truncated')
  await wal.truncateAfter(10)
  t.is(cursor.position, 10)
  t.deepEqual(await truncated, [{ from: 18, to: 10 }])
  await wal.append('new')
  t.deepEqual(await values(cursor.read()), ['new'])
  t.deepEqual([cursor.lag, toldBelow], [1, []])

  wal = await reopen(t, wal)
  cursor = await wal.cursor('a')
  t.is(cursor.position, 10)
  truncated = once(cursor, 'truncated')
  await wal.reset(5)
  t.is(cursor.position, 4)
  t.deepEqual(await truncated, [{ from: 10, to: 4 }])
  truncated = once(cursor, 'truncated')
  await wal.reset(100)
  t.deepEqual(await truncated, [{ from: 4, to: 99 }])
  wal = await reopen(t, wal)
  t.deepEqual(wal.cursors(), [
    { name: 'a', position: 99 },
    { name: 'below', position: 99 },
  ])
})

test('a record read before truncateAfter cannot be committed as the record that now has its position', async (t) => {
  const wal = await filledLog(t, 10)
  const cursor = await wal.cursor('a')
  const [first] = await collect(cursor.read({ limit: 1 }))
  await cursor.commit(first.position)
  const old = (await collect(cursor.read())).at(-1)
  await wal.truncateAfter(5)
  for (let n = 6; n <= 10; n++) await wal.append(`new ${n}`)
  await t.throwsAsync(cursor.commit(old!.position), { code: 'ERR_WAL_TRUNCATED' })
  await cursor.commit(5)
  const records = await collect(cursor.read())
  t.is(String(records[0].value), 'new 6')
  await cursor.commit(10)
  t.is(cursor.position, 10)
})

test('a reader that truncateAfter did not reach continues, and so do its commits', async (t) => {
  const wal = await filledLog(t, 10)
  const cursor = await wal.cursor('a')
  const reader = cursor.read({ follow: true })
  for (let n = 1; n <= 3; n++) await cursor.commit((await reader.next()).value!.position)
  await wal.truncateAfter(5)
  for (let n = 6; n <= 10; n++) await wal.append(`new ${n}`)
  for (let n = 4; n <= 10; n++) {
    const { value: record } = await reader.next()
    t.is(String(record?.value), n > 5 ? `new ${n}` : `value-${n}`)
    await cursor.commit(n)
  }
  t.is(cursor.position, 10)
})

test('all handles and workers of a process share the cursors, and each reports what moved them', async (t) => {
  const wal = await filledLog(t, 10)
  const other = await Wal.open(wal.dir, options)
  t.teardown(() => other.close())
  const [one, two] = [await wal.cursor('a'), await other.cursor('a')]
  await one.commit(3)
  t.deepEqual([two.position, other.cursors()], [3, [{ name: 'a', position: 3 }]])
  const script = new URL('./helpers/cursor/worker.mjs', import.meta.url)
  const worker = new Worker(script, { workerData: { dir: wal.dir, options, name: 'a', position: 5 }, execArgv: [] })
  const posted: unknown[] = []
  worker.on('message', (message) => {
    posted.push(message)
    if (posted.length === 2) void wal.truncateBefore(9)
  })
  const told = once(two, 'truncated')
  await once(worker, 'exit')
  t.deepEqual(posted, [3, 5, { from: 5, to: 8 }])
  t.deepEqual(await told, [{ from: 5, to: 8 }])
  t.is(one.position, 8)
})

test('a read-only handle has no cursors', async (t) => {
  const wal = await filledLog(t, 3)
  await wal.cursor('a')
  const reader = await Wal.open(wal.dir, { mode: 'readOnly' })
  t.teardown(() => reader.close())
  await t.throwsAsync(reader.cursor('a'), { code: 'ERR_WAL_READ_ONLY' })
  t.throws(() => reader.cursors(), { code: 'ERR_WAL_READ_ONLY' })
})

test('names, options and positions are checked', async (t) => {
  const wal = await filledLog(t, 3)
  const invalid = { code: 'ERR_WAL_INVALID_ARG' } as const
  for (const name of ['', 'x'.repeat(256), 'ü'.repeat(128), '\ud800', 5, null, undefined]) {
    await t.throwsAsync(wal.cursor(name as never), { ...invalid, message: /name/ })
  }
  for (const start of [0, -1, 1.5, '1', null]) {
    await t.throwsAsync(wal.cursor('a', { start: start as never }), { ...invalid, message: /start/ })
  }
  await t.throwsAsync(wal.cursor('a', { from: 1 } as never), { ...invalid, message: /from/ })
  t.deepEqual(wal.cursors(), [])
  const longest = await wal.cursor('ü'.repeat(127) + '\0')
  for (const position of [-1, 1.5, '1', NaN, undefined]) {
    await t.throwsAsync(longest.commit(position as never), { ...invalid, message: /position/ })
    await t.throwsAsync(longest.rewind(position as never), { ...invalid, message: /position/ })
  }
  t.throws(() => longest.read({ from: 1 } as never), invalid)
  for (const retention of [{ overrideCursors: true }, { maxBytes: 1, overrideCursors: 1 }]) {
    const dir = temporaryDirectory(t)
    await t.throwsAsync(Wal.open(dir, { retention: retention as never }), { ...invalid, message: /overrideCursors/ })
  }
})

test('a log has up to 4096 cursors, and keeps them all', async (t) => {
  let wal = await filledLog(t, 3)
  const cursors = await Promise.all(Array.from({ length: 4096 }, (_, n) => wal.cursor(`${n}`.padStart(200, '-'))))
  await t.throwsAsync(wal.cursor('one more'), { code: 'ERR_WAL_TOO_LARGE' })
  await Promise.all(cursors.map((cursor, n) => cursor.commit(n % 4)))
  await cursors[7].delete()
  await wal.cursor('one more')
  wal = await reopen(t, wal)
  const listed = wal.cursors()
  t.is(listed.length, 4096)
  const expected = cursors.map(({ name }, n) => ({ name, position: n % 4 })).filter((_, n) => n !== 7)
  t.deepEqual(
    listed,
    [...expected, { name: 'one more', position: 0 }].sort((a, b) => (a.name < b.name ? -1 : 1))
  )
})

test('after closing a cursor refuses commits, and earlier commits are durable', async (t) => {
  const wal = await filledLog(t, 5)
  const cursor = await wal.cursor('a')
  const committed = cursor.commit(5)
  await wal.close()
  await committed
  await t.throwsAsync(cursor.commit(5), { code: 'ERR_WAL_CLOSED' })
  await t.throwsAsync(cursor.rewind(1), { code: 'ERR_WAL_CLOSED' })
  await t.throwsAsync(cursor.delete(), { code: 'ERR_WAL_CLOSED' })
  await t.throwsAsync(wal.cursor('a'), { code: 'ERR_WAL_CLOSED' })
  t.throws(() => wal.cursors(), { code: 'ERR_WAL_CLOSED' })
  await t.throwsAsync(cursor.read().next(), { code: 'ERR_WAL_CLOSED' })
  const again = await temporaryLog(t, {}, wal.dir)
  t.is((await again.cursor('a')).position, 5)
})

test('an idle cursor does not keep the process alive', async (t) => {
  const wal = await filledLog(t, 1)
  await wal.close()
  const index = pathToFileURL(path.join(root, 'index.js'))
  const program = `
    import { Wal } from '${index}'
    const wal = await Wal.open(${JSON.stringify(wal.dir)}, ${JSON.stringify(options)})
    const cursor = await wal.cursor('a')
    cursor.on('truncated', () => {})
    console.log(cursor.position)`
  const { code, stdout, stderr } = await node(['--input-type=module', '-e', program])
  t.deepEqual([code, stdout.toString(), stderr], [0, '0\n', ''])
})

/** Damages both slots of the file of the cursors. */
function damage(dir: string): void {
  const file = path.join(dir, 'CURSORS')
  const bytes = readFileSync(file)
  for (const slot of [0, bytes.length / 2]) bytes[slot + 50] ^= 1
  writeFileSync(file, bytes)
}

test('a damaged CURSORS file is reported and never read as empty, and the log works without cursors', async (t) => {
  let wal = await filledLog(t, 5)
  await (await wal.cursor('a')).commit(3)
  t.deepEqual((await verify(wal.dir)).problems, [])
  await wal.close()
  damage(wal.dir)
  wal = await temporaryLog(t, { retention: { maxAgeMs: 1 } }, wal.dir)
  for (const name of ['a', 'new']) await t.throwsAsync(wal.cursor(name), { code: 'ERR_WAL_CORRUPT', message: /CURSORS/ })
  t.throws(() => wal.cursors(), { code: 'ERR_WAL_CORRUPT' })
  await roll(wal, 3)
  t.is(wal.firstPosition, 1, 'records that are not known to be processed are kept')
  t.is((await values(wal.readFrom('start', { limit: 5 }))).length, 5)
  const { problems } = await verify(wal.dir)
  t.like(problems, [{ kind: 'damaged-cursors', segment: 'CURSORS' }])
  t.is(problems.length, 1)
  const copy = path.join(temporaryDirectory(t), 'copy')
  await wal.backup(copy)
  const other = await temporaryLog(t, {}, copy)
  await t.throwsAsync(other.cursor('a'), { code: 'ERR_WAL_CORRUPT' })
})

test('a backup has the cursors, none of them past its end', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'os' })
  await fill(wal, 10)
  const [a, b] = [await wal.cursor('a'), await wal.cursor('b')]
  await a.commit(4)
  await b.commit(10)
  const dir = path.join(temporaryDirectory(t), 'copy')
  let grown = false
  const onProgress = (): void => {
    if (!grown) wal.enqueue('more')
    grown = true
  }
  const { lastPosition } = await wal.backup(dir, { onProgress })
  // Only what is acknowledged can be done, and nobody has waited for that.
  await wal.sync()
  await b.commit(11)
  t.is(lastPosition, 10)
  const copy = await temporaryLog(t, {}, dir)
  t.true(copy.recovery.clean)
  t.deepEqual(copy.cursors(), [
    { name: 'a', position: 4 },
    { name: 'b', position: 10 },
  ])
  const cursor = await copy.cursor('a')
  t.deepEqual(await values(cursor.read()), numbered(5, 10))
  await cursor.commit(6)
  t.is(a.position, 4, 'the two are independent')
})

test('on a full disk a cursor moves, and a new one is refused until there is space', async (t) => {
  if (!has(t, 'mount')) return
  const disk = smallDisk(t, '4m')
  let wal = await temporaryLog(t, {}, path.join(disk, 'log'))
  await fill(wal, 10)
  const cursor = await wal.cursor('a')
  const fd = openSync(path.join(disk, 'filler'), 'a')
  t.throws(() => {
    for (;;) writeSync(fd, Buffer.alloc(4096, 'f'))
  })
  t.is(statfsSync(disk).bavail, 0)
  await cursor.commit(7)
  const names = Array.from({ length: 30 }, (_, n) => `${n}`.padEnd(250, '-'))
  const outcomes = []
  for (const name of names) outcomes.push(await wal.cursor(name).catch(({ code }) => code))
  t.is(outcomes.at(-1), 'ERR_WAL_NO_SPACE')
  await cursor.commit(9)
  wal = await reopen(t, wal)
  const again = await wal.cursor('a')
  t.is(again.position, 9)
  await wal.truncateAfter(8)
  t.is(again.position, 8)
  closeSync(fd)
  writeFileSync(path.join(disk, 'filler'), '')
  await wal.cursor(names.at(-1)!)
  t.is(wal.cursors().length, outcomes.filter((outcome) => typeof outcome === 'object').length + 2)
})
