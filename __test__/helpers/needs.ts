// What a test needs from the machine. A test that goes without says so in one line, which the
// continuous build reads: `SKIP name: needs WHAT[, WHAT…]`.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
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

const runs = (command: string, ...args: string[]): boolean => spawnSync(command, args).status === 0

/** The C library whose calls the shim of native/fault.c stands in for. */
const isGlibc = (): boolean => {
  const { header } = process.report.getReport() as { header?: { glibcVersionRuntime?: string } }
  return header?.glibcVersionRuntime !== undefined
}

function canLoop(): boolean {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-loop-'))
  const image = path.join(dir, 'image')
  writeFileSync(image, Buffer.alloc(1 << 20))
  const { status, stdout } = spawnSync('losetup', ['--find', '--show', image], { encoding: 'utf8' })
  if (status === 0) spawnSync('losetup', ['--detach', stdout.trim()])
  rmSync(dir, { recursive: true })
  return status === 0
}

/** The kernel knows the file system, and the program that makes one is there. */
const canMake = (kind: string): boolean => readFileSync('/proc/filesystems', 'utf8').includes(`\t${kind}\n`) && runs(`mkfs.${kind}`, '-V')

/** Where temporary directories are, the log writes past the page cache: ext4 and XFS. */
const isDirect = (): boolean => [0xef53, 0x58465342].includes(statfsSync(os.tmpdir()).type)

const checks = {
  posix: () => process.platform !== 'win32',
  linux: () => process.platform === 'linux',
  root: () => process.getuid?.() === 0,
  mount: () => process.platform === 'linux' && process.getuid?.() === 0 && canMount(),
  loop: () => process.platform === 'linux' && process.getuid?.() === 0 && canLoop(),
  ext4: () => process.platform === 'linux' && canMake('ext4'),
  xfs: () => process.platform === 'linux' && canMake('xfs'),
  cc: () => runs('cc', '--version'),
  preload: () => process.platform === 'linux' && isGlibc() && runs('cc', '--version'),
  direct: () => process.platform === 'linux' && isDirect(),
  // util-linux's script, which gives a program a terminal.
  terminal: () => process.platform === 'linux' && runs('script', '-qec', 'true', os.devNull),
  prlimit: () => process.platform === 'linux' && runs('prlimit', '--version'),
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
