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
// @ts-expect-error plain JavaScript, shared with a process that runs it as it is
import { valueAt as madeAt } from './helpers/recycle/values.mjs'

const valueAt = madeAt as (position: number) => string
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

test('a log that writes over its truncated segments is followed, verified and backed up meanwhile as ever', async (t) => {
  if (!has(t, 'direct')) return
  const wal = await temporaryLog(t)
  const follower = spawn(process.execPath, [script, wal.dir])
  t.teardown(() => follower.kill('SIGKILL'))
  let stderr = ''
  follower.stderr.on('data', (data: Buffer) => (stderr += String(data)))
  const lines: string[] = []
  const output = createInterface({ input: follower.stdout }).on('line', (line) => lines.push(line))
  await once(output, 'line')

  let done = false
  let recycled = 0
  const write = async (): Promise<void> => {
    let rolls = 0
    while (rolls < ROLLS) {
      const from = wal.nextPosition
      await Promise.all(Array.from({ length: 50 }, (_, n) => wal.append(valueAt(from + n))))
      if (wal.nextPosition > KEPT) await wal.truncateBefore(wal.nextPosition - KEPT)
      if (wal.stats().rolls > rolls) recycled += Number(isRecycled(wal.dir))
      rolls = wal.stats().rolls
    }
    done = true
  }
  const follow = async (): Promise<number> => {
    let [read, next] = [0, wal.firstPosition]
    while (!done) {
      try {
        for await (const records of wal.readFrom(next, { follow: true }).batches()) {
          t.is(wrong(records), undefined)
          read += records.length
          next = records.at(-1)!.position + 1
          if (done) break
        }
      } catch (error) {
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
  const backUp = async (): Promise<number> => {
    let copies = 0
    for (const parent = temporaryDirectory(t); !done; copies++) {
      const dest = path.join(parent, String(copies))
      const { lastPosition } = await wal.backup(dest)
      t.deepEqual((await verify(dest)).problems, [])
      const copy = await Wal.open(dest, { mode: 'readOnly', segmentBytes: SEGMENT_BYTES })
      const records: WalRecord[] = []
      for await (const record of copy.readFrom('start')) records.push(record)
      await copy.close()
      t.is(wrong(records), undefined)
      t.is(records.at(-1)?.position, lastPosition)
    }
    return copies
  }

  const writing = write()
  // What fails beside it must not leave it writing on.
  const [, read, verified, copies] = await Promise.all([writing, follow(), check(), backUp()])
  const closed = once(follower, 'close')
  follower.stdin.write(`${wal.nextPosition - 1}\n`)
  await closed
  t.is(stderr, '')
  const { records } = JSON.parse(lines.at(-1)!) as { records: number }
  t.log({ recycled, read, verified, copies, elsewhere: records })
  t.true(recycled > ROLLS / 4, `${recycled} of ${ROLLS} segments are in recycled files`)
  t.true(read > 0 && verified > 0 && copies > 0 && records > 0)
})
