// The programs of `examples/` do what they print. The samples of the pages are run by samples.spec.ts.

import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { stat } from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'

test('examples/key-value.mjs', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'store')
  const script = path.join(root, 'examples', 'key-value.mjs')
  const expected = [
    '2 changes replayed, 4 keys',
    'barbara: abstract data types',
    'frances: optimizing compilers',
    'grace: first linker, too',
    'margaret: first software engineer',
    'ada: undefined',
    '',
  ].join('\n')

  const { code, stdout, stderr } = await node([script, dir])
  t.is(stderr, '')
  t.is(String(stdout), expected)
  t.is(code, 0)

  // The second run begins with what the first one left: two snapshots, of positions 5 and 12, and the changes after the older one.
  t.is(String((await node([script, dir])).stdout), expected)
  const { firstPosition, nextPosition } = await stat(path.join(dir, 'log'))
  t.deepEqual([firstPosition, nextPosition], [6, 15])
})

test('examples/replication.mjs', async (t) => {
  const dir = temporaryDirectory(t)
  const script = path.join(root, 'examples', 'replication.mjs')
  for (const last of [1000, 2000]) {
    const { code, stdout, stderr } = await node([script, dir])
    t.is(stderr, '')
    const logs = ['leader', 'follower 1', 'follower 2'].map((name) => `${name}: ${last} entry 999`)
    t.deepEqual(String(stdout).split('\n'), ['1000 entries committed, sent in 10 messages', ...logs, ''])
    t.is(code, 0)
  }
})

test('examples/queue.mjs', async (t) => {
  const dir = temporaryDirectory(t)
  const script = path.join(root, 'examples', 'queue.mjs')
  const failed = [50, 100, 150, 200].map((invoice) => `to look at: {"invoice":${invoice},"amount":-1}`)
  for (const run of [1, 2]) {
    const { code, stdout, stderr } = await node([script, dir])
    t.is(stderr, '')
    const letters = Array.from({ length: run }, () => failed).flat()
    // Jobs are done in any order.
    const [first, second, ...rest] = String(stdout).trimEnd().split('\n')
    t.deepEqual([first, second], ['196 jobs done, 4 failed, 24 attempts more than needed', `total ${1960 * run}`])
    t.deepEqual(rest.toSorted(), letters.toSorted())
    t.is(code, 0)
  }
})

/** Runs a program of examples/services, and returns its lines. */
async function service(t: ExecutionContext, ...args: string[]): Promise<string[]> {
  const [name, ...rest] = args
  const { code, stdout, stderr } = await node([path.join(root, 'examples', 'services', `${name}.mjs`), ...rest])
  t.is(stderr, '')
  t.is(code, 0)
  return String(stdout).trimEnd().split('\n')
}

test('examples/services/outbox.mjs', async (t) => {
  t.deepEqual(await service(t, 'outbox'), ['500 events are durable', '500 events are delivered, 500 different ones'])
})

test('examples/services/queue.mjs', async (t) => {
  const dir = temporaryDirectory(t)
  const isDone = (line: string) => /^(billing|mail) \d+$/.test(line)
  const first = await service(t, 'queue', dir)
  t.is(first.filter(isDone).length, 2 * 98)
  t.is(first.filter((line) => line.startsWith('dead ')).length, 4)
  const second = await service(t, 'queue', dir, '110')
  t.is(second.filter(isDone).length, 2 * 10)
})

test('examples/services/events.mjs', async (t) => {
  const dir = temporaryDirectory(t)
  const first = await service(t, 'events', dir)
  t.is(first[0], 'snapshot 0, replayed 0, skipped 0')
  const balances = first.slice(-3)
  t.deepEqual(
    balances.map((line) => /^(\w+) \d+: \d+ cents$/.exec(line)?.[1]),
    ['ada', 'barbara', 'grace']
  )
  const [opened, ...second] = await service(t, 'events', dir)
  t.regex(opened, /^snapshot [1-9]\d*, replayed \d+, skipped 0$/)
  t.deepEqual(second.slice(0, 3), balances)
})

test('examples/services/typed.mjs', async (t) => {
  const users = (await service(t, 'typed')).filter((line) => line.startsWith('user '))
  t.is(users.length, 20)
  t.deepEqual(
    [users[0], users[5], users[10]],
    [
      'user 1 {"v":3,"first":"Ada","last":"Number-1","roles":[]}',
      'user 6 {"v":3,"first":"Grace","last":"Number-6","roles":[]}',
      'user 11 {"v":3,"first":"Barbara","last":"Number-11","roles":[]}',
    ]
  )
})
