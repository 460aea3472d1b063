// Types of values, held to by the compiler alone: `npm run typecheck`.

import { Record, Wal, type Codec, type MadeRecord, type WalReader, type WalRecord, type WalWritable } from '../../index.js'
import { same } from './same.js'

interface Event {
  type: 'created' | 'deleted'
  id: number
}

export async function withoutCodec(): Promise<void> {
  const wal = await Wal.open('dir', { fsync: 'os' })
  same<Wal>()(wal)
  await wal.append('text')
  await wal.append(new Uint8Array(1))
  await wal.append({ key: 'k', value: 'v', ttlMs: 5 })
  await wal.append(Record.put('k', Buffer.from('v')))
  await wal.append(Record.delete('k'))
  await wal.appendBatch(['text', new Uint8Array(1), Record.put('k', 'v'), { value: 'v' }])
  // @ts-expect-error a number is no bytes
  await wal.append(7)
  // @ts-expect-error nor is an object
  await wal.append({ type: 'created', id: 1 })
  // @ts-expect-error a record of values needs a codec
  await wal.append(Record.put('k', { id: 1 }))
  // @ts-expect-error in a batch too
  await wal.appendBatch(['text', 7])
  // @ts-expect-error a record is not a list of them
  await wal.appendBatch({ value: 'v' })
  // @ts-expect-error and for enqueue
  wal.enqueue(7)
  // @ts-expect-error a field that no record has
  await wal.append({ valeu: 'x' })
  const reader = wal.readFrom('start')
  same<WalReader>()(reader)
  for await (const record of reader) {
    same<WalRecord>()(record)
    same<Buffer | undefined>()(record.value)
    same<Buffer | undefined>()(record.key)
  }
  for await (const records of reader.batches()) same<WalRecord[]>()(records)
}

export async function withACodecOfJson(): Promise<void> {
  const wal = await Wal.open<Event>('dir', { codec: 'json' })
  same<Wal<Event>>()(wal)
  await wal.append({ type: 'created', id: 1 })
  await wal.append(Record.put('k', { type: 'created', id: 1 }))
  await wal.append(Record.delete('k'), { durable: true, signal: AbortSignal.timeout(1) })
  await wal.appendBatch([{ type: 'created', id: 1 }, Record.put('k', { type: 'deleted', id: 1 }), Record.delete('k')])
  // @ts-expect-error no such type
  await wal.append({ type: 'changed', id: 1 })
  // @ts-expect-error no such type
  await wal.append(Record.put('k', { type: 'changed', id: 1 }))
  // @ts-expect-error bytes are no event
  await wal.append('text')
  // @ts-expect-error a plain object is a value, not a record
  await wal.append({ key: 'k', value: { type: 'created', id: 1 } })
  // @ts-expect-error what looks like one is not made by Record
  const made: MadeRecord<Event> = {
    key: 'k',
    value: { type: 'created', id: 1 },
    tombstone: false,
    expiresAt: undefined,
    version: undefined,
  }
  await wal.append(made)
  for await (const { value, key, toJSON } of wal.readFrom('start')) {
    same<Event | undefined>()(value)
    same<Buffer | undefined>()(key)
    same<Event | undefined>()(toJSON().value)
  }
  for await (const [record] of wal.readFrom('start').batches()) same<WalRecord<Event>>()(record)
  same<WalWritable>()(wal.writable({ maxPendingBytes: 1 }))
}

export async function otherCodecs(): Promise<void> {
  const unknowns = await Wal.open('dir', { codec: 'msgpack' })
  same<Wal<unknown>>()(unknowns)
  await unknowns.append(7)
  for await (const { value } of unknowns.readFrom('start')) same<unknown>()(value)

  const dates: Codec<Date> = { name: 'dates', encode: (date) => date.toISOString(), decode: (bytes) => new Date(String(bytes)) }
  const dated = await Wal.open('dir', { codec: dates })
  same<Wal<Date>>()(dated)
  await dated.append(new Date())
  // @ts-expect-error a number is no date
  await dated.append(7)

  // A codec of strings gives strings, not buffers.
  const texts = await Wal.open('dir', { codec: { encode: (text: string) => text, decode: (bytes: Buffer) => bytes.toString() } })
  await texts.append('text')
  for await (const { value } of texts.readFrom('start')) same<string | undefined>()(value)

  // @ts-expect-error it decodes something else than it encodes
  await Wal.open<Date>('dir', { codec: { encode: String, decode: (bytes: Buffer) => bytes.length } })
  // @ts-expect-error no such codec
  await Wal.open('dir', { codec: 'yaml' })
  // @ts-expect-error values need a codec
  await Wal.open<Event>('dir', { fsync: 'os' })
}

/** Takes any log at all. */
const positionOf = (wal: Wal<unknown>): number => wal.nextPosition

export async function logsOfWhatever<T extends object>(value: T, plain: Wal, typed: Wal<Event>): Promise<void> {
  positionOf(plain)
  positionOf(typed)
  const unknowns = await Wal.open('dir', { codec: 'json' })
  // @ts-expect-error a log of anything is no log of events
  const events: Wal<Event> = unknowns
  positionOf(events)
  const wal = await Wal.open<T>('dir', { codec: 'json' })
  positionOf(wal)
  await wal.append(value)
  await wal.appendBatch([value, Record.put('k', value)])
  wal.enqueue(value)
  for await (const record of wal.readFrom('start')) same<T | undefined>()(record.value)
}

export async function whatIsNoBytes(wal: Wal): Promise<void> {
  // @ts-expect-error a DataView is no Uint8Array
  await wal.append(new DataView(new ArrayBuffer(1)))
  // @ts-expect-error nor is a buffer without one
  await wal.append(new ArrayBuffer(1))
  // @ts-expect-error nor are wider numbers
  await wal.append(new Uint16Array(1))
  // @ts-expect-error in a field likewise
  await wal.append({ value: new DataView(new ArrayBuffer(1)) })
  // @ts-expect-error in a key likewise
  Record.put(new ArrayBuffer(1), 'v')
}
