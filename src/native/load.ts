// Loads the native module. Nothing else imports it, except for types.

import { open } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { textOf, WalError } from '../errors.js'
import type { Native } from './calls.js'

/** Collects the first line of every message in a chain of causes, innermost first. The loader keeps no other record of its attempts. */
function attemptsOf(error: unknown): string[] {
  const messages: string[] = []
  const here = path.dirname(fileURLToPath(new URL('../../native.js', import.meta.url)))
  for (let at = error; at instanceof Error; at = at.cause) {
    // The outermost message is the loader's own, which blames a bug of npm that may not be the cause.
    if (at === error && at.cause != null) continue
    const [message] = textOf(at).split('\n', 1)
    // The loader also looks for a WebAssembly module, which does not exist.
    if (!message.includes('wasi')) messages.unshift(message.replace("'./", `'${here}${path.sep}`))
  }
  return messages
}

/** Names of this platform's binaries. Only the loader finds out which C library Linux has. */
function binaries(): string[] {
  const name = `${process.platform}-${process.arch}`
  return process.platform === 'linux' ? [`${name}-gnu`, `${name}-musl`] : process.platform === 'win32' ? [`${name}-msvc`] : [name]
}

/** Files that the loader may load: beside the package, and in packages of their own. */
function candidates(): string[] {
  const { resolve } = createRequire(import.meta.url)
  const files = []
  for (const name of binaries()) {
    for (const specifier of [`../../forelog.${name}.node`, `forelog-${name}`]) {
      try {
        files.push(resolve(specifier))
      } catch {
        // The loader reports the missing file.
      }
    }
  }
  return files
}

/**
 * Describes how an ELF file is truncated, if it is. The system's loader maps such a file without checking, and SIGBUS ends the process when
 * it touches the missing part.
 */
async function describeTruncation(file: string): Promise<string | undefined> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const { buffer: header, bytesRead } = await handle.read(Buffer.alloc(64), 0, 64, 0)
    if (bytesRead < 64) return `${file}: the file is truncated: it has ${size} bytes`
    // 64-bit little-endian, like every platform with a binary.
    if (header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) return undefined
    // The section header table is at the end of the file.
    const end = Number(header.readBigUInt64LE(40)) + header.readUInt16LE(58) * header.readUInt16LE(60)
    return size < end ? `${file}: the file is truncated: it has ${size} of ${end} bytes` : undefined
  } finally {
    await handle.close()
  }
}

/** Suggests a fix, depending on the messages of the attempts. */
function remedy(attempts: string[]): string {
  const says = (pattern: RegExp) => attempts.some((attempt) => pattern.test(attempt))
  if (says(/addons is disabled/)) {
    return 'start node without --no-addons, or, with its permission model, add --allow-addons'
  }
  if (attempts.every((attempt) => /^(Cannot find module|Unsupported) /.test(attempt))) {
    return 'run `npm install --include=optional` on the platform that it is to run on; in a checkout, `npm run build`'
  }
  if (says(/GLIBC|GLIBCXX|libc\.musl|ld-musl/)) {
    return 'the binary is for a newer or another C library: build it here, with `npm run build` in a checkout, or use a newer system'
  }
  return 'run `npm install --force --include=optional` on the platform that it is to run on; in a checkout, `npm run build`'
}

function notFound(attempts: string[], cause?: unknown): WalError {
  const tried = attempts.map((attempt) => `\n- ${attempt}`).join('')
  const message = `the native module of forelog for ${process.platform}-${process.arch} did not load: ${remedy(attempts)}. Tried:${tried}`
  return new WalError('ERR_WAL_NATIVE_NOT_FOUND', message, { operation: 'open', cause })
}

/**
 * Loads the native module. Importing the package works without it; only opening a log needs it.
 *
 * @throws `ERR_WAL_NATIVE_NOT_FOUND` with the attempts and their messages.
 */
export async function loadNative(): Promise<Native> {
  if (process.platform === 'linux') {
    const truncated = await Promise.all(candidates().map((file) => describeTruncation(file).catch(() => undefined)))
    const found = truncated.filter((description) => description !== undefined)
    if (found.length > 0) throw notFound(found)
  }
  let native: Partial<Native>
  try {
    native = await import('../../native.js')
  } catch (error) {
    throw notFound(attemptsOf(error), error)
  }
  const { Environment, Watcher } = native
  if (typeof Environment !== 'function' || typeof Watcher !== 'function')
    throw notFound(['the module that was loaded is not of this package'])
  return { Environment, Watcher }
}
