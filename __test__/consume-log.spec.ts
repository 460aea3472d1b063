// A consumer whose log or cursor is closed, truncated, deleted, damaged or on a bad disk: it stops with a typed error or goes on.

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { WalError, type Cursor, type Wal, type WalRecord } from '../index.js'
import { range, rest, restPositions } from './helpers/consumed.js'
import { node, root } from './helpers/command.js'
import { segments } from './helpers/directory.js'
import { Shim, rule } from './helpers/faults/shim.js'
import { filledLog, temporaryLog, until } from './helpers/log.js'
import { has } from './helpers/needs.js'

/** A handler that holds the record at a position until it is let go. */
function holding(at: number) {
  const held = { given: [] as number[], letGo: () => {}, isHolding: false }
  const handler = async ({ position }: WalRecord) => {
    held.given.push(position)
    if (position !== at) return
    held.isHolding = true
    await new Promise<void>((resolve) => (held.letGo = resolve))
  }
  return { held, handler }
}

test('a log that its handler closes ends the consumer, and what was not committed is delivered again', async (t) => {
  let wal = await filledLog(t, 5)
  const given: number[] = []
  const consumer = (await wal.cursor('a')).consume(async ({ position }) => {
    given.push(position)
    if (position === 3) await wal.close()
  })
  await t.throwsAsync(consumer.done, { code: 'ERR_WAL_CLOSED' })
  t.deepEqual(given, [1, 2, 3])
  wal = await temporaryLog(t, {}, wal.dir)
  const again = await restPositions(await wal.cursor('a'))
  t.true(again[0] <= 4)
  t.deepEqual(again, range(again[0], 5))
})

test('a consumer that waits for records ends when its log is closed', async (t) => {
  const wal = await filledLog(t, 1)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(() => {})
  const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_CLOSED' })
  await until(() => cursor.position === 1)
  await wal.close()
  await failed
})

test('a cursor that is deleted ends its consumer, whoever deletes it', async (t) => {
  const wal = await filledLog(t, 5)
  const other = await temporaryLog(t, {}, wal.dir)
  for (const who of ['handler', 'this handle', 'other handle']) {
    const cursor = await wal.cursor('a')
    const given: number[] = []
    const consumer = cursor.consume(async ({ position }) => {
      given.push(position)
      if (who === 'handler' && position === 2) await cursor.delete()
    })
    const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_NOT_FOUND', message: /"a"/ }, who)
    if (who !== 'handler') {
      await until(() => given.length === 5)
      await (who === 'this handle' ? cursor : await other.cursor('a')).delete()
    }
    await failed
    t.is(given.length, who === 'handler' ? 2 : 5)
    t.throws(() => cursor.consume(() => {}), { code: 'ERR_WAL_NOT_FOUND' })
    t.deepEqual(await restPositions(await wal.cursor('a')), range(1, 5), 'a new cursor of that name')
    await (await wal.cursor('a')).delete()
  }
})

test('records that truncateBefore removes before they are taken stop the consumer', async (t) => {
  const wal = await temporaryLog(t)
  // More than a reader reads ahead.
  for (let n = 1; n <= 1000; n++) wal.enqueue('x'.repeat(10_000))
  await wal.sync()
  const { held, handler } = holding(3)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(handler)
  await until(() => held.isHolding)
  await wal.truncateBefore(990)
  held.letGo()
  const error = await t.throwsAsync<WalError>(consumer.done, { code: 'ERR_WAL_TRUNCATED' })
  t.is(error.firstPosition, 990)
  t.is(cursor.position, 989)
  t.deepEqual(held.given, range(1, held.given.length))
  t.true(held.given.length < 989)
  t.is((await rest(cursor)).length, 11)
})

test('truncateBefore behind the consumer leaves it alone', async (t) => {
  const wal = await filledLog(t, 20)
  const { held, handler } = holding(10)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(handler, { follow: false })
  await until(() => held.isHolding)
  await wal.truncateBefore(10)
  held.letGo()
  await consumer.done
  t.deepEqual([held.given, cursor.position], [range(1, 20), 20])
})

test('truncateAfter that removes what the consumer has in hand stops it, and the records that are there now are delivered', async (t) => {
  const wal = await filledLog(t, 10)
  const { held, handler } = holding(8)
  const cursor = await wal.cursor('a')
  const consumer = cursor.consume(handler)
  await until(() => held.isHolding)
  await wal.truncateAfter(5)
  for (let n = 6; n <= 10; n++) await wal.append(`new ${n}`)
  const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_TRUNCATED' })
  held.letGo()
  await failed
  t.true(cursor.position <= 5)
  const again = await rest(cursor)
  t.deepEqual(
    again.slice(-5),
    range(6, 10).map((n) => `new ${n}`)
  )
  t.is(again.length, 10 - (again[0].startsWith('value') ? Number(again[0].slice(6)) - 1 : 5))
})

test('truncateAfter that the consumer has not reached leaves it alone', async (t) => {
  const wal = await filledLog(t, 10)
  const { held, handler } = holding(3)
  const cursor = await wal.cursor('a')
  const texts: string[] = []
  const consumer = cursor.consume(async (record) => {
    texts.push(String(record.value))
    await handler(record)
  })
  await until(() => held.isHolding)
  await wal.truncateAfter(5)
  for (let n = 6; n <= 10; n++) await wal.append(`new ${n}`)
  held.letGo()
  await until(() => cursor.position === 10)
  t.deepEqual(texts, [...range(1, 5).map((n) => `value-${n}`), ...range(6, 10).map((n) => `new ${n}`)])
  await consumer.stop()
})

test('a reset stops the consumer, forwards and back', async (t) => {
  for (const to of [3, 100]) {
    const wal = await filledLog(t, 10)
    const cursor = await wal.cursor('a')
    const consumer = cursor.consume(() => {})
    await until(() => cursor.position === 10)
    const failed = t.throwsAsync(consumer.done, { code: 'ERR_WAL_TRUNCATED' })
    await wal.reset(to)
    await failed
    await wal.append('after')
    t.deepEqual([cursor.position, await rest(cursor)], [to - 1, ['after']])
  }
})

test('a record that is tried again for ever is left when its log is closed, its cursor is deleted or it is truncated', async (t) => {
  const ends: { [code: string]: (wal: Wal, cursor: Cursor) => unknown } = {
    ERR_WAL_CLOSED: (wal) => wal.close(),
    ERR_WAL_NOT_FOUND: (_, cursor) => cursor.delete(),
    ERR_WAL_TRUNCATED: (wal) => wal.reset(100),
  }
  for (const [code, end] of Object.entries(ends)) {
    const wal = await filledLog(t, 5)
    const cursor = await wal.cursor('a')
    const consumer = cursor.consume(() => Promise.reject(new Error('no')), { retries: Infinity, backoff: { minMs: 1, maxMs: 1 } })
    const failed = t.throwsAsync(consumer.done, { code })
    await until(() => consumer.stats().retries > 0)
    await end(wal, cursor)
    await failed
  }
})

test('closing the log, or deleting the cursor, ends the wait for the next attempt', async (t) => {
  for (const end of ['close', 'delete']) {
    const wal = await filledLog(t, 5)
    const cursor = await wal.cursor('a')
    const consumer = cursor.consume(() => Promise.reject(new Error('no')), { backoff: () => Infinity })
    const failed = t.throwsAsync(consumer.done, { code: end === 'close' ? 'ERR_WAL_CLOSED' : 'ERR_WAL_NOT_FOUND' })
    await until(() => consumer.stats().waiting === 1)
    await (end === 'close' ? wal.close() : cursor.delete())
    await failed
  }
})

test('damage stops the consumer after the records before it, which are committed', async (t) => {
  let wal = await temporaryLog(t)
  for (let n = 1; n <= 50; n++) await wal.append(`${n} `.padEnd(5000, 'x'))
  await wal.close()
  const file = path.join(wal.dir, segments(wal.dir)[1])
  const bytes = readFileSync(file)
  bytes[bytes.indexOf('20 xxx')] ^= 1
  writeFileSync(file, bytes)
  wal = await temporaryLog(t, {}, wal.dir)
  const cursor = await wal.cursor('a')
  const given: number[] = []
  const consumer = cursor.consume(({ position }) => void given.push(position))
  await t.throwsAsync(consumer.done, { code: 'ERR_WAL_CORRUPT' })
  t.deepEqual([given, cursor.position], [range(1, 19), 19])
})

/** Consumes ten records in a process of its own in which the n-th such call on the cursors' file fails, and prints how that ended. */
async function withFault(t: ExecutionContext, rules: string): Promise<string[]> {
  const shim = new Shim(t)
  const script = `
    import { writeFileSync } from 'node:fs'
    const { Wal } = await import(process.argv[1] + '/index.js')
    const wal = await Wal.open(process.env.FORELOG_FAULT_DIR)
    const cursor = await wal.cursor('a')
    writeFileSync(process.env.FORELOG_FAULT_RULES, process.argv[2])
    await wal.appendBatch(Array.from({ length: 10 }, () => 'x'))
    const consumer = cursor.consume(() => {})
    const failed = consumer.done.then(() => 'stopped', ({ code }) => code)
    const committed = (async () => {
      while (cursor.position < 10) await new Promise((again) => setTimeout(again, 5))
      return 'committed'
    })()
    console.log(await Promise.race([failed, committed]))
    console.log(await consumer.stop().then(() => 'stopped', ({ code }) => code), cursor.position)
    process.exit()`
  const { stdout, stderr } = await node(['--input-type=module', '-e', script, root, rules], { env: shim.env })
  t.is(stderr, '')
  t.true(shim.fired().length > 0, 'the fault fired')
  return stdout.toString().trim().split('\n')
}

test('a commit for which the disk has no space is made later, and one whose fsync fails stops the consumer', async (t) => {
  if (!has(t, 'preload')) return
  t.deepEqual(await withFault(t, rule('pwrite64', 'CURSORS', 1, 'ENOSPC')), ['committed', 'stopped 10'])
  t.deepEqual(await withFault(t, rule('fdatasync', 'CURSORS', 1, 'EIO')), ['ERR_WAL_POISONED', 'ERR_WAL_POISONED 0'])
})
