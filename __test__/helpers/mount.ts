// Small file systems of one's own, for what only a full or a read-only disk shows.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { ExecutionContext } from 'ava'

function must(command: string, ...args: string[]): void {
  const { status, stderr } = spawnSync(command, args, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr}`)
}

/** A tmpfs of that size, unmounted when the test ends. Needs `mount`. */
export function smallDisk(t: ExecutionContext, size: string): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-disk-'))
  must('mount', '-t', 'tmpfs', '-o', `size=${size}`, 'none', dir)
  t.teardown(() => {
    // Lazily: a log that a failed test left open must not keep the mount.
    must('umount', '--lazy', dir)
    rmdirSync(dir)
  })
  return dir
}

export function remountReadOnly(dir: string): void {
  must('mount', '-o', 'remount,ro', dir)
}
