// Code that is generic in the values of a log is written without casts.

import {
  checkpoint,
  Record,
  restore,
  Wal,
  type Cursor,
  type DeadLetter,
  type DecodeErrorAction,
  type Handler,
  type ReadOptions,
  type WalOptions,
  type WalReadable,
  type WalReader,
  type WalRecord,
} from '../../index.js'
import { same } from './same.js'

type Event = { type: 'a' } | { type: 'b'; n: number }

/** A wrapper as programs write it. */
class Store<T> {
  constructor(
    readonly wal: Wal<T>,
    readonly cursor: Cursor<T>
  ) {}

  async add(value: T): Promise<number> {
    this.wal.enqueue(value)
    await this.wal.appendBatch([value, Record.put('k', value), Record.delete('k')])
    return this.wal.append(value, { durable: true })
  }

  async *values(options?: ReadOptions<T>): AsyncGenerator<T> {
    for await (const record of this.wal.readFrom('start', options)) if (!record.tombstone) yield record.value
    for await (const { tombstone, value } of this.cursor.read({ ...options, onDecodeError: 'skip' })) if (!tombstone) yield value
    for await (const records of this.reader().batches()) for (const record of records) yield* this.valueOf(record)
  }

  reader(): WalReader<T> {
    return this.wal.readFrom(1)
  }

  async newest(): Promise<WalRecord<T> | undefined> {
    const [newest] = await this.wal.last(1)
    return newest ?? (await this.wal.get(1))
  }

  stream(options?: ReadOptions<T>): WalReadable<T> {
    return this.wal.readable('start', options)
  }

  async consume(handler: Handler<T>, dead: Wal<T>): Promise<void> {
    await this.cursor.consume(handler, { deadLetter: dead }).done
    await this.cursor.consume(async (records) => void this.valueOf(records[0]), { batch: 2 }).done
  }

  async store(state: string): Promise<void> {
    await checkpoint(this.wal, 'file', { position: this.wal.nextPosition - 1, state })
    await restore('file', { wal: this.wal })
  }

  *valueOf(record: WalRecord<T>): Generator<T> {
    if (record.tombstone) same<undefined>()(record.value)
    else yield record.value
  }
}

const anyLog = (wal: Wal<unknown>): number => wal.nextPosition
const logOf = <T>(wal: Wal<T>): Wal<T> => wal
const logOfTwo = <T, In>(wal: Wal<T, In>): Wal<T, In> => wal
const positions = (wal: Pick<Wal, 'nextPosition' | 'stats'>): number => wal.nextPosition

export async function logs(plain: Wal, typed: Wal<Event>, unlike: Wal<Date, string>): Promise<void> {
  for (const wal of [plain, typed, unlike]) {
    anyLog(wal)
    positions(wal)
  }
  for (const wal of [plain, typed, unlike]) await checkpoint(wal, 'file', { position: 1, state: '' })
  await restore('file', { wal: unlike })
  same<Wal>()(logOf(plain))
  same<Wal<Event>>()(logOf(typed))
  same<Wal<Date, string>>()(logOfTwo(unlike))
  new Store(typed, await typed.cursor('c'))
  const records: WalReader<unknown> = typed.readFrom('start')
  const cursor: Cursor<unknown> = await typed.cursor('c')
  cursor.read()
  same<number>()(records.position)
  // @ts-expect-error a log that returns more is no log of events
  const narrow: Wal<{ type: 'a' }> = typed
  anyLog(narrow)
  const unknowns = await Wal.open('dir', { codec: 'json' })
  // @ts-expect-error a log of unknown values is no log of events
  new Store<Event>(unknowns, await typed.cursor('c'))
  // The type of the values may be inferred from where the log goes.
  new Store<Event>(await Wal.open('dir', { codec: 'json' }), await typed.cursor('c'))
}

/** Values of type `any` stay so. */
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export async function anything(wal: Wal<any>): Promise<void> {
  for await (const { value } of wal.readFrom('start')) same<unknown>()(value.whatever as unknown)
  for await (const { value } of (await wal.cursor('c')).read()) same<unknown>()(value.whatever as unknown)
  for (const { value } of await wal.last(1)) same<unknown>()(value.whatever as unknown)
  same<unknown>()((await wal.get(1))?.value.whatever as unknown)
  const consumer = (await wal.cursor('c')).consume(({ value }) => void value.whatever)
  await consumer.stop()
  await checkpoint(wal, 'file', { position: 1, state: '' })
}

/** Single records and streams have the type of the log. */
export async function points(plain: Wal, typed: Wal<Event>, unlike: Wal<Date, string>): Promise<void> {
  same<WalRecord | undefined>()(await plain.get(1))
  same<WalRecord[]>()(await plain.last(1))
  same<WalReadable>()(plain.readable())
  same<WalRecord<Event> | undefined>()(await typed.get(1))
  same<WalRecord<Event>[]>()(await typed.last(1))
  same<WalReadable<Event>>()(typed.readable('start', { onDecodeError: () => ({ value: { type: 'a' } }) }))
  same<WalRecord<Date>[]>()(await unlike.last(1))
  // @ts-expect-error a single record that cannot be decoded rejects
  await typed.get(1, { onDecodeError: 'skip' })
  // @ts-expect-error no such value
  typed.readable('start', { onDecodeError: () => ({ value: { type: 'c' } }) })
}

/** A dead letter may be what is stored. */
export async function letters(typed: Wal<Event>, cursor: Cursor<Event>): Promise<void> {
  await cursor.consume(() => {}, { deadLetter: typed }).done
  cursor.consume(() => {}, {
    deadLetter(record, dead) {
      same<DeadLetter>()(dead)
      same<boolean>()(dead.undecodable)
      same<Event | Buffer | undefined>()(record.value)
    },
  })
}

export async function narrowing(typed: WalRecord<Event>, plain: WalRecord): Promise<void> {
  same<Event | undefined>()(typed.value)
  if (typed.tombstone) same<undefined>()(typed.value)
  else same<Event>()(typed.value)
  // A log without a codec may have records with only a key.
  if (!plain.tombstone) same<Buffer | undefined>()(plain.value)
}

/** Options that are put together: whether there is a codec may be known only when the program runs. */
export async function composed(isJson: boolean, typed: Wal<Event>): Promise<void> {
  const either = await Wal.open('dir', isJson ? { codec: 'json' } : {})
  same<Wal | Wal<unknown>>()(either)
  anyLog(either)
  const options: WalOptions = { fsync: 'always' }
  same<Wal<Event>>()(await Wal.open<Event>('dir', { ...options, codec: 'json' }))
  const read: ReadOptions = { onDecodeError: 'skip', limit: 3 }
  typed.readFrom('start', read)
  typed.readFrom('start', { onDecodeError: (_error, record) => (record.value === undefined ? 'throw' : { value: { type: 'a' } }) })
  typed.readFrom('start', { onDecodeError: async (): Promise<DecodeErrorAction<Event>> => ({ value: { type: 'b', n: 1 } }) })
  // @ts-expect-error no such value
  typed.readFrom('start', { onDecodeError: () => ({ value: { type: 'c' } }) })
  // @ts-expect-error a decision is needed
  typed.readFrom('start', { onDecodeError: () => console.error() })
  // @ts-expect-error no such policy
  typed.readFrom('start', { onDecodeError: 'ignore' })
}

export async function appending(typed: Wal<Event>, plain: Wal, unlike: Wal<Date, string>): Promise<void> {
  await typed.append(Record.put('k', { type: 'a' }))
  await unlike.append('2000-01-01')
  for await (const record of unlike.readFrom('start')) if (!record.tombstone) same<Date>()(record.value)
  // @ts-expect-error what is read is not what is appended
  await unlike.append(new Date())
  // @ts-expect-error no such type
  await typed.append(Record.put('k', { type: 'c' }))
  // @ts-expect-error there may be nothing to append
  await plain.append(new Map<string, string>().get('k'))
}
