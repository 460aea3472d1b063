// node:cluster: processes that share a directory have one writer and any number of readers.

import { fileURLToPath } from 'node:url'
import test from 'ava'
import { node } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'

const script = fileURLToPath(new URL('./helpers/cluster.mjs', import.meta.url))
const WORKERS = 3
const COUNT = 4000

interface Report {
  primary: number
  seen: { pid: number; writing: object; appending: object; records: number; wrong: number }[]
  position: number
  last: string
}

test('in a cluster the primary writes and the workers follow; a second writer is refused with the process id of the first, until the log is closed', async (t) => {
  if (!has(t, 'posix')) return
  const { code, stdout, stderr } = await node([script, temporaryDirectory(t), String(WORKERS), String(COUNT)])
  t.is(stderr, '')
  t.is(code, 0)
  const { primary, seen, position, last }: Report = JSON.parse(String(stdout))
  t.is(new Set(seen.map(({ pid }) => pid)).size, WORKERS)
  for (const { writing, appending, records, wrong } of seen) {
    t.deepEqual(writing, { code: 'ERR_WAL_LOCKED', pid: primary })
    t.deepEqual(appending, { code: 'ERR_WAL_READ_ONLY' })
    t.deepEqual([records, wrong], [COUNT, 0])
  }
  t.deepEqual([position, last], [COUNT + 2, 'from a worker'])
})
