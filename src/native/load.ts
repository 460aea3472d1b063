// Loads the native module. Nothing else imports it, except for types.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { textOf, WalError } from '../errors.js'
import type { Native } from './calls.js'
import { describeLoadFailure, platformName, platforms, type CLibrary, type LoadFailure } from './load-failure.js'

/** The package's folder, or the one that a bundler has put in its place. `undefined` in a bundle of CommonJS, which has no `import.meta`. */
function packageFolder(): string | undefined {
  const url = import.meta.url as string | undefined
  return url?.startsWith('file:') ? path.dirname(fileURLToPath(new URL('../../native.js', url))) : undefined
}

/** Collects the first line of every message in a chain of causes, innermost first. The loader keeps no other record of its attempts. */
function attemptsOf(error: unknown): string[] {
  const messages: string[] = []
  const here = packageFolder()
  for (let at = error; at instanceof Error; at = at.cause) {
    // The outermost message is the loader's own, which blames a bug of npm that may not be the cause.
    if (at === error && at.cause != null) continue
    const [message] = textOf(at).split('\n', 1)
    // The loader also looks for a WebAssembly module, which does not exist.
    if (!message.includes('wasi')) messages.unshift(here === undefined ? message : message.replace("'./", `'${here}${path.sep}`))
  }
  return messages
}

/** Files that the loader may load: beside the package, and in packages of their own. */
function candidates(names: readonly string[]): string[] {
  const folder = packageFolder()
  if (folder === undefined) return []
  const { resolve } = createRequire(path.join(folder, 'native.js'))
  const files = []
  for (const name of names) {
    for (const specifier of [`./forelog.${name}.node`, `forelog-${name}`]) {
      try {
        files.push(resolve(specifier))
      } catch {
        // The loader reports the missing file.
      }
    }
  }
  return files
}

/** Names of this system's binaries. Only the loader finds out which C library Linux has. */
function names(): string[] {
  const { platform, arch } = process
  const libraries: (CLibrary | undefined)[] = platform === 'linux' ? [{ name: 'glibc' }, { name: 'musl' }] : [undefined]
  return libraries.map((libc) => platformName({ platform, arch, libc }))
}

/** What the header of an ELF file says, if it is one. */
interface Header {
  truncated?: string
  arch?: string
}

/**
 * Reads the header of an ELF file. The system's loader maps a truncated file without checking, and SIGBUS ends the process when it touches
 * the missing part.
 */
async function readHeader(file: string): Promise<Header> {
  const handle = await open(file)
  try {
    const { size } = await handle.stat()
    const { buffer: header, bytesRead } = await handle.read(Buffer.alloc(64), 0, 64, 0)
    if (bytesRead < 64) return { truncated: `${file}: the file is truncated: it has ${size} bytes` }
    // 64-bit little-endian, like every platform with a binary.
    if (header.readUInt32BE(0) !== 0x7f454c46 || header[4] !== 2 || header[5] !== 1) return {}
    const machine = header.readUInt16LE(18)
    const arch = machine === 62 ? 'x64' : machine === 183 ? 'arm64' : `another processor (ELF machine ${machine})`
    // The section header table is at the end of the file.
    const end = Number(header.readBigUInt64LE(40)) + header.readUInt16LE(58) * header.readUInt16LE(60)
    return size < end ? { arch, truncated: `${file}: the file is truncated: it has ${size} of ${end} bytes` } : { arch }
  } finally {
    await handle.close()
  }
}

/** Finds out which C library this process uses, from Node's report about it. */
function cLibrary(): CLibrary | undefined {
  if (process.platform !== 'linux') return undefined
  try {
    const report = process.report as unknown as { excludeNetwork: boolean; getReport: () => object }
    // Otherwise the report may look up the names of hosts, which takes seconds.
    const { excludeNetwork } = report
    report.excludeNetwork = true
    const { header, sharedObjects = [] } = report.getReport() as { header: { glibcVersionRuntime?: string }; sharedObjects?: string[] }
    report.excludeNetwork = excludeNetwork
    if (header.glibcVersionRuntime !== undefined) return { name: 'glibc', version: header.glibcVersionRuntime }
    const musl = sharedObjects.find((file) => /ld-musl-|libc\.musl-/.test(file))
    // Called as a program, musl says which version it is.
    return musl === undefined
      ? undefined
      : { name: 'musl', version: /Version ([\d.]+)/.exec(spawnSync(musl, { encoding: 'utf8', timeout: 1000 }).stderr)?.[1] }
  } catch {
    // Without a report, or without the permission to start a program, the message says less.
    return undefined
  }
}

/** Version and place of this package, as far as its files tell. */
function whereabouts(): Pick<LoadFailure, 'version' | 'place' | 'manager'> {
  const folder = packageFolder() ?? ''
  const manager = process.versions['pnp'] !== undefined ? 'yarn' : folder.includes(`${path.sep}.pnpm${path.sep}`) ? 'pnpm' : 'npm'
  try {
    const { name, version } = JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8')) as { name?: string; version: string }
    if (name === 'forelog') return { version, manager, place: existsSync(path.join(folder, 'crates')) ? 'checkout' : 'package' }
  } catch {
    // There is none where a bundler has put the code.
  }
  return { version: 'latest', manager, place: 'bundle' }
}

async function notFound(attempts: string[], cause?: unknown): Promise<WalError> {
  const { platform, arch } = process
  let otherArch: LoadFailure['otherArch']
  if (platform === 'linux') {
    for (const file of candidates(names())) {
      const header = await readHeader(file).catch(() => undefined)
      if (header?.arch !== undefined && header.arch !== arch) otherArch ??= { file, arch: header.arch }
    }
  }
  const message = describeLoadFailure({
    platform,
    arch,
    libc: cLibrary(),
    node: process.versions.node,
    attempts,
    installed: platforms.filter((name) => candidates([name]).length > 0),
    otherArch,
    override: process.env['NAPI_RS_NATIVE_LIBRARY_PATH'],
    ...whereabouts(),
  })
  return new WalError('ERR_WAL_NATIVE_NOT_FOUND', message, { operation: 'open', cause })
}

/**
 * Loads the native module. Importing the package works without it; only opening a log needs it.
 *
 * @throws `ERR_WAL_NATIVE_NOT_FOUND` with the attempts and their messages.
 */
export async function loadNative(): Promise<Native> {
  if (process.platform === 'linux') {
    const headers = await Promise.all(candidates(names()).map((file) => readHeader(file).catch(() => undefined)))
    const truncated = headers.flatMap((header) => header?.truncated ?? [])
    if (truncated.length > 0) throw await notFound(truncated)
  }
  let native: Partial<Native>
  try {
    native = await import('../../native.js')
  } catch (error) {
    throw await notFound(attemptsOf(error), error)
  }
  const { Environment, Watcher } = native
  if (typeof Environment !== 'function' || typeof Watcher !== 'function')
    throw await notFound(['the module that was loaded is not of this package'])
  return { Environment, Watcher }
}
