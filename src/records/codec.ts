// Types of codecs, and of what a log with or without one takes.

import type { MadeRecord, RecordInit } from './record.js'

/** Encodes values of type `In` to bytes, and decodes them to values of type `T`. */
export interface Codec<T, In = T> {
  /** Name of the codec in error messages. */
  readonly name?: string
  /**
   * Encodes a value. Called during `append`, `appendBatch` or `enqueue`, which copies the result before it returns. An error that it throws
   * refuses the record with `ERR_WAL_CODEC`.
   */
  encode(value: In): Uint8Array | string
  /**
   * Decodes a value. Called once for every record with a value, right before a reader returns the record. Like a record's `key`, the bytes
   * are a view of memory shared with neighbouring records; they never change. An error that it throws is handled as `onDecodeError` of
   * {@link ReadOptions} says.
   */
  decode(bytes: Buffer): T
}

/**
 * Type argument of a log opened without a codec: it takes `string | Uint8Array` and returns `Buffer`. The compiler cannot tell it from a
 * log whose codec takes and returns buffers.
 */
export type NoCodec = Buffer

/** Input of a log without a codec: strings and bytes as values, records made by {@link Record}, and plain objects as records. */
export type AppendableBytes = string | Uint8Array | RecordInit | MadeRecord

/** Input of a log that takes values of type `In`: values, and records made by {@link Record} with such a value. */
export type Appendable<In> = In | MadeRecord<In>
