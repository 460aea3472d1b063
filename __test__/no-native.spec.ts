// A native module that is missing, forbidden or broken: the package loads all the same, and opening says what was tried and what mends it.

import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'

const binary = readdirSync(root).find((name) => name.endsWith('.node')) as string

/** The package in a place of its own, without its binary. */
function withoutBinary(t: ExecutionContext): string {
  const dir = temporaryDirectory(t)
  mkdirSync(path.join(dir, 'node_modules'))
  for (const name of ['dist', 'index.js', 'otel.js', 'native.js', 'package.json'])
    cpSync(path.join(root, name), path.join(dir, name), { recursive: true })
  symlinkSync(path.join(root, 'node_modules', '@msgpack'), path.join(dir, 'node_modules', '@msgpack'))
  return dir
}

/** What everything that needs the module says, and whether what does not need it works. */
async function told(t: ExecutionContext, dir: string, ...options: string[]): Promise<string[]> {
  const script = `
    const { Record, Wal, WalError, verify } = await import(process.argv[1] + '/index.js')
    await import(process.argv[1] + '/otel.js')
    Record.put('k', 'v')
    const dir = process.argv[2]
    const calls = [() => Wal.open(dir), () => Wal.open(dir, { codec: 'json' }), () => Wal.open(dir, { mode: 'readOnly' }), () => verify(dir), () => Wal.open(dir)]
    const tell = (error) => console.log(error instanceof WalError, JSON.stringify([error.code, error.message]))
    for (const call of calls) await call().then(() => console.log('opened'), tell)`
  const args = ['--no-warnings', ...options, '--input-type=module', '-e', script, dir, path.join(temporaryDirectory(t), 'log')]
  const { code, signal, stdout, stderr } = await node(args)
  t.is(code, 0, `${signal} ${stderr}`)
  const lines = stdout.toString().trim().split('\n')
  t.is(lines.length, 5)
  return lines.map((line) => {
    const [isOurs, ...rest] = line.split(' ')
    t.is(isOurs, 'true', line)
    const [errorCode, message] = JSON.parse(rest.join(' '))
    t.is(errorCode, 'ERR_WAL_NATIVE_NOT_FOUND')
    return message
  })
}

test('missing: the message names the places and packages that were tried, and how to install it', async (t) => {
  const dir = withoutBinary(t)
  for (const message of await told(t, dir)) {
    t.true(message.includes(path.join(dir, binary)), message)
    t.regex(message, /Cannot find module 'forelog-/)
    t.regex(
      message,
      /^the native module of forelog did not load on \S+ (with \S+ \S+ )?and Node\.js \d+\.\d+\.\d+: the package forelog-\S+, an optional/
    )
    t.regex(message, /npm install --include=optional/)
    t.notRegex(message, /bug/)
  }
})

test('addons are disabled: the message says so, and which option it is', async (t) => {
  for (const message of await told(t, root, '--no-addons')) {
    t.regex(message, /loading addons is disabled/)
    t.regex(message, /start node without --no-addons/)
  }
})

test('the permission model without addons: the message says so, and which option is missing', async (t) => {
  const permission = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission'
  for (const message of await told(t, root, permission, '--allow-fs-read=*', '--allow-fs-write=*')) {
    t.regex(message, /loading addons is disabled/)
    t.regex(message, /--allow-addons/)
  }
})

const broken: { [name: string]: [make: (good: Buffer) => Buffer, message: RegExp] } = {
  'is empty': [() => Buffer.alloc(0), /0 bytes/],
  'is cut off within its header': [(good) => good.subarray(0, 20), /truncated/],
  'is cut off after its header': [(good) => good.subarray(0, 100), /truncated/],
  'is cut off in the middle': [(good) => good.subarray(0, good.length >> 1), /truncated/],
  'lacks its last byte': [(good) => good.subarray(0, -1), /truncated/],
  'is something else': [() => Buffer.alloc(100_000, 'no binary '), /invalid ELF header/],
  'is for another processor': [
    (good) => {
      const other = Buffer.from(good)
      // The machine: RISC-V.
      other.writeUInt16LE(243, 18)
      return other
    },
    /is for another processor \(ELF machine 243\), and this Node\.js is for (x64|arm64)/,
  ],
  'needs a newer C library': [
    (good) => {
      const newer = Buffer.from(good)
      const at = newer.indexOf('GLIBC_2.')
      newer.write('GLIBC_9.', at)
      return newer
    },
    /the binary needs glibc 9\.[\d.]+, and this system has 2\.[\d.]+: use a newer system/,
  ],
}

for (const [name, [make, message]] of Object.entries(broken)) {
  test(`the binary ${name}: the message names the file and says what is wrong`, async (t) => {
    if (!has(t, 'linux')) return
    const dir = withoutBinary(t)
    const bytes = make(readFileSync(path.join(root, binary)))
    writeFileSync(path.join(dir, binary), bytes)
    for (const said of await told(t, dir)) {
      t.regex(said, message)
      t.true(said.includes(path.join(dir, binary)), said)
      t.regex(said, /npm |build it here/)
    }
  })
}

test('a native module of another package: the message says that it is not part of this package', async (t) => {
  const dir = withoutBinary(t)
  const other = path.join(root, 'node_modules', '@napi-rs')
  const files = readdirSync(other, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.node'))
  if (files.length === 0) return t.pass('no other binary is installed')
  cpSync(path.join(other, files[0]), path.join(dir, binary))
  for (const message of await told(t, dir)) t.regex(message, /not of this package/)
})

test('a bundler has moved the code into a file of CommonJS: the message says so, and that forelog must be external', async (t) => {
  const dir = temporaryDirectory(t)
  const outfile = path.join(dir, 'bundle.cjs')
  const { build } = await import('esbuild')
  const contents = `import { Wal } from ${JSON.stringify(path.join(root, 'index.js'))}
    Wal.open('log').catch((error) => console.log(error.name, error.code, error.message))`
  await build({ stdin: { contents, resolveDir: root }, outfile, bundle: true, platform: 'node', format: 'cjs', logLevel: 'error' })
  const { stdout, stderr, code } = await node([outfile], { cwd: dir })
  t.regex(String(stdout), /^WalError ERR_WAL_NATIVE_NOT_FOUND .*: a bundler has moved the code .* mark forelog as external/, stderr)
  t.is(code, 0)
})
