// Small records on their way into native code: those of one turn cross together, because a crossing costs more than they do.

import { checkText, isUint8Array, lengthOf, type Bytes } from './bytes.js'

// Tags beside the lengths; crates/node/src/stage.rs has the same.
const HAS_KEY = 1
const HAS_VALUE = 2
const TOMBSTONE = 4

/** Bytes before a record's own: its tag and key length, its value's length. */
const HEADER = 8
/** A record that may take more crosses by itself: copying it twice would cost more than crossing. */
const LARGEST = 4 << 10
/**
 * Bytes before the first record, as words: how far the bytes are used, the number of the log they are for, whether one is durable, and a
 * one for the native side to see.
 */
const START = 16
const END = 0
const LOG = 1
const DURABLE = 2
const SEEN = 3
const NO_LOG = 0xffffffff
/** Strings up to this length are copied character by character as long as they are ASCII: quicker than a call. */
const SHORT_STRING = 64

/** How many bytes it takes at most; a string's characters take three each at most. Nothing for what is no bytes. */
const atMost = (bytes: Bytes): number => (typeof bytes === 'string' ? bytes.length * 3 : isUint8Array(bytes) ? lengthOf(bytes) : 0)

/** One record on the stage. Its bytes are views, good until the stage is cleared. */
export interface Staged {
  key: Uint8Array | undefined
  value: Uint8Array | undefined
  tombstone: boolean
}

/** The memory is the native side's too: what is on the stage when the environment ends is appended all the same. */
export class Stage {
  readonly #bytes: Uint8Array
  readonly #words: Uint32Array
  readonly #buffer: Buffer
  /** What a record may take; nothing where the native side does not see the memory, as in a runtime that copies what comes from outside. */
  readonly largest: number

  constructor(bytes: Uint8Array, isSeen: () => boolean) {
    this.#bytes = bytes
    this.#words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >>> 2)
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
    this.clear(undefined)
    this.#words[SEEN] = 1
    this.largest = isSeen() ? LARGEST : 0
  }

  /** Whether the next record may find no room. */
  get full(): boolean {
    return this.#words[END] > this.#bytes.length - LARGEST
  }

  /** Whether any record on it asked for durability. */
  get durable(): boolean {
    return this.#words[DURABLE] !== 0
  }

  set durable(durable: boolean) {
    this.#words[DURABLE] = durable ? 1 : 0
  }

  /** Empties it, for records of this log, or for those of a batch. */
  clear(log: number | undefined): void {
    this.#words[END] = START
    this.#words[DURABLE] = 0
    this.#words[LOG] = log ?? NO_LOG
  }

  /**
   * Copies a record of up to `limit` bytes, `largest` at most; gives how many it takes, or 0 if it has to cross by itself. There is
   * room unless it is `full`. The record is on the stage once its last word is written: a throw before leaves nothing behind.
   *
   * @throws `ERR_WAL_INVALID_ARG` for text that UTF-8 cannot hold.
   */
  put(key: Bytes | undefined, value: Bytes | undefined, tombstone: boolean, limit: number): number {
    const keyAtMost = key === undefined ? 0 : atMost(key)
    const valueAtMost = value === undefined ? 0 : atMost(value)
    // Without bytes it may be an array without its memory, or nothing that a record may hold.
    if ((keyAtMost === 0 && key !== undefined) || (valueAtMost === 0 && value !== undefined)) return 0
    if (HEADER + keyAtMost + valueAtMost > limit) return 0
    const words = this.#words
    const start = words[END]
    let at = start + HEADER
    let tag = tombstone ? TOMBSTONE : 0
    let keyLength = 0
    let valueLength = 0
    if (key !== undefined) {
      keyLength = this.#copy('key', key, keyAtMost, at)
      at += keyLength
      tag |= HAS_KEY
    }
    if (value !== undefined) {
      valueLength = this.#copy('value', value, valueAtMost, at)
      at += valueLength
      tag |= HAS_VALUE
    }
    words[start >>> 2] = tag | (keyLength << 8)
    words[(start >>> 2) + 1] = valueLength
    const end = (at + 3) & ~3
    words[END] = end
    return end - start
  }

  /** Gives how many bytes it took: those of an array are as many as it takes at most. */
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

  /** What is on it, oldest first. */
  *records(): Iterable<Staged> {
    for (let at = START; at < this.#words[END];) {
      const tag = this.#words[at >>> 2] & 0xff
      const key = at + HEADER
      const value = key + (this.#words[at >>> 2] >>> 8)
      const end = value + this.#words[(at >>> 2) + 1]
      yield {
        key: tag & HAS_KEY ? this.#bytes.subarray(key, value) : undefined,
        value: tag & HAS_VALUE ? this.#bytes.subarray(value, end) : undefined,
        tombstone: (tag & TOMBSTONE) !== 0,
      }
      at = (end + 3) & ~3
    }
  }
}
