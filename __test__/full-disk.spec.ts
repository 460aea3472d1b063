// Disks that are really full, to the last byte: nothing acknowledged is lost, closing and opening work, appends come back.

import { closeSync, existsSync, openSync, rmSync, statfsSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, type WalError } from '../index.js'
import { append, flaws, type Job, type Told } from './helpers/faults/process.js'
import { recordAt } from './helpers/kill/records.mjs'
import { until } from './helpers/log.js'
import { LoopDisk, smallDisk } from './helpers/mount.js'
import { has, type Need } from './helpers/needs.js'

const NO_SPACE = 'ERR_WAL_NO_SPACE'
const options = { segmentBytes: 256 << 10 }
const seed = 3

/** Leaves no byte free. */
function fillUp(disk: string): string {
  const filler = path.join(disk, 'filler')
  const fd = openSync(filler, 'a')
  for (let chunk = Buffer.alloc(1 << 20, 'f'); chunk.length > 0;) {
    try {
      writeSync(fd, chunk)
    } catch {
      chunk = chunk.subarray(0, chunk.length >> 1)
    }
  }
  closeSync(fd)
  return filler
}

/** Appends numbered records until one is rejected; gives what it told, and the error. */
async function appendUntilFull(wal: Wal, told: Told, from: number): Promise<WalError> {
  for (let attempt = from; ; attempt += 1) {
    try {
      told.acknowledged.set(await wal.append(recordAt(seed, attempt)), attempt)
    } catch (error) {
      told.rejected.push({ attempt, code: (error as WalError).code, cause: '' })
      return error as WalError
    }
  }
}

const nothing = (): Told => ({ signal: null, opened: true, acknowledged: new Map(), written: 0, rejected: [], stderr: '' })

/** A log with one record on a disk that is full from now on: it is at `dir`, and `told` knows what it holds. */
async function logOnFullDisk(t: ExecutionContext, disk: string) {
  const dir = path.join(disk, 'log')
  const told = nothing()
  const wal = await Wal.open(dir, options)
  t.teardown(() => wal.close().catch(() => {}))
  told.acknowledged.set(await wal.append(recordAt(seed, 1)), 1)
  // The first append has the reserve made, in the background.
  await until(() => existsSync(path.join(dir, 'reserve')))
  return { dir, told, wal, filler: fillUp(disk) }
}

/** Opens it again, and holds it to what was told. */
async function reopen(t: ExecutionContext, dir: string, told: Told): Promise<Wal> {
  const wal = await Wal.open(dir, options)
  t.teardown(() => wal.close().catch(() => {}))
  t.deepEqual(await flaws(wal, seed, told), [])
  return wal
}

/** A spare that found no room may give back a part of one meanwhile. */
const leaveNoRoom = (disk: string): Promise<void> =>
  until(() => {
    fillUp(disk)
    return statfsSync(disk).bavail === 0
  })

interface Disk {
  name: string
  needs: Need[]
  make: (t: ExecutionContext) => string
}

const disks: Disk[] = [
  { name: 'tmpfs', needs: ['mount'], make: (t) => smallDisk(t, '4m') },
  { name: 'ext4', needs: ['root', 'loop', 'ext4'], make: (t) => new LoopDisk(t, 'ext4', 16).dir },
]

for (const { name, needs, make } of disks) {
  test(`${name} on a full disk: appends are rejected, reading and reopening work, and appends succeed when there is space`, async (t) => {
    if (!has(t, ...needs)) return
    const disk = make(t)
    const { dir, told, filler, ...log } = await logOnFullDisk(t, disk)
    let { wal } = log

    // What is allocated is used to its end, and then the reserve: at 0 bytes free the log still rolls once.
    const before = wal.stats().rolls
    const error = await appendUntilFull(wal, told, 2)
    t.is(error.code, NO_SPACE)
    t.is((error.cause as NodeJS.ErrnoException).code, 'ENOSPC')
    t.true(wal.stats().rolls > before)
    await leaveNoRoom(disk)
    t.false(existsSync(path.join(dir, 'reserve')))
    await t.throwsAsync(wal.append(recordAt(seed, 0)), { code: NO_SPACE })
    t.deepEqual(await flaws(wal, seed, told), [])

    await wal.close()
    fillUp(disk)
    t.is(statfsSync(disk).bavail, 0)
    wal = await reopen(t, dir, told)
    t.true(wal.recovery.clean)
    await appendUntilFull(wal, told, 10_000)

    rmSync(filler)
    const resumed = 20_000
    told.acknowledged.set(await wal.append(recordAt(seed, resumed)), resumed)
    t.is(wal.nextPosition, told.acknowledged.size + 1)
    await wal.close()
    await (await reopen(t, dir, told)).close()
  })

  test(`${name} on a full disk: kill -9 loses nothing, and the log opens and reads before there is space`, async (t) => {
    if (!has(t, ...needs)) return
    const disk = make(t)
    const job: Job = { dir: path.join(disk, 'log'), seed, options, then: 'wait' }
    for (const round of [1, 2]) {
      // The child may be quicker than the filler: this much of the disk is not the log's.
      const kept = path.join(disk, 'kept')
      writeFileSync(kept, Buffer.alloc(1 << 20, 'k'))
      const told = await append(
        { ...job, firstAttempt: round * 1_000_000 },
        {
          onLine: (word, _told, kill) => {
            if (word === 'open') fillUp(disk)
            else if (word === 'failed') kill()
          },
        }
      )
      t.is(told.signal, 'SIGKILL')
      t.is(told.stderr, '')
      t.true(told.rejected.length > 0)
      t.deepEqual([...new Set(told.rejected.map(({ code, cause }) => `${code} ${cause}`))], [`${NO_SPACE} ENOSPC`])
      const filler = fillUp(disk)
      // Twice: the first opening at 0 bytes free changes nothing for the second.
      for (const opening of [1, 2]) {
        const wal = await reopen(t, job.dir, told)
        await appendUntilFull(wal, told, round * 1_000_000 + opening * 300_000)
        await wal.close().catch((error) => t.is(error.code, NO_SPACE))
      }
      rmSync(kept)
      const wal = await reopen(t, job.dir, told)
      told.acknowledged.set(await wal.append(recordAt(seed, 1)), 1)
      t.deepEqual(await flaws(wal, seed, told), [])
      await wal.close()
      rmSync(filler)
      rmSync(job.dir, { recursive: true })
    }
  })

  test(`${name} on a full disk: truncateBefore makes room for appends`, async (t) => {
    if (!has(t, ...needs)) return
    const disk = make(t)
    const { dir, told, wal } = await logOnFullDisk(t, disk)
    await appendUntilFull(wal, told, 2)
    await leaveNoRoom(disk)

    // The last record is in the newest segment: all others go.
    const first = wal.nextPosition - 1
    await wal.truncateBefore(first)
    for (const position of told.acknowledged.keys()) if (position < first) told.acknowledged.delete(position)
    t.is(wal.firstPosition, first)
    t.deepEqual(await flaws(wal, seed, told), [])
    t.is((await appendUntilFull(wal, told, 10_000)).code, NO_SPACE)
    t.true(told.acknowledged.size > 10)
    await wal.close()

    const again = await reopen(t, dir, told)
    t.is(again.firstPosition, first)
    await again.close()
  })
}
