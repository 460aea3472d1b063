// Directories that nobody of ours has left so: files of a terabyte that are nearly all hole, pipes, devices and directories in the place of
// files. Every call ends, with a log or a typed error, and soon: what is not allocated is not read. A call that hangs fails by AVA's timeout.

import { execFileSync } from 'node:child_process'
import { closeSync, cpSync, mkdirSync, openSync, rmSync, symlinkSync, truncateSync, writeSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { verify, Wal, WalError, type Mode } from '../index.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { collect, SEGMENT_BYTES } from './helpers/log.js'

const TERABYTE = 2 ** 40

function put(file: string, at: number, text: string): void {
  const handle = openSync(file, 'r+')
  writeSync(handle, Buffer.from(text), 0, text.length, at)
  closeSync(handle)
}

function lengthen(file: string): void {
  closeSync(openSync(file, 'a'))
  truncateSync(file, TERABYTE)
}

const ACTIVE = -1
const SEALED = 1
const segment = (dir: string, which: number): string => path.join(dir, segments(dir).at(which)!)

/** What befalls a file; `verdict` is what opening says where it opens in spite of it. */
type Attack = [name: string, attack: (dir: string) => void, verdict?: string]

const sparse: Attack[] = [
  ['the newest segment is a hole of a terabyte', (dir) => lengthen(segment(dir, ACTIVE)), 'clean'],
  [
    'the newest segment ends with a few bytes after a hole of a terabyte',
    (dir) => {
      lengthen(segment(dir, ACTIVE))
      put(segment(dir, ACTIVE), TERABYTE - 9, 'leftovers')
    },
    'torn',
  ],
  [
    'the newest segment has bytes at a thousand places of a terabyte',
    (dir) => {
      lengthen(segment(dir, ACTIVE))
      for (let n = 1; n < 1000; n++) put(segment(dir, ACTIVE), n * 2 ** 30 + 5, 'leftovers')
    },
    'torn',
  ],
  ['a sealed segment is a hole of a terabyte', (dir) => lengthen(segment(dir, SEALED)), 'clean'],
  [
    'a damaged sealed segment is a hole of a terabyte',
    (dir) => {
      lengthen(segment(dir, SEALED))
      put(segment(dir, SEALED), 5000, 'damaged')
    },
  ],
  ['every segment is a hole of a terabyte', (dir) => segments(dir).forEach((name) => lengthen(path.join(dir, name))), 'clean'],
  ...['CONTROL', 'LOCK', 'CURSORS', 'reserve', 'spare-0123456789abcdef'].map((name): Attack => [
    `${name} is a hole of a terabyte`,
    (dir) => lengthen(path.join(dir, name)),
    'clean',
  ]),
]

const replaced = (name: string, file: (dir: string) => string): Attack[] => {
  const instead =
    (put: (file: string) => void) =>
    (dir: string): void => {
      const at = file(dir)
      rmSync(at, { force: true })
      put(at)
    }
  return [
    [`${name} is a directory`, instead(mkdirSync)],
    [`${name} is a pipe`, instead((at) => execFileSync('mkfifo', [at]))],
    [`${name} is a device without end`, instead((at) => symlinkSync('/dev/zero', at))],
  ]
}

const named = ['CONTROL', 'LOCK', 'CURSORS', 'reserve', 'spare-0123456789abcdef', 'spare-control', 'spare-cursors']
const strange: Attack[] = [
  ...replaced('the newest segment', (dir) => segment(dir, ACTIVE)),
  ...replaced('a sealed segment', (dir) => segment(dir, SEALED)),
  ...named.flatMap((name) => replaced(name, (dir) => path.join(dir, name))),
]

const typed = (error: unknown): string => {
  if (error instanceof WalError) return error.code
  throw error
}

/** Opens a log in a mode and does everything with it; what opening said. */
async function use(dir: string, mode: Mode): Promise<string> {
  const wal = await Wal.open(dir, { mode, segmentBytes: SEGMENT_BYTES })
  const attempt = (doing: Promise<unknown>) => doing.then(() => 'done', typed)
  await attempt(collect(wal.readFrom('start')))
  if (mode === 'readOnly') await attempt(collect(wal.readFrom('start', { salvage: true })))
  else {
    for (let n = 0; n < 8; n++) await attempt(wal.append(Buffer.alloc(20_000)))
    await attempt(wal.scrub())
    await attempt(wal.cursor('mailer').then((cursor) => cursor.commit(1)))
  }
  await attempt(wal.backup(`${dir}.copy`))
  await attempt(wal.close())
  return wal.recovery.verdict
}

for (const [name, attack, verdict] of process.platform === 'win32' ? [] : [...sparse, ...strange]) {
  test(`${name}: opening in every mode, verifying and backing up succeed or fail with a WalError`, async (t) => {
    const root = temporaryDirectory(t)
    const healthy = path.join(root, 'healthy')
    const wal = await Wal.open(healthy, { segmentBytes: SEGMENT_BYTES })
    for (let n = 0; n < 18; n++) await wal.append(Buffer.alloc(10_000, n))
    await wal.close()

    const ways: [string, (dir: string) => Promise<string>][] = [
      ...(['strict', 'prefix', 'readOnly'] as const).map((mode): [string, (dir: string) => Promise<string>] => [
        mode,
        (dir) => use(dir, mode),
      ]),
      ['verify', (dir) => verify(dir).then(({ problems }) => `${problems.length} problems`)],
    ]
    for (const [way, go] of ways) {
      const dir = path.join(root, way)
      cpSync(healthy, dir, { recursive: true })
      attack(dir)
      const came = await go(dir).catch(typed)
      if (verdict !== undefined && way !== 'verify') t.is(came, verdict, way)
      else t.regex(came, /^ERR_WAL_|problems$|^[a-z-]+$/, way)
      for (const left of [dir, `${dir}.copy`]) rmSync(left, { recursive: true, force: true })
    }
  })
}

test('hostile directories need a system with pipes and holes', (t) => {
  if (process.platform === 'win32') t.log('SKIP: the directories of this page cannot be made on Windows')
  t.pass()
})

test('an endless LOCK is not read to its end by a process that finds the log locked', async (t) => {
  if (process.platform === 'win32') {
    t.log('SKIP: there is no device without end on Windows')
    return t.pass()
  }
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(dir)
  t.teardown(() => wal.close())
  truncateSync(path.join(dir, 'LOCK'), TERABYTE)
  const entry = new URL('../index.js', import.meta.url).href
  const script = `import { Wal } from ${JSON.stringify(entry)}
    await Wal.open(${JSON.stringify(dir)}).catch(({ code }) => console.log(code))`
  t.is(execFileSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' }).trim(), 'ERR_WAL_LOCKED')
})
