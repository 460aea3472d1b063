// Records read from a log: views of a block that the native side has read and verified.

import { inspect, type InspectOptions } from 'node:util'
import { markAsUntransferable } from 'node:worker_threads'
import { transferred } from '../errors.js'
import type { BlockData } from '../native/calls.js'
import {
  INDEX_END,
  INDEX_ENTRIES,
  INDEX_KEY,
  INDEX_META,
  INDEX_VALUE,
  META_EXPIRES,
  META_EXTRA_SHIFT,
  META_KEY,
  META_TOMBSTONE,
  META_VALUE,
  META_VERSION,
  TIME_ENTRIES,
  TIME_FIRST,
  TIME_MS,
} from '../native/wire.js'
import type { RecordVersion } from './record.js'

/**
 * A record read from a log: one with a value, or a tombstone. After a check of `tombstone` the compiler knows which.
 *
 * `V` is the type of the values. In a log without a codec it is `Buffer | undefined`, because such a log may hold records that have only a
 * key.
 *
 * Its fields are getters on the prototype, so `{ ...record }` has none of them: spread `record.toJSON()` instead. With `copy: true` they
 * are properties of the record itself.
 */
export type WalRecord<V = Buffer | undefined> = ValueRecord<V> | TombstoneRecord

/** A record with a value. */
export interface ValueRecord<V = Buffer | undefined> extends ReadFields {
  /** The key has not been deleted. */
  readonly tombstone: false
  /**
   * Value of the record.
   *
   * Without a codec, a buffer like `key`, or `undefined` if the record has only a key. With a codec, the decoded value: the reader decodes
   * it right before it returns the record, so an access never throws. See `onDecodeError` in {@link ReadOptions}.
   */
  readonly value: V
  /** Returns the fields that the record has as a plain object. */
  toJSON(): RecordFields<V>
}

/** A tombstone: the key has been deleted. */
export interface TombstoneRecord extends ReadFields {
  /** The key has been deleted. */
  readonly tombstone: true
  /** A tombstone has no value. */
  readonly value: undefined
  /** Returns the fields that the record has as a plain object. */
  toJSON(): RecordFields<never>
}

/** Fields that every record read from a log has. */
export interface ReadFields {
  /** Position in the log. */
  readonly position: number
  /**
   * Key of the record.
   *
   * Unless read with `copy: true`, the buffer is a view of memory shared with neighbouring records, created at each access. The bytes are
   * never overwritten. They stay valid as long as anything refers to them, and keep their whole block of up to about 1 MiB in memory. The
   * memory cannot be transferred to another thread; a copy can.
   */
  readonly key: Buffer | undefined
  /** When the record expires, in milliseconds since 1970. */
  readonly expiresAt: number | undefined
  /** Position of the record in a replicated log, if given. */
  readonly version: RecordVersion | undefined
  /**
   * When the record was committed, in milliseconds since 1970, by the wall clock of the writer; `undefined` if it was written by a version
   * of Forelog that did not record this.
   *
   * All records of one commit have the same time. Clocks are set back now and then, so times need not rise from record to record: their
   * order is that of `position`. The records of a time are found with {@link Wal.positionAt} and {@link Wal.readFrom}.
   */
  readonly committedAt: number | undefined
}

/** The fields that a record was appended with, and its position, as a plain object. Without the position, they can be appended again. */
export interface RecordFields<V = Buffer | undefined> {
  /** See {@link ReadFields.position}. */
  position: number
  /** See {@link ReadFields.key}. */
  key?: Buffer
  /** See {@link ValueRecord.value}. */
  value?: V
  /** See {@link TombstoneRecord.tombstone}. */
  tombstone?: true
  /** See {@link ReadFields.expiresAt}. */
  expiresAt?: number
  /** See {@link ReadFields.version}. */
  version?: RecordVersion
}

type BufferView = new (memory: ArrayBufferLike, offset: number, length: number) => Buffer

// The class of Node's own pooled buffers. Constructing it takes half the time of `Buffer.from`, which does the same after checking its
// arguments.
const View = (Buffer as unknown as { [Symbol.species]: BufferView })[Symbol.species]

/**
 * Prevents the memory that the records of a block share from being transferred with one of them. Runtimes without such a mark are left as
 * they are.
 */
function keep(memory: ArrayBufferLike): void {
  try {
    markAsUntransferable(memory)
  } catch {
    // If the memory is transferred nevertheless, an access to a record notices it.
  }
}

/** The layout of one block: where the fields of its records are. */
export class Block {
  readonly firstPosition: number
  readonly count: number
  readonly index: Uint32Array
  readonly extras: Float64Array
  readonly #memory: ArrayBufferLike
  readonly #offset: number
  readonly #times: number[] | undefined

  constructor({ firstPosition, records, extras, index, memory, times }: BlockData) {
    // Either the native side has made it, or it was lent.
    const { buffer, byteOffset } = memory as Buffer
    this.firstPosition = firstPosition
    this.count = records
    this.index = new Uint32Array(buffer, byteOffset + index, records * INDEX_ENTRIES)
    this.extras = new Float64Array(buffer, this.index.byteOffset + this.index.byteLength, extras)
    this.#memory = buffer
    this.#offset = byteOffset
    this.#times = times
    keep(buffer)
  }

  /**
   * Returns the bits that say which fields a record has.
   *
   * @throws `ERR_WAL_INVALID_ARG` once the block's memory has been transferred away.
   */
  meta(record: number): number {
    const meta = this.index[record * INDEX_ENTRIES + INDEX_META]
    if (meta === undefined) throw transferred(this.firstPosition + record)
    return meta
  }

  /**
   * Returns `undefined`, for a field that the record does not have.
   *
   * @throws `ERR_WAL_INVALID_ARG` like `meta()`. In a block without its memory no field seems to be present, so fields that are present
   * need no check.
   */
  nothing(record: number): undefined {
    this.meta(record)
  }

  expiresAt(record: number): number | undefined {
    const meta = this.meta(record)
    return (meta & META_EXPIRES) === 0 ? undefined : this.extras[meta >>> META_EXTRA_SHIFT]
  }

  committedAt(record: number): number | undefined {
    const times = this.#times ?? []
    // The last time that begins at or before the record.
    let [low, high] = [0, times.length / TIME_ENTRIES]
    while (low < high) {
      const middle = (low + high) >>> 1
      if (times[middle * TIME_ENTRIES + TIME_FIRST] <= record) low = middle + 1
      else high = middle
    }
    const ms = low === 0 ? 0 : times[(low - 1) * TIME_ENTRIES + TIME_MS]
    return ms === 0 ? undefined : ms
  }

  view(start: number, end: number): Buffer {
    return new View(this.#memory, this.#offset + start, end - start)
  }
}

const inspected = Symbol.for('nodejs.util.inspect.custom')

/** What all records have in common. The compiler cannot relate its `tombstone` and `value`, so readers cast records to {@link WalRecord}. */
abstract class ReadRecord<V> implements ReadFields {
  abstract readonly position: number
  abstract readonly key: Buffer | undefined
  abstract readonly value: V
  abstract readonly tombstone: boolean
  abstract readonly expiresAt: number | undefined
  abstract readonly version: RecordVersion | undefined
  abstract readonly committedAt: number | undefined

  toJSON(): RecordFields<V> {
    const { position, key, value, tombstone, expiresAt, version } = this
    return {
      position,
      ...(key && { key }),
      ...(value !== undefined && { value }),
      ...(tombstone && { tombstone: true }),
      ...(expiresAt !== undefined && { expiresAt }),
      ...(version && { version }),
    }
  }

  [inspected](_depth: number, options: InspectOptions): string {
    try {
      return `WalRecord ${inspect(this.toJSON(), options)}`
    } catch (error) {
      // Inspecting a record must not fail, whatever it contains.
      return `WalRecord { position: ${this.position}, ${String(error)} }`
    }
  }
}

/** A record of a block that looks up its fields on access. */
export class RecordView extends ReadRecord<Buffer | undefined> {
  readonly #block: Block
  readonly #record: number

  constructor(block: Block, record: number) {
    super()
    this.#block = block
    this.#record = record
  }

  get position(): number {
    return this.#block.firstPosition + this.#record
  }

  get key(): Buffer | undefined {
    const { index } = this.#block
    const at = this.#record * INDEX_ENTRIES
    return (index[at + INDEX_META] & META_KEY) === 0
      ? this.#block.nothing(this.#record)
      : this.#block.view(index[at + INDEX_KEY], index[at + INDEX_VALUE])
  }

  get value(): Buffer | undefined {
    const { index } = this.#block
    const at = this.#record * INDEX_ENTRIES
    return (index[at + INDEX_META] & META_VALUE) === 0
      ? this.#block.nothing(this.#record)
      : this.#block.view(index[at + INDEX_VALUE], index[at + INDEX_END])
  }

  get tombstone(): boolean {
    return (this.#meta & META_TOMBSTONE) !== 0
  }

  get expiresAt(): number | undefined {
    return this.#block.expiresAt(this.#record)
  }

  get version(): RecordVersion | undefined {
    const meta = this.#meta
    const { extras } = this.#block
    if ((meta & META_VERSION) === 0) return undefined
    const at = (meta >>> META_EXTRA_SHIFT) + (meta & META_EXPIRES ? 1 : 0)
    return { term: extras[at], index: extras[at + 1] }
  }

  get committedAt(): number | undefined {
    return this.#block.committedAt(this.#record)
  }

  get #meta(): number {
    return this.#block.meta(this.#record)
  }
}

/** Copies a field to memory of its own. */
export function own(bytes: Buffer | undefined): Buffer | undefined {
  if (bytes === undefined) return undefined
  // Not from Node's pool, because the memory must belong to this record alone.
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}

/** A record with bytes of its own, which does not keep its block in memory. */
export class RecordCopy extends ReadRecord<Buffer | undefined> {
  readonly position: number
  readonly key: Buffer | undefined
  readonly value: Buffer | undefined
  readonly tombstone: boolean
  readonly expiresAt: number | undefined
  readonly version: RecordVersion | undefined
  readonly committedAt: number | undefined

  constructor(view: RecordView) {
    super()
    this.position = view.position
    this.key = own(view.key)
    this.value = own(view.value)
    this.tombstone = view.tombstone
    this.expiresAt = view.expiresAt
    this.version = view.version
    this.committedAt = view.committedAt
  }
}

/** A record as stored, apart from its value. */
type StoredRecord = ReadFields & {
  readonly tombstone: boolean
}

/** A record with a decoded value, which looks up its other fields on access. */
export class DecodedView extends ReadRecord<unknown> {
  readonly #view: StoredRecord
  readonly #value: unknown

  constructor(view: StoredRecord, value: unknown) {
    super()
    this.#view = view
    this.#value = value
  }

  get position(): number {
    return this.#view.position
  }

  get key(): Buffer | undefined {
    return this.#view.key
  }

  get value(): unknown {
    return this.#value
  }

  get tombstone(): boolean {
    return this.#view.tombstone
  }

  get expiresAt(): number | undefined {
    return this.#view.expiresAt
  }

  get version(): RecordVersion | undefined {
    return this.#view.version
  }

  get committedAt(): number | undefined {
    return this.#view.committedAt
  }
}

/** A record with a decoded value and bytes of its own, which can be posted to a worker as a whole. */
export class DecodedCopy extends ReadRecord<unknown> {
  readonly position: number
  readonly key: Buffer | undefined
  readonly value: unknown
  readonly tombstone: boolean
  readonly expiresAt: number | undefined
  readonly version: RecordVersion | undefined
  readonly committedAt: number | undefined

  constructor(view: RecordView, value: unknown) {
    super()
    this.position = view.position
    this.key = own(view.key)
    this.value = value
    this.tombstone = view.tombstone
    this.expiresAt = view.expiresAt
    this.version = view.version
    this.committedAt = view.committedAt
  }
}
