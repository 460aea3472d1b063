// Records on their way in.

import { checkArray, checkBytes, isBytes, isLikeBytes, isUint8Array, lengthOf, type Bytes } from './bytes.js'
import { invalid, whileReading } from './errors.js'

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

/**
 * Marks the records that `Record` of any copy of the package has made. The value is the version of what they promise: the fields `key`,
 * `value`, `tombstone`, `expiresAt` (a time) and `version`.
 */
const RECORD = Symbol.for('forelog.record')
const RECORD_VERSION = 1

/**
 * A record whose fields have been checked. They are ordinary properties, so that they may be something else by the time that it is
 * appended: then its bytes are checked once more.
 */
export class Entry implements MadeRecord {
  static {
    Object.defineProperty(this.prototype, RECORD, { value: RECORD_VERSION })
  }

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

/** An entry with numbers that are not checked again. Nothing outside of this package holds one. */
class ExactEntry extends Entry {}

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
  return new ExactEntry(key, value, tombstone, expiresAt === undefined ? undefined : number(expiresAt), exact)
}

/** One like that with a value that only a codec can make bytes of. */
class Unencoded {
  static {
    Object.defineProperty(this.prototype, RECORD, { value: RECORD_VERSION })
  }

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

/** An entry with bytes that nobody else writes to. */
export function withOwnValue(entry: Entry): Entry {
  const { key, value, tombstone, expiresAt, version } = entry
  if (value === undefined || typeof value === 'string') return entry
  return new Entry(key, new Uint8Array(value), tombstone, expiresAt, version)
}

/** An entry that nobody else can change, with the fields that this one has now. */
export function withOwnFields(entry: Entry, operation: string): Entry {
  if (entry instanceof ExactEntry) return entry
  const { key, value, tombstone, expiresAt, version } = entry
  return new Entry(key, value, tombstone, expiresAt, version === undefined ? undefined : checkVersion(version, operation))
}

const lengthIn = (bytes: Bytes | undefined): number => (isUint8Array(bytes) ? lengthOf(bytes) : (bytes?.length ?? 0))

/** About how many bytes a record has. */
export const sizeOf = ({ key, value }: Entry): number => lengthIn(key) + lengthIn(value)

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

const wrong = (name: string, expected: string, operation: string) => invalid(`${name} must be ${expected}`, operation)

function checkExpiry(expiresAt: unknown, operation: string): number {
  if (isCount(expiresAt)) return expiresAt
  throw wrong('expiresAt', 'a safe non-negative integer', operation)
}

/**
 * The absolute time; a time to live starts now. By the clock that the program sees: one that a test has replaced counts here as it does
 * where records that have expired are passed over.
 */
function expiry(ttlMs: unknown, expiresAt: unknown, operation: string): number | undefined {
  if (ttlMs === undefined) return expiresAt === undefined ? undefined : checkExpiry(expiresAt, operation)
  if (expiresAt !== undefined) throw invalid('ttlMs and expiresAt exclude each other', operation)
  const end = isCount(ttlMs) ? Date.now() + ttlMs : undefined
  if (isCount(end)) return end
  throw wrong('ttlMs', 'a safe non-negative integer', operation)
}

function checkVersion(given: unknown, operation: string): RecordVersion | undefined {
  if (given === undefined) return undefined
  if (typeof given !== 'object' || given === null) throw wrong('version', '{ term, index }', operation)
  const { term, index, ...rest } = given as RecordVersion
  for (const name of Object.keys(rest)) throw invalid(`version.${name} is not known`, operation)
  if (!isCount(term)) throw wrong('version.term', 'a safe non-negative integer', operation)
  if (!isCount(index)) throw wrong('version.index', 'a safe non-negative integer', operation)
  return { term, index }
}

/** What a record has to have, and what it may not have together. */
export function checkShape(key: unknown, value: unknown, tombstone: unknown, operation: string): void {
  if (typeof tombstone !== 'boolean') throw wrong('tombstone', 'a boolean', operation)
  if (tombstone && value !== undefined) throw invalid('value and tombstone exclude each other', operation)
  if (key === undefined && value === undefined && !tombstone) {
    throw invalid('the record has neither key nor value nor tombstone', operation)
  }
}

/** Fields of a record whose value may still have to be encoded. */
export interface Fields {
  key: Bytes | undefined
  value: unknown
  tombstone: boolean
  expiresAt: number | undefined
  version: RecordVersion | undefined
}

/**
 * The fields of what {@link Record} made, here or in another copy of the package; nothing where it is anything else. The fields of
 * another copy's record are checked like those of a plain object, but for its value.
 *
 * @throws `ERR_WAL_INVALID_ARG` where the other copy's records have a later version.
 */
export function madeFields(input: unknown, operation: string): Fields | undefined {
  if (typeof input !== 'object' || input === null) return undefined
  try {
    if (input instanceof Entry || input instanceof Unencoded) return input
    const mark = (input as { [RECORD]?: unknown })[RECORD]
    if (mark === undefined) return undefined
    if (mark !== RECORD_VERSION) {
      throw invalid('the record is of another version of forelog: make it with the Record that belongs to this log', operation)
    }
    const { key, value, tombstone, expiresAt, version } = input as Entry
    if (key !== undefined) checkBytes('key', key, operation)
    checkShape(key, value, tombstone, operation)
    const expires = expiresAt === undefined ? undefined : checkExpiry(expiresAt, operation)
    return { key, value, tombstone, expiresAt: expires, version: checkVersion(version, operation) }
  } catch (error) {
    throw whileReading('record', operation, error)
  }
}

const initNames = new Set<string>(['key', 'value', 'tombstone', 'ttlMs', 'expiresAt', 'version'] satisfies (keyof RecordInit)[])
const NO_OPTIONS = { expiresAt: undefined, version: undefined }
const optionNames = new Set<string>(['ttlMs', 'expiresAt', 'version'] satisfies (keyof RecordOptions)[])

/** Refuses what is no object, and names that are not known. */
function checkNames(given: unknown, names: ReadonlySet<string>, what: string, operation: string): void {
  if (typeof given !== 'object' || given === null) throw invalid(`${what} must be an object`, operation)
  for (const name of Object.keys(given)) {
    if (!names.has(name)) throw invalid(`${what}.${name} is not known`, operation)
  }
}

/** What a log without a codec appends for an input that is not bytes: a record that {@link Record} made, or a plain object field by field. */
export function toEntry(input: unknown, operation = 'append'): Entry {
  const made = madeFields(input, operation)
  if (made instanceof Entry) return made
  if (made !== undefined) return withBytes(made, operation)
  if (isLikeBytes(input)) checkArray('value', input, operation)
  try {
    checkNames(input, initNames, 'record', operation)
    const { key, value, tombstone = false, ttlMs, expiresAt, version } = input as RecordInit
    if (key !== undefined) checkBytes('key', key, operation)
    if (value !== undefined) checkBytes('value', value, operation)
    checkShape(key, value, tombstone, operation)
    return new Entry(key, value, tombstone, expiry(ttlMs, expiresAt, operation), checkVersion(version, operation))
  } catch (error) {
    throw whileReading('record', operation, error)
  }
}

/** The time and the version that options of `Record` ask for. */
function readOptions(options: unknown): Pick<Fields, 'expiresAt' | 'version'> {
  try {
    checkNames(options, optionNames, 'options', 'append')
    const { ttlMs, expiresAt, version } = options as RecordOptions
    return { expiresAt: expiry(ttlMs, expiresAt, 'append'), version: checkVersion(version, 'append') }
  } catch (error) {
    throw whileReading('options', 'append', error)
  }
}

/** An entry with these fields, whose value must be bytes. */
function withBytes({ key, value, tombstone, expiresAt, version }: Fields, operation: string): Entry {
  if (value !== undefined && !isBytes(value)) throw wrong('value', 'a string or a Uint8Array: the log has no codec', operation)
  return new Entry(key, value && checkBytes('value', value, operation), tombstone, expiresAt, version)
}

/** Whether it is bytes by its class. Whether it is genuine, and has its memory, is looked at when it is appended: by then it may have changed. */
function claimsBytes(value: unknown): value is Bytes {
  if (isBytes(value)) return true
  try {
    return value instanceof Uint8Array
  } catch {
    return false
  }
}

function checkKey(key: unknown): void {
  if (!claimsBytes(key)) throw wrong('key', 'a string or a Uint8Array', 'append')
}

/**
 * Makes records whose fields are checked once, here, which makes appending them cheaper. Both throw `ERR_WAL_INVALID_ARG`. What the log
 * stores of a key and a value is looked at when the record is appended.
 */
export const Record = Object.freeze({
  /**
   * A key and what it stands for from now on. A `ttlMs` starts now. The value is for the log that it is appended to: a string or bytes, or,
   * where that has a codec, what the codec encodes; any other is refused there.
   */
  put<V = string | Uint8Array>(key: string | Uint8Array, value: V, options?: RecordOptions): MadeRecord<V> {
    checkKey(key)
    if (value === undefined) throw wrong('value', 'there', 'append')
    const { expiresAt, version } = options === undefined ? NO_OPTIONS : readOptions(options)
    const made = claimsBytes(value) ? new Entry(key, value, false, expiresAt, version) : new Unencoded(key, value, expiresAt, version)
    return made as MadeRecord<unknown> as MadeRecord<V>
  },

  /** A tombstone: what the key stood for is gone. */
  delete(key: string | Uint8Array, options: RecordOptions = {}): MadeRecord<never> {
    const { expiresAt, version } = readOptions(options)
    checkKey(key)
    const made = new Entry(key, undefined, true, expiresAt, version)
    return made as MadeRecord<undefined> as MadeRecord<never>
  },
})
