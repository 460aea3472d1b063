// A failed fsync, from the outside: a preloaded shim fails the n-th one, and proves that it did.

import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { node, root } from './helpers/command.js'
import { append, holds, type Job, type Told } from './helpers/faults/process.js'
import { Shim, isHint, rule, type Action, type Call } from './helpers/faults/shim.js'
import { has } from './helpers/needs.js'

const POISONED = 'ERR_WAL_POISONED'
const SECOND = 1e9
const options = { segmentBytes: 64 << 10 }
const seed = 7

/** A spare that its filling failed holds nothing and is only discarded; a header and a carry are what a log rests on. */
function isOfAnUnusedSpare(calls: Call[], fault: Call): boolean {
  const before = calls.filter((call) => call.file === fault.file && call.ended <= fault.began)
  const isHeader = (call: Call) => call.name === 'pwrite64' && call.offset === 0 && call.length === 4096
  return fault.file.startsWith('spare-') && !before.some(isHeader) && !isHeader(fault)
}

/** What began after a fault and would change what the next opening finds. */
function changes(calls: Call[], fault: Call): Call[] {
  const later = calls.filter((call) => call.began > fault.ended && call.name !== 'pread64' && call.name !== 'unlink' && !isHint(call))
  const marks = later.filter((call) => call.file === 'CONTROL')
  // Once a second a mark may be under way: it was proven before the fault.
  const allowed = fault.began - calls[0].began > 0.9 * SECOND ? marks.slice(0, 2) : []
  // The footer of a sealed segment may be under way too: nothing rests on it. If it is what failed, a commit may be.
  if (isSealed(calls, fault, fault)) return []
  return later.filter((call) => !isSpare(call) && !isSealed(calls, fault, call) && !allowed.includes(call))
}

/** Id of the newest segment at a moment. */
const newest = (calls: Call[], at: Call): string =>
  calls.filter((call) => call.ended <= at.ended).reduce((id, call) => (idOf(call) > id ? idOf(call) : id), '')

const idOf = (call: Call): string => /-(\w{16})\.wal$/.exec(call.file)?.[1] ?? ''

/** Of a segment that a roll had left before the fault: what is written to it is its footer. */
const isSealed = (calls: Call[], fault: Call, call: Call): boolean => idOf(call) !== '' && idOf(call) < newest(calls, fault)

const isSpare = (call: Call): boolean => /^(spare-|reserve$)/.test(call.file)

/** Everybody is told, nothing more is taken or written, and what is durable can still be read. */
function isPoisoned(t: ExecutionContext, { rejected, end, acknowledged }: Told, calls: Call[], fault: Call, label: string): void {
  t.true(rejected.length > 0, `${label}: no append was rejected`)
  t.true(
    rejected.every(({ code }) => code === POISONED),
    `${label}: ${JSON.stringify(rejected)}`
  )
  t.like(end, { again: POISONED, sync: POISONED, close: POISONED, readError: undefined }, label)
  t.is(end?.read, end?.durable, `${label}: reads end at the durable position`)
  t.true((end?.durable ?? 0) >= Math.max(0, ...acknowledged.keys()), label)
  t.deepEqual(changes(calls, fault), [], `${label}: nothing is written any more`)
}

interface Target {
  name: string
  /** The call and the files. */
  on: Parameters<typeof rule> extends [infer C, infer P, ...unknown[]] ? [C, P] : never
  actions: Action[]
  upTo: number
}

const targets: Target[] = [
  { name: 'data', on: ['fdatasync', '*.wal'], actions: ['EIO', 'ENOSPC', 'LOSE'], upTo: 6 },
  { name: 'a header', on: ['fdatasync', 'spare-*'], actions: ['EIO', 'ENOSPC'], upTo: 5 },
  { name: 'CONTROL', on: ['fdatasync', 'CONTROL'], actions: ['EIO', 'ENOSPC'], upTo: 3 },
  { name: 'the directory', on: ['fsync', '.'], actions: ['EIO', 'ENOSPC'], upTo: 3 },
]

for (const { name, on, actions, upTo } of targets) {
  test(`the n-th fsync of ${name} fails: the log stays poisoned, and nothing acknowledged is lost`, async (t) => {
    if (!has(t, 'preload')) return
    t.timeout(600_000)
    let poisoned = 0
    for (const action of actions) {
      for (let nth = 1; nth <= upTo; nth += 1) {
        const label = `${action} at fsync ${nth} of ${name}`
        const shim = new Shim(t)
        const job: Job = { dir: shim.dir, seed, options, then: 'tell', arm: rule(...on, nth, action) }
        const told = await append({ ...job, upTo: 1000 }, { env: shim.env })
        t.is(told.stderr, '', label)
        const [fault] = shim.fired()
        if (!fault) return t.fail(`${label}: the fault did not fire`)
        if (isOfAnUnusedSpare(shim.calls(), fault)) t.is(told.rejected.length, 0, label)
        else {
          isPoisoned(t, told, shim.calls(), fault, label)
          poisoned += 1
        }
        const report = await holds(t, job, told, label)
        // Where the fault left nothing unproven behind, the next opening finds nothing to distrust; frames whose own fsync failed it does.
        // A footer, a header or a name that failed leaves the frames as they are: a mark, once a second, may have vouched for all of them.
        if (action === 'LOSE' || name === 'CONTROL') continue
        if (told.rejected.length === 0) t.true(report.clean, label)
        else if (name === 'data' && !isSealed(shim.calls(), fault, fault)) t.false(report.clean, label)
      }
    }
    t.log(`${poisoned} poisoned logs of ${actions.length * upTo} faults`)
    t.true(poisoned >= actions.length)
  })
}

test('the n-th write past the page cache fails: it is fenced off if the cause passes, and poisons like a failed fsync otherwise', async (t) => {
  if (!has(t, 'preload', 'direct')) return
  t.timeout(600_000)
  const half = (nth: number) => rule('direct', '*.wal', nth, 'HALF') + rule('direct', '*.wal', nth + 1, 'EIO')
  const whole = (action: Action) => (nth: number) => rule('direct', '*.wal', nth, action)
  for (const [name, rules] of [
    ['EIO', whole('EIO')],
    ['ENOSPC', whole('ENOSPC')],
    ['half of it, then EIO', half],
  ] as const) {
    for (const nth of [1, 2, 9]) {
      const label = `${name} at ${nth}`
      const shim = new Shim(t)
      const job: Job = { dir: shim.dir, seed, options, then: 'tell', arm: rules(nth) }
      const told = await append(job, { env: shim.env })
      t.is(told.stderr, '', label)
      const fault = shim.fired().at(-1)
      if (!fault) return t.fail(`${label}: the fault did not fire`)
      if (name === 'ENOSPC') t.true(told.rejected.length > 0 && told.acknowledged.size > 0, label)
      else isPoisoned(t, told, shim.calls(), fault, label)
      await holds(t, job, told, label)
    }
  }
})

const pathOf = (call: Call): string => `${call.name} ${call.file.replace(/^spare-.*/, 'spare').replace(/^.*\.wal$/, 'segment')}`

test('records that a failed fsync left unproven are carried into a new segment at opening', async (t) => {
  if (!has(t, 'preload')) return
  const shim = new Shim(t)
  const job: Job = { dir: shim.dir, seed, options: { segmentBytes: 1 << 20 }, then: 'tell' }
  const failed = await append({ ...job, arm: rule('fdatasync', '*.wal', 5, 'EIO') }, { env: shim.env })
  t.true(failed.acknowledged.size > 0 && failed.rejected.length > 0)
  t.is(shim.fired().length, 1)

  const before = shim.calls().length
  shim.arm('')
  const reopened = await append({ ...job, upTo: 0, inFlight: 1, then: 'kill' }, { env: shim.env })
  t.true(reopened.opened)
  const calls = shim.calls().slice(before)
  const written = calls.filter((call) => call.name !== 'pread64' && call.name !== 'unlink' && call.file !== 'reserve')
  const order = written.map(pathOf).filter((call, i, all) => call !== all[i - 1])
  t.deepEqual(order.slice(0, 8), [
    'pwrite64 CONTROL',
    'fdatasync CONTROL',
    'pwrite64 spare',
    'fdatasync spare',
    'rename segment',
    'fsync .',
    'pwrite64 CONTROL',
    'fdatasync CONTROL',
  ])
  const named = written.findIndex((call) => call.name === 'rename')
  const header = 1
  t.true(written.slice(0, named).filter((call) => call.name === 'pwrite64' && isSpare(call)).length > header, 'frames are carried')
  t.false(
    written.slice(0, named).some((call) => call.file.endsWith('.wal')),
    'the old segment is not touched'
  )
  await holds(t, job, failed)
})

test('an fsync that fails while a log is created or recovered fails the opening, and the next opening finds everything', async (t) => {
  if (!has(t, 'preload')) return
  t.timeout(600_000)
  let refused = 0
  for (const [call, pattern] of [
    ['fdatasync', '*'],
    ['fsync', '.'],
  ] as const) {
    for (let nth = 1; nth <= 4; nth += 1) {
      for (const killed of [false, true]) {
        const label = `${call} ${nth} ${killed ? 'of recovery' : 'of a new log'}`
        const shim = new Shim(t)
        const job: Job = { dir: shim.dir, seed, options, then: 'tell' }
        const before = killed ? await append({ ...job, upTo: 20, then: 'kill' }) : undefined
        shim.arm(rule(call, pattern, nth, 'EIO'))
        const told = await append({ ...job, upTo: 20 }, { env: shim.env })
        t.is(told.stderr, '', label)
        if (shim.fired().length === 0) continue
        if (!told.opened) {
          refused += 1
          t.true(told.end?.open === POISONED || told.end?.open === 'ERR_WAL_IO', `${label}: ${told.end?.open}`)
          t.is(told.end?.cause, 'EIO', label)
        }
        const acknowledged = new Map([...(before?.acknowledged ?? []), ...told.acknowledged])
        await holds(t, job, { ...told, acknowledged }, label)
      }
    }
  }
  t.true(refused >= 8, `${refused} openings were refused`)
})

test('another handle of a poisoned log opens, rejects what it is asked, and closes without an unhandled rejection', async (t) => {
  if (!has(t, 'preload')) return
  const shim = new Shim(t)
  const script = `
    import { writeFileSync } from 'node:fs'
    const { Wal } = await import(process.argv[1])
    const wal = await Wal.open(process.env.FORELOG_FAULT_DIR)
    writeFileSync(process.env.FORELOG_FAULT_RULES, process.argv[2])
    const codeOf = ({ code }) => code
    const told = [await wal.append('x').catch(codeOf)]
    const other = await Wal.open(wal.dir)
    await other.drain()
    const stream = other.writable()
    const failed = new Promise((resolve) => stream.on('error', resolve))
    stream.end('x')
    told.push(await other.append('x').catch(codeOf), codeOf(await failed))
    told.push(await other.close().catch(codeOf), await wal.close().catch(codeOf))
    const again = await Wal.open(wal.dir)
    await again.append('x')
    await again.close()
    console.log(told.join())`
  const fault = rule('fdatasync', '*.wal', 1, 'EIO')
  const { code, stdout, stderr } = await node(['--input-type=module', '-e', script, path.join(root, 'index.js'), fault], { env: shim.env })
  t.is(stderr, '')
  t.is(String(stdout), `${Array.from({ length: 5 }, () => POISONED).join()}\n`)
  t.is(code, 0)
})
