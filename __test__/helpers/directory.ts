// Temporary directories, and what is in a directory, byte for byte.

import { createHash } from 'node:crypto'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import type { ExecutionContext } from 'ava'

/** Removed when the test ends. */
export function temporaryDirectory(t: ExecutionContext): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-test-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true, maxRetries: 3 }))
  return dir
}

/**
 * Removes the directory of a log that may be open. Its background jobs may make a file between the listing and the removal, so that the
 * directory is not empty yet: then it is tried again.
 */
export const removeLog = (dir: string): void => {
  rmSync(dir, { recursive: true, maxRetries: 20 })
}

/** The file names of a log's segments, oldest first. */
export const segments = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => name.endsWith('.wal'))
    .sort()

/** One line per entry: its name, size and content hash; a file stands for itself. */
export function snapshot(entry: string): string[] {
  if (!statSync(entry).isDirectory()) return [describe(entry, path.basename(entry))]
  return readdirSync(entry, { recursive: true, encoding: 'utf8' })
    .sort()
    .map((name) => describe(path.join(entry, name), name))
}

function describe(file: string, name: string): string {
  const stat = statSync(file)
  if (!stat.isFile()) return `${name} (not a file)`
  return `${name} ${stat.size} ${createHash('sha256').update(readFileSync(file)).digest('hex')}`
}

/**
 * Copies the files of a log that is open: what its process would leave if it were killed now.
 *
 * Not by `copyFile` or `cp`: libuv copies for ever where a file becomes shorter meanwhile, as spare files do. A file that is renamed or
 * removed after the listing is not copied: the log does not need it.
 */
export function copyOpenFiles(dir: string, copy: string): string {
  mkdirSync(copy, { recursive: true })
  for (const name of readdirSync(dir)) {
    if (name.startsWith('spare-')) continue
    try {
      writeFileSync(path.join(copy, name), readFileSync(path.join(dir, name)))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
    }
  }
  return copy
}

/** The same into a directory that is removed when the test ends. */
export const copyOpenLog = (t: ExecutionContext, dir: string): string => copyOpenFiles(dir, temporaryDirectory(t))
