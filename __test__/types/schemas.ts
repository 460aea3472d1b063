// Logs whose values are checked by a schema take what the schema takes, and return what it returns.

import { type } from 'arktype'
import * as v from 'valibot'
import { z } from 'zod'
import { Wal, type Codec, type SchemaCodec, type StandardSchema } from '../../index.js'
import { same } from './same.js'

const User = z.object({ v: z.literal(2), first: z.string(), last: z.string() })
type User = z.infer<typeof User>

export async function schemas(): Promise<void> {
  same<Wal<User>>()(await Wal.open('dir', { codec: { schema: User } }))
  same<Wal<User>>()(await Wal.open<User>('dir', { codec: { schema: User, format: 'msgpack', name: 'user', upcast: (stored) => stored } }))
  same<Wal<{ n: number }>>()(await Wal.open('dir', { codec: { schema: v.object({ n: v.number() }) } }))
  same<Wal<{ n: number }>>()(await Wal.open('dir', { codec: { schema: type({ n: 'number' }) } }))
  const wal = await Wal.open('dir', { codec: { schema: User } })
  await wal.append({ v: 2, first: 'Ada', last: 'Lovelace' })
  // @ts-expect-error a field is missing
  await wal.append({ v: 2, first: 'Ada' })
  for await (const record of wal.readFrom('start')) if (!record.tombstone) same<User>()(record.value)
}

export async function transformations(): Promise<void> {
  const schema = z.object({ at: z.string().transform((text) => new Date(text)), retries: z.number().default(3) })
  const wal = await Wal.open('dir', { codec: { schema } })
  same<Wal<{ at: Date; retries: number }, { at: string; retries?: number | undefined }>>()(wal)
  await wal.append({ at: '2000-01-01' })
  for await (const record of wal.readFrom('start')) if (!record.tombstone) same<Date>()(record.value.at)
}

export async function others(
  dates: Codec<Date, string>,
  codec: SchemaCodec<Date, string>,
  schema: StandardSchema<string, Date>
): Promise<void> {
  same<Wal<Date, string>>()(await Wal.open('dir', { codec: dates }))
  same<Wal<Date, string>>()(await Wal.open('dir', { codec }))
  same<Wal<Date, string>>()(await Wal.open('dir', { codec: { schema, format: { encode: (s: string) => s, decode: String } } }))
  // @ts-expect-error a schema is no codec
  await Wal.open('dir', { codec: User })
  // @ts-expect-error a misspelt field
  await Wal.open('dir', { codec: { schema: User, upcst: (stored: unknown) => stored } })
  // @ts-expect-error the schema returns something else
  await Wal.open<Event>('dir', { codec: { schema: User } })
}
