// `forelog salvage`: what an operator sees, and what is left behind.

import test, { type ExecutionContext } from 'ava'
import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readdirSync, writeSync } from 'node:fs'
import path from 'node:path'
import { Wal } from '../index.js'
import { cliScript, command, forelog } from './helpers/command.js'
import { segments, snapshot, temporaryDirectory } from './helpers/directory.js'
import { numbered, SEGMENT_BYTES, values } from './helpers/log.js'
import { has } from './helpers/needs.js'

async function log(t: ExecutionContext, count = 10_000): Promise<string> {
  const dir = path.join(temporaryDirectory(t), 'log')
  const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES, fsync: 'os' })
  // In pieces: a segment that a roll left empty is not part of the log.
  for (const value of numbered(1, count)) if (wal.enqueue(value) % 500 === 1) await wal.sync()
  await wal.close()
  return dir
}

function spoil(dir: string): string {
  const name = segments(dir)[0]
  const fd = openSync(path.join(dir, name), 'r+')
  writeSync(fd, Buffer.alloc(2000, 0xa5), 0, 2000, 20_000)
  closeSync(fd)
  return name
}

test('lost records are reported with their location, the new log has all others, and the exit code is 1', async (t) => {
  const dir = await log(t)
  const name = spoil(dir)
  const before = snapshot(dir)
  const dest = path.join(temporaryDirectory(t), 'new')
  const { code, stdout, stderr } = await forelog(['salvage', dir, dest])
  t.deepEqual(snapshot(dir), before)
  t.deepEqual([code, stdout.length], [1, 0], stderr)
  const [, first, last, segment] = /^forelog: lost: positions (\d+) to (\d+), (\S+) from offset \d+, \d+ bytes$/m.exec(stderr) ?? []
  t.is(segment, name)
  t.regex(stderr, /^[\d,]+ records, positions 1 to 10000, \d+ segments, [\d,]+ positions lost, [\d.]+ s$/m)
  t.true(stderr.includes(`  next: forelog verify ${dest} && mv ${dir} ${dir}.damaged && mv ${dest} ${dir}\n`))

  const wal = await Wal.open(dest)
  const lost = new Set(numbered(Number(first), Number(last)))
  t.deepEqual(
    await values(wal.readFrom('start')),
    numbered(1, 10_000).filter((value) => !lost.has(value))
  )
  await wal.close()
  const verified = await forelog(['verify', dest])
  t.is(verified.code, 0, verified.stderr)
  t.regex(String(verified.stdout), /, 1 holes of \d+ positions lost earlier, no damage$/m)
  const cat = await forelog(['cat', dest])
  t.is(cat.code, 0)
  t.is(cat.stderr, `forelog: lost earlier: positions ${first} to ${last}, recorded by an earlier salvage\n`)
  // Salvaged once more, nothing new is lost.
  const again = await forelog(['salvage', dest, path.join(temporaryDirectory(t), 'again')])
  t.is(again.code, 0, again.stderr)
  t.regex(again.stderr, new RegExp(`^forelog: lost earlier: positions ${first} to ${last}, recorded by an earlier salvage$`, 'm'))
})

test('salvaging a log without damage makes the same log, and the exit code is 0', async (t) => {
  const dir = await log(t, 100)
  const dest = path.join(temporaryDirectory(t), 'new')
  const { code, stdout } = await forelog(['salvage', dir, dest, '--json'])
  t.is(code, 0)
  t.like(JSON.parse(String(stdout)), { verdict: 'clean', records: 100, holes: [], firstPosition: 1, nextPosition: 101 })
  const quiet = await forelog(['salvage', dir, path.join(temporaryDirectory(t), 'new'), '--quiet'])
  t.deepEqual([quiet.code, quiet.stderr], [0, ''])
})

test('a directory that is not empty, or a log that is open, is refused in one line', async (t) => {
  const dir = await log(t, 100)
  const { code, stderr } = await forelog(['salvage', dir, path.dirname(dir)])
  t.not(code, 0)
  t.regex(stderr, /^forelog: a salvage needs an empty directory: .*\(ERR_WAL_FORMAT\)$/m)
  const wal = await Wal.open(dir)
  t.teardown(() => wal.close())
  const dest = path.join(temporaryDirectory(t), 'new')
  const locked = await forelog(['salvage', dir, dest])
  t.not(locked.code, 0)
  t.regex(locked.stderr, /^forelog: the log is open for writing.*\(ERR_WAL_LOCKED\)$/m)
  t.false(existsSync(dest))
})

test('on a terminal a bar shows the progress', async (t) => {
  if (!has(t, 'terminal')) return
  const dir = await log(t)
  const dest = path.join(temporaryDirectory(t), 'new')
  const line = [process.execPath, cliScript, 'salvage', dir, dest].map((word) => `'${word}'`).join(' ')
  const { stdout } = await command('script', ['-qec', line, '/dev/null'])
  t.regex(String(stdout), /\d+% \| [\d.]+ MB of [\d.]+ MB, [\d,]+ records/)
})

test('Ctrl-C leaves nothing of the new log', async (t) => {
  const dir = await log(t, 200_000)
  const dest = path.join(temporaryDirectory(t), 'new')
  const child = spawn(process.execPath, [cliScript, 'salvage', dir, dest], { stdio: ['ignore', 'ignore', 'pipe'] })
  const ended = new Promise<number | null>((resolve) => child.on('close', resolve))
  // The directory is there as soon as the salvage has begun.
  while (!existsSync(path.join(dest, 'LOCK')) && child.exitCode === null) await new Promise((again) => setTimeout(again, 1))
  child.kill('SIGINT')
  const code = await ended
  const left = readdirSync(dest).filter((name) => name !== 'LOCK')
  // It may have been done before the signal came.
  if (code === 0) t.true(left.includes('CONTROL'))
  else t.deepEqual([code, left], [130, []])
})
