// Records on their way in.

import { types } from 'node:util'
import { invalid } from './errors.js'

/** Where a record stands in a replicated log. Stored as it is; nothing is made of it. */
export interface RecordVersion {
  /** Of its leader: a safe non-negative integer. */
  term: number
  /** In the replicated log: a safe non-negative integer. */
  index: number
}

/** A record to append to a log without a codec. Strings are stored as UTF-8. It has a key, a value or both; a tombstone has no value. */
export interface RecordInit {
  /** What the value is for. Any bytes, empty ones too. */
  key?: string | Uint8Array
  /** Any bytes, empty ones too. */
  value?: string | Uint8Array
  /** Says that what the key stood for is gone. Not together with `value`. Default `false`. */
  tombstone?: boolean
  /** Expires so many milliseconds after the record was made, from 0. Not together with `expiresAt`. */
  ttlMs?: number
  /** When it expires, in milliseconds since 1970, from 0. */
  expiresAt?: number
  /** Where it stands in a replicated log. */
  version?: RecordVersion
}

/** What `Record.put` and `Record.delete` take besides key and value. */
export type RecordOptions = Pick<RecordInit, 'ttlMs' | 'expiresAt' | 'version'>

export type Bytes = string | Uint8Array

declare const made: unique symbol

/** A record that {@link Record} made, with a value of this type. */
export interface MadeRecord<V = string | Uint8Array> {
  /** For the type alone: no other object is one, whatever its fields. */
  readonly [made]: true
  /** What the value is for. */
  readonly key: string | Uint8Array | undefined
  /** As it was given; absent in a tombstone. */
  readonly value: V | undefined
  /** `Record.delete` made it: what the key stood for is gone. */
  readonly tombstone: boolean
  /** When it expires, in milliseconds since 1970; a `ttlMs` was turned into this when the record was made. */
  readonly expiresAt: number | undefined
  /** Where it stands in a replicated log, if that was given. */
  readonly version: RecordVersion | undefined
}

/** A record whose fields have been checked: appending it does not check them again. */
export class Entry implements MadeRecord {
  declare readonly [made]: true
  readonly key: Bytes | undefined
  readonly value: Bytes | undefined
  readonly tombstone: boolean
  readonly expiresAt: number | undefined
  readonly version: RecordVersion | undefined

  constructor(
    key: Bytes | undefined,
    value: Bytes | undefined,
    tombstone: boolean,
    expiresAt: number | undefined,
    version: RecordVersion | undefined
  ) {
    this.key = key
    this.value = value
    this.tombstone = tombstone
    this.expiresAt = expiresAt
    this.version = version
  }
}

/** An entry with numbers of up to 64 bits. The native side takes a `bigint` where a `number` would be rounded. */
export function exactEntry(
  key: Bytes | undefined,
  value: Bytes | undefined,
  tombstone: boolean,
  expiresAt: bigint | undefined,
  version: { term: bigint; index: bigint } | undefined
): Entry {
  const number = (n: bigint) => (n <= Number.MAX_SAFE_INTEGER ? Number(n) : (n as unknown as number))
  const exact = version && { term: number(version.term), index: number(version.index) }
  return new Entry(key, value, tombstone, expiresAt === undefined ? undefined : number(expiresAt), exact)
}

/** One like that with a value that only a codec can make bytes of. */
class Unencoded {
  readonly key: Bytes
  readonly value: unknown
  readonly tombstone = false
  readonly expiresAt: number | undefined
  readonly version: RecordVersion | undefined

  constructor(key: Bytes, value: unknown, expiresAt: number | undefined, version: RecordVersion | undefined) {
    this.key = key
    this.value = value
    this.expiresAt = expiresAt
    this.version = version
  }
}

/** The same with bytes that nobody else writes to. */
export function withOwnValue(entry: Entry): Entry {
  const { key, value, tombstone, expiresAt, version } = entry
  if (value === undefined || typeof value === 'string') return entry
  return new Entry(key, Uint8Array.prototype.slice.call(value), tombstone, expiresAt, version)
}

/** Whether {@link Record} made it. */
export const isMade = (input: unknown): input is MadeRecord<unknown> => input instanceof Entry || input instanceof Unencoded

/** About how many bytes a record has. */
export const sizeOf = ({ key, value }: Entry): number => (key?.length ?? 0) + (value?.length ?? 0)

// The second test is for arrays of another realm.
export const isBytes = (value: unknown): value is Bytes =>
  typeof value === 'string' || value instanceof Uint8Array || types.isUint8Array(value)

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const wrong = (name: string, expected: string) => invalid(`${name} must be ${expected}`, 'append')

function bytes(name: string, value: unknown): Bytes {
  if (isBytes(value)) return value
  throw wrong(name, 'a string or a Uint8Array')
}

/** The absolute time; a time to live starts now. */
function expiry(ttlMs: unknown, expiresAt: unknown): number | undefined {
  if (ttlMs === undefined && expiresAt === undefined) return undefined
  if (ttlMs !== undefined && expiresAt !== undefined) throw invalid('ttlMs and expiresAt exclude each other', 'append')
  if (expiresAt !== undefined) {
    if (isCount(expiresAt)) return expiresAt
    throw wrong('expiresAt', 'a safe non-negative integer')
  }
  if (isCount(ttlMs) && isCount(Date.now() + ttlMs)) return Date.now() + ttlMs
  throw wrong('ttlMs', 'a safe non-negative integer')
}

function version(given: unknown): RecordVersion | undefined {
  if (given === undefined) return undefined
  if (typeof given !== 'object' || given === null) throw wrong('version', '{ term, index }')
  const { term, index, ...rest } = given as RecordVersion
  for (const name of Object.keys(rest)) throw invalid(`version.${name} is not known`, 'append')
  if (!isCount(term)) throw wrong('version.term', 'a safe non-negative integer')
  if (!isCount(index)) throw wrong('version.index', 'a safe non-negative integer')
  return { term, index }
}

const initNames = new Set(['key', 'value', 'tombstone', 'ttlMs', 'expiresAt', 'version'] satisfies (keyof RecordInit)[])
const optionNames = new Set(['ttlMs', 'expiresAt', 'version'] satisfies (keyof RecordOptions)[])

function fields<T extends object>(given: T, names: ReadonlySet<string>, what: string): T {
  if (typeof given !== 'object' || given === null) throw invalid(`${what} must be an object`, 'append')
  for (const name of Object.keys(given)) {
    if (!names.has(name)) throw invalid(`${what}.${name} is not known`, 'append')
  }
  return given
}

/** Checks a plain object field by field. */
export function toEntry(init: unknown): Entry {
  if (init instanceof Entry) return init
  if (init instanceof Unencoded) throw wrong('value', 'a string or a Uint8Array: the log has no codec')
  const { key, value, tombstone = false, ttlMs, expiresAt, version: given } = fields(init as RecordInit, initNames, 'record')
  if (key !== undefined) bytes('key', key)
  if (value !== undefined) bytes('value', value)
  if (typeof tombstone !== 'boolean') throw wrong('tombstone', 'a boolean')
  if (tombstone && value !== undefined) throw invalid('value and tombstone exclude each other', 'append')
  if (key === undefined && value === undefined && !tombstone) throw invalid('the record has neither key nor value nor tombstone', 'append')
  return new Entry(key, value, tombstone, expiry(ttlMs, expiresAt), version(given))
}

function entry<V>(key: Bytes, value: V, expiresAt: number | undefined, version: RecordVersion | undefined): MadeRecord<V> {
  if (value === undefined) throw wrong('value', 'there')
  const made = isBytes(value) ? new Entry(key, value, false, expiresAt, version) : new Unencoded(key, value, expiresAt, version)
  return made as MadeRecord<unknown> as MadeRecord<V>
}

/** Makes records that are checked once, here, which makes appending them cheaper. Both throw `ERR_WAL_INVALID_ARG`. */
export const Record = Object.freeze({
  /**
   * A key and what it stands for from now on. A `ttlMs` starts now. The value is for the log that it is appended to: a string or bytes, or,
   * where that has a codec, what the codec encodes; any other is refused there.
   */
  put<V = string | Uint8Array>(key: string | Uint8Array, value: V, options?: RecordOptions): MadeRecord<V> {
    if (!isBytes(key)) throw wrong('key', 'a string or a Uint8Array')
    if (options === undefined) return entry(key, value, undefined, undefined)
    const { ttlMs, expiresAt, version: given } = fields(options, optionNames, 'options')
    return entry(key, value, expiry(ttlMs, expiresAt), version(given))
  },

  /** A tombstone: what the key stood for is gone. */
  delete(key: string | Uint8Array, options: RecordOptions = {}): MadeRecord<never> {
    const { ttlMs, expiresAt, version: given } = fields(options, optionNames, 'options')
    return new Entry(
      bytes('key', key),
      undefined,
      true,
      expiry(ttlMs, expiresAt),
      version(given)
    ) as MadeRecord<undefined> as MadeRecord<never>
  },
})
