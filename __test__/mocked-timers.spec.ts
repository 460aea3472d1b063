// Test runners replace the timers of the process by fake ones, which stand still. A log goes on all the same.

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'

// Jest and Vitest both have the fake timers of @sinonjs/fake-timers, in versions of their own, and choose what they replace.
const mockers = {
  'mock.timers of node:test': `
    const { mock } = await import('node:test')
    const fake = () => mock.timers.enable()
    const restore = () => mock.timers.reset()`,
  'the fake timers of Jest': `
    const { ModernFakeTimers } = require('@jest/fake-timers')
    const timers = new ModernFakeTimers({ global: globalThis, config: { rootDir: process.cwd(), testMatch: [] } })
    const fake = () => timers.useFakeTimers()
    const restore = () => timers.useRealTimers()`,
  '@sinonjs/fake-timers, everything': `
    const FakeTimers = require('@sinonjs/fake-timers')
    let clock
    const toFake = Object.keys(FakeTimers.timers)
    const fake = () => (clock = FakeTimers.install({ toFake }))
    const restore = () => clock.uninstall()`,
  '@sinonjs/fake-timers, nextTick alone': `
    const FakeTimers = require('@sinonjs/fake-timers')
    let clock
    const fake = () => (clock = FakeTimers.install({ toFake: ['nextTick'] }))
    const restore = () => clock.uninstall()`,
}

// Everything that waits for something.
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
    await cursor.consume(() => {}, { batch: 1000, follow: false }).done
    await cursor.rewind(0)
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

// What Vitest can replace.
const everything = [
  'setTimeout',
  'clearTimeout',
  'setInterval',
  'clearInterval',
  'setImmediate',
  'clearImmediate',
  'Date',
  'performance',
  'nextTick',
  'queueMicrotask',
]

const said = 'followed\nAbortError\n99\n0\n'

for (const [name, mocker] of Object.entries(mockers)) {
  for (const when of ['before', 'after'] as const) {
    test(`${name}: the package is loaded ${when} the timers are replaced`, async (t) => {
      const script = `
        import { createRequire } from 'node:module'
        const require = createRequire(process.argv[1])
        // Where a log waits for a fake one nothing comes to an end.
        setTimeout(() => (console.log('nothing goes on'), process.exit(1)), 60_000).unref()
        ${mocker}
        ${use}
        ${when === 'after' ? 'fake()' : ''}
        const { Wal, verify } = await import(process.argv[1])
        ${when === 'before' ? 'fake()' : ''}
        const isFake = setImmediate(() => {})?.constructor.name !== 'Immediate' || 'clock' in process.nextTick
        console.log(isFake)
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
      ])
      t.is(stdout.toString(), `true\n${said.repeat(2)}`, stderr)
      t.is(code, 0)
    })
  }
}

// Vitest gives its fake timers to the tests that it runs only. It refuses a fake nextTick in its processes, and has it in its threads.
for (const pool of ['forks', 'threads'] as const) {
  for (const when of ['before', 'after'] as const) {
    test(`Vitest, in ${pool}: the package is loaded ${when} the timers are replaced`, async (t) => {
      const dir = temporaryDirectory(t)
      const output = path.join(dir, 'output')
      const what = pool === 'forks' ? '' : `{ toFake: [${everything.map((name) => `'${name}'`).join(', ')}] }`
      const isFake = pool === 'forks' ? '' : `&& 'clock' in process.nextTick && 'clock' in queueMicrotask`
      writeFileSync(
        path.join(dir, 'log.test.mjs'),
        `import { appendFileSync } from 'node:fs'
        const console = { log: (text) => appendFileSync(${JSON.stringify(output)}, text + '\\n') }
        let Wal, verify
        const load = async () => ({ Wal, verify } = await import(${JSON.stringify(pathToFileURL(path.join(root, 'index.js')).href)}))
        ${use}
        test('a log', async () => {
          ${when === 'before' ? 'await load()' : ''}
          vi.useFakeTimers(${what})
          console.log('clock' in setImmediate ${isFake})
          ${when === 'after' ? 'await load()' : ''}
          await use(${JSON.stringify(path.join(dir, 'fake'))})
          vi.useRealTimers()
          await use(${JSON.stringify(path.join(dir, 'restored'))})
        }, 60_000)`
      )
      // As a package is loaded that is installed: by Node itself.
      const config = `{ test: { globals: true, pool: '${pool}', server: { deps: { external: [/./] } } } }`
      writeFileSync(path.join(dir, 'vitest.config.mjs'), `export default ${config}`)
      const { code, stdout, stderr } = await node([path.join(root, 'node_modules', 'vitest', 'vitest.mjs'), 'run'], { cwd: dir })
      t.is(code, 0, `${stdout}${stderr}`)
      t.is(readFileSync(output, 'utf8'), `true\n${said.repeat(2)}`)
    })
  }
}

test('a mocked clock decides what has expired', async (t) => {
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
