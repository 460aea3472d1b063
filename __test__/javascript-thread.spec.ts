// What the JavaScript thread asks of the operating system while a log is appended to: nothing that waits for the disk.

import path from 'node:path'
import test from 'ava'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'
import { trace, type Call } from './helpers/trace/strace.js'

/** Neither of them waits, if none is asked to: see below. */
const allowed = ['io_submit', 'io_getevents']

test('the JavaScript thread makes no call that waits for the disk, through rolls and truncations', async (t) => {
  if (!has(t, 'strace')) return
  t.timeout(120_000)
  const dir = temporaryDirectory(t)
  const calls = await trace(dir, 'busy')
  const marked = (n: number) => calls.find((call) => call.name === 'write' && call.args.includes(`busy<${n}>`))
  const [from, to] = [marked(0), marked(1)]
  if (!from || !to) return t.fail('the markers are missing in the trace')
  // The program writes its markers on that thread.
  const during = (call: Call) => call.began > from.ended && call.ended < to.began
  const isOfLog = (call: Call) => allowed.includes(call.name) || call.args.includes(path.join(dir, 'log'))
  const own = calls.filter((call) => call.thread === from.thread && during(call) && isOfLog(call))
  t.deepEqual(
    own.filter((call) => !allowed.includes(call.name)).map(({ name, file, args }) => `${name} ${file} ${args.slice(0, 120)}`),
    []
  )
  t.deepEqual(
    own.filter((call) => call.name === 'io_getevents' && !/^\w+, 0, /.test(call.args)).map((call) => call.args),
    []
  )
  t.true(own.filter((call) => call.name === 'io_submit').every((call) => call.args.includes('RWF_NOWAIT')))
  const others = calls.filter((call) => call.thread !== from.thread && during(call))
  t.true(others.some((call) => call.name.startsWith('rename')) && others.some((call) => call.name === 'fdatasync'))
  if (has(t, 'direct')) t.true(own.filter((call) => call.name === 'io_submit').length > 50)
})
