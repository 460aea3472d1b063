// What a test needs from the machine. A test that goes without says so in one line, which the
// continuous build reads: `SKIP name: needs WHAT[, WHAT…]`.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { ExecutionContext } from 'ava'

function canMount(): boolean {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-mount-'))
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'none', dir]).status === 0
  if (mounted) spawnSync('umount', [dir])
  rmdirSync(dir)
  return mounted
}

// ptrace may be forbidden where the program is there.
const canTrace = (): boolean => spawnSync('strace', ['-f', '-o', os.devNull, process.execPath, '-e', '0']).status === 0

const checks = {
  posix: () => process.platform !== 'win32',
  linux: () => process.platform === 'linux',
  root: () => process.getuid?.() === 0,
  mount: () => process.platform === 'linux' && process.getuid?.() === 0 && canMount(),
  strace: () => process.platform === 'linux' && canTrace(),
}

export type Need = keyof typeof checks

/** True when the machine has it all; otherwise logs the skip, passes the test and gives false. */
export function has(t: ExecutionContext, ...needs: Need[]): boolean {
  const missing = needs.filter((need) => !checks[need]())
  if (missing.length === 0) return true
  t.log(`SKIP ${t.title}: needs ${missing.join(', ')}`)
  t.pass()
  return false
}
