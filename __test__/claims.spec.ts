// Sentences of the pages that were wrong once, or that no other test proves: what they claim is what happens.

import { copyFileSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { verify, Wal } from '../index.js'
import { root } from './helpers/command.js'
import { copyOpenLog, temporaryDirectory } from './helpers/directory.js'
import { fill, temporaryLog, values } from './helpers/log.js'
import { has } from './helpers/needs.js'
import { read } from './helpers/samples.js'

const PAGE = 4096

test('durability.md: a small durable commit is not padded', async (t) => {
  const wal = await temporaryLog(t, { segmentBytes: 1 << 20 })
  for (let n = 0; n < 100; n++) await wal.append('x')
  const { commits, writtenBytes, activeBytes } = wal.stats()
  t.is(commits, 100)
  t.true(writtenBytes < 100 * 64, `${writtenBytes} bytes`)
  t.true(activeBytes < PAGE + 100 * 64, `${activeBytes} bytes`)
})

test('durability.md: a large durable commit is padded to 4 KiB if it goes past the page cache', async (t) => {
  if (!has(t, 'direct')) return
  const wal = await temporaryLog(t, { segmentBytes: 8 << 20 })
  let padded = 0
  for (let n = 0; n < 40; n++) {
    await wal.append(Buffer.alloc(32 << 10))
    if (wal.stats().activeBytes % PAGE === 0) padded++
    if (n === 20) await wal.append('a small one between')
  }
  // A commit right after the file has grown goes through the page cache.
  t.true(padded >= 30, `${padded} of 40`)
})

test('durability.md: a commit that is not durable is not padded, however large it is', async (t) => {
  const wal = await temporaryLog(t, { segmentBytes: 8 << 20, fsync: 'os' })
  for (let n = 0; n < 20; n++) await wal.append(Buffer.alloc(40_001))
  t.true(wal.stats().writtenBytes < 20 * (40_001 + 64))
})

for (const [what, leave] of [
  ['truncateAfter', (wal: Wal) => wal.truncateAfter(5)],
  ['truncateBefore', (wal: Wal) => wal.truncateBefore(5)],
  ['reset', (wal: Wal) => wal.reset(50)],
] as const) {
  test(`recovery.md: a log whose process dies right after ${what} is clean`, async (t) => {
    const wal = await temporaryLog(t)
    await fill(wal, 10)
    await leave(wal)
    const again = await Wal.open(copyOpenLog(t, wal.dir))
    t.like(again.recovery, { verdict: 'clean', clean: true, carried: 0 })
    await again.close()
  })
}

test('recovery.md: a log whose last records nothing proves durable is not clean', async (t) => {
  const wal = await temporaryLog(t)
  await wal.append('one')
  await wal.append('two')
  const again = await Wal.open(copyOpenLog(t, wal.dir))
  // The mark in CONTROL is written once a second at most, so it cannot stand at the end yet; if it does, the machine was slow.
  if (again.recovery.verdict !== 'clean') t.like(again.recovery, { verdict: 'unproven', clean: false })
  await again.close()
  await wal.close()
  t.true((await Wal.open(wal.dir, { mode: 'readOnly' })).recovery.clean)
})

test('recovery.md: CURSORS copied before a truncateAfter may skip records, copied after it may repeat some', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 10)
  await (await wal.cursor('worker')).commit(10)
  const old = path.join(temporaryDirectory(t), 'CURSORS')
  const file = path.join(wal.dir, 'CURSORS')
  copyFileSync(file, old)

  await wal.truncateAfter(4)
  const young = path.join(temporaryDirectory(t), 'CURSORS')
  copyFileSync(file, young)
  for (let n = 1; n <= 8; n++) wal.enqueue(`new ${n}`)
  await wal.sync()
  const cursor = await wal.cursor('worker')
  t.deepEqual(await values(cursor.read({ limit: 2 })), ['new 1', 'new 2'])
  await cursor.commit(6)
  await wal.close()

  const remaining = async (from: string) => {
    copyFileSync(from, file)
    const log = await Wal.open(wal.dir)
    const left = await values((await log.cursor('worker')).read())
    await log.close()
    return left
  }
  t.deepEqual(await remaining(old), ['new 7', 'new 8'], 'new 1 to new 6 are skipped, although new 3 to new 6 were not processed')
  t.deepEqual(
    await remaining(young),
    Array.from({ length: 8 }, (_, n) => `new ${n + 1}`)
  )
})

test('operations.md: the commits of a cursor are not among the fsyncs that stats() counts', async (t) => {
  const wal = await temporaryLog(t)
  await fill(wal, 10)
  const cursor = await wal.cursor('worker')
  const { fsyncs } = wal.stats()
  for (let n = 1; n <= 10; n++) await cursor.commit(n)
  t.is(wal.stats().fsyncs, fsyncs)
})

test('recovery.md and README.md: verifying a missing or empty directory reports that there is no log', async (t) => {
  const dir = temporaryDirectory(t)
  await t.throwsAsync(verify(path.join(dir, 'missing')), { code: 'ERR_WAL_NOT_FOUND', message: /no log in / })
  await t.throwsAsync(verify(dir), { code: 'ERR_WAL_NOT_FOUND' })
})

test('README.md: ratios are those of docs/benchmarks.md, the right way round', (t) => {
  const page = read('docs/benchmarks.md')
  const [, table = ''] = /<!-- table: [^\n]*-->\n\n((?:\|.*\n)+)/.exec(read('README.md')) ?? []
  const [head = [], , ...rows] = table
    .trim()
    .split('\n')
    .map((line) => line.split('|').map((cell) => cell.trim()))
  t.true(rows.length >= 5, table)
  const rivals = ['best JavaScript', 'lmdb', 'better-sqlite3', 'classic-level']
  for (const row of rows) {
    const [title = '', acknowledged] = row[1]?.split(/, (`acknowledged\(\)`)$/) ?? []
    const section = page.slice(page.indexOf(`: ${title} (`))
    const ours = acknowledged === undefined ? 'Forelog' : 'Forelog, acknowledged()'
    const told = section.split('\n').find((line) => line.startsWith(`**${ours}**: `)) ?? ''
    t.not(told, '', title)
    for (const rival of rivals) {
      const [, ratio] = new RegExp(`([\\d.]+) × ${rival}`).exec(told) ?? []
      t.is(row[head.indexOf(rival)], ratio === undefined ? '' : `${ratio} ×`, `${title}: ${rival}`)
    }
  }
})

test('reliability.md: the table of mutants lists every patch', (t) => {
  const told = [...read('docs/reliability.md').matchAll(/^\| `([a-z0-9-]+)` +\|/gm)].map(([, name]) => name)
  const made = readdirSync(path.join(root, 'mutants')).map((name) => name.replace('.patch', ''))
  t.deepEqual(
    made.filter((name) => !told.includes(name)),
    []
  )
})

test('docs: the examples have the number of lines that the pages state', (t) => {
  const lines = (name: string) =>
    readFileSync(path.join(root, 'examples', name), 'utf8')
      .trimEnd()
      .split('\n').length
  t.true(lines('service.mjs') < 60)
  t.true(Math.abs(lines('prometheus.mjs') - 100) < 15)
})
