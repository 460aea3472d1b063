// The lines of an export: a header, records, holes and an end. Pure conversion between text and values.
//
// docs/operations.md describes the lines. A number above 2^53 - 1 is a string of digits, and bytes that are not text are base64.

import { isUtf8 } from 'node:buffer'
import type { DetailedBatch, DetailedRecord } from '../records/detailed-block.js'
import type { Hole } from '../index.js'
import { InputError } from './failure.js'

/** Version of the format of the lines. Import rejects a higher one. */
export const FORMAT_VERSION = 1

/** A longer key or value is encoded as base64 even if it is text, because escaping can make text six times as long. */
const LONGEST_TEXT = 32 << 20
/** The line of a longer record may not fit in a JavaScript string, which holds 512 MiB. */
export const LONGEST_RECORD = 256 << 20

/** First line of an export. */
export interface HeaderLine {
  kind: 'header'
  /** First position of the log, or of the export if that begins later. */
  firstPosition: number
}

export interface RecordLine {
  kind: 'record'
  record: DetailedRecord
  /** The atomic batch that the record is part of. */
  batch: DetailedBatch | undefined
}

/** Positions that the log has lost. */
export interface HoleLine {
  kind: 'hole'
  first: number
  last: number
}

/** Last line of an export. An export without it is incomplete. */
export interface EndLine {
  kind: 'end'
  /** Position after the last one that was exported or lost. */
  nextPosition: number
  /** Number of records. */
  records: number
}

export type Line = HeaderLine | RecordLine | HoleLine | EndLine

export const headerLine = (firstPosition: number): string =>
  `${JSON.stringify({ forelog: 'export', version: FORMAT_VERSION, firstPosition })}\n`

export const holeLine = (hole: Hole): string => `${JSON.stringify({ hole })}\n`

export const endLine = (nextPosition: number, records: number, lost: number): string =>
  `${JSON.stringify({ end: { nextPosition, records, ...(lost > 0 && { lost }) } })}\n`

type Fields = { [name: string]: unknown }

function bytesField(name: string, bytes: Buffer | undefined): Fields {
  if (bytes === undefined) return {}
  const isText = bytes.length <= LONGEST_TEXT && isUtf8(bytes)
  return isText ? { [name]: bytes.toString() } : { [`${name}Base64`]: bytes.toString('base64') }
}

const numberField = (n: bigint): number | string => (n <= Number.MAX_SAFE_INTEGER ? Number(n) : String(n))

/**
 * Formats a record.
 *
 * @throws `InputError` if the record does not fit in a line.
 */
export function recordLine(
  { position, key, value, tombstone, expiresAt, version }: DetailedRecord,
  batch: DetailedBatch | undefined
): string {
  const bytes = (key?.length ?? 0) + (value?.length ?? 0)
  if (bytes > LONGEST_RECORD) {
    const message = `the record at position ${position} has ${bytes} bytes, but a line can have at most ${LONGEST_RECORD}: copy the log with \`forelog backup\``
    throw new InputError(message, { code: 'ERR_WAL_TOO_LARGE' })
  }
  const fields: Fields = {
    position,
    ...bytesField('key', key),
    ...bytesField('value', value),
    ...(tombstone && { tombstone }),
    ...(expiresAt !== undefined && { expiresAt: numberField(expiresAt) }),
    ...(version && { version: { term: numberField(version.term), index: numberField(version.index) } }),
    ...(batch && { batch }),
  }
  return `${JSON.stringify(fields)}\n`
}

const MAX_U64 = (1n << 64n) - 1n

/** Checks the fields of one line, and reports what is wrong with it. */
class LineParser {
  readonly #line: number

  constructor(line: number) {
    this.#line = line
  }

  wrong(message: string): InputError {
    return new InputError(message, { line: this.#line })
  }

  fields(value: unknown, what: string, names: readonly string[]): Fields {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw this.wrong(`${what} must be an object`)
    for (const name of Object.keys(value))
      if (!names.includes(name)) throw this.wrong(`${what} has an unknown field ${JSON.stringify(name)}`)
    return value as Fields
  }

  position(name: string, value: unknown): number {
    if (Number.isSafeInteger(value) && (value as number) > 0) return value as number
    throw this.wrong(`${name} must be a position: a whole number from 1 to 2^53 - 1`)
  }

  count(name: string, value: unknown): number {
    if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
    throw this.wrong(`${name} must be a whole number from 0 to 2^53 - 1`)
  }

  whole(name: string, value: unknown): bigint {
    if (typeof value === 'string' && /^(0|[1-9]\d{0,19})$/.test(value) && BigInt(value) <= MAX_U64) return BigInt(value)
    if (Number.isSafeInteger(value) && (value as number) >= 0) return BigInt(value as number)
    throw this.wrong(`${name} must be a whole number from 0 to 2^64 - 1; above 2^53 - 1 a string of digits`)
  }

  /** Reads a field of bytes, which has one of two names. */
  bytes(fields: Fields, name: string): Buffer | undefined {
    const base64Name = `${name}Base64`
    const [text, base64] = [fields[name], fields[base64Name]]
    if (text !== undefined && base64 !== undefined) throw this.wrong(`${name} and ${base64Name} exclude each other`)
    if (text !== undefined) {
      if (typeof text !== 'string') throw this.wrong(`${name} must be a string`)
      if (/\p{Surrogate}/u.test(text))
        throw this.wrong(`${name} has half of a surrogate pair, which UTF-8 cannot represent: give the bytes as ${base64Name}`)
      return Buffer.from(text)
    }
    if (base64 === undefined) return undefined
    const bytes = typeof base64 === 'string' ? Buffer.from(base64, 'base64') : undefined
    // Node decodes any string and ignores characters that are not base64.
    if (bytes === undefined || bytes.toString('base64') !== base64) throw this.wrong(`${base64Name} must be base64, padded`)
    return bytes
  }

  record(given: unknown): RecordLine {
    const fields = this.fields(given, 'the record', recordNames)
    const position = this.position('position', fields.position)
    const [key, value] = [this.bytes(fields, 'key'), this.bytes(fields, 'value')]
    const { tombstone = false } = fields
    if (typeof tombstone !== 'boolean') throw this.wrong('tombstone must be true or false')
    if (tombstone && value !== undefined) throw this.wrong('a tombstone cannot have a value')
    if (!tombstone && key === undefined && value === undefined) throw this.wrong('the record has neither key nor value nor tombstone')
    const expiresAt = fields.expiresAt === undefined ? undefined : this.whole('expiresAt', fields.expiresAt)
    const version = fields.version === undefined ? undefined : this.#version(fields.version)
    const batch = fields.batch === undefined ? undefined : this.#batch(fields.batch, position)
    return { kind: 'record', record: { position, key, value, tombstone, expiresAt, version }, batch }
  }

  #version(given: unknown): DetailedRecord['version'] {
    const { term, index } = this.fields(given, 'version', ['term', 'index'])
    return { term: this.whole('version.term', term), index: this.whole('version.index', index) }
  }

  #batch(given: unknown, position: number): DetailedBatch {
    if (!Array.isArray(given) || given.length !== 2) throw this.wrong('batch must be [first position, last position]')
    const [first, last] = [this.position('batch[0]', given[0]), this.position('batch[1]', given[1])]
    if (position < first || position > last) throw this.wrong(`position ${position} is not in its batch, ${first} to ${last}`)
    return [first, last]
  }

  header(given: unknown): HeaderLine {
    const fields = given as Fields
    if (typeof fields !== 'object' || fields === null || fields.forelog !== 'export') {
      throw this.wrong('this is not an export of forelog: it must begin with the header that `forelog export` writes')
    }
    const { version } = fields
    if (typeof version === 'number' && version > FORMAT_VERSION) {
      throw this.wrong(
        `the export has format version ${version}, and this forelog reads versions up to ${FORMAT_VERSION}: use a newer forelog`
      )
    }
    if (version !== FORMAT_VERSION) throw this.wrong('the header has no version')
    this.fields(given, 'the header', ['forelog', 'version', 'firstPosition'])
    return { kind: 'header', firstPosition: this.position('firstPosition', fields.firstPosition) }
  }

  hole(given: unknown): HoleLine {
    const { first, last } = this.fields(given, 'the hole', ['first', 'last', 'segment', 'offset', 'bytes', 'flipped', 'recorded'])
    const hole = { kind: 'hole', first: this.position('hole.first', first), last: this.position('hole.last', last) } as const
    if (hole.last < hole.first) throw this.wrong('hole.last must not be below hole.first')
    return hole
  }

  end(given: unknown): EndLine {
    const { nextPosition, records } = this.fields(given, 'the end', ['nextPosition', 'records', 'lost'])
    return {
      kind: 'end',
      nextPosition: this.position('end.nextPosition', nextPosition),
      records: this.count('end.records', records),
    }
  }
}

const recordNames = ['position', 'key', 'keyBase64', 'value', 'valueBase64', 'tombstone', 'expiresAt', 'version', 'batch']

/**
 * Parses a line of an export. Line 1 is its header.
 *
 * @throws `InputError` with the number of the line if the line is invalid.
 */
export function parseLine(bytes: Buffer, line: number): Line {
  const parser = new LineParser(line)
  if (!isUtf8(bytes)) throw parser.wrong('it is not UTF-8')
  let value: unknown
  try {
    value = JSON.parse(bytes.toString())
  } catch (error) {
    throw parser.wrong(`it is not JSON: ${(error as Error).message}`)
  }
  if (line === 1) return parser.header(value)
  const { hole, end } = (typeof value === 'object' && value !== null ? value : {}) as Fields
  if (hole !== undefined) return parser.hole(parser.fields(value, 'the line', ['hole']).hole)
  if (end !== undefined) return parser.end(parser.fields(value, 'the line', ['end']).end)
  return parser.record(value)
}
