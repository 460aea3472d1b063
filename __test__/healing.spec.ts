// Shortages that pass: no descriptor, a limit of file sizes, a directory that may not be written. What waits is rejected, and the same
// handle goes on once the cause is gone.

import { chmodSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, verify } from '../index.js'
import { command, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'

interface Failure {
  code: string
  cause?: string
  message: string
}

interface Told {
  rejected: Failure[]
  /** Records acknowledged before the cause was gone, and after. */
  before: number
  after: number
  appended: number
  poisoned: boolean
  cursor: number
  reserve: boolean
  readAfter: number[]
  sync?: Failure
  other?: Failure
  backup?: Failure
  backupAfter?: Failure
  commit?: Failure
  commitAfter?: Failure
  read?: Failure
  close?: Failure
}

const script = path.join(root, '__test__/helpers/shortage.mjs')

/** Runs the script under a limit of descriptors, and holds the log to what it reported. */
async function shortage(t: ExecutionContext, kind: string, amount: number, close: boolean): Promise<Told> {
  const around = temporaryDirectory(t)
  chmodSync(around, 0o755)
  const dir = path.join(around, 'log')
  const limit = kind === 'descriptors' ? `ulimit -n ${amount};` : ''
  const args = ['-c', `${limit} exec "$0" "$@"`, process.execPath, script, dir, kind, String(amount), close ? 'close' : '']
  const { stdout, stderr, code } = await command('bash', args)
  t.is(stderr, '')
  t.is(code, 0)
  const told = JSON.parse(String(stdout)) as Told
  t.false(told.poisoned)
  t.true(told.rejected.length >= 5, 'appends were rejected')
  for (const { message } of told.rejected) t.regex(message, /; the log continues once the cause is gone$/)
  t.is(told.after, 20, 'every append is accepted again')
  t.deepEqual(
    told.readAfter,
    Array.from({ length: told.before + 20 }, (_, i) => i + 1),
    'dense, and in their order'
  )
  t.is(told.sync, undefined, 'what was accepted is durable')
  t.is(told.commitAfter, undefined)
  t.is(told.cursor, 2)
  t.is(told.backupAfter, undefined)
  t.is(told.close, undefined)

  t.deepEqual((await verify(dir)).problems, [])
  const wal = await Wal.open(dir, { segmentBytes: 64 << 10 })
  t.teardown(() => wal.close().catch(() => {}))
  t.is(wal.nextPosition, told.appended + 1)
  if (!close) t.true(wal.recovery.clean)
  await wal.append('goes on')
  await wal.close()
  return told
}

for (const close of [false, true]) {
  const then = close ? 'closed in the middle of it' : 'then closed'

  test(`a process without a free descriptor begins two segments, rejects appends, and recovers; ${then}`, async (t) => {
    if (!has(t, 'posix')) return
    const told = await shortage(t, 'descriptors', 64, close)
    t.true(told.rejected.every(({ code, cause }) => code === 'ERR_WAL_IO' && cause === 'EMFILE'))
    // Four records to a segment: the first one, and those in the spare and in the reserve.
    t.true(told.before > 8, `${told.before} records`)
    for (const failed of [told.other, told.backup]) t.is(failed?.code, 'ERR_WAL_IO')
  })

  test(`a log whose directory is not writable for a while rejects appends, and recovers; ${then}`, async (t) => {
    if (!has(t, 'posix')) return
    const told = await shortage(t, 'permission', 0, close)
    t.true(told.rejected.every(({ code, cause }) => code === 'ERR_WAL_IO' && cause === 'EACCES'))
  })

  for (const limit of [0, 1024, 4096, 8192, 10_240, 45_056]) {
    test(`a file size limit of ${limit} bytes rejects appends, and the log recovers; ${then}`, async (t) => {
      if (!has(t, 'prlimit')) return
      const told = await shortage(t, 'fileSize', limit, close)
      t.true(told.rejected.every(({ code, cause }) => code === 'ERR_WAL_IO' && cause === 'EFBIG'))
    })
  }
}

test('a file size limit that stops a frame and its fence poisons the log at worst, and nothing acknowledged is lost', async (t) => {
  if (!has(t, 'prlimit')) return
  const around = temporaryDirectory(t)
  const dir = path.join(around, 'log')
  const { stdout, stderr, code } = await command(process.execPath, [script, dir, 'fileSize', '5120', 'close'])
  t.is(stderr, '')
  t.is(code, 0)
  const told = JSON.parse(String(stdout)) as Told
  t.true(told.rejected.length >= 5, 'appends were rejected')
  t.deepEqual((await verify(dir)).problems, [])
  const wal = await Wal.open(dir, { segmentBytes: 64 << 10 })
  t.teardown(() => wal.close().catch(() => {}))
  t.true(wal.nextPosition > told.appended)
  if (told.poisoned) t.true(told.rejected.every((failure) => failure.code === 'ERR_WAL_POISONED'))
})

test('the reserve is recreated after it was used for want of a descriptor', async (t) => {
  if (!has(t, 'posix')) return
  const around = temporaryDirectory(t)
  const dir = path.join(around, 'log')
  const args = ['-c', 'ulimit -n 64; exec "$0" "$@"', process.execPath, script, dir, 'descriptors', '64', '']
  const { stdout } = await command('bash', args)
  const told = JSON.parse(String(stdout)) as Told
  t.true(told.before > 8, 'it was used')
  t.true(told.reserve)
})
