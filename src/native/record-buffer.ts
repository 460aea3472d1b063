// Shared memory that collects the small records of one turn, so that they are passed to native code in one call. A call costs more than
// copying such a record.
//
// The records are written in their final form, as docs/format.md has it, to an arena that goes to the disk as it is:
//
//      room for a page and a frame's header | record | record | … up to the end of the body | alignment, room for a header | record | …
//
// Native code takes the arena with the records, and the buffer goes on in another one. Words beside the arenas say where the records are.
// `wire.ts` names the words and bits. The other half is `crates/node/src/record_buffer.rs`.

import { checkText, isUint8Array, lengthOf, type Bytes } from '../util/bytes.js'
import {
  BODY_ALIGN,
  BODY_HEADER,
  BODY_MOST,
  BUFFER_ARENA,
  BUFFER_BODIES,
  BUFFER_BODY,
  BUFFER_DURABLE,
  BUFFER_END,
  BUFFER_LOG,
  BUFFER_NO_LOG,
  BUFFER_PROBE,
  BUFFER_RANGES,
  BUFFER_START,
  RECORD_KEY,
  RECORD_TOMBSTONE,
  RECORD_VALUE,
} from './wire.js'

/** A record that may take more bytes is passed by itself. Its lengths may need more than two bytes each. */
const MAX_BYTES = 16 << 10
/** Flags and two lengths. */
const MAX_HEAD = 5
/** Single records are passed on when they are this many bytes, so that the disk need not wait for the end of the turn. */
const FULL_BYTES = 512 << 10
/** The end of an arena is kept free for what follows the records on the disk: the rest of their last page. */
const AFTER_BYTES = 8 << 10
/** Strings up to this length are copied character by character while they are ASCII, which is faster than a call. */
const SHORT_STRING = 64

/** Upper bound of the bytes of a key or value: three per character of a string. 0 if it is neither a string nor a Uint8Array. */
const atMost = (bytes: Bytes): number => (typeof bytes === 'string' ? bytes.length * 3 : isUint8Array(bytes) ? lengthOf(bytes) : 0)

/** How many bytes a length takes that is at most `MAX_BYTES`. */
const lengthBytes = (length: number): number => (length < 128 ? 1 : 2)

/** A record in the buffer. Its bytes are views that are valid until the buffer is cleared. */
export interface BufferedRecord {
  key: Uint8Array | undefined
  value: Uint8Array | undefined
  tombstone: boolean
}

/** The native side shares the memory: records in the buffer when the environment ends are still appended. */
export class RecordBuffer {
  readonly #memory: () => Uint8Array[]
  readonly #isShared: () => boolean
  #words: Uint32Array = new Uint32Array(0)
  #arenas: Buffer[] = []
  /** Largest record that fits. 0 before `clear`, and if the native side does not see the memory, as in a runtime that copies it. */
  largest = 0
  /** Bytes at which the arena is full, and the largest body: those of single records, or those of a batch. */
  #fullAt = 0
  #bodyMost = 0

  /** `memory` returns the words and the arenas, and is called when the buffer is used first. */
  constructor(memory: () => Uint8Array[], isShared: () => boolean) {
    this.#memory = memory
    this.#isShared = isShared
  }

  #prepare(): void {
    const [words, ...arenas] = this.#memory()
    this.#words = new Uint32Array(words.buffer, words.byteOffset, words.length >>> 2)
    this.#words[BUFFER_PROBE] = 1
    this.#arenas = arenas.map((arena) => Buffer.from(arena.buffer, arena.byteOffset, arena.length))
    for (const arena of this.#arenas) arena[0] = 1
    this.largest = this.#isShared() ? MAX_BYTES : 0
  }

  /** Whether the next record might not fit, or enough have gathered. */
  get full(): boolean {
    return this.#words[BUFFER_END] > this.#fullAt
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
    if (this.#arenas.length === 0) this.#prepare()
    const words = this.#words
    words[BUFFER_END] = words[BUFFER_BODY] = BUFFER_START
    words[BUFFER_BODIES] = words[BUFFER_DURABLE] = 0
    words[BUFFER_LOG] = log ?? BUFFER_NO_LOG
    // A batch is one body, whatever its size.
    this.#fullAt = log === undefined ? this.#arenas[0].length - MAX_BYTES - AFTER_BYTES : FULL_BYTES
    this.#bodyMost = log === undefined ? Infinity : BODY_MOST
  }

  /**
   * Adds a copy of a record if it takes at most `limit` bytes, and returns how many it takes. Returns 0 if the record has to be passed by
   * itself. `limit` must not exceed `largest`. There is room unless the buffer is `full`. The record counts once its last word is written,
   * so a throw before that leaves nothing behind.
   *
   * @throws `ERR_WAL_INVALID_ARG` for text that UTF-8 cannot hold.
   */
  put(key: Bytes | undefined, value: Bytes | undefined, tombstone: boolean, limit: number): number {
    // Nearly all records: 0.8 × the time of the general way. The fields of a record may have been replaced since it was made.
    if ((tombstone as unknown) === false && isUint8Array(value) && (key === undefined || isUint8Array(key))) {
      const keyLength = key === undefined ? 0 : lengthOf(key)
      const valueLength = lengthOf(value)
      const most = MAX_HEAD + keyLength + valueLength
      if (valueLength > 0 && (keyLength > 0 || key === undefined) && most <= limit)
        return this.#putArrays(key, keyLength, value, valueLength)
    }
    return this.#putAny(key, value, tombstone, limit)
  }

  /** Adds a record whose lengths are known. An array that another thread grows meanwhile is stored as long as it was. */
  #putArrays(key: Uint8Array | undefined, keyLength: number, value: Uint8Array, valueLength: number): number {
    const words = this.#words
    const bytes = this.#arenas[words[BUFFER_ARENA]]
    let start = words[BUFFER_END]
    if (start + MAX_HEAD + keyLength + valueLength - words[BUFFER_BODY] > this.#bodyMost) start = this.#beginBody(start)
    let at = start
    bytes[at++] = key === undefined ? RECORD_VALUE : RECORD_KEY | RECORD_VALUE
    if (keyLength >= 128) bytes[at++] = (keyLength & 127) | 128
    bytes[at++] = keyLength >= 128 ? keyLength >>> 7 : keyLength
    if (valueLength >= 128) bytes[at++] = (valueLength & 127) | 128
    bytes[at++] = valueLength >= 128 ? valueLength >>> 7 : valueLength
    if (key !== undefined) bytes.set(key, at)
    at += keyLength
    bytes.set(value, at)
    at += valueLength
    words[BUFFER_END] = at
    return at - start
  }

  #putAny(key: Bytes | undefined, value: Bytes | undefined, tombstone: boolean, limit: number): number {
    const keyAtMost = key === undefined ? 0 : atMost(key)
    const valueAtMost = value === undefined ? 0 : atMost(value)
    // A value without bytes may be an array without its memory, or of a type that a record cannot hold.
    if ((keyAtMost === 0 && key !== undefined) || (valueAtMost === 0 && value !== undefined)) return 0
    // The fields of a record may have been replaced since it was made.
    if (typeof tombstone !== 'boolean' || (tombstone ? value !== undefined : key === undefined && value === undefined)) return 0
    const most = MAX_HEAD + keyAtMost + valueAtMost
    if (most > limit) return 0
    const words = this.#words
    const bytes = this.#arenas[words[BUFFER_ARENA]]
    let start = words[BUFFER_END]
    if (start + most - words[BUFFER_BODY] > this.#bodyMost) start = this.#beginBody(start)
    // The lengths stand before the bytes, and those of text are known only once it is written. Most text has a byte per character.
    const keyRoom = lengthBytes(typeof key === 'string' ? key.length : keyAtMost)
    const valueRoom = lengthBytes(typeof value === 'string' ? value.length : valueAtMost)
    const head = 1 + keyRoom + valueRoom
    let at = start + head
    const keyLength = key === undefined ? 0 : this.#copy(bytes, 'key', key, keyAtMost, at)
    at += keyLength
    const valueLength = value === undefined ? 0 : this.#copy(bytes, 'value', value, valueAtMost, at)
    at += valueLength
    const missing = lengthBytes(keyLength) - keyRoom + lengthBytes(valueLength) - valueRoom
    if (missing > 0) {
      bytes.copyWithin(start + head + missing, start + head, at)
      at += missing
    }
    bytes[start] = (tombstone ? RECORD_TOMBSTONE : 0) | (key === undefined ? 0 : RECORD_KEY) | (value === undefined ? 0 : RECORD_VALUE)
    let next = start + 1
    if (keyLength >= 128) bytes[next++] = (keyLength & 127) | 128
    bytes[next++] = keyLength >= 128 ? keyLength >>> 7 : keyLength
    if (valueLength >= 128) bytes[next++] = (valueLength & 127) | 128
    bytes[next] = valueLength >= 128 ? valueLength >>> 7 : valueLength
    words[BUFFER_END] = at
    return at - start
  }

  /** Ends the body at `end`, begins another one, and returns its start. */
  #beginBody(end: number): number {
    const words = this.#words
    const range = BUFFER_RANGES + 2 * words[BUFFER_BODIES]
    words[range] = words[BUFFER_BODY]
    words[range + 1] = end
    words[BUFFER_BODIES]++
    return (words[BUFFER_END] = words[BUFFER_BODY] = ((end + BODY_ALIGN - 1) & -BODY_ALIGN) + BODY_HEADER)
  }

  /** Copies a key or value and returns its length in bytes. For an array that is `atMost`. */
  #copy(bytes: Buffer, name: string, from: Bytes, atMost: number, at: number): number {
    if (typeof from !== 'string') {
      bytes.set(from, at)
      return atMost
    }
    const { length } = from
    if (length > SHORT_STRING) return this.#write(bytes, name, from, at)
    for (let i = 0; i < length; i++) {
      const code = from.charCodeAt(i)
      if (code > 127) return this.#write(bytes, name, from, at)
      bytes[at + i] = code
    }
    return length
  }

  #write(bytes: Buffer, name: string, text: string, at: number): number {
    checkText(name, text, 'append')
    return bytes.write(text, at)
  }

  /** Iterates over the records, oldest first. */
  *records(): Iterable<BufferedRecord> {
    const words = this.#words
    const bytes = this.#arenas[words[BUFFER_ARENA]]
    const bodies = [[words[BUFFER_BODY], words[BUFFER_END]]]
    for (let body = words[BUFFER_BODIES]; body-- > 0;)
      bodies.unshift([words[BUFFER_RANGES + 2 * body], words[BUFFER_RANGES + 2 * body + 1]])
    for (const [start, end] of bodies) {
      let at = start
      const length = (): number => (bytes[at++] < 128 ? bytes[at - 1] : (bytes[at - 1] & 127) | (bytes[at++] << 7))
      while (at < end) {
        const flags = bytes[at++]
        const [keyLength, valueLength] = [length(), length()]
        const value = at + keyLength
        yield {
          key: flags & RECORD_KEY ? bytes.subarray(at, value) : undefined,
          value: flags & RECORD_VALUE ? bytes.subarray(value, value + valueLength) : undefined,
          tombstone: (flags & RECORD_TOMBSTONE) !== 0,
        }
        at = value + valueLength
      }
    }
  }
}
