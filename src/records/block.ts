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
} from '../native/wire.js'
import type { Values } from './codec.js'
import type { RecordVersion } from './record.js'

/**
 * A record read from a log.
 *
 * Its fields are getters on the prototype, so `{ ...record }` has none of them: spread `record.toJSON()` instead. With `copy: true` they
 * are properties of the record itself.
 */
export interface WalRecord<V = Buffer> {
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
  /**
   * Value of the record.
   *
   * Without a codec, a buffer like `key`. With a codec, the value is decoded at the first access, and later accesses return the same value.
   * If the codec throws, the access throws `ERR_WAL_INVALID_ARG` with the codec's error as `cause`. The record's other fields and later
   * records are not affected.
   */
  readonly value: V | undefined
  /** True for a tombstone: the key has been deleted. */
  readonly tombstone: boolean
  /** When the record expires, in milliseconds since 1970. */
  readonly expiresAt: number | undefined
  /** Position of the record in a replicated log, if given. */
  readonly version: RecordVersion | undefined
  /** Returns the fields that the record has as a plain object. */
  toJSON(): RecordFields<V>
}

/** The fields that a record has, as a plain object. */
export interface RecordFields<V = Buffer> {
  /** See {@link WalRecord.position}. */
  position: number
  /** See {@link WalRecord.key}. */
  key?: Buffer
  /** See {@link WalRecord.value}. */
  value?: V
  /** See {@link WalRecord.tombstone}. */
  tombstone?: true
  /** See {@link WalRecord.expiresAt}. */
  expiresAt?: number
  /** See {@link WalRecord.version}. */
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

  constructor({ firstPosition, records, extras, index, memory }: BlockData) {
    // Either the native side has made it, or it was lent.
    const { buffer, byteOffset } = memory as Buffer
    this.firstPosition = firstPosition
    this.count = records
    this.index = new Uint32Array(buffer, byteOffset + index, records * INDEX_ENTRIES)
    this.extras = new Float64Array(buffer, this.index.byteOffset + this.index.byteLength, extras)
    this.#memory = buffer
    this.#offset = byteOffset
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

  view(start: number, end: number): Buffer {
    return new View(this.#memory, this.#offset + start, end - start)
  }
}

const inspected = Symbol.for('nodejs.util.inspect.custom')

abstract class ReadRecord<V> implements WalRecord<V> {
  abstract readonly position: number
  abstract readonly key: Buffer | undefined
  abstract readonly value: V | undefined
  abstract readonly tombstone: boolean
  abstract readonly expiresAt: number | undefined
  abstract readonly version: RecordVersion | undefined

  toJSON(): RecordFields<V> {
    const { position, key, value, tombstone, expiresAt, version } = this
    return {
      position,
      ...(key && { key }),
      ...(value !== undefined && { value }),
      ...(tombstone && { tombstone }),
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
export class RecordView extends ReadRecord<Buffer> {
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

  get #meta(): number {
    return this.#block.meta(this.#record)
  }
}

function own(bytes: Buffer | undefined): Buffer | undefined {
  if (bytes === undefined) return undefined
  // Not from Node's pool, because the memory must belong to this record alone.
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}

/** A record with bytes of its own, which does not keep its block in memory. */
export class RecordCopy extends ReadRecord<Buffer> {
  readonly position: number
  readonly key: Buffer | undefined
  readonly value: Buffer | undefined
  readonly tombstone: boolean
  readonly expiresAt: number | undefined
  readonly version: RecordVersion | undefined

  constructor(block: Block, record: number) {
    super()
    const view = new RecordView(block, record)
    this.position = view.position
    this.key = own(view.key)
    this.value = own(view.value)
    this.tombstone = view.tombstone
    this.expiresAt = view.expiresAt
    this.version = view.version
  }
}

const NOT_YET = Symbol()

/** A record whose value is decoded by a codec on first access. */
export class DecodedView extends ReadRecord<unknown> {
  readonly #view: WalRecord
  readonly #values: Values
  #value: unknown = NOT_YET

  constructor(view: WalRecord, values: Values) {
    super()
    this.#view = view
    this.#values = values
  }

  get position(): number {
    return this.#view.position
  }

  get key(): Buffer | undefined {
    return this.#view.key
  }

  get value(): unknown {
    if (this.#value === NOT_YET) this.#value = decode(this.#view, this.#view.value, this.#values)
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
}

const decode = ({ position }: WalRecord, bytes: Buffer | undefined, values: Values): unknown =>
  bytes === undefined ? undefined : values.decode(bytes, position)

/** A decoded record with bytes of its own, which can be posted to a worker as a whole. */
export class DecodedCopy extends ReadRecord<unknown> {
  readonly position: number
  readonly key: Buffer | undefined
  declare readonly value: unknown
  readonly tombstone: boolean
  readonly expiresAt: number | undefined
  readonly version: RecordVersion | undefined

  constructor(block: Block, record: number, values: Values) {
    super()
    const view = new RecordView(block, record)
    this.position = view.position
    this.key = own(view.key)
    Object.defineProperty(this, 'value', { enumerable: true, ...valueOf(view, values) })
    this.tombstone = view.tombstone
    this.expiresAt = view.expiresAt
    this.version = view.version
  }
}

/** Property with the decoded value, or with a getter that throws the codec's error. */
function valueOf(view: RecordView, values: Values): PropertyDescriptor {
  try {
    return { value: decode(view, own(view.value), values) }
  } catch (error) {
    return {
      get() {
        throw error
      },
    }
  }
}
