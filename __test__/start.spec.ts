// The demonstration behind `npm start`: it kills, it checks, and its check can fail.

import { spawn } from 'node:child_process'
import { copyFileSync, cpSync, readdirSync, truncateSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal } from '../index.js'
import { demo, demoScript } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'

const RECORDS = 40_000

/** Runs the demonstration and keeps its log. */
async function finishedLog(t: ExecutionContext, ...args: string[]): Promise<string> {
  const dir = path.join(temporaryDirectory(t), 'log')
  const { code, stdout, stderr } = await demo([...args, '--dir', dir])
  t.is(code, 0, stderr)
  t.regex(String(stdout), /^acknowledged records lost +0$/m)
  return dir
}

const check = (dir: string, ...args: string[]) => demo([...args, '--dir', dir, '--check'])

test('events: three kills lose nothing, and the check detects a record that is removed', async (t) => {
  t.timeout(600_000)
  const records = ['--records', String(RECORDS)]
  const dir = await finishedLog(t, ...records, '--kills', '3')
  t.is((await check(dir, ...records)).code, 0)

  // The same log without one of its records, in another directory.
  const without = path.join(temporaryDirectory(t), 'log')
  const whole = await Wal.open(dir)
  const copy = await Wal.open(without, { fsync: 'os' })
  for await (const { position, value } of whole.readFrom('start')) {
    if (position !== RECORDS / 2 && value) await copy.append(value)
  }
  await Promise.all([whole.close(), copy.close()])

  const { code, stdout } = await check(without, ...records)
  t.is(code, 1)
  t.regex(String(stdout), /^19,999 records intact, acknowledged records lost: 20,001$/m)
})

test('events: the check detects bytes that are cut off', async (t) => {
  const records = ['--records', '5000']
  const dir = await finishedLog(t, ...records, '--kills', '0')
  const copy = path.join(temporaryDirectory(t), 'log')
  cpSync(dir, copy, { recursive: true })
  const segment = readdirSync(copy)
    .filter((name) => name.endsWith('.wal'))
    .sort()[0]
  truncateSync(path.join(copy, segment), 200_000)
  t.is((await check(copy, ...records)).code, 1)
})

test('a file: its lines become the records', async (t) => {
  const file = path.join(temporaryDirectory(t), 'access.log')
  writeFileSync(file, Array.from({ length: 20_000 }, (_, i) => `GET /page/${i}\n`).join('') + 'no line feed at the end')
  const dir = await finishedLog(t, file, '--kills', '2')
  const { code, stdout } = await check(dir, file)
  t.is(code, 0)
  t.regex(String(stdout), /^20,001 records intact/)

  const other = path.join(temporaryDirectory(t), 'other.log')
  copyFileSync(file, other)
  writeFileSync(other, 'one line more than was appended\n', { flag: 'a' })
  t.is((await check(dir, other)).code, 1)
})

test('a file without lines', async (t) => {
  const file = path.join(temporaryDirectory(t), 'empty')
  writeFileSync(file, '')
  await finishedLog(t, file)
})

test('wrong arguments are reported', async (t) => {
  const parent = temporaryDirectory(t)
  for (const args of [['--records', 'many'], ['--nope'], ['--check'], [path.join(parent, 'missing')]]) {
    const { code, stderr } = await demo(args)
    t.is(code, 1)
    t.is(stderr.trimEnd().split('\n').length, 1, stderr)
  }
  writeFileSync(path.join(parent, 'somebody'), '')
  t.regex((await demo(['--dir', parent])).stderr, /is not empty/)
  t.deepEqual(readdirSync(parent), ['somebody'])
})

test('Ctrl-C stops it and leaves nothing behind', async (t) => {
  if (!has(t, 'posix')) return
  const temporary = temporaryDirectory(t)
  const job = spawn(process.execPath, [demoScript, '--records', '100000000'], {
    env: { ...process.env, TMPDIR: temporary },
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  job.stderr.once('data', () => job.kill('SIGINT'))
  t.is(await new Promise((resolve) => job.on('close', resolve)), 130)
  t.deepEqual(readdirSync(temporary), [])
})
