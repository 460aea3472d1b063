// The directory of an open log is moved, removed or replaced, or its LOCK is, while other processes are at work there.

import { once } from 'node:events'
import { spawn, type ChildProcess } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readFileSync, renameSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import test, { type ExecutionContext } from 'ava'
import { channels, verify, Wal, type DetachedEvent } from '../index.js'
import { node, root } from './helpers/command.js'
import { removeLog, temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, collect, temporaryLog, values } from './helpers/log.js'

const DETACHED = 'ERR_WAL_DETACHED'
const index = path.join(root, 'index.js')
const BIG = 30_000

/** Another process; it answers every message. */
class Other {
  readonly child: ChildProcess

  private constructor(t: ExecutionContext, source: string, ...args: string[]) {
    const stdio = ['ignore', 'inherit', 'inherit', 'ipc'] as const
    this.child = spawn(process.execPath, ['--input-type=module', '-e', source, index, ...args], { stdio: [...stdio] })
    t.teardown(() => this.child.kill('SIGKILL'))
  }

  /** One that holds a log open, and appends eight large values when it is told to: it answers with positions and codes. */
  static async writer(t: ExecutionContext, dir: string): Promise<Other> {
    const other = new Other(
      t,
      `const { Wal } = await import(process.argv[1])
       const wal = await Wal.open(process.argv[2], { segmentBytes: ${SEGMENT_BYTES} })
       await wal.append('old')
       process.on('message', async () => {
         const told = []
         for (let n = 0; n < 8; n++) told.push(await wal.append(Buffer.alloc(${BIG})).catch((error) => error.code))
         const read = []
         for await (const { position } of wal.readFrom('start')) read.push(position)
         const closed = await wal.close().then(() => 'closed', (error) => error.code)
         process.send({ told, read, closed })
       })
       process.send('open')`,
      dir
    )
    await other.answer()
    return other
  }

  /** One that follows a log read-only, and sends what it gets; the code of the error in the end. */
  static follower(t: ExecutionContext, dir: string): Other {
    return new Other(
      t,
      `const { Wal } = await import(process.argv[1])
       const wal = await Wal.open(process.argv[2], { mode: 'readOnly' })
       try {
         for await (const { value } of wal.readFrom('start', { follow: true })) process.send(String(value))
       } catch ({ code }) {
         process.send(code)
       }`,
      dir
    )
  }

  async answer<T = string>(): Promise<T> {
    const [message] = (await once(this.child, 'message')) as [T]
    return message
  }

  append(): Promise<{ told: (number | string)[]; read: number[]; closed: string }> {
    const answer = this.answer<{ told: (number | string)[]; read: number[]; closed: string }>()
    this.child.send('append')
    return answer
  }
}

/** What may happen to a directory, and to which path the log has gone by it. */
const losses: Record<string, (dir: string) => string | undefined> = {
  removed: (dir) => void removeLog(dir),
  moved: (dir) => (renameSync(dir, `${dir}.aside`), `${dir}.aside`),
  'moved with the directory it is in': (dir) => {
    const parent = path.dirname(dir)
    renameSync(parent, `${parent}.aside`)
    return path.join(`${parent}.aside`, path.basename(dir))
  },
}

for (const [what, lose] of Object.entries(losses)) {
  test(`a process whose log's directory was ${what} writes nothing into the log that another process creates at its path`, async (t) => {
    const dir = path.join(temporaryDirectory(t), 'parent', 'log')
    const other = await Other.writer(t, dir)
    const now = lose(dir)
    const wal = await temporaryLog(t, {}, dir)
    for (let n = 0; n < 5; n++) await wal.append(`new ${n}`)
    const { told, read, closed } = await other.append()
    t.deepEqual(told, Array(8).fill(DETACHED))
    t.deepEqual(read, [1], 'what it acknowledged can be read')
    t.is(closed, DETACHED)
    for (let n = 0; n < 8; n++) await wal.append(Buffer.alloc(BIG))
    await wal.close()
    t.deepEqual((await verify(dir)).problems, [])
    const again = await temporaryLog(t, {}, dir)
    t.is((await collect(again.readFrom('start'))).length, 13)
    if (now !== undefined) t.deepEqual(await values((await temporaryLog(t, {}, now)).readFrom('start')), ['old'])
  })
}

const tampering: Record<string, (dir: string) => void> = {
  'LOCK was removed': (dir) => unlinkSync(path.join(dir, 'LOCK')),
  'LOCK was replaced': (dir) => {
    unlinkSync(path.join(dir, 'LOCK'))
    writeFileSync(path.join(dir, 'LOCK'), '')
  },
  'CONTROL was removed': (dir) => unlinkSync(path.join(dir, 'CONTROL')),
}

for (const [what, tamper] of Object.entries(tampering)) {
  test(`no second process can write to a log whose writer is alive although ${what}`, async (t) => {
    const dir = path.join(temporaryDirectory(t), 'log')
    const other = await Other.writer(t, dir)
    tamper(dir)
    await t.throwsAsync(Wal.open(dir), { code: 'ERR_WAL_LOCKED' })
    const { told, closed } = await other.append()
    if (what.startsWith('LOCK')) {
      t.deepEqual(told, [2, 3, 4, 5, 6, 7, 8, 9])
      t.is(readFileSync(path.join(dir, 'LOCK'), 'utf8'), String(other.child.pid), 'it has recreated LOCK')
      t.is(closed, 'closed')
      t.is((await collect((await temporaryLog(t, {}, dir)).readFrom('start'))).length, 9)
    } else {
      t.is(told.at(-1), DETACHED)
      t.is(closed, DETACHED)
    }
  })
}

for (const replaced of [false, true]) {
  test(`a follower in another process ends when its log was moved away${replaced ? ' and a copy of it continues at its path' : ''}`, async (t) => {
    const base = temporaryDirectory(t)
    const dir = path.join(base, 'log')
    const wal = await temporaryLog(t, {}, dir)
    await wal.append('one')
    await wal.backup(path.join(base, 'backup'))
    const follower = Other.follower(t, dir)
    t.is(await follower.answer(), 'one')
    const second = follower.answer()
    await wal.append('two')
    t.is(await second, 'two')
    await wal.close()
    const ended = follower.answer()
    renameSync(dir, path.join(base, 'aside'))
    if (replaced) {
      renameSync(path.join(base, 'backup'), dir)
      const successor = await temporaryLog(t, {}, dir)
      for (const value of ['TWO', 'THREE']) await successor.append(value)
    }
    t.is(await ended, DETACHED)
  })
}

test('two handles of one process on a path that was given another directory are two logs', async (t) => {
  const base = temporaryDirectory(t)
  const dir = path.join(base, 'log')
  const old = await temporaryLog(t, {}, dir)
  await old.append('old')
  removeLog(dir)
  const made = await temporaryLog(t, {}, dir)
  t.is(await made.append('new'), 1)
  await t.throwsAsync(old.append('late'), { code: DETACHED })
  t.deepEqual(await values(made.readFrom('start')), ['new'])
  t.deepEqual(await values(old.readFrom('start')), ['old'])
  await t.throwsAsync(old.close(), { code: DETACHED })
  t.is(await made.append('goes on'), 2)
})

test('a symbolic link that now points elsewhere is the path of another log', async (t) => {
  const base = temporaryDirectory(t)
  const [link, first, second] = ['link', 'first', 'second'].map((name) => path.join(base, name))
  mkdirSync(first)
  mkdirSync(second)
  symlinkSync(first, link)
  const old = await temporaryLog(t, {}, link)
  await old.append('old')
  unlinkSync(link)
  symlinkSync(second, link)
  const made = await temporaryLog(t, {}, link)
  await made.append('new')
  await t.throwsAsync(old.append('late'), { code: DETACHED, message: /another directory has taken its place/ })
  await t.throwsAsync(temporaryLog(t, {}, first), { code: DETACHED, message: /close that handle first/ })
  await old.close().catch(() => {})
  t.deepEqual(await values((await temporaryLog(t, {}, first)).readFrom('start')), ['old'])
})

test('the loss of the directory is an event and a figure, and every later call is rejected with it', async (t) => {
  const wal = await temporaryLog(t, {}, path.join(temporaryDirectory(t), 'log'))
  const events: DetachedEvent[] = []
  const note = (event: unknown) => {
    if ((event as DetachedEvent).dir === wal.dir) events.push(event as DetachedEvent)
  }
  subscribe(channels.detached, note)
  t.teardown(() => unsubscribe(channels.detached, note))
  const cursor = await wal.cursor('worker')
  t.is(await wal.append('acknowledged'), 1)
  removeLog(wal.dir)
  const error = await t.throwsAsync(cursor.commit(1), { code: DETACHED })
  t.true(error?.message.includes(wal.dir) && error.message.includes('was removed'), error?.message)
  for (const call of [
    () => wal.append('late'),
    () => wal.sync(),
    () => wal.truncateBefore(1),
    () => wal.truncateAfter(1),
    () => wal.reset(1),
  ]) {
    await t.throwsAsync(call, { code: DETACHED })
  }
  t.is(wal.nextPosition, 2)
  const { detached, poisoned } = wal.stats()
  t.deepEqual({ detached, poisoned }, { detached: true, poisoned: false })
  await t.throwsAsync(wal.close(), { code: DETACHED })
  t.deepEqual(
    events.map(({ dir, error }) => [dir, error.code]),
    [[wal.dir, DETACHED]]
  )
})

test('a log opened by a relative path keeps working when the process changes its working directory', async (t) => {
  const base = temporaryDirectory(t)
  mkdirSync(path.join(base, 'elsewhere'))
  const script = `
    const { Wal } = await import(process.argv[1])
    const opening = Wal.open('log', { segmentBytes: ${SEGMENT_BYTES} })
    process.chdir('elsewhere')
    const wal = await opening
    for (let n = 0; n < 8; n++) await wal.append(Buffer.alloc(${BIG}))
    const cursor = await wal.cursor('worker')
    await cursor.commit(8)
    await wal.truncateBefore(5)
    let count = 0
    for await (const _ of wal.readFrom('start')) count++
    await wal.backup('copy')
    await wal.close()
    console.log(count)`
  const { stdout, stderr } = await node(['--input-type=module', '-e', script, index], { cwd: base })
  t.is(stderr, '')
  t.is(String(stdout).trim(), '4')
  t.true(existsSync(path.join(base, 'log', 'CONTROL')) && existsSync(path.join(base, 'elsewhere', 'copy', 'CONTROL')))
  t.deepEqual((await verify(path.join(base, 'log'))).problems, [])
})

test('a backup moved to the path of its original can be opened, and the old handle does not touch it', async (t) => {
  const base = temporaryDirectory(t)
  const dir = path.join(base, 'log')
  const old = await temporaryLog(t, {}, dir)
  for (let n = 0; n < 8; n++) await old.append(Buffer.alloc(BIG, n))
  await old.backup(path.join(base, 'backup'))
  renameSync(dir, path.join(base, 'aside'))
  cpSync(path.join(base, 'backup'), dir, { recursive: true })
  const restored = await temporaryLog(t, {}, dir)
  t.is(await restored.append('goes on'), 9)
  await t.throwsAsync(old.append(Buffer.alloc(BIG)), { code: DETACHED })
  await t.throwsAsync(old.reset(1), { code: DETACHED })
  t.is((await collect(old.readFrom('start'))).length, 8)
  await t.throwsAsync(old.close(), { code: DETACHED })
  await restored.close()
  t.deepEqual((await verify(dir)).problems, [])
  t.is((await collect((await temporaryLog(t, {}, dir)).readFrom('start'))).length, 9)
})
