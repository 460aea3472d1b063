// Codecs: how values become bytes, and bytes values. A codec belongs to a handle and is not stored in the log.

import { undecodable, unencodable, whileReading } from '../errors.js'
import { isBytes, type Bytes } from '../util/bytes.js'
import { checkFidelity, MAX_DEPTH } from './fidelity.js'
import { Entry, madeFields, type MadeRecord, type RecordInit } from './record.js'

/** Encodes values to bytes and decodes them. */
export interface Codec<T> {
  /** Name of the codec in error messages. */
  readonly name?: string
  /**
   * Encodes a value. Called during `append`, `appendBatch` or `enqueue`, which copies the result before it returns. An error that it throws
   * refuses the record.
   */
  encode(value: T): Uint8Array | string
  /**
   * Decodes a value. Called on the first access to `value` of a record that was read. Like a record's `key`, the bytes are a view of memory
   * shared with neighbouring records; they never change.
   */
  decode(bytes: Buffer): T
}

/** Type of `WalCodecOptions.codec`. */
export type CodecOption<T> = 'json' | 'msgpack' | Codec<T>

/**
 * Type argument of a log opened without a codec: it takes `string | Uint8Array` and returns `Buffer`. The compiler cannot tell it from a
 * log whose codec returns buffers.
 */
export type NoCodec = Buffer

/** Input of a log without a codec: strings and bytes as values, records made by {@link Record}, and plain objects as records. */
export type AppendableBytes = string | Uint8Array | RecordInit | MadeRecord

/** Input of a log with values of type `T`: values, and records made by {@link Record} with such a value. */
export type Appendable<T> = T | MadeRecord<T>

/** Type of `value` in the records of a log with values of type `T`. */
export type Decoded<T> = T

const json: Codec<unknown> = {
  encode(value) {
    checkFidelity(value, 'json')
    return JSON.stringify(value)
  },
  decode: (bytes) => JSON.parse(bytes.toString()) as unknown,
}

/** The codec of @msgpack/msgpack, which is loaded only when a log asks for it. */
async function msgpack(): Promise<Codec<unknown>> {
  const { Encoder, Decoder } = await import('@msgpack/msgpack')
  // The encoder counts the value inside the innermost array as one more level.
  const maxDepth = MAX_DEPTH + 1
  const [encoder, decoder] = [new Encoder({ maxDepth }), new Decoder()]
  // Used only for values with `undefined` fields, because it visits the fields of every object twice.
  const leavingOut = new Encoder({ maxDepth, ignoreUndefined: true })
  return {
    encode(value) {
      return (checkFidelity(value, 'msgpack') ? leavingOut : encoder).encode(value)
    },
    decode: (bytes) => decoder.decode(bytes),
  }
}

/** Wraps a codec and converts its exceptions to errors of this package. */
export class Values {
  readonly #codec: Codec<unknown>
  readonly #name: string

  constructor(codec: Codec<unknown>, name = 'codec') {
    this.#codec = codec
    this.#name = name
  }

  /** Makes the entry of an input: a record made by `Record.put` or `Record.delete` as it is, anything else as a value. */
  entry(input: unknown, operation: string): Entry {
    const made = madeFields(input, operation)
    if (made === undefined) return new Entry(undefined, this.#encode(input, operation), false, undefined, undefined)
    try {
      const { key, value, tombstone, expiresAt, version } = made
      return new Entry(key, value === undefined ? undefined : this.#encode(value, operation), tombstone, expiresAt, version)
    } catch (error) {
      throw whileReading('record', operation, error)
    }
  }

  #encode(value: unknown, operation: string): Bytes {
    let encoded: unknown
    try {
      encoded = this.#codec.encode(value)
    } catch (error) {
      throw unencodable(this.#name, operation, error)
    }
    if (isBytes(encoded)) return encoded
    throw unencodable(this.#name, operation, new TypeError('encode must return a string or a Uint8Array'))
  }

  decode(bytes: Buffer, position: number): unknown {
    try {
      return this.#codec.decode(bytes)
    } catch (error) {
      throw undecodable(this.#name, position, error)
    }
  }
}

/** A codec given by the options, with its name. */
export interface NamedCodec {
  codec: 'json' | 'msgpack' | Codec<unknown>
  /** Name of the codec in error messages. */
  name: string | undefined
}

export async function valuesOf(given: NamedCodec | undefined): Promise<Values | undefined> {
  if (given === undefined) return undefined
  const { codec, name } = given
  if (codec === 'json') return new Values(json, codec)
  return codec === 'msgpack' ? new Values(await msgpack(), codec) : new Values(codec, name)
}
