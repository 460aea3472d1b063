// Says why the native module did not load, and what mends it. load.ts collects the facts.

/** The platforms that have a package with a binary. */
export const platforms = [
  'linux-x64-gnu',
  'linux-x64-musl',
  'linux-arm64-gnu',
  'linux-arm64-musl',
  'darwin-x64',
  'darwin-arm64',
  'win32-x64-msvc',
  'win32-arm64-msvc',
]

/** The C library of a Linux system. */
export interface CLibrary {
  name: 'glibc' | 'musl'
  version?: string | undefined
}

/** What is known when the module has failed to load. */
export interface LoadFailure {
  platform: string
  arch: string
  /** Only on Linux, and only if the system reports it. */
  libc?: CLibrary | undefined
  /** The version of Node.js. */
  node: string
  /** The version of this package. */
  version: string
  /** What was tried, and what came of it. */
  attempts: readonly string[]
  /** Platforms whose packages are installed. */
  installed: readonly string[]
  /** The processor that a file is for which was tried, and is not for this one. */
  otherArch?: { file: string; arch: string } | undefined
  /** A file that is to be loaded in place of the package's own, from `NAPI_RS_NATIVE_LIBRARY_PATH`. */
  override?: string | undefined
  /** Where the code that was to load the module is. A bundler has put it somewhere else than into the package. */
  place: 'package' | 'checkout' | 'bundle'
  manager: 'npm' | 'pnpm' | 'yarn'
}

/** The name of a system among `platforms`, whether it is one of them or not. */
export function platformName({ platform, arch, libc }: Pick<LoadFailure, 'platform' | 'arch' | 'libc'>): string {
  if (platform === 'linux') return `linux-${arch}-${libc?.name === 'musl' ? 'musl' : 'gnu'}`
  return platform === 'win32' ? `win32-${arch}-msvc` : `${platform}-${arch}`
}

const installers = {
  npm: '`npm install --include=optional`',
  pnpm: '`pnpm install` without --no-optional',
  yarn: '`yarn install` without --ignore-optional',
}

const compile = 'compile it on this system, with `npm run build` in a checkout'

/** The command that installs the binary, where there is no binary that fits. */
const reinstall = ({ manager }: LoadFailure): string => `remove node_modules and run ${installers[manager]} on this system`

/** The first match of a pattern in what was tried. */
function find({ attempts }: LoadFailure, pattern: RegExp): RegExpExecArray | undefined {
  for (const attempt of attempts) {
    const match = pattern.exec(attempt)
    if (match !== null) return match
  }
  return undefined
}

function ofOtherLibrary(failure: LoadFailure): string | undefined {
  const match = find(failure, /(libc\.musl-|ld-musl-)|(ld-linux-|symbol not found)/)
  if (match === undefined) return undefined
  const [library, other] = match[1] === undefined ? ['glibc', 'musl'] : ['musl', 'glibc']
  return failure.libc?.name === library ? undefined : `the binary is for ${library}, and this system has ${other}: ${reinstall(failure)}`
}

function tooOld(failure: LoadFailure): string | undefined {
  const needed = find(failure, /version [`'"]?(GLIBC|GLIBCXX)_([\d.]+)/)
  if (needed === undefined) return undefined
  const library = needed[1] === 'GLIBC' ? 'glibc' : 'libstdc++'
  const has = library === 'glibc' && failure.libc?.version !== undefined ? `has ${failure.libc.version}` : 'has an older one'
  return `the binary needs ${library} ${needed[2]}, and this system ${has}: use a newer system, or ${compile}`
}

function missing(failure: LoadFailure): string | undefined {
  const { attempts, installed, version, manager } = failure
  // Yarn PnP speaks of an application that tried to access a package.
  if (!attempts.every((attempt) => /^(Cannot find (module|package)|Unsupported) |tried to (access|require)/.test(attempt))) return undefined
  const name = platformName(failure)
  if (installed.length > 0 && !installed.includes(name)) {
    return `the package forelog-${name} is not installed, but forelog-${installed.join(' and forelog-')} is, so that this was installed on another platform: ${reinstall(failure)}`
  }
  const alone = manager === 'npm' ? `, or, if a lock file leaves it out, \`npm install --no-save forelog-${name}@${version}\`` : ''
  return `the package forelog-${name}, an optional dependency, is not installed: run ${installers[manager]} on this system${alone}`
}

/** The reasons, with what mends each of them. The first that applies is told. */
const reasons: readonly ((failure: LoadFailure) => string | undefined)[] = [
  (failure) =>
    find(failure, /addons is disabled/) &&
    'Node.js was told to load no addons: start node without --no-addons, or, with its permission model, add --allow-addons',
  ({ override }) =>
    override &&
    `the variable NAPI_RS_NATIVE_LIBRARY_PATH names ${override}, which is loaded in place of the package's own: unset it, or correct it`,
  (failure) => {
    const name = platformName(failure)
    return platforms.includes(name) ? undefined : `there is no binary for ${name}: ${compile}`
  },
  ({ place, attempts }) =>
    place === 'checkout' && attempts.every((attempt) => attempt.startsWith('Cannot find module '))
      ? 'the binary is not built: run `npm run build`'
      : undefined,
  ({ place }) =>
    place === 'bundle'
      ? 'a bundler has moved the code out of the package forelog, away from its binary: mark forelog as external, and install it where the bundle runs'
      : undefined,
  (failure) => find(failure, /the file is truncated/) && `the binary is truncated: ${reinstall(failure)}`,
  tooOld,
  ofOtherLibrary,
  (failure) =>
    failure.otherArch &&
    `the binary ${failure.otherArch.file} is for ${failure.otherArch.arch}, and this Node.js is for ${failure.arch}: ${reinstall(failure)}`,
  (failure) =>
    find(failure, /incompatible architecture|wrong ELF class|not a valid Win32 application/) &&
    `the binary is for another processor than this Node.js, which is for ${failure.arch}: ${reinstall(failure)}`,
  missing,
  (failure) => find(failure, /is not of this package/) && `a native module of another package was loaded: ${reinstall(failure)}`,
]

/** The message of `ERR_WAL_NATIVE_NOT_FOUND`. */
export function describeLoadFailure(failure: LoadFailure): string {
  const { platform, arch, libc, node, attempts } = failure
  const library = libc === undefined ? '' : ` with ${libc.name}${libc.version === undefined ? '' : ` ${libc.version}`}`
  let reason: string | undefined
  for (const applies of reasons) reason ||= applies(failure) || undefined
  reason ??= `the binary is there, and does not load: ${reinstall(failure)}`
  const tried = attempts.map((attempt) => `\n- ${attempt}`).join('')
  return `the native module of forelog did not load on ${platform}-${arch}${library} and Node.js ${node}: ${reason}. Tried:${tried}`
}
