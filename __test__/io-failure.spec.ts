// Writes and reads that fail, from the outside: a preloaded shim fails the n-th one, and proves that it did.

import { readdirSync } from 'node:fs'
import test from 'ava'
import { Wal } from '../index.js'
import { snapshot } from './helpers/directory.js'
import { append, holds, type Job } from './helpers/faults/process.js'
import { SLOTS, Shim, isHint, rule, type Action, type Call } from './helpers/faults/shim.js'
import { has } from './helpers/needs.js'

// No roll before a write fails: a footer that cannot be written rejects nothing.
const options = { segmentBytes: 1 << 20 }
const seed = 11

test('a write of unknown outcome poisons', async (t) => {
  if (!has(t, 'preload')) return
  for (const pattern of ['*.wal', SLOTS]) {
    for (let nth = 1; nth <= 4; nth += 1) {
      const label = `write ${nth} to ${pattern}`
      const shim = new Shim(t)
      const job: Job = { dir: shim.dir, seed, options, upTo: 3000, then: 'tell', arm: rule('pwrite64', pattern, nth, 'EIO') }
      const told = await append(job, { env: shim.env })
      t.is(told.stderr, '', label)
      t.is(shim.fired().length, 1, label)
      const code = 'ERR_WAL_POISONED'
      t.true(told.rejected.length > 0 && told.rejected.every((rejection) => rejection.code === code), label)
      t.like(told.end, { again: code, sync: code, close: code, readError: undefined, read: told.end?.durable }, label)
      await holds(t, job, told, label)
    }
  }
})

// The first half of the write is on the disk, with whole frames in it of records that are rejected.
const short =
  (action: Action) =>
  (nth: number): string =>
    rule('pwrite64', '*.wal', nth, 'HALF') + rule('pwrite64', '*.wal', nth + 1, action)
const full =
  (action: Action) =>
  (nth: number): string =>
    rule('pwrite64', '*.wal', nth, action)
const NO_SPACE = 'ERR_WAL_NO_SPACE'
const IO = 'ERR_WAL_IO'

for (const [name, rules, faults, code, cause] of [
  ['a write for which there is no space', full('ENOSPC'), 1, NO_SPACE, 'ENOSPC'],
  ['a write above the quota', full('EDQUOT'), 1, NO_SPACE, 'EDQUOT'],
  ['a write that stops early for want of space', short('ENOSPC'), 2, NO_SPACE, 'ENOSPC'],
  ['a write that a file size limit stops early', short('EFBIG'), 2, IO, 'EFBIG'],
  ['a write above a file size limit', full('EFBIG'), 1, IO, 'EFBIG'],
  ['a write without memory', full('ENOMEM'), 1, IO, 'ENOMEM'],
  ['a write to a file that may not be written', full('EPERM'), 1, IO, 'EPERM'],
  ['a write to a file system that has become read-only', full('EROFS'), 1, 'ERR_WAL_READ_ONLY', 'EROFS'],
] as const) {
  test(`${name} is rejected, frees its positions and loses nothing`, async (t) => {
    if (!has(t, 'preload')) return
    t.timeout(600_000)
    let fenced = 0
    // Later writes mostly go past the page cache.
    for (let nth = 1; nth <= 3; nth += 1) {
      for (const goOn of [true, false]) {
        const label = `write ${nth}, ${goOn ? 'then on' : 'then killed'}`
        const shim = new Shim(t)
        const job: Job = { dir: shim.dir, seed, options, then: 'kill', arm: rules(nth) }
        const told = await append({ ...job, goOn, upTo: goOn ? 60 : undefined }, { env: shim.env })
        t.is(told.stderr, '', label)
        t.is(shim.fired().length, faults, `${label}: the fault fired`)
        t.true(told.rejected.length > 0, label)
        t.true(
          told.rejected.every((rejection) => rejection.code === code && rejection.cause === cause),
          label
        )
        t.true(goOn === told.acknowledged.size >= 60, label)

        // The fence stands in both slots before anything else is written.
        const calls = shim.calls()
        const fault = shim.fired().at(-1)
        const since = calls.filter(
          (call) => call.began > (fault?.ended ?? 0) && call.name !== 'pread64' && !/^(spare|reserve)/.test(call.file) && !isHint(call)
        )
        t.deepEqual(
          since.slice(0, 4).map((call) => `${call.name} ${call.file}`),
          ['pwrite64 CONTROL', 'fdatasync CONTROL', 'pwrite64 CONTROL', 'fdatasync CONTROL'],
          label
        )
        // What the failed write left stays as it is: the footer comes behind it.
        const torn = shim.fired()[0]
        const over = (call: Call) => call.name === 'pwrite64' && call.file === torn.file && call.offset < torn.offset + torn.length
        t.deepEqual(since.filter(over), [], label)

        // What was appended before the rejection was heard may have begun the next segment already.
        const wentOn = readdirSync(shim.dir).filter((file) => file.endsWith('.wal')).length > 1
        const report = await holds(t, job, told, label)
        if (goOn) continue
        t.is(report.verdict, wentOn ? 'unproven' : 'fenced', label)
        if (!wentOn) fenced++
      }
    }
    t.true(fenced > 0)
  })
}

test('a short write that can be continued has no visible effect', async (t) => {
  if (!has(t, 'preload')) return
  const shim = new Shim(t)
  const job: Job = { dir: shim.dir, seed, options, upTo: 60, then: 'kill', arm: rule('pwrite64', '*.wal', 2, 'HALF', 9) }
  const told = await append(job, { env: shim.env })
  t.true(shim.fired().length > 1)
  t.deepEqual(told.rejected, [])
  await holds(t, job, told)
})

test('a read that fails while opening is ERR_WAL_IO, and changes nothing', async (t) => {
  if (!has(t, 'preload')) return
  t.timeout(600_000)
  const shim = new Shim(t)
  const job: Job = { dir: shim.dir, seed, options, then: 'tell' }
  const told = await append({ ...job, upTo: 40, then: 'kill' })
  let refused = 0
  for (const pattern of [SLOTS, '*.wal']) {
    for (let nth = 1; nth <= 4; nth += 1) {
      const before = snapshot(shim.dir)
      const fired = shim.fired().length
      shim.arm(rule('pread64', pattern, nth, 'EIO'))
      const { end, opened } = await append({ ...job, upTo: 0, inFlight: 1 }, { env: shim.env })
      // Beyond the last read of an opening: it went on to append, and the log has changed.
      if (opened) break
      refused += 1
      t.true(shim.fired().length > fired, 'the fault fired')
      t.like(end, { open: 'ERR_WAL_IO', cause: 'EIO' })
      t.deepEqual(snapshot(shim.dir), before)
    }
  }
  t.true(refused >= 4, `${refused} openings were refused`)
  await holds(t, job, told)
})

test('a read that fails while reading is ERR_WAL_IO, and the log still works', async (t) => {
  if (!has(t, 'preload')) return
  const shim = new Shim(t)
  // Appending fills several segments and ends; then the records are read. The oldest segment was read once before, for its footer.
  const oldest = '00000000000000000001-0000000000000001.wal'
  const job: Job = { dir: shim.dir, seed, options, upTo: 1000, then: 'tell', arm: rule('pread64', oldest, 3, 'EIO') }
  const told = await append(job, { env: shim.env })
  t.is(shim.fired().length, 1)
  t.is(told.end?.readError, 'ERR_WAL_IO')
  t.deepEqual([told.end?.again, told.end?.sync, told.end?.close], [undefined, undefined, undefined])
  const wal = await Wal.open(shim.dir, options)
  t.true(wal.recovery.clean)
  t.is(wal.nextPosition, told.acknowledged.size + 2)
  await wal.close()
})

for (const [action, code] of [
  ['EACCES', 'ERR_WAL_IO'],
  ['ENOENT', 'ERR_WAL_IO'],
  ['EXDEV', 'ERR_WAL_IO'],
  ['EROFS', 'ERR_WAL_READ_ONLY'],
  ['ENOSPC', 'ERR_WAL_NO_SPACE'],
  ['EIO', 'ERR_WAL_POISONED'],
] as const) {
  test(`a rename at a roll that fails with ${action} rejects with ${code}, and nothing acknowledged is lost`, async (t) => {
    if (!has(t, 'preload')) return
    for (const nth of [1, 2]) {
      const label = `rename ${nth}`
      const shim = new Shim(t)
      const job: Job = { dir: shim.dir, seed, options: { segmentBytes: 64 << 10 }, then: 'tell', arm: rule('rename', '*.wal', nth, action) }
      const told = await append({ ...job, goOn: code !== 'ERR_WAL_POISONED', upTo: 500 }, { env: shim.env })
      t.is(told.stderr, '', label)
      t.is(shim.fired().length, 1, label)
      t.true(told.rejected.length > 0 && told.rejected.every((rejection) => rejection.code === code), label)
      const failure = code === 'ERR_WAL_POISONED' ? code : undefined
      t.like(told.end, { again: failure, sync: failure, close: failure, readError: undefined }, label)
      if (!failure) t.true(told.acknowledged.size >= 500, label)
      await holds(t, job, told, label)
    }
  })
}
