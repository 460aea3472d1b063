// How values become bytes, and bytes values again. A codec belongs to a handle; the log knows of none.

import { isBytes, type Bytes } from './bytes.js'
import { undecodable, unencodable, whileReading } from './errors.js'
import { checkFidelity, MAX_DEPTH } from './fidelity.js'
import { Entry, madeFields, type MadeRecord, type RecordInit } from './record.js'

/** Turns values into bytes and back. */
export interface Codec<T> {
  /** For messages of errors. */
  readonly name?: string
  /** Called while `append`, `appendBatch` or `enqueue` runs; the result is copied before they return. What it throws refuses the record. */
  encode(value: T): Uint8Array | string
  /**
   * Called when `value` of a record read is looked at first. The bytes are a view into memory shared with the records around, as a
   * record's `key` is; they never change.
   */
  decode(bytes: Buffer): T
}

/** What `WalOptions.codec` takes. */
export type CodecOption<T> = 'json' | 'msgpack' | Codec<T>

/**
 * Stands for the values of a log opened without a codec: `string | Uint8Array` go in, `Buffer` comes out. To the compiler a log whose codec
 * makes buffers is one of these too.
 */
export type NoCodec = Buffer

/** What a log without a codec takes: strings and bytes as values, what {@link Record} made, and plain objects as records. */
export type AppendableBytes = string | Uint8Array | RecordInit | MadeRecord

/** What a log of such values takes: them, and what {@link Record} made of one. */
export type Appendable<T> = T | MadeRecord<T>

/** What a log of such values reads as the `value` of a record. */
export type Decoded<T> = T

const json: Codec<unknown> = {
  encode(value) {
    checkFidelity(value, 'json')
    return JSON.stringify(value)
  },
  decode: (bytes) => JSON.parse(bytes.toString()),
}

/** Loaded only where it is asked for. */
async function msgpack(): Promise<Codec<unknown>> {
  const { Encoder, Decoder } = await import('@msgpack/msgpack')
  // An encoder counts the value inside the innermost array as one more level.
  const maxDepth = MAX_DEPTH + 1
  const [encoder, decoder] = [new Encoder({ maxDepth }), new Decoder()]
  // Goes through the fields of every object twice.
  const leavingOut = new Encoder({ maxDepth, ignoreUndefined: true })
  return {
    encode(value) {
      return (checkFidelity(value, 'msgpack') ? leavingOut : encoder).encode(value)
    },
    decode: (bytes) => decoder.decode(bytes),
  }
}

/** A codec at work: its failures are ours to tell. */
export class Values {
  readonly #codec: Codec<unknown>
  readonly #name: string

  constructor(codec: Codec<unknown>, name = 'codec') {
    this.#codec = codec
    this.#name = name
  }

  /** What `Record.*` made is a record, anything else a value. */
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

/** A codec as the options name it. */
export interface NamedCodec {
  codec: 'json' | 'msgpack' | Codec<unknown>
  /** For messages of errors. */
  name: string | undefined
}

export async function valuesOf(given: NamedCodec | undefined): Promise<Values | undefined> {
  if (given === undefined) return undefined
  const { codec, name } = given
  if (codec === 'json') return new Values(json, codec)
  return codec === 'msgpack' ? new Values(await msgpack(), codec) : new Values(codec, name)
}
