// What the addon really asks of the operating system, and in which order, as a trace of its system calls shows.

import { mkdirSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'
import { traceAppends, type Call } from './helpers/trace/strace.js'

const isSegment = (file: string) => file.endsWith('.wal')
const isSync = (call: Call) => call.name === 'fdatasync' || call.name === 'fsync'
const isRename = (call: Call) => call.name.startsWith('rename') && /\.wal"/.test(call.args)
const writes = (calls: Call[], text: string) => calls.filter((call) => call.name === 'pwrite64' && call.args.includes(text))
const marker = (calls: Call[], n: number) => calls.find((call) => call.name === 'write' && call.args.includes(`acknowledged<${n}>`))

/** The first of `calls` that began after `line`. */
const after = (calls: Call[], line: number, wanted: (call: Call) => boolean) => calls.find((call) => call.began > line && wanted(call))

for (const [size, commits] of [
  [100, 'a small one'],
  [40_000, 'a large one, which may go past the page cache'],
] as const) {
  test(`a durable append resolves only after what makes it durable has returned: ${commits}`, async (t) => {
    if (!has(t, 'strace')) return
    const calls = await traceAppends(temporaryDirectory(t), 40, size)
    let direct = 0
    for (let n = 1; n <= 40; n++) {
      const told = marker(calls, n)
      const written = writes(calls, `record<${n}>`).at(-1)
      if (!told || !written) return t.fail(`record ${n}: ${told ? 'its write' : 'its marker'} is missing in the trace`)
      t.true(isSegment(written.file) && written.result > 0)
      if (written.direct) {
        direct += 1
        t.true(written.ended < told.began && written.result % 4096 === 0, `record ${n}: its write returns after its promise`)
        continue
      }
      const synced = after(calls, written.ended, (call) => isSync(call) && call.file === written.file)
      t.true(
        synced !== undefined && synced.result === 0 && synced.ended < told.began,
        `record ${n}: no fdatasync between write and promise`
      )
    }
    t.log(`${direct} of 40 past the page cache`)
    if (size === 100) t.is(direct, 0)
    else if (has(t, 'direct')) t.true(direct > 0)
  })
}

/** The submissions of a record, each with its completion in whole, if there is one. */
function submissions(calls: Call[], text: string): (Call | undefined)[] {
  return calls
    .filter((call) => call.name === 'io_submit' && call.args.includes(text))
    .map((submitted) => {
      const [, number] = /aio_data=(\w+)/.exec(submitted.args)!
      const [, length] = /aio_nbytes=(\d+)/.exec(submitted.args)!
      const ends = (call: Call) => call.name === 'io_getevents' && new RegExp(`\\{data=${number}, `).test(call.args)
      const completed = after(calls, submitted.began, ends)
      return completed?.args.match(new RegExp(`\\{data=${number}, obj=\\w+, res=${length}, `)) ? completed : undefined
    })
}

test('a durable append whose write is submitted resolves only after its completion was taken, or it was written again', async (t) => {
  if (!has(t, 'strace', 'direct')) return
  const calls = await traceAppends(temporaryDirectory(t), 600, 100)
  const synced = new Set(calls.filter((call) => call.name === 'openat' && call.args.includes('O_DSYNC')).map((call) => call.result))
  let completed = 0
  for (let n = 1; n <= 600; n++) {
    const told = marker(calls, n)
    const submitted = submissions(calls, `record<${n}>`)
    const first = calls.find((call) => call.name === 'io_submit' && call.args.includes(`record<${n}>`))
    // A page that is written again has earlier records, which a commit thread has made durable.
    if (!first || writes(calls, `record<${n}>`).some((call) => call.began < first.began)) continue
    const ended = submitted.find((call) => call !== undefined && call.ended < told!.began)
    const again = writes(calls, `record<${n}>`).find((call) => call.direct && call.result > 0 && call.ended < told!.began)
    t.truthy(ended ?? again, `record ${n}: nothing makes it durable before its promise`)
    completed += ended ? 1 : 0
  }
  for (const call of calls.filter((call) => call.name === 'io_submit')) {
    t.true(isSegment(call.file) && synced.has(Number(/aio_fildes=(\d+)/.exec(call.args)?.[1])), 'its file is opened with O_DSYNC')
  }
  t.log(`${completed} of 600 submitted and completed`)
  t.true(completed > 0)
})

for (const made of ['by the log', 'before']) {
  test(`the name of a directory made ${made} is synced before the first acknowledgement`, async (t) => {
    if (!has(t, 'strace')) return
    const parent = temporaryDirectory(t)
    if (made === 'before') mkdirSync(path.join(parent, 'log'))
    const calls = await traceAppends(parent, 1, 100)
    const synced = calls.find((call) => call.name === 'fsync' && call.file === path.basename(parent))
    const told = marker(calls, 1)
    t.true(synced?.result === 0 && told !== undefined && synced.ended < told.began)
  })
}

test('a roll keeps its order before anything in the new segment is acknowledged', async (t) => {
  if (!has(t, 'strace')) return
  const records = 60
  const calls = await traceAppends(temporaryDirectory(t), records, 6000)
  const renames = calls.filter(isRename)
  // The first one makes the log; the others are rolls between two segments.
  t.true(renames.length >= 4, `${renames.length} segments`)
  renames.forEach((rename, i) => {
    const [spare, segment] = [...rename.args.matchAll(/"([^"]*)"/g)].map((match) => match[1].split('/').at(-1)!)
    const before = calls.filter((call) => call.ended < rename.began)
    const since = calls.filter((call) => call.began > rename.ended)

    const header = before.filter((call) => call.name === 'pwrite64' && call.file === spare).at(-1)
    // The roll's own: a mark may be written by another thread at any time.
    const named = since.find((call) => call.thread === rename.thread && call.name === 'pwrite64' && call.file === 'CONTROL')
    if (!header || !named) return t.fail(`${segment}: ${header ? 'CONTROL' : 'its header'} is not written`)
    if (i > 0) {
      const left = before.filter((call) => call.name === 'pwrite64' && isSegment(call.file)).at(-1)
      const sealed = left?.direct ? left : left && after(before, left.ended, (call) => isSync(call) && call.file === left.file)
      t.true(
        sealed !== undefined && (sealed.direct || sealed.result === 0) && sealed.ended < header.began,
        `${segment}: 1. the segment before it is synced before its header is written`
      )
    }
    const filled = after(before, header.ended, (call) => isSync(call) && call.file === spare)
    t.is(filled?.result, 0, `${segment}: 2. header synced under the spare's name`)
    const committed = after(since, rename.ended, (call) => call.name === 'fsync')
    t.true(committed?.result === 0 && committed.file === 'log' && committed.ended < named.began, `${segment}: 3. renamed, directory synced`)
    const controlled = after(since, named.ended, (call) => isSync(call) && call.file === 'CONTROL')
    t.is(controlled?.result, 0, `${segment}: 4. CONTROL names it, synced`)

    for (let n = 1; n <= records; n++) {
      const written = writes(calls, `record<${n}>`).at(-1)
      const told = marker(calls, n)
      if (written?.file !== segment || !told || !controlled) continue
      t.true(controlled.ended < told.began, `${segment}: 5. record ${n} is acknowledged only then`)
      break
    }
  })
})
