// examples/services/typed.mjs, killed at random moments, as three versions of a program that write to one log.

import test from 'ava'
import { Wal } from '../index.js'
import { openUsers, readUsers, type User } from '../examples/services/typed.mjs'
import { temporaryDirectory } from './helpers/directory.js'
import { random } from './helpers/kill/records.mjs'
import { has } from './helpers/needs.js'
import { live, seed } from './helpers/services.js'

const KILLS = 6
const FIRST_NAMES: { [version: number]: string } = { 1: 'Ada', 2: 'Grace', 3: 'Barbara' }

/** What no version allows, and what is said about it. */
const BAD = [
  'no JSON',
  '{"v":4,"first":"a","last":"b"}',
  '{"v":2,"first":"Grace"}',
  '{"v":3,"first":"Barbara","last":7}',
  '{"v":"constructor"}',
  'null',
]

const userOf = (version: number, position: number): User => ({ v: 3, first: FIRST_NAMES[version], last: `Number-${position}`, roles: [] })

test('whatever version has written a user, and however often it was killed, it is read as one of the newest; the rest is refused', async (t) => {
  if (!has(t, 'posix')) return
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const next = random(seed)
  const dir = temporaryDirectory(t)
  /** Versions that may have written a position: only one if it was acknowledged. */
  const writers = new Map<number, number[]>()
  const bad = new Map<number, string>()
  let count = 0
  for (let kills = 0; kills < KILLS; kills += 1) {
    const version = 1 + Math.floor(next() * 3)
    const killAfter = 1 + Math.floor(next() * 60)
    const life = await live(t, 'typed', [dir, 100_000, version], killAfter)
    t.true(life.killed)
    for (const line of life.lines) writers.set(Number(/^added (\d+)$/.exec(line)![1]), [version])
    const plain = await Wal.open(dir)
    // What was written last, and not answered.
    for (let position = 1; position < plain.nextPosition; position += 1)
      if (!bad.has(position) && !writers.has(position)) writers.set(position, [version])
    for (const stored of BAD.slice(0, Math.floor(next() * (BAD.length + 1)))) bad.set(await plain.append(stored), stored)
    count = plain.nextPosition - 1
    await plain.close()
  }

  const life = await live(t, 'typed', [dir, count + 5])
  const lines = life.lines.filter((line) => !line.startsWith('added '))
  const expected = Array.from({ length: count + 5 }, (_, i) => {
    const position = i + 1
    const stored = bad.get(position)
    if (stored !== undefined) return `refused ${position} ${stored}: `
    return `user ${position} ${JSON.stringify(userOf(writers.get(position)?.[0] ?? 3, position))}`
  })
  t.is(lines.length, expected.length)
  // Of those that are refused, the reason is up to the schema.
  t.deepEqual(
    lines.filter((line, i) => (line.startsWith('refused ') ? !line.startsWith(expected[i]) || line === expected[i] : line !== expected[i])),
    []
  )
  t.log(`${count + 5} records, ${bad.size} refused`)
})

test('a user is refused if it does not match, and one of the first version can be read alone', async (t) => {
  const dir = temporaryDirectory(t)
  const plain = await Wal.open(dir)
  await plain.appendBatch(['{"v":1,"name":"Ada Lovelace"}', ...BAD])
  await plain.close()

  const wal: Wal<User, { v: 3; first: string; last: string; roles?: string[] }> = await openUsers(dir)
  t.teardown(() => wal.close())
  const last = await wal.append({ v: 3, first: 'Grace', last: 'Hopper', roles: ['admiral'] })
  // @ts-expect-error A user without a last name.
  const error = await t.throwsAsync(wal.append({ v: 3, first: 'Alan' }), { code: 'ERR_WAL_CODEC' })
  t.like(error, { issues: [{ path: ['last'] }] })

  t.deepEqual((await wal.get(1))?.value, { v: 3, first: 'Ada', last: 'Lovelace', roles: [] })
  t.deepEqual((await wal.last(1))[0].value, { v: 3, first: 'Grace', last: 'Hopper', roles: ['admiral'] })
  await t.throwsAsync(wal.get(2), { code: 'ERR_WAL_CODEC' })

  const refused: [number, string][] = []
  const reader = readUsers(wal, (position, stored) => void refused.push([position, stored]))
  const firsts: string[] = []
  for await (const { value } of reader) firsts.push(value!.first)
  t.deepEqual(firsts, ['Ada', 'Grace'])
  t.deepEqual(
    refused,
    BAD.map((stored, i) => [i + 2, stored])
  )
  t.is(reader.undecodable, BAD.length)
  t.is(reader.position, last)
})
