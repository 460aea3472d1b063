// Values become bytes, and bytes values. A codec belongs to a handle and is not stored in the log.

import { invalid, textOf, undecodable, unencodable, whileReading, type WalErrorDetails } from '../errors.js'
import { isBytes, type Bytes } from '../util/bytes.js'
import { describe } from '../util/describe.js'
import type { Codec } from './codec.js'
import { checkFidelity, MAX_DEPTH } from './fidelity.js'
import { Entry, madeFields } from './record.js'
import { checkedCodec, CodecMisuse, Mismatch, type Check } from './schema.js'

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
      const [text, details] = faultOf(error, operation)
      throw unencodable(this.#name, operation, text, details)
    }
    if (isBytes(encoded)) return encoded
    throw unencodable(this.#name, operation, `encode must return a string or a Uint8Array, not ${describe(encoded)}`, {})
  }

  /**
   * Decodes the value of a record that was read.
   *
   * @throws `ERR_WAL_CODEC` if the value cannot be decoded, `ERR_WAL_INVALID_ARG` if the codec cannot decode any value.
   */
  decode(bytes: Buffer | undefined, position: number): unknown {
    if (bytes === undefined) throw undecodable(this.#name, position, 'the record has only a key', {})
    try {
      return this.#codec.decode(bytes)
    } catch (error) {
      const [text, details] = faultOf(error, 'read')
      throw undecodable(this.#name, position, text, details)
    }
  }
}

/** What an error message says about an exception of a codec, and the fields of the error. */
function faultOf(error: unknown, operation: string): [text: string, details: WalErrorDetails] {
  if (CodecMisuse.is(error)) throw invalid(error.message, operation)
  const issues = Mismatch.issuesOf(error)
  return [textOf(error), issues === undefined ? { cause: error } : { issues }]
}

/** A codec given by the options, with its name. */
export interface NamedCodec {
  codec: 'json' | 'msgpack' | Codec<unknown>
  /** Name of the codec in error messages. */
  name: string | undefined
  /** Schema of the values. */
  check?: Check
}

export async function valuesOf(given: NamedCodec | undefined): Promise<Values | undefined> {
  if (given === undefined) return undefined
  const { codec, name, check } = given
  const format = codec === 'json' ? json : codec === 'msgpack' ? await msgpack() : codec
  return new Values(check === undefined ? format : checkedCodec(format, check), name)
}
