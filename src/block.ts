// Records on their way out: views of a block that the native side has read and verified.

import { inspect, type InspectOptions } from 'node:util'
import { META_EXPIRES, META_EXTRA_SHIFT, META_KEY, META_TOMBSTONE, META_VALUE, META_VERSION, type BlockData } from './native.js'
import type { RecordVersion } from './record.js'

/** A record read from a log. */
export interface WalRecord {
  /** Its position in the log. */
  readonly position: number
  /** A view into memory shared with the records around it, unless read with `copy: true`. Made at each access. */
  readonly key: Buffer | undefined
  /** Like `key`. */
  readonly value: Buffer | undefined
  /** What the key stood for is gone. */
  readonly tombstone: boolean
  /** When it expires, in milliseconds since 1970. */
  readonly expiresAt: number | undefined
  /** Where it stands in a replicated log, if that was given. */
  readonly version: RecordVersion | undefined
  /** The fields that are there, as a plain object. */
  toJSON(): RecordFields
}

/** The fields of a record that are there. */
export interface RecordFields {
  /** See {@link WalRecord.position}. */
  position: number
  /** See {@link WalRecord.key}. */
  key?: Buffer
  /** See {@link WalRecord.value}. */
  value?: Buffer
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
  }

  view(start: number, end: number): Buffer {
    return new View(this.#memory, this.#offset + start, end - start)
  }
}

const inspected = Symbol.for('nodejs.util.inspect.custom')

abstract class ReadRecord implements WalRecord {
  abstract readonly position: number
  abstract readonly key: Buffer | undefined
  abstract readonly value: Buffer | undefined
  abstract readonly tombstone: boolean
  abstract readonly expiresAt: number | undefined
  abstract readonly version: RecordVersion | undefined

  toJSON(): RecordFields {
    const { position, key, value, tombstone, expiresAt, version } = this
    return {
      position,
      ...(key && { key }),
      ...(value && { value }),
      ...(tombstone && { tombstone }),
      ...(expiresAt !== undefined && { expiresAt }),
      ...(version && { version }),
    }
  }

  [inspected](_depth: number, options: InspectOptions): string {
    return `WalRecord ${inspect(this.toJSON(), options)}`
  }
}

/** One record of a block; looks things up when asked. */
export class RecordView extends ReadRecord {
  readonly #block: Block
  readonly #at: number

  constructor(block: Block, record: number) {
    super()
    this.#block = block
    this.#at = record * PER_RECORD
  }

  get position(): number {
    return this.#block.firstPosition + this.#at / PER_RECORD
  }

  get key(): Buffer | undefined {
    const { index } = this.#block
    const at = this.#at
    return (index[at + 3] & META_KEY) === 0 ? undefined : this.#block.view(index[at], index[at + 1])
  }

  get value(): Buffer | undefined {
    const { index } = this.#block
    const at = this.#at
    return (index[at + 3] & META_VALUE) === 0 ? undefined : this.#block.view(index[at + 1], index[at + 2])
  }

  get tombstone(): boolean {
    return (this.#meta & META_TOMBSTONE) !== 0
  }

  get expiresAt(): number | undefined {
    const meta = this.#meta
    return (meta & META_EXPIRES) === 0 ? undefined : this.#block.extras[meta >>> META_EXTRA_SHIFT]
  }

  get version(): RecordVersion | undefined {
    const meta = this.#meta
    const { extras } = this.#block
    if ((meta & META_VERSION) === 0) return undefined
    const at = (meta >>> META_EXTRA_SHIFT) + (meta & META_EXPIRES ? 1 : 0)
    return { term: extras[at], index: extras[at + 1] }
  }

  get #meta(): number {
    return this.#block.index[this.#at + 3]
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
export class RecordCopy extends ReadRecord {
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
