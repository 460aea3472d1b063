// A reader is what streams are made of: they give its records, and destroying them releases it.

import { Readable } from 'node:stream'
import { finished, pipeline } from 'node:stream/promises'
import { ReadableStream } from 'node:stream/web'
import test from 'ava'
import type { WalReader, WalRecord } from '../index.js'
import { filledLog, numbered } from './helpers/log.js'

const text = (record: unknown) => String((record as WalRecord).value)

/** How a stream is made of a reader, how its records are read, and how it is given up. */
const streams: { [name: string]: (reader: WalReader) => { records: AsyncIterable<unknown>; giveUp(): Promise<unknown> } } = {
  'Readable.from': (reader) => {
    const stream = Readable.from(reader)
    return { records: stream, giveUp: () => finished(stream.destroy()).catch(() => {}) }
  },
  'Readable.from, destroyed with an error': (reader) => {
    const stream = Readable.from(reader)
    return { records: stream, giveUp: () => finished(stream.destroy(new Error('mine'))).catch(() => {}) }
  },
  'ReadableStream.from': (reader) => {
    const stream = ReadableStream.from(reader) as ReadableStream
    return { records: stream, giveUp: () => stream.cancel() }
  },
  'Readable.toWeb': (reader) => {
    const stream = Readable.toWeb(Readable.from(reader))
    return { records: stream, giveUp: () => stream.cancel() }
  },
}

for (const [name, streamOf] of Object.entries(streams)) {
  test(`${name} gives every record`, async (t) => {
    const wal = await filledLog(t, 500)
    const found: string[] = []
    for await (const record of streamOf(wal.readFrom('start')).records) found.push(text(record))
    t.deepEqual(found, numbered(1, 500))
  })

  test(`${name}: cancelling the stream releases the reader`, async (t) => {
    const wal = await filledLog(t, 500)
    const reader = wal.readFrom('start')
    const { giveUp } = streamOf(reader)
    await giveUp()
    t.true((await reader.next()).done)
  })

  test(`${name}: cancelling the stream while it waits for more releases the reader`, async (t) => {
    const wal = await filledLog(t, 1)
    const reader = wal.readFrom('start', { follow: true })
    const { records, giveUp } = streamOf(reader)
    const iterator = records[Symbol.asyncIterator]()
    t.is(text((await iterator.next()).value), 'value-1')
    if (records instanceof ReadableStream) await iterator.return?.()
    else await giveUp()
    t.true((await reader.next()).done)
  })

  test(`${name}: leaving a loop over the stream releases the reader`, async (t) => {
    const wal = await filledLog(t, 500)
    const reader = wal.readFrom('start')
    for await (const _ of streamOf(reader).records) break
    t.true((await reader.next()).done)
  })
}

test('a failure of the reader is the failure of the stream', async (t) => {
  const wal = await filledLog(t, 1)
  const stream = Readable.from(wal.readFrom(7))
  await t.throwsAsync(
    pipeline(stream, async (records) => {
      for await (const _ of records);
    }),
    { code: 'ERR_WAL_OUT_OF_RANGE' }
  )
})
