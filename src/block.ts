// Records on their way out: views of a block that the native side has read and verified.

import { inspect, type InspectOptions } from 'node:util'
import { markAsUntransferable } from 'node:worker_threads'
import type { Values } from './codec.js'
import { transferred } from './errors.js'
import { META_EXPIRES, META_EXTRA_SHIFT, META_KEY, META_TOMBSTONE, META_VALUE, META_VERSION, type BlockData } from './native.js'
import type { RecordVersion } from './record.js'

/**
 * A record read from a log. Its fields are looked up when they are asked for, so `{ ...record }` has none of them: spread `record.toJSON()`.
 * With `copy: true` they are properties of its own.
 */
export interface WalRecord<V = Buffer> {
  /** Its position in the log. */
  readonly position: number
  /**
   * A view into memory shared with the records around it, unless read with `copy: true`. Made at each access. The bytes are never written
   * again: they stay valid, and keep the block of up to 1 MiB or so that they are in, for as long as anything refers to them. The memory
   * cannot be transferred to another thread; a copy can.
   */
  readonly key: Buffer | undefined
  /**
   * Like `key`. With a codec, what it decodes at the first access, the same at each later one. Where the codec fails, the access throws
   * `ERR_WAL_INVALID_ARG` with the codec's error as `cause`; the record's other fields and the records after it are as good as ever.
   */
  readonly value: V | undefined
  /** What the key stood for is gone. */
  readonly tombstone: boolean
  /** When it expires, in milliseconds since 1970. */
  readonly expiresAt: number | undefined
  /** Where it stands in a replicated log, if that was given. */
  readonly version: RecordVersion | undefined
  /** The fields that are there, as a plain object. */
  toJSON(): RecordFields<V>
}

/** The fields of a record that are there. */
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

// The class that Node itself makes pooled buffers of; half the price of `Buffer.from`, which is the same after checking its arguments.
const View = (Buffer as unknown as { [Symbol.species]: BufferView })[Symbol.species]

const PER_RECORD = 4

/** Keeps the memory of a block, which its records share, from being transferred with one of them. Runtimes without such a mark go without. */
function keep(memory: ArrayBufferLike): void {
  try {
    markAsUntransferable(memory)
  } catch {
    // What is transferred all the same is noticed when a record looks for it.
  }
}

/** Where the records of one block are. */
export class Block {
  readonly firstPosition: number
  readonly count: number
  readonly index: Uint32Array
  readonly extras: Float64Array
  readonly #memory: ArrayBufferLike
  readonly #offset: number

  constructor({ firstPosition, records, extras, memory: { buffer, byteOffset } }: BlockData) {
    this.firstPosition = firstPosition
    this.count = records
    this.extras = new Float64Array(buffer, byteOffset, extras)
    this.index = new Uint32Array(buffer, byteOffset + this.extras.byteLength, records * PER_RECORD)
    this.#memory = buffer
    this.#offset = byteOffset + this.extras.byteLength + this.index.byteLength
    keep(buffer)
  }

  /**
   * Which fields a record has.
   *
   * @throws `ERR_WAL_INVALID_ARG` once the block's memory has been transferred away.
   */
  meta(record: number): number {
    const meta = this.index[record * PER_RECORD + 3]
    if (meta === undefined) throw transferred(this.firstPosition + record)
    return meta
  }

  /**
   * What a record gives for a field that it does not have.
   *
   * @throws As `meta()`: a block without its memory has no fields either, and so those that are there need no check of their own.
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
      // To look at a record must not fail, whatever is in it.
      return `WalRecord { position: ${this.position}, ${String(error)} }`
    }
  }
}

/** One record of a block; looks things up when asked. */
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
    const at = this.#record * PER_RECORD
    return (index[at + 3] & META_KEY) === 0 ? this.#block.nothing(this.#record) : this.#block.view(index[at], index[at + 1])
  }

  get value(): Buffer | undefined {
    const { index } = this.#block
    const at = this.#record * PER_RECORD
    return (index[at + 3] & META_VALUE) === 0 ? this.#block.nothing(this.#record) : this.#block.view(index[at + 1], index[at + 2])
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
  // Not from Node's pool: the bytes must be the record's alone.
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}

/** A record with bytes of its own; nothing of the block stays alive with it. */
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

/** A record whose value a codec decodes when it is looked at. */
export class DecodedView extends ReadRecord<unknown> {
  readonly #view: RecordView
  readonly #values: Values
  #value: unknown = NOT_YET

  constructor(block: Block, record: number, values: Values) {
    super()
    this.#view = new RecordView(block, record)
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

/** A record like that with bytes of its own, decoded already: all of it can be posted. */
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

/** The value, or its failure for whoever looks. */
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
