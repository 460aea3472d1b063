// A log as the start of a pipeline.

import { once } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import test from 'ava'
import { Record, Wal, type ReadOptions, type ReadStart, type WalError, type WalRecord } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'
import { fill, filledLog, numbered, SEGMENT_BYTES, temporaryLog, until, values } from './helpers/log.js'

const text = (record: unknown) => String((record as WalRecord).value)

async function texts(stream: Readable): Promise<string[]> {
  const found: string[] = []
  for await (const record of stream) found.push(text(record))
  return found
}

const ranges: [ReadStart | undefined, ReadOptions | undefined, number, number][] = [
  [undefined, undefined, 1, 500],
  ['start', {}, 1, 500],
  ['end', {}, 1, 0],
  [400, undefined, 400, 500],
  [400, { to: 450 }, 400, 450],
  [400, { limit: 7, copy: true }, 400, 406],
]

for (const [start, options, first, last] of ranges) {
  test(`readable(${String(start)}, ${JSON.stringify(options)}) gives what readFrom does, and ends`, async (t) => {
    const wal = await filledLog(t, 500)
    t.deepEqual(await texts(wal.readable(start, options)), numbered(first, last))
    t.is(wal.stats().readers, 0)
  })
}

test('a pipeline copies a log, and transforms it on the way', async (t) => {
  const [from, to] = [await temporaryLog(t), await temporaryLog(t)]
  await from.appendBatch([Record.put('a', '1'), Record.put('b', '2'), Record.delete('a')])
  await pipeline(
    from.readable('start'),
    async function* (records) {
      for await (const record of records as AsyncIterable<WalRecord>) yield { key: record.key, value: `${text(record)}!` }
    },
    to.writable()
  )
  t.deepEqual(await values(to.readFrom('start')), ['1!', '2!', 'undefined!'])
})

test('onDecodeError decides about what the codec cannot decode; by default the stream fails there, after the records before', async (t) => {
  const plain = await temporaryLog(t)
  await plain.appendBatch(['{"n":1}', 'no JSON', '{"n":3}'])
  const wal = await Wal.open<{ n: number }>(plain.dir, { codec: 'json', segmentBytes: SEGMENT_BYTES })
  t.teardown(() => wal.close())
  const numbers = async (stream: Readable, found: number[] = []) => {
    for await (const record of stream) found.push((record as { value: { n: number } }).value.n)
    return found
  }
  const found: number[] = []
  const error = await t.throwsAsync<WalError>(numbers(wal.readable(), found), { code: 'ERR_WAL_CODEC' })
  t.deepEqual([error.position, found], [2, [1]])
  const skipping = wal.readable('start', { onDecodeError: 'skip' })
  t.deepEqual(await numbers(skipping), [1, 3])
  t.is(skipping.undecodable, 1)
  t.deepEqual(await numbers(wal.readable('start', { onDecodeError: () => ({ value: { n: 2 } }) })), [1, 2, 3])
  // Destroying the stream while a function decides ends its reader.
  let decide!: () => void
  let isAsked = false
  const onDecodeError = () => {
    isAsked = true
    return new Promise<'skip'>((resolve) => (decide = () => resolve('skip')))
  }
  const deciding = wal.readable(2, { onDecodeError })
  deciding.resume()
  await until(() => isAsked)
  deciding.destroy()
  decide()
  await once(deciding, 'close')
  t.is(wal.stats().readers, 0)
})

test('a slow consumer holds the stream back: a few records wait in it, and the log is not read to its end', async (t) => {
  const wal = await filledLog(t, 20_000)
  const stream = wal.readable('start')
  t.is(stream.readableHighWaterMark, 16)
  await once(stream, 'readable')
  t.is((stream.read() as WalRecord).position, 1)
  // Whatever the stream would still do by itself has been done when a follower has read the whole log.
  for await (const _ of wal.readFrom('start'));
  t.true(stream.readableLength <= 17, `${stream.readableLength}`)
  stream.destroy()
})

test('flowing, paused and resumed streams give every record once, in order', async (t) => {
  const wal = await filledLog(t, 3000)
  const stream = wal.readable('start')
  const found: string[] = []
  stream.on('data', (record) => {
    found.push(text(record))
    if (found.length % 100 !== 0) return
    stream.pause()
    setImmediate(() => stream.resume())
  })
  await finished(stream)
  t.deepEqual(found, numbered(1, 3000))
})

test('a consumer that reads inside the events of the stream gets every record once', async (t) => {
  const wal = await filledLog(t, 1000)
  const stream = wal.readable('start')
  const found: string[] = []
  stream.on('readable', () => {
    for (let record; (record = stream.read()) !== null;) found.push(text(record))
  })
  await finished(stream)
  t.deepEqual(found, numbered(1, 1000))
})

const endings: { [name: string]: (stream: Readable) => unknown } = {
  'destroying it': (stream) => stream.destroy(),
  'destroying it with an error': (stream) => stream.destroy(new Error('mine')),
  'leaving a loop over it': async (stream) => {
    for await (const _ of stream) break
  },
}

for (const [name, end] of Object.entries(endings)) {
  test(`${name} closes the reader`, async (t) => {
    const wal = await filledLog(t, 500)
    const stream = wal.readable('start', { follow: true })
    stream.on('error', () => {})
    t.is(wal.stats().readers, 1)
    await end(stream)
    t.is(wal.stats().readers, 0)
  })
}

test('destroying a stream that waits for more closes the reader', async (t) => {
  const wal = await filledLog(t, 3)
  const stream = wal.readable('start', { follow: true })
  const found: string[] = []
  stream.on('data', (record) => found.push(text(record)))
  await until(() => found.length === 3)
  await wal.append('value-4')
  await until(() => found.length === 4)
  stream.destroy()
  await once(stream, 'close')
  t.is(wal.stats().readers, 0)
  t.deepEqual(found, numbered(1, 4))
})

test('a listener that destroys the stream gets no more records', async (t) => {
  const wal = await filledLog(t, 500)
  const stream = wal.readable('start')
  const found: string[] = []
  stream.on('data', (record) => found.push(text(record)) === 5 && stream.destroy())
  await once(stream, 'close')
  t.deepEqual(found, numbered(1, 5))
})

test('a failing destination closes the reader', async (t) => {
  const wal = await filledLog(t, 500)
  const broken = new Writable({ objectMode: true, write: (_chunk, _encoding, callback) => callback(new Error('broken')) })
  await t.throwsAsync(pipeline(wal.readable('start'), broken), { message: 'broken' })
  t.is(wal.stats().readers, 0)
})

test('a failure of the reader destroys the stream with it', async (t) => {
  const wal = await filledLog(t, 3)
  await t.throwsAsync(texts(wal.readable(7)), { code: 'ERR_WAL_OUT_OF_RANGE' })
  await wal.truncateBefore(3)
  await t.throwsAsync(texts(wal.readable(1)), { code: 'ERR_WAL_TRUNCATED' })
  const stream = wal.readable('start', { follow: true })
  const reading = t.throwsAsync(texts(stream), { code: 'ERR_WAL_CLOSED' })
  await wal.close()
  await reading
  t.true(stream.destroyed)
  await t.throwsAsync(texts(wal.readable('start')), { code: 'ERR_WAL_CLOSED' })
})

test('an aborted signal destroys the stream with an AbortError and closes the reader, before, while and without reading', async (t) => {
  const wal = await filledLog(t, 3)
  const controller = new AbortController()
  const { signal } = controller
  const aborted = { name: 'AbortError', code: 'ABORT_ERR' } as never
  const [waiting, idle] = [wal.readable('start', { follow: true, signal }), wal.readable('start', { signal })]
  const seen = t.throwsAsync(texts(waiting), aborted)
  const failed = once(idle, 'error')
  controller.abort()
  await seen
  t.like((await failed)[0], aborted)
  await t.throwsAsync(texts(wal.readable('start', { signal })), aborted)
  t.is(wal.stats().readers, 0)
})

test('readable refuses bad arguments at the call', async (t) => {
  const wal = await filledLog(t, 1)
  for (const [start, options] of [[0], [null], ['middle'], [1, { nope: 1 }], [1, { signal: {} }], [1, null]]) {
    t.throws(() => wal.readable(start as never, options as never), { code: 'ERR_WAL_INVALID_ARG' })
  }
  t.is(wal.stats().readers, 0)
})

test('a stream reports the holes that its reader has passed over', async (t) => {
  const wal = await Wal.open(temporaryDirectory(t))
  t.teardown(() => wal.close())
  await fill(wal, 1)
  t.deepEqual(wal.readable('start').destroy().holes, [])
})
