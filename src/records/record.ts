// Records to append: their types, checks and construction.

import { invalid, mustBe, whileReading } from '../errors.js'
import { checkArray, checkBytes, isBytes, isLikeBytes, isUint8Array, lengthOf, type Bytes } from '../util/bytes.js'

/** Position of a record in a replicated log such as Raft's. Forelog stores it and does not interpret it. */
export interface RecordVersion {
  /** Term of the leader: a safe non-negative integer. */
  term: number
  /** Index in the replicated log: a safe non-negative integer. */
  index: number
}

/**
 * A record to append to a log without a codec. Strings are stored as UTF-8. A record has a key, a value or both; a tombstone has no value.
 */
export interface RecordInit {
  /** Key that the value belongs to. Any bytes, also none. */
  key?: string | Uint8Array
  /** Any bytes, also none. */
  value?: string | Uint8Array
  /**
   * Marks the key as deleted. Excludes `value`.
   *
   * @defaultValue `false`
   */
  tombstone?: boolean
  /** Time to live in milliseconds, from 0, counted from when the record is made. Excludes `expiresAt`. */
  ttlMs?: number
  /** When the record expires, in milliseconds since 1970, from 0. */
  expiresAt?: number
  /** Position of the record in a replicated log. */
  version?: RecordVersion
}

/** Options of `Record.put` and `Record.delete`. */
export type RecordOptions = Pick<RecordInit, 'ttlMs' | 'expiresAt' | 'version'>

declare const made: unique symbol

/** A record made by {@link Record}, with a value of type `V`. */
export interface MadeRecord<V = string | Uint8Array> {
  /** Exists only in the type: an object of the same shape that `Record` has not made is not assignable. */
  readonly [made]: true
  /** Key that the value belongs to. */
  readonly key: string | Uint8Array | undefined
  /** The value as given; absent in a tombstone. */
  readonly value: V | undefined
  /** True for a record made by `Record.delete`: the key has been deleted. */
  readonly tombstone: boolean
  /** When the record expires, in milliseconds since 1970. A `ttlMs` was converted to this when the record was made. */
  readonly expiresAt: number | undefined
  /** Position of the record in a replicated log, if given. */
  readonly version: RecordVersion | undefined
}

/**
 * Marks the records made by `Record` of any copy of the package. The value is the version of the fields that they promise: `key`, `value`,
 * `tombstone`, `expiresAt` (a time) and `version`.
 */
const RECORD = Symbol.for('forelog.record')
const RECORD_VERSION = 1

/**
 * A record whose fields have been checked. The fields are ordinary properties, which may be replaced before the record is appended, so the
 * append checks their bytes once more.
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

/** An entry with numbers that are not checked again. No code outside of this package holds one. */
class ExactEntry extends Entry {}

/** Makes an entry with numbers of up to 64 bits. The native side takes a `bigint` where a `number` would be rounded. */
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

/** A record made by `Record.put` whose value is still unencoded. */
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

/** Returns the entry with a copy of its value's bytes, so that nothing else can write to them. */
export function withOwnValue(entry: Entry): Entry {
  const { key, value, tombstone, expiresAt, version } = entry
  if (value === undefined || typeof value === 'string') return entry
  return new Entry(key, new Uint8Array(value), tombstone, expiresAt, version)
}

/** Copies an entry with the current values of its fields, so that nothing else can replace them. */
export function withOwnFields(entry: Entry, operation: string): Entry {
  if (entry instanceof ExactEntry) return entry
  const { key, value, tombstone, expiresAt, version } = entry
  return new Entry(key, value, tombstone, expiresAt, version === undefined ? undefined : checkVersion(version, operation))
}

const lengthIn = (bytes: Bytes | undefined): number => (isUint8Array(bytes) ? lengthOf(bytes) : (bytes?.length ?? 0))

/** Approximate size of a record in bytes. */
export const sizeOf = ({ key, value }: Entry): number => lengthIn(key) + lengthIn(value)

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0

/** What the numbers of a record must be. */
const COUNT = 'an integer from 0 to 2^53 - 1'

function checkExpiry(expiresAt: unknown, operation: string): number {
  if (isCount(expiresAt)) return expiresAt
  throw mustBe('expiresAt', COUNT, expiresAt, operation)
}

/**
 * Returns the time of expiry; a time to live starts now. Uses `Date.now()`, as the check for expired records does, so a clock replaced by a
 * test counts in both places.
 */
function expiry(ttlMs: unknown, expiresAt: unknown, operation: string): number | undefined {
  if (ttlMs === undefined) return expiresAt === undefined ? undefined : checkExpiry(expiresAt, operation)
  if (expiresAt !== undefined) throw invalid('ttlMs and expiresAt cannot be used together', operation)
  if (!isCount(ttlMs)) throw mustBe('ttlMs', COUNT, ttlMs, operation)
  const end = Date.now() + ttlMs
  if (!Number.isSafeInteger(end)) throw invalid(`ttlMs added to Date.now() must be an integer below 2^53, not ${end}`, operation)
  return end
}

function checkVersion(given: unknown, operation: string): RecordVersion | undefined {
  if (given === undefined) return undefined
  if (typeof given !== 'object' || given === null) throw mustBe('version', 'an object { term, index }', given, operation)
  const { term, index, ...rest } = given as RecordVersion
  for (const name of Object.keys(rest)) throw invalid(`version.${name} is not a field; the fields are term and index`, operation)
  if (!isCount(term)) throw mustBe('version.term', COUNT, term, operation)
  if (!isCount(index)) throw mustBe('version.index', COUNT, index, operation)
  return { term, index }
}

/** Checks which fields a record must have and which exclude each other. */
export function checkShape(key: unknown, value: unknown, tombstone: unknown, operation: string): void {
  if (typeof tombstone !== 'boolean') throw mustBe('tombstone', 'a boolean', tombstone, operation)
  if (tombstone && value !== undefined) throw invalid('value and tombstone cannot be used together: a tombstone has no value', operation)
  if (key === undefined && value === undefined && !tombstone) {
    throw invalid('the record has neither key nor value nor tombstone', operation)
  }
}

/** Fields of a record whose value may not have been encoded yet. */
export interface Fields {
  key: Bytes | undefined
  value: unknown
  tombstone: boolean
  expiresAt: number | undefined
  version: RecordVersion | undefined
}

/**
 * Returns the fields of a record made by {@link Record}, here or in another copy of the package; `undefined` for any other input. Of a
 * record from another copy, all fields but the value are checked like those of a plain object.
 *
 * @throws `ERR_WAL_INVALID_ARG` if the other copy's records have a different version.
 */
export function madeFields(input: unknown, operation: string): Fields | undefined {
  if (typeof input !== 'object' || input === null) return undefined
  try {
    if (input instanceof Entry || input instanceof Unencoded) return input
    const mark = (input as { [RECORD]?: unknown })[RECORD]
    if (mark === undefined) return undefined
    if (mark !== RECORD_VERSION) {
      throw invalid(
        'the record was made by another version of forelog: make it with the Record of the package that opened this log',
        operation
      )
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

/** What a log without a codec takes. */
const RECORD_INPUT = 'a string, a Uint8Array, a record made by Record or an object with the fields of a record'

/** Rejects anything but an object that is no array, and unknown names. */
function checkNames(given: unknown, names: ReadonlySet<string>, what: string, operation: string, expected = 'an object'): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) throw mustBe(what, expected, given, operation)
  for (const name of Object.keys(given)) {
    if (!names.has(name)) throw invalid(`${what}.${name} is not a field; the fields are ${[...names].join(', ')}`, operation)
  }
}

/** Converts an input that is not bytes to a record of a log without a codec: a record made by {@link Record}, or a plain object. */
export function toEntry(input: unknown, operation = 'append'): Entry {
  const made = madeFields(input, operation)
  if (made instanceof Entry) return made
  if (made !== undefined) return withBytes(made, operation)
  if (isLikeBytes(input)) checkArray('value', input, operation)
  try {
    checkNames(input, initNames, 'record', operation, RECORD_INPUT)
    const { key, value, tombstone = false, ttlMs, expiresAt, version } = input as RecordInit
    if (key !== undefined) checkBytes('key', key, operation)
    if (value !== undefined) checkBytes('value', value, operation)
    checkShape(key, value, tombstone, operation)
    return new Entry(key, value, tombstone, expiry(ttlMs, expiresAt, operation), checkVersion(version, operation))
  } catch (error) {
    throw whileReading('record', operation, error)
  }
}

/** Reads the expiry and the version from the options of `Record`. */
function readOptions(options: unknown): Pick<Fields, 'expiresAt' | 'version'> {
  try {
    checkNames(options, optionNames, 'options', 'append')
    const { ttlMs, expiresAt, version } = options as RecordOptions
    return { expiresAt: expiry(ttlMs, expiresAt, 'append'), version: checkVersion(version, 'append') }
  } catch (error) {
    throw whileReading('options', 'append', error)
  }
}

/** Makes an entry with these fields, whose value must be bytes. */
function withBytes({ key, value, tombstone, expiresAt, version }: Fields, operation: string): Entry {
  if (value !== undefined && !isBytes(value))
    throw invalid('value must be a string or a Uint8Array, because the log has no codec', operation)
  return new Entry(key, value && checkBytes('value', value, operation), tombstone, expiresAt, version)
}

/**
 * Whether the value is bytes by its class. The append checks whether it is genuine and has its memory, because it may change until then.
 */
function claimsBytes(value: unknown): value is Bytes {
  if (isBytes(value)) return true
  try {
    return value instanceof Uint8Array
  } catch {
    return false
  }
}

function checkKey(key: unknown): void {
  if (!claimsBytes(key)) throw mustBe('key', 'a string or a Uint8Array', key, 'append')
}

/** Functions that make records: the type of {@link Record}. */
// Written out, because the compiler would infer types that older compilers do not know, such as `Uint8Array<ArrayBufferLike>`.
export interface RecordFactory {
  /**
   * Makes a record with a key and its new value. A `ttlMs` starts now. The value must suit the log that the record is appended to: a string
   * or bytes or, in a log with a codec, anything that the codec encodes. Otherwise the append refuses it.
   *
   * @throws `ERR_WAL_INVALID_ARG`: an argument is invalid, or the value is `undefined`.
   * @example
   * ```ts
   * await wal.append(Record.put('session:1', 'data', { ttlMs: 3_600_000 }))
   * ```
   */
  put<V = string | Uint8Array>(key: string | Uint8Array, value: V, options?: RecordOptions): MadeRecord<V>

  /**
   * Makes a tombstone, which marks the key as deleted.
   *
   * @throws `ERR_WAL_INVALID_ARG`: an argument is invalid.
   * @example
   * ```ts
   * await wal.append(Record.delete('session:1'))
   * ```
   */
  delete(key: string | Uint8Array, options?: RecordOptions): MadeRecord<never>
}

/**
 * Makes records whose fields are checked once, here, so that appending them is cheaper. The bytes of key and value are checked when the
 * record is appended.
 */
export const Record: Readonly<RecordFactory> = Object.freeze({
  put<V = string | Uint8Array>(key: string | Uint8Array, value: V, options?: RecordOptions): MadeRecord<V> {
    checkKey(key)
    if (value === undefined) throw invalid('value must not be undefined: to mark a key as deleted, use Record.delete', 'append')
    const { expiresAt, version } = options === undefined ? NO_OPTIONS : readOptions(options)
    const made = claimsBytes(value) ? new Entry(key, value, false, expiresAt, version) : new Unencoded(key, value, expiresAt, version)
    return made as MadeRecord<unknown> as MadeRecord<V>
  },

  delete(key: string | Uint8Array, options: RecordOptions = {}): MadeRecord<never> {
    const { expiresAt, version } = readOptions(options)
    checkKey(key)
    const made = new Entry(key, undefined, true, expiresAt, version)
    return made as MadeRecord<undefined> as MadeRecord<never>
  },
})
