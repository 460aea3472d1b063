// Restoring: the newest sound snapshot is found, whatever has become of the files.

import {
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createHash } from 'node:crypto'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { checkpoint, restore, Wal, WalError } from '../index.js'
import { command, node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { fill, numbered, SEGMENT_BYTES, values } from './helpers/log.js'
import { has } from './helpers/needs.js'

const HEADER_BYTES = 128

/** A log of ten records with two snapshots, of positions 4 and 8. */
async function place(t: ExecutionContext): Promise<{ wal: Wal; dir: string; file: string; older: string; newest: string }> {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(path.join(dir, 'log'), { segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close().catch(() => {}))
  await fill(wal, 10)
  const file = path.join(dir, 'state')
  const { file: older } = await checkpoint(wal, file, { position: 4, state: 'state of 4' })
  const { file: newest } = await checkpoint(wal, file, { position: 8, state: 'state of 8' })
  return { wal, dir, file, older, newest }
}

/** What a program that restores has: the state, and the records that it replays. */
async function restored(file: string, wal: Wal) {
  const { snapshot, from, skipped } = await restore(file, { wal })
  return { state: await snapshot?.text(), replayed: await values(wal.readFrom(from)), skipped }
}

test('a snapshot torn at any length is passed over for the one before, and nothing is lost', async (t) => {
  const { wal, file, older, newest } = await place(t)
  const whole = readFileSync(newest)
  t.is(whole.length, HEADER_BYTES + 'state of 8'.length)
  for (let length = 0; length < whole.length; length += 1) {
    writeFileSync(newest, whole.subarray(0, length))
    const { state, replayed, skipped } = await restored(file, wal)
    t.is(state, 'state of 4', `${length}`)
    t.deepEqual(replayed, numbered(5, 10))
    t.deepEqual(
      skipped.map((each) => [each.file, each.error.code, each.error instanceof WalError]),
      [[newest, 'ERR_WAL_CORRUPT', true]]
    )
  }
  writeFileSync(newest, Buffer.concat([whole, Buffer.alloc(1)]))
  t.is((await restored(file, wal)).state, 'state of 4', 'longer')
  writeFileSync(newest, whole)
  t.deepEqual(await restored(file, wal), { state: 'state of 8', replayed: numbered(9, 10), skipped: [] })
  truncateSync(older, 3)
  t.is((await restored(file, wal)).state, 'state of 8', 'an older one does not matter')
})

test('any flipped bit of a snapshot is noticed, and nothing is lost', async (t) => {
  const { wal, file, newest } = await place(t)
  const whole = readFileSync(newest)
  for (let at = 0; at < whole.length; at += 1) {
    for (const bit of at % 8 === 0 ? [0, 1, 2, 3, 4, 5, 6, 7] : [at % 8]) {
      const flipped = Buffer.from(whole)
      flipped[at] ^= 1 << bit
      writeFileSync(newest, flipped)
      const { state, replayed, skipped } = await restored(file, wal)
      t.deepEqual(
        [state, replayed, skipped.map(({ error }) => error.code)],
        ['state of 4', numbered(5, 10), ['ERR_WAL_CORRUPT']],
        `${at}:${bit}`
      )
    }
  }
})

test('zeroes, other bytes and swapped halves in place of parts of a larger snapshot are noticed', async (t) => {
  const { wal, file, newest } = await place(t)
  const state = Buffer.from(Array.from({ length: 600_000 }, (_, i) => (i * 7) % 256))
  await checkpoint(wal, file, { position: 8, state })
  const whole = readFileSync(newest)
  for (const [from, to] of [
    [0, 128],
    [128, 4096],
    [4096, 8192],
    [262_144, 270_336],
    [599_000, 600_128],
    [600_127, 600_128],
  ]) {
    for (const filling of [0, 0xff]) {
      writeFileSync(newest, Buffer.from(whole).fill(filling, from, to))
      t.is((await restored(file, wal)).state, 'state of 4', `${from}`)
    }
  }
  writeFileSync(newest, Buffer.concat([whole.subarray(0, 128), whole.subarray(300_128), whole.subarray(128, 300_128)]))
  t.is((await restored(file, wal)).state, 'state of 4')
})

test('with no sound snapshot, the log is replayed from its start if it has that, and restoring fails with a typed error otherwise', async (t) => {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(path.join(dir, 'log'))
  t.teardown(() => wal.close())
  const file = path.join(dir, 'state')
  await fill(wal, 10)
  const { file: only } = await checkpoint(wal, file, { position: 4, state: 's' })
  truncateSync(only, 100)
  const { state, replayed, skipped } = await restored(file, wal)
  t.deepEqual([state, replayed, skipped.length], [undefined, numbered(1, 10), 1])
  await t.throwsAsync(restore(file), { code: 'ERR_WAL_CORRUPT' })
  await wal.truncateBefore(3)
  await t.throwsAsync(restore(file, { wal }), { code: 'ERR_WAL_CORRUPT', message: /state\.0000000000000004/ })
  unlinkSync(only)
  const error = await t.throwsAsync<WalError>(restore(file, { wal }), { code: 'ERR_WAL_TRUNCATED' })
  t.like(error, { operation: 'restore', position: 0, firstPosition: 3 })
  t.like(await restore(file), { snapshot: undefined, from: 1, skipped: [] })
  t.like(await restore(path.join(dir, 'none', 'state')), { snapshot: undefined, from: 1 })
})

test('a snapshot that the log does not continue is never taken', async (t) => {
  const { wal, file, newest } = await place(t)
  await wal.truncateBefore(9)
  t.is((await restored(file, wal)).state, 'state of 8')
  await wal.truncateBefore(10)
  const early = await t.throwsAsync<WalError>(restore(file, { wal }), { code: 'ERR_WAL_TRUNCATED' })
  t.like(early, { position: 8, firstPosition: 10 })
  // The older one is sound, and the log continues it even less.
  truncateSync(newest, 0)
  await t.throwsAsync(restore(file, { wal }), { code: 'ERR_WAL_CORRUPT' })
})

test('a log that ends before the newest snapshot is not continued from an older one', async (t) => {
  const { wal, file } = await place(t)
  await wal.truncateAfter(8)
  t.is((await restored(file, wal)).state, 'state of 8')
  await wal.truncateAfter(7)
  const error = await t.throwsAsync<WalError>(restore(file, { wal }), { code: 'ERR_WAL_OUT_OF_RANGE' })
  t.is(error.position, 8)
  await wal.reset(error.position! + 1)
  t.like(await restore(file, { wal }), { from: 9 })
})

test('a snapshot of another log is not taken for one of this log', async (t) => {
  const { wal, file } = await place(t)
  const other = await Wal.open(path.join(temporaryDirectory(t), 'log'))
  t.teardown(() => other.close())
  await fill(other, 20)
  const { snapshot, skipped } = await restore(file, { wal: other })
  t.is(snapshot, undefined)
  t.deepEqual(
    skipped.map(({ error }) => error.code),
    ['ERR_WAL_FORMAT', 'ERR_WAL_FORMAT']
  )
  await other.truncateBefore(2)
  await t.throwsAsync(restore(file, { wal: other }), { code: 'ERR_WAL_FORMAT', message: /another log/ })
  t.is(await (await restore(file)).snapshot?.text(), 'state of 8')
  t.is((await restored(file, wal)).state, 'state of 8')
})

test('a backup of the log continues the same snapshots', async (t) => {
  const { wal, dir, file } = await place(t)
  await wal.backup(path.join(dir, 'copy'))
  const copy = await Wal.open(path.join(dir, 'copy'))
  t.is((await restored(file, copy)).state, 'state of 8')
  await copy.close()
})

test('a snapshot of a newer version, a renamed one and what is no file are passed over by name', async (t) => {
  const { wal, dir, file, older, newest } = await place(t)
  const whole = readFileSync(newest)
  const newer = Buffer.from(whole)
  newer.writeUInt32LE(2, 8)
  createHash('sha256').update(newer.subarray(0, 96)).digest().copy(newer, 96)
  writeFileSync(newest, newer)
  t.deepEqual(
    (await restored(file, wal)).skipped.map(({ error }) => error.code),
    ['ERR_WAL_FORMAT']
  )
  writeFileSync(newest, whole)
  const ninth = newest.replace(/8$/, '9')
  copyFileSync(older, ninth)
  const [{ error: renamed }] = (await restored(file, wal)).skipped
  t.is(renamed.code, 'ERR_WAL_CORRUPT')
  t.regex(renamed.message, /renamed/)
  rmSync(ninth)
  mkdirSync(ninth)
  t.deepEqual(
    (await restored(file, wal)).skipped.map(({ error }) => error.code),
    ['ERR_WAL_CORRUPT']
  )
  rmSync(ninth, { recursive: true })
  if (process.platform === 'win32') return
  symlinkSync(path.join(dir, 'nowhere'), ninth)
  t.deepEqual(
    (await restored(file, wal)).skipped.map(({ error }) => error.code),
    ['ERR_WAL_NOT_FOUND']
  )
  rmSync(ninth)
  await command('mkfifo', [ninth])
  t.deepEqual(
    (await restored(file, wal)).skipped.map(({ error }) => error.code),
    ['ERR_WAL_CORRUPT']
  )
})

test('a snapshot that must not be read is passed over', async (t) => {
  if (!has(t, 'posix')) return
  const { wal, file, newest } = await place(t)
  // Root may read everything, but not through a file.
  unlinkSync(newest)
  symlinkSync(path.join(wal.dir, 'CONTROL', 'x'), newest)
  t.like(await restored(file, wal), { state: 'state of 4' })
  t.like((await restored(file, wal)).skipped[0].error, { code: 'ERR_WAL_IO', cause: { code: 'ENOTDIR' } })
})

test('a snapshot that is damaged or removed after it was found rejects, and its last piece is not returned', async (t) => {
  const { wal, file, newest } = await place(t)
  await checkpoint(wal, file, { position: 8, state: Buffer.alloc(600_000, 7) })
  const whole = readFileSync(newest)
  const { snapshot } = await restore(file, { wal })
  t.is((await snapshot!.bytes()).length, 600_000)
  const damaged = Buffer.from(whole)
  damaged[200] ^= 1
  writeFileSync(newest, damaged)
  let bytes = 0
  const reading = (async () => {
    for await (const piece of snapshot!) bytes += piece.length
  })()
  await t.throwsAsync(reading, { code: 'ERR_WAL_CORRUPT' })
  t.true(bytes < 600_000)
  await t.throwsAsync(snapshot!.text(), { code: 'ERR_WAL_CORRUPT' })
  truncateSync(newest, 300_000)
  await t.throwsAsync(snapshot!.bytes(), { code: 'ERR_WAL_CORRUPT' })
  unlinkSync(newest)
  await t.throwsAsync(snapshot!.bytes(), { code: 'ERR_WAL_NOT_FOUND' })
})

test('leaving a loop over a state closes the file', async (t) => {
  if (!has(t, 'linux')) return
  const { wal, file, newest } = await place(t)
  await checkpoint(wal, file, { position: 8, state: Buffer.alloc(600_000, 7) })
  const { snapshot } = await restore(file, { wal })
  const { readlinkSync } = await import('node:fs')
  const open = () =>
    readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`) === newest
      } catch {
        return false
      }
    }).length
  for await (const _ of snapshot!) {
    t.is(open(), 1)
    break
  }
  t.is(open(), 0)
})

test('a state that is not text is not returned as text', async (t) => {
  const { wal, file } = await place(t)
  await checkpoint(wal, file, { position: 8, state: Buffer.from([0xff, 0]) })
  const { snapshot } = await restore(file, { wal })
  await t.throwsAsync(snapshot!.text(), { code: 'ERR_WAL_INVALID_ARG', message: /UTF-8/ })
  t.deepEqual(await snapshot!.bytes(), Buffer.from([0xff, 0]))
})

test('restoring beside checkpoints always finds a sound snapshot', async (t) => {
  const { wal, file } = await place(t)
  let done = false
  const writing = (async () => {
    for (let position = 9; position < 60; position += 1) {
      if (position >= wal.nextPosition) await wal.append('more')
      await checkpoint(wal, file, { position, state: `state of ${position}`, keep: 1 })
    }
    done = true
  })()
  let restores = 0
  for (; !done; restores += 1) {
    const { snapshot, from, skipped } = await restore(file)
    t.true(from >= 9)
    t.is(snapshot?.position, from - 1)
    t.deepEqual(skipped, [])
  }
  await writing
  t.true(restores > 0)
})

test('a snapshot that a checkpoint replaces while it is restored is not missed', async (t) => {
  const script = `
    const { checkpoint, restore, Wal } = await import(process.argv[1])
    const { watch, unwatch } = await import(process.argv[2])
    const dir = process.argv[3]
    const wal = await Wal.open(dir + '/log')
    for (let n = 0; n < 9; n += 1) await wal.append('value')
    await checkpoint(wal, dir + '/state', { position: 4, state: 'four', keep: 1 })
    watch(dir, async (name, args, call) => {
      if (name !== 'open') return call()
      unwatch()
      await checkpoint(wal, dir + '/state', { position: 8, state: 'eight', keep: 1 })
      return call()
    })
    const { snapshot, skipped } = await restore(dir + '/state', { wal })
    console.log(await snapshot.text(), skipped.length)`
  const files = ['index.js', '__test__/helpers/checkpoint/steps.mjs'].map((file) => path.join(root, file))
  const { stdout, stderr } = await node(['--input-type=module', '-e', script, ...files, temporaryDirectory(t)])
  t.is(String(stdout), 'eight 0\n', stderr)
})

test('an installation that was cut off is finished by restoring with the log, once', async (t) => {
  const { wal, file, newest } = await place(t)
  const other = await place(t)
  // As the crash leaves it: pending, and the log not reset.
  await checkpoint(other.wal, other.file, { position: 10, state: 'theirs' })
  const theirs = readFileSync(other.newest.replace(/08$/, '10'))
  readFileSync(newest).copy(theirs, 16, 16, 32)
  createHash('sha256').update(theirs.subarray(0, 96)).digest().copy(theirs, 96)
  const final = newest.replace(/08$/, '10')
  writeFileSync(`${final}.install`, theirs)
  const without = await restore(file)
  t.is(await without.snapshot?.text(), 'state of 8')
  t.is(without.skipped[0].error.code, 'ERR_WAL_CONFLICT')
  t.regex(without.skipped[0].error.message, /options\.wal/)
  t.is(wal.firstPosition, 5)
  t.deepEqual(await restored(file, wal), { state: 'theirs', replayed: [], skipped: [] })
  t.deepEqual([wal.firstPosition, wal.nextPosition], [11, 11])
  await wal.append('eleven')
  // The name was lost in a power failure, and records have been appended.
  renameSync(final, `${final}.install`)
  t.deepEqual(await restored(file, wal), { state: 'theirs', replayed: ['eleven'], skipped: [] })
  const report = await checkpoint(wal, file, { position: 11, state: 'own', keep: 1 })
  t.is(report.firstPosition, 12)
  t.deepEqual(readdirSync(path.dirname(file)).sort(), ['log', path.basename(report.file)])
})
