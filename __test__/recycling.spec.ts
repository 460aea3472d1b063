// Files of truncated segments that become segments again, while others still read them.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { verify, Wal, WalError, type WalRecord } from '../index.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, temporaryLog } from './helpers/log.js'
import { has } from './helpers/needs.js'
import { valueAt } from './helpers/recycle/values.mjs'

const script = fileURLToPath(new URL('./helpers/recycle/follower.mjs', import.meta.url))
/** Positions that the log keeps: some ten segments. */
const KEPT = 3000
const ROLLS = 150

/** Whether the newest segment says that its file was used before. */
function isRecycled(dir: string): boolean {
  const flags = Buffer.alloc(4)
  const file = openSync(path.join(dir, segments(dir).at(-1)!), 'r')
  readSync(file, flags, 0, 4, 12)
  closeSync(file)
  return (flags.readUInt32LE() & 1) === 1
}

const wrong = (records: WalRecord[]): WalRecord | undefined =>
  records.find(({ position, value }) => value?.toString() !== valueAt(position))

test('a log that recycles truncated segments can be followed, verified and backed up meanwhile', async (t) => {
  if (!has(t, 'direct')) return
  const wal = await temporaryLog(t)
  const follower = spawn(process.execPath, [script, wal.dir])
  t.teardown(() => follower.kill('SIGKILL'))
  let stderr = ''
  follower.stderr.on('data', (data: Buffer) => (stderr += String(data)))
  const lines: string[] = []
  const output = createInterface({ input: follower.stdout }).on('line', (line) => lines.push(line))
  await once(output, 'line')

  const over = new AbortController()
  const parent = temporaryDirectory(t)
  const copies: Promise<void>[] = []
  const backUp = async (dest: string): Promise<void> => {
    const { lastPosition, linked } = await wal.backup(dest)
    t.true(linked > 0)
    t.deepEqual((await verify(dest)).problems, [])
    const copy = await Wal.open(dest, { mode: 'readOnly', segmentBytes: SEGMENT_BYTES })
    const records: WalRecord[] = []
    for await (const record of copy.readFrom('start')) records.push(record)
    await copy.close()
    t.is(wrong(records), undefined)
    t.is(records.at(-1)?.position, lastPosition)
  }

  let done = false
  let recycled = 0
  const write = async (): Promise<void> => {
    let rolls = 0
    while (rolls < ROLLS) {
      const from = wal.nextPosition
      await Promise.all(Array.from({ length: 50 }, (_, n) => wal.append(valueAt(from + n))))
      if (wal.nextPosition > KEPT) await wal.truncateBefore(wal.nextPosition - KEPT)
      if (wal.stats().rolls === rolls) continue
      recycled += Number(isRecycled(wal.dir))
      rolls = wal.stats().rolls
      // A segment that a backup has linked is not written over.
      if (rolls % 40 === 20) copies.push(backUp(path.join(parent, String(rolls))))
    }
    done = true
    over.abort()
  }
  const follow = async (): Promise<number> => {
    let [read, next] = [0, wal.firstPosition]
    while (!done) {
      try {
        for await (const records of wal.readFrom(next, { follow: true, signal: over.signal }).batches()) {
          t.is(wrong(records), undefined)
          read += records.length
          next = records.at(-1)!.position + 1
        }
      } catch (error) {
        if (done) break
        if (!(error instanceof WalError) || error.code !== 'ERR_WAL_TRUNCATED') throw error
        next = error.firstPosition!
      }
    }
    return read
  }
  const check = async (): Promise<number> => {
    let verified = 0
    for (; !done; verified++) t.deepEqual((await verify(wal.dir)).problems, [])
    return verified
  }

  const writing = write()
  // What fails beside it must not leave it writing on.
  const [, read, verified] = await Promise.all([writing, follow(), check()])
  await Promise.all(copies)
  // The copies are what they were, whatever has become of the log since.
  for (const [n] of copies.entries()) t.deepEqual((await verify(path.join(parent, String(20 + 40 * n)))).problems, [])
  const closed = once(follower, 'close')
  follower.stdin.write(`${wal.nextPosition - 1}\n`)
  await closed
  t.is(stderr, '')
  const { records } = JSON.parse(lines.at(-1)!) as { records: number }
  t.log({ recycled, read, verified, copies: copies.length, elsewhere: records })
  t.true(recycled > ROLLS / 4, `${recycled} of ${ROLLS} segments are in recycled files`)
  t.true(read > 0 && verified > 0 && copies.length > 2 && records > 0)
})
