// Shared memory that collects the small records of one turn, so that they are passed to native code in one call. A call costs more than
// copying such a record.
//
// byte 0     4     8         12      16
//      end | log | durable | probe | record | record | … up to `end`
//
// A record begins at a multiple of four, and numbers are native-endian:
//
//      tag (8 bits), key length (24 bits) | value length (32 bits) | key | value
//
// `wire.ts` names the words and bits. The other half is `crates/node/src/record_buffer.rs`.

import { checkText, isUint8Array, lengthOf, type Bytes } from '../util/bytes.js'
import {
  BUFFER_DURABLE,
  BUFFER_END,
  BUFFER_LOG,
  BUFFER_NO_LOG,
  BUFFER_PROBE,
  BUFFER_START,
  TAG_HEADER_BYTES,
  TAG_KEY,
  TAG_KEY_LENGTH_SHIFT,
  TAG_TOMBSTONE,
  TAG_VALUE,
} from './wire.js'

/** A record that may take more bytes is passed by itself, because copying it twice would cost more than the call. */
const MAX_BYTES = 4 << 10
/** Strings up to this length are copied character by character while they are ASCII, which is faster than a call. */
const SHORT_STRING = 64

/** Upper bound of the bytes of a key or value: three per character of a string. 0 if it is neither a string nor a Uint8Array. */
const atMost = (bytes: Bytes): number => (typeof bytes === 'string' ? bytes.length * 3 : isUint8Array(bytes) ? lengthOf(bytes) : 0)

/** A record in the buffer. Its bytes are views that are valid until the buffer is cleared. */
export interface BufferedRecord {
  key: Uint8Array | undefined
  value: Uint8Array | undefined
  tombstone: boolean
}

/** The native side shares the memory: records in the buffer when the environment ends are still appended. */
export class RecordBuffer {
  readonly #bytes: Uint8Array
  readonly #words: Uint32Array
  readonly #buffer: Buffer
  /** Largest record that fits. 0 if the native side does not see this memory, as in a runtime that copies external memory. */
  readonly largest: number

  constructor(bytes: Uint8Array, isShared: () => boolean) {
    this.#bytes = bytes
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    this.clear(undefined)
    this.#words[BUFFER_PROBE] = 1
    this.largest = isShared() ? MAX_BYTES : 0
  }

  /** Whether the next record might not fit. */
  get full(): boolean {
    return this.#words[BUFFER_END] > this.#bytes.length - MAX_BYTES
  }

  /** Whether any record is to be durable. */
  get durable(): boolean {
    return this.#words[BUFFER_DURABLE] !== 0
  }

  set durable(durable: boolean) {
    this.#words[BUFFER_DURABLE] = durable ? 1 : 0
  }

  /** Empties the buffer for records of this log, or with `undefined` for those of a batch. */
  clear(log: number | undefined): void {
    this.#words[BUFFER_END] = BUFFER_START
    this.#words[BUFFER_DURABLE] = 0
    this.#words[BUFFER_LOG] = log ?? BUFFER_NO_LOG
  }

  /**
   * Adds a copy of a record if it takes at most `limit` bytes, and returns how many it takes. Returns 0 if the record has to be passed by
   * itself. `limit` must not exceed `largest`. There is room unless the buffer is `full`. The record counts once its last word is written,
   * so a throw before that leaves nothing behind.
   *
   * @throws `ERR_WAL_INVALID_ARG` for text that UTF-8 cannot hold.
   */
  put(key: Bytes | undefined, value: Bytes | undefined, tombstone: boolean, limit: number): number {
    const keyAtMost = key === undefined ? 0 : atMost(key)
    const valueAtMost = value === undefined ? 0 : atMost(value)
    // A value without bytes may be an array without its memory, or of a type that a record cannot hold.
    if ((keyAtMost === 0 && key !== undefined) || (valueAtMost === 0 && value !== undefined)) return 0
    if (TAG_HEADER_BYTES + keyAtMost + valueAtMost > limit) return 0
    const words = this.#words
    const start = words[BUFFER_END]
    let at = start + TAG_HEADER_BYTES
    let tag = tombstone ? TAG_TOMBSTONE : 0
    let keyLength = 0
    let valueLength = 0
    if (key !== undefined) {
      keyLength = this.#copy('key', key, keyAtMost, at)
      at += keyLength
      tag |= TAG_KEY
    }
    if (value !== undefined) {
      valueLength = this.#copy('value', value, valueAtMost, at)
      at += valueLength
      tag |= TAG_VALUE
    }
    words[start >>> 2] = tag | (keyLength << TAG_KEY_LENGTH_SHIFT)
    words[(start >>> 2) + 1] = valueLength
    const end = (at + 3) & ~3
    words[BUFFER_END] = end
    return end - start
  }

  /** Copies a key or value and returns its length in bytes. For an array that is `atMost`. */
  #copy(name: string, from: Bytes, atMost: number, at: number): number {
    if (typeof from !== 'string') {
      this.#bytes.set(from, at)
      return atMost
    }
    const { length } = from
    if (length > SHORT_STRING) return this.#write(name, from, at)
    const bytes = this.#bytes
    for (let i = 0; i < length; i++) {
      const code = from.charCodeAt(i)
      if (code > 127) return this.#write(name, from, at)
      bytes[at + i] = code
    }
    return length
  }

  #write(name: string, text: string, at: number): number {
    checkText(name, text, 'append')
    return this.#buffer.write(text, at)
  }

  /** Iterates over the records, oldest first. */
  *records(): Iterable<BufferedRecord> {
    for (let at = BUFFER_START; at < this.#words[BUFFER_END];) {
      const tag = this.#words[at >>> 2]
      const key = at + TAG_HEADER_BYTES
      const value = key + (this.#words[at >>> 2] >>> TAG_KEY_LENGTH_SHIFT)
      const end = value + this.#words[(at >>> 2) + 1]
      yield {
        key: tag & TAG_KEY ? this.#bytes.subarray(key, value) : undefined,
        value: tag & TAG_VALUE ? this.#bytes.subarray(value, end) : undefined,
        tombstone: (tag & TAG_TOMBSTONE) !== 0,
      }
      at = (end + 3) & ~3
    }
  }
}
