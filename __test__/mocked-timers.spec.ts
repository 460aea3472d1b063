// Test runners replace the timers of the process by fake ones, which stand still. A log goes on all the same.
//
// Jest and Vitest both have the fake timers of @sinonjs/fake-timers, and replace a part of what is replaced here.

import path from 'node:path'
import test from 'ava'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'

const mockers = {
  'mock.timers of node:test': `
    const { mock } = await import('node:test')
    const fake = () => mock.timers.enable()
    const restore = () => mock.timers.reset()`,
  '@sinonjs/fake-timers, everything': `
    const FakeTimers = (await import(process.argv[3])).default
    let clock
    const toFake = Object.keys(FakeTimers.timers)
    const fake = () => (clock = FakeTimers.install({ toFake }))
    const restore = () => clock.uninstall()`,
  '@sinonjs/fake-timers, without nextTick and queueMicrotask, as Vitest has it': `
    const FakeTimers = (await import(process.argv[3])).default
    let clock
    const toFake = Object.keys(FakeTimers.timers).filter((name) => !['nextTick', 'queueMicrotask'].includes(name))
    const fake = () => (clock = FakeTimers.install({ toFake }))
    const restore = () => clock.uninstall()`,
  '@sinonjs/fake-timers, nextTick alone': `
    const FakeTimers = (await import(process.argv[3])).default
    let clock
    const fake = () => (clock = FakeTimers.install({ toFake: ['nextTick'] }))
    const restore = () => clock.uninstall()`,
}

// Everything that waits for something. Without a timer that works, the process ends where a promise is never resolved.
const use = `
  async function use(dir) {
    const wal = await Wal.open(dir, { segmentBytes: 1 << 16 })
    await wal.append('one')
    await Promise.all(Array.from({ length: 3000 }, () => wal.append('more')))
    await wal.appendBatch(['two', 'three'])
    for (let n = 0; n < 3000; n++) wal.enqueue('x'.repeat(100))
    await wal.drain()
    await wal.sync()
    const stop = new AbortController()
    const reader = wal.readFrom('end', { follow: true, signal: stop.signal })
    const next = reader.next()
    await wal.append('followed')
    const { value } = await next
    console.log(String(value.value))
    stop.abort()
    await reader.next().catch(({ name }) => console.log(name))
    const cursor = await wal.cursor('cursor')
    const moved = new Promise((resolve) => cursor.on('truncated', resolve))
    await wal.truncateBefore(100)
    console.log((await moved).to)
    await wal.scrub({ bytesPerSecond: 1 << 30 })
    await wal.backup(dir + '-copy')
    const tracked = await Wal.open(dir, { segmentBytes: 1 << 16, captureStacks: true })
    await tracked.append('again', { signal: new AbortController().signal })
    await tracked.close()
    await wal.close()
    const { problems } = await verify(dir)
    console.log(problems.length)
  }`

const said = 'followed\nAbortError\n99\n0\n'

for (const [name, mocker] of Object.entries(mockers)) {
  for (const when of ['before', 'after'] as const) {
    test(`${name}: the package is loaded ${when} the timers are replaced`, async (t) => {
      const script = `
        ${mocker}
        ${use}
        ${when === 'after' ? 'fake()' : ''}
        const { Wal, verify } = await import(process.argv[1])
        ${when === 'before' ? 'fake()' : ''}
        await use(process.argv[2] + '/fake')
        restore()
        await use(process.argv[2] + '/restored')`
      const { code, stdout, stderr } = await node([
        '--no-warnings',
        '--input-type=module',
        '-e',
        script,
        path.join(root, 'index.js'),
        temporaryDirectory(t),
        path.join(root, 'node_modules', '@sinonjs', 'fake-timers', 'src', 'fake-timers-src.js'),
      ])
      t.is(stdout.toString(), said.repeat(2), stderr)
      t.is(code, 0)
    })
  }
}

test('the clock of a test decides what has expired', async (t) => {
  const script = `
    const { Wal, Record } = await import(process.argv[1])
    const { mock } = await import('node:test')
    const wal = await Wal.open(process.argv[2])
    mock.timers.enable({ apis: ['Date'], now: 1_000_000 })
    await wal.append(Record.put('k', 'v', { ttlMs: 1000 }))
    const live = async () => (await wal.readFrom('start', { skipExpired: true }).next()).done !== true
    const before = await live()
    mock.timers.tick(1000)
    console.log(before, await live(), (await wal.readFrom('start').next()).value.expiresAt)
    await wal.close()`
  const { stdout } = await node(['--no-warnings', '--input-type=module', '-e', script, path.join(root, 'index.js'), temporaryDirectory(t)])
  t.is(stdout.toString(), 'true false 1001000\n')
})
