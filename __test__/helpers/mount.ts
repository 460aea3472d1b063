// Small file systems of one's own, for what only a full or a read-only disk shows.

import { spawnSync } from 'node:child_process'
import { closeSync, ftruncateSync, mkdirSync, mkdtempSync, openSync, rmdirSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { ExecutionContext } from 'ava'
import { compile } from './compile.js'

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

// What makes a file system, and the least it takes. Full is to be full: no blocks that only root may use.
const kinds = {
  ext4: { make: ['mkfs.ext4', '-q', '-F', '-m', '0', '-E', 'lazy_itable_init=0'], least: 0 },
  xfs: { make: ['mkfs.xfs', '-q', '-f'], least: 320 },
  btrfs: { make: ['mkfs.btrfs', '-q', '-f'], least: 128 },
}
export type Kind = keyof typeof kinds

/** A file system in a file; ext4 and xfs can lose their power. Needs `root`, `loop` and its kind; cutting it `cc`. */
export class LoopDisk {
  readonly dir: string
  readonly #image: string

  constructor(t: ExecutionContext, kind: Kind, megabytes: number) {
    const around = mkdtempSync(path.join(os.tmpdir(), 'forelog-loop-'))
    this.dir = path.join(around, 'mount')
    this.#image = path.join(around, 'image')
    mkdirSync(this.dir)
    t.teardown(() => {
      spawnSync('umount', ['--lazy', this.dir])
      rmSync(around, { recursive: true })
    })
    const fd = openSync(this.#image, 'w')
    const { make, least } = kinds[kind]
    ftruncateSync(fd, Math.max(megabytes, least) << 20)
    closeSync(fd)
    must(make[0], ...make.slice(1), this.#image)
    this.#mount()
  }

  #mount(): void {
    must('mount', '-o', 'loop', this.#image, this.dir)
  }

  /** From now on nothing reaches the disk; the journal does, if it is `flushed` first. */
  cut(journal: 'flushed' | 'lost'): void {
    must(compile('cut'), this.dir, journal === 'flushed' ? '1' : '2')
  }

  /** Mounts what is on the disk, as after a reboot. No process may have files open on it. */
  restart(): void {
    must('umount', this.dir)
    this.#mount()
  }
}
