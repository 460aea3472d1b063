// A checkpoint that is cut off anywhere, by a kill, a power failure or a failed call, leaves a snapshot and the records after it.

import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, statSync, truncateSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { checkpoint, Wal } from '../index.js'
import { node } from './helpers/command.js'
import { fileOf, found, inits, own, theirs } from './helpers/checkpoint/scenario.mjs'
import { temporaryDirectory } from './helpers/directory.js'
import { random, recordAt } from './helpers/kill/records.mjs'
import { has } from './helpers/needs.js'

const script = (name: string): string => fileURLToPath(new URL(`./helpers/checkpoint/${name}.mjs`, import.meta.url))

const linesOf = (output: Buffer): string[] => String(output).split('\n').filter(Boolean)

type Change = [name: string, ...files: string[]]

/** Undoes what no sync has covered: files keep half of their bytes, names go back. */
function losePower(dir: string, changes: Change[]): void {
  const unsynced = new Set<string>()
  let renames: string[][] = []
  for (const [name, file = '', ...more] of changes) {
    if (name === 'write') unsynced.add(file)
    else if (name === 'rename') {
      const to = more.at(-1) ?? ''
      renames.push([file, to])
      if (unsynced.delete(file)) unsynced.add(to)
    } else if (name === 'sync') {
      unsynced.delete(file)
      if (existsSync(file) && statSync(file).isDirectory()) renames = []
    }
  }
  const inDir = (file: string) => path.join(dir, path.basename(file))
  for (const file of unsynced) if (existsSync(inDir(file))) truncateSync(inDir(file), Math.floor(statSync(inDir(file)).size / 2))
  for (const [from, to] of renames.reverse()) if (existsSync(inDir(to))) renameSync(inDir(to), inDir(from))
}

/** A program that starts finds the whole state, and can make checkpoints. */
async function holds(t: ExecutionContext, dir: string, name: string, label: string): Promise<void> {
  const wal = await Wal.open(path.join(dir, 'log'))
  const state = await found(wal, dir)
  const expected = name === 'installed' && state[0] === theirs[0] ? theirs : own
  t.deepEqual(state, expected, label)
  await wal.append('one more')
  await checkpoint(wal, fileOf(dir), { position: wal.nextPosition - 1, keep: 1, state: JSON.stringify([...state, 'one more']) })
  t.deepEqual(await found(wal, dir), [...expected, 'one more'], label)
  t.is(readdirSync(dir).length, 2, label)
  await wal.close()
}

for (const name of Object.keys(inits)) {
  for (const half of name === 'large' ? ['', 'half'] : ['']) {
    test(`killed at each change of a checkpoint (${name}${half && ', in the middle of a write'}), nothing is lost, with and without power`, async (t) => {
      if (!has(t, 'posix')) return
      t.timeout(600_000)
      const seen = new Set<string>()
      for (let at = 1, isDone = false; !isDone; at += 1) {
        const dir = path.join(temporaryDirectory(t), 'place')
        mkdirSync(dir)
        const { stdout, signal, stderr } = await node([script('crash'), dir, name, String(at), half])
        const changes = linesOf(stdout).map((line) => JSON.parse(line) as Change | 'done')
        isDone = changes.at(-1) === 'done'
        t.is(signal, isDone ? null : 'SIGKILL', stderr)
        const made = changes.filter((change): change is Change => change !== 'done')
        for (const [change] of made) seen.add(change)
        const powerless = path.join(temporaryDirectory(t), 'place')
        cpSync(dir, powerless, { recursive: true })
        losePower(powerless, made)
        const label = `after ${JSON.stringify(made.map(([change]) => change))}`
        await holds(t, dir, name, label)
        await holds(t, powerless, name, `${label}, without power`)
      }
      const ending = name === 'installed' ? 'Wal.reset' : 'Wal.truncateBefore'
      t.deepEqual([...seen].sort(), ['Wal.sync', ending, 'rename', 'sync', 'unlink', 'write'].sort())
    })
  }
}

const syncDirectory = process.platform === 'win32' ? [] : ['sync DIRECTORY']

const orders = {
  own: [
    'Wal.sync DIRECTORY',
    'unlink state.0000000000000025.tmp',
    'write state.0000000000000028.tmp',
    'write state.0000000000000028.tmp',
    'sync state.0000000000000028.tmp',
    'rename state.0000000000000028.tmp state.0000000000000028',
    ...syncDirectory,
    'Wal.truncateBefore DIRECTORY',
    'unlink state.0000000000000020',
  ],
  installed: [
    'Wal.sync DIRECTORY',
    'unlink state.0000000000000025.tmp',
    'write state.0000000000000040.tmp',
    'write state.0000000000000040.tmp',
    'sync state.0000000000000040.tmp',
    'rename state.0000000000000040.tmp state.0000000000000040.install',
    ...syncDirectory,
    'Wal.reset DIRECTORY',
    'rename state.0000000000000040.install state.0000000000000040',
    ...syncDirectory,
    'unlink state.0000000000000020',
  ],
}

for (const [name, expected] of Object.entries(orders)) {
  test(`the steps of a checkpoint (${name}) are in the order that its safety needs`, async (t) => {
    const dir = temporaryDirectory(t)
    const { stdout } = await node([script('crash'), dir, name, '0'])
    const changes = linesOf(stdout)
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Change)
    const nameOf = (file: string) => (file === dir ? 'DIRECTORY' : path.basename(file).replace(/\.[0-9a-f]{16}\.tmp$/, '.tmp'))
    t.deepEqual(
      changes.map(([change, ...files]) => [change, ...new Set(files.map(nameOf))].join(' ')),
      expected
    )
  })
}

interface Attempt {
  at: number
  failed: string
  outcome: string
  state: string[]
  again: string[]
  files: number
}

const codes = { EIO: 'ERR_WAL_IO', ENOSPC: 'ERR_WAL_NO_SPACE', EROFS: 'ERR_WAL_READ_ONLY' }

for (const [code, expected] of Object.entries(codes)) {
  for (const when of ['before', 'after']) {
    test(`${code} at each call of a checkpoint, reported ${when} it is made, is a typed error, and nothing is lost`, async (t) => {
      t.timeout(600_000)
      for (const name of ['own', 'installed']) {
        const { stdout, stderr, code: exit } = await node([script('failures'), temporaryDirectory(t), name, code, when])
        t.is(exit, 0, stderr)
        const attempts = linesOf(stdout).map((line) => JSON.parse(line) as Attempt)
        for (const { at, failed, outcome, state, again, files } of attempts) {
          const label = `${name}, ${at}: ${failed}`
          // A header that cannot be read is that of a snapshot to leave alone, and what could not be removed is removed the next time.
          t.true(outcome === expected || outcome === 'resolved', `${label}: ${outcome}`)
          if (['write', 'rename'].includes(failed)) t.is(outcome, expected, label)
          const isTheirs = name === 'installed' && state[0] === theirs[0]
          t.deepEqual(state, isTheirs ? theirs : own, label)
          t.deepEqual(again, state, label)
          t.is(files, 2, label)
        }
        const failed = new Set(attempts.map((attempt) => attempt.failed))
        t.deepEqual([...failed].sort(), ['', 'close', 'open', 'read', 'readdir', 'rename', 'stat', 'sync', 'unlink', 'write'])
        t.is(attempts.at(-1)?.outcome, 'resolved')
      }
    })
  }
}

const ROUNDS = 12
const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)

test(`a program that makes checkpoints and is killed ${ROUNDS} times finds its whole state each time`, async (t) => {
  if (!has(t, 'posix')) return
  t.timeout(600_000)
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const dir = temporaryDirectory(t)
  const next = random(seed)
  let acknowledged = 0
  let checkpoints = 0
  for (let round = 0; round <= ROUNDS; round += 1) {
    const child = spawn(process.execPath, [script('writer'), dir, String(seed), String(round)], { stdio: ['ignore', 'pipe', 'pipe'] })
    let stderr = ''
    child.stderr.on('data', (data: Buffer) => (stderr += String(data)))
    const ended = new Promise((resolve) => child.on('close', resolve))
    let left = 5 + Math.floor(next() * 60)
    let hasStarted = false
    for await (const line of createInterface({ input: child.stdout })) {
      const [, start, digest = '', position] = /^(?:start (\d+) (\w*)|(\d+));$/.exec(line) ?? []
      if (start !== undefined) {
        hasStarted = true
        t.true(Number(start) >= acknowledged, `${start} of ${acknowledged} acknowledged records`)
        t.is(digest, expectedDigest(Number(start)), `round ${round}`)
      } else if (position !== undefined) acknowledged = Number(position)
      if (left-- === 0) child.kill('SIGKILL')
    }
    await ended
    t.true(hasStarted, stderr)
    checkpoints += readdirSync(dir).length - 1
  }
  t.true(checkpoints > 0)
})

const chain = ['']

/** The digest of the state after that many records. */
function expectedDigest(position: number): string {
  while (chain.length <= position) {
    chain.push(createHash('sha256').update(chain.at(-1)!).update(recordAt(seed, chain.length)).digest('hex'))
  }
  return chain[position]
}
