// A log on a disk without space.

import { truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { Wal } from '../../index.js'
import { temporaryLog } from './log.js'
import { smallDisk } from './mount.js'

interface FullDisk {
  wal: Wal
  makeRoom: () => void
}

/** What the log has set aside is there still: some small records fit. Needs `mount`. */
export async function logOnFilledDisk(t: ExecutionContext): Promise<FullDisk> {
  const disk = smallDisk(t, '2m')
  const wal = await temporaryLog(t, {}, path.join(disk, 'log'))
  await wal.append('kept')
  const ballast = path.join(disk, 'ballast')
  t.throws(() => writeFileSync(ballast, Buffer.alloc(4 << 20)), { code: 'ENOSPC' })
  return { wal, makeRoom: () => truncateSync(ballast, 0) }
}

/** Nothing fits any more. Needs `mount`. */
export async function logOnFullDisk(t: ExecutionContext): Promise<FullDisk> {
  const { wal, makeRoom } = await logOnFilledDisk(t)
  await t.throwsAsync(async () => {
    for (;;) await wal.append(Buffer.alloc(16 << 10))
  })
  return { wal, makeRoom }
}
