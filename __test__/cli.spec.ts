import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Record, Wal } from '../index.js'
import { cliScript, forelog } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { isToldUpTo } from './helpers/log.js'
import { has } from './helpers/needs.js'

const MIB = 1 << 20

async function appended(t: ExecutionContext, input: Uint8Array | string, ...options: string[]): Promise<string> {
  const dir = path.join(temporaryDirectory(t), 'log')
  const { code, stderr } = await forelog(['append', dir, ...options], { input })
  t.is(code, 0, stderr)
  return dir
}

const files: { [name: string]: Buffer } = {
  'a text': Buffer.from('first line\nzweite Zeile: äöü\nthird\n'),
  'an empty file': Buffer.alloc(0),
  'no line feed at the end': Buffer.from('one\ntwo'),
  'empty lines': Buffer.from('\n\n\na\n\n'),
  'Windows line ends': Buffer.from('one\r\ntwo\r\n'),
  'random bytes': randomBytes(3 * MIB),
  'lines longer than a chunk': Buffer.concat([
    randomBytes(16),
    Buffer.alloc(5 * MIB, 'x'),
    Buffer.from('\nshort\n'),
    Buffer.alloc(3 * MIB, 'y'),
  ]),
  'the longest line': Buffer.concat([Buffer.alloc(16 * MIB - 1, 'z'), Buffer.from('\nlast')]),
}

for (const [name, content] of Object.entries(files)) {
  test(`append and cat give back the bytes: ${name}`, async (t) => {
    const parent = temporaryDirectory(t)
    const file = path.join(parent, 'input')
    writeFileSync(file, content)

    const fromInput = await appended(t, content)
    const fromFile = path.join(parent, 'log')
    t.is((await forelog(['append', fromFile, file])).code, 0)

    for (const dir of [fromInput, fromFile]) {
      const { code, stdout, stderr } = await forelog(['cat', dir])
      t.is(code, 0, stderr)
      t.true(stdout.equals(content))
    }
  })
}

test('an empty line is a record of one byte', async (t) => {
  const wal = await Wal.open(await appended(t, '\na\n'))
  t.teardown(() => wal.close())
  const values: string[] = []
  for await (const { value } of wal.readFrom('start')) values.push(String(value))
  t.deepEqual(values, ['\n', 'a\n'])
})

test('appending again continues the log', async (t) => {
  const dir = await appended(t, 'one\n')
  await forelog(['append', dir], { input: 'two\n' })
  t.is(String((await forelog(['cat', dir])).stdout), 'one\ntwo\n')
})

test('append prints a summary on standard error, unless --quiet is given', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const { stdout, stderr } = await forelog(['append', dir], { input: 'one\ntwo\n' })
  t.is(stdout.length, 0)
  t.regex(stderr, /^2 records, .* MB, .* records\/s, \d+ fsyncs, mean group .*, p99 commit .* ms\n$/)
  t.is((await forelog(['append', dir, '--quiet'], { input: 'three\n' })).stderr, '')
})

test('append takes every fsync policy and a segment size', async (t) => {
  const lines = `${'x'.repeat(999)}\n`.repeat(300)
  for (const policy of ['always', 'os', '5']) {
    const dir = await appended(t, lines, '--fsync', policy, '--segment-bytes', '65536')
    t.true(readdirSync(dir).filter((name) => name.endsWith('.wal')).length > 1)
    t.is(String((await forelog(['cat', dir])).stdout), lines)
  }
})

test('a line that is too long is reported with its number, and the lines before it are kept', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const { code, stderr } = await forelog(['append', dir, '--max-record-bytes', '4'], { input: 'abc\nde\nfghi\njk\n' })
  t.is(code, 6)
  t.regex(stderr, /^forelog: line 3: longer than 4 bytes .*--max-record-bytes.* \(ERR_WAL_TOO_LARGE\)\n$/)
  t.is(String((await forelog(['cat', dir])).stdout), 'abc\nde\n')
})

test('cat --from starts at a position', async (t) => {
  const dir = await appended(t, 'one\ntwo\nthree\n')
  t.is(String((await forelog(['cat', dir, '--from', '2'])).stdout), 'two\nthree\n')
  t.is(String((await forelog(['cat', dir, '--from', '4'])).stdout), '')

  const beyond = await forelog(['cat', dir, '--from', '5'])
  t.is(beyond.code, 7)
  t.regex(beyond.stderr, /^forelog: .* \(ERR_WAL_OUT_OF_RANGE\)\n {2}next: `forelog cat .* --follow` .*\n$/)
})

test('cat --chomp ends every record with one line feed', async (t) => {
  const dir = await appended(t, 'one\n\ntwo')
  t.is(String((await forelog(['cat', dir, '--chomp'])).stdout), 'one\n\ntwo\n')
})

test('cat --json prints an object per record and loses no byte', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const wal = await Wal.open(dir)
  await wal.append('line\n')
  await wal.append(Buffer.from([0xff, 0x00, 0x0a]))
  await wal.append(Record.put('key', 'äöü'))
  await wal.append(Record.delete(Buffer.from([0xfe])))
  await wal.append({ value: '', expiresAt: 4102444800000, version: { term: 2, index: 7 } })
  await wal.close()

  const parsed = async (...options: string[]) => {
    const { stdout } = await forelog(['cat', dir, '--json', ...options])
    return String(stdout)
      .trimEnd()
      .split('\n')
      .map((line) => {
        const { committedAt, ...fields } = JSON.parse(line) as { committedAt: number }
        t.true(Number.isInteger(committedAt))
        return fields
      })
  }
  const plain = { key: null, tombstone: false, expiresAt: null }
  const records = [
    { ...plain, position: 1, value: 'line\n' },
    { ...plain, position: 2, value: { base64: '/wAK' } },
    { ...plain, position: 3, key: 'key', value: 'äöü' },
    { ...plain, position: 4, key: { base64: '/g==' }, value: null, tombstone: true },
    { ...plain, position: 5, value: '', expiresAt: 4102444800000, version: { term: 2, index: 7 } },
  ]
  t.deepEqual(await parsed(), records)
  t.deepEqual((await parsed('--chomp', '--from', '1'))[0], { ...plain, position: 1, value: 'line' })
})

test('cat ends quietly when its output is closed', async (t) => {
  const dir = await appended(t, `${'y'.repeat(99)}\n`.repeat(50_000))
  const child = spawn(process.execPath, [cliScript, 'cat', dir])
  let stderr = ''
  child.stderr.on('data', (data: Buffer) => (stderr += String(data)))
  child.stdout.once('data', () => child.stdout.destroy())
  const code = await new Promise((resolve) => child.on('close', resolve))
  t.is(stderr, '')
  t.is(code, 0)
})

test('cat of a missing log is an error and creates nothing', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'missing')
  const { code, stderr } = await forelog(['cat', dir])
  t.is(code, 3)
  t.regex(stderr, /^forelog: .* \(ERR_WAL_NOT_FOUND\)\n {2}next: .*`forelog append .*`.*\n$/)
  t.false(existsSync(dir))
})

test('append of a missing file is an error and creates no log', async (t) => {
  const parent = temporaryDirectory(t)
  const { code, stderr } = await forelog(['append', path.join(parent, 'log'), path.join(parent, 'missing')])
  t.is(code, 6)
  t.regex(stderr, /^forelog: .* \(ENOENT\)\n$/)
  t.deepEqual(readdirSync(parent), [])
})

test('wrong usage exits with 2, help and version with 0', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  for (const args of [
    [],
    ['bogus'],
    ['cat'],
    ['append'],
    ['cat', dir, '--from', '0'],
    ['append', dir, '--fsync', 'often'],
    ['cat', dir, '--nope'],
  ]) {
    const { code, stderr } = await forelog(args)
    t.is(code, 2, args.join(' '))
    t.not(stderr, '')
  }
  t.false(existsSync(dir))
  t.is((await forelog(['--help'])).code, 0)
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  t.is(String((await forelog(['--version'])).stdout), `${version}\n`)
})

test('cat prints a log that another process has open, and append refuses it with the process id', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const wal = await Wal.open(dir)
  await wal.append('held\n')
  await isToldUpTo(wal, 1)
  t.is(String((await forelog(['cat', dir])).stdout), 'held\n')
  const { code, stderr } = await forelog(['append', dir], { input: 'x\n' })
  t.is(code, 4)
  t.regex(stderr, new RegExp(`^forelog: .*\\b${process.pid}\\b.* \\(ERR_WAL_LOCKED\\)\\n {2}next: .*\\n$`))
  await wal.close()
  t.is(String((await forelog(['cat', dir])).stdout), 'held\n')
})

test('Ctrl-C ends the input of append and keeps what was read', async (t) => {
  if (!has(t, 'posix')) return
  const dir = path.join(temporaryDirectory(t), 'log')
  const child = spawn(process.execPath, [cliScript, 'append', dir], { stdio: ['pipe', 'ignore', 'ignore'] })
  child.stdin.write('before the interrupt\n')
  // The record reaches the segment only when the line was read and its group committed.
  const isThere = (name: string) => name.endsWith('.wal') && readFileSync(path.join(dir, name)).includes('interrupt')
  while (!existsSync(dir) || !readdirSync(dir).some(isThere)) await new Promise(setImmediate)
  child.kill('SIGINT')
  t.is(await new Promise((resolve) => child.on('close', resolve)), 130)
  t.is(String((await forelog(['cat', dir])).stdout), 'before the interrupt\n')
})
