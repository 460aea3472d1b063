// Records with everything that the log stores about them, for copying a log: batches, and 64-bit numbers.

import type { BlockData } from '../native/calls.js'
import { BATCH_ENTRIES, BATCH_FIRST, BATCH_RECORDS, META_EXPIRES, META_EXTRA_SHIFT, META_VERSION } from '../native/wire.js'
import { Block, RecordView } from './block.js'

/** A record with exact numbers. Its bytes are views of its block. */
export interface DetailedRecord {
  position: number
  key: Buffer | undefined
  value: Buffer | undefined
  tombstone: boolean
  expiresAt: bigint | undefined
  version: { term: bigint; index: bigint } | undefined
}

/** First and last position of the part of an atomic batch that is in this block. */
export type DetailedBatch = readonly [first: number, last: number]

/** Content of one block of a detailed reader. */
export interface DetailedBlock {
  records: DetailedRecord[]
  /** In order. A record in none of them was appended by itself. */
  batches: DetailedBatch[]
}

/** Block of a detailed reader, whose extras are integers. */
export class ExactBlock extends Block {
  readonly #numbers: BigUint64Array
  readonly #batches: number[]

  constructor(data: BlockData) {
    super(data)
    const { buffer, byteOffset, length } = this.extras
    this.#numbers = new BigUint64Array(buffer, byteOffset, length)
    this.#batches = data.batches ?? []
  }

  /** Returns the records from index `from` on. */
  detailed(from: number): DetailedBlock {
    const records: DetailedRecord[] = []
    for (let record = from; record < this.count; record++) records.push(this.#record(record))
    const batches: DetailedBatch[] = []
    for (let i = 0; i < this.#batches.length; i += BATCH_ENTRIES) {
      const first = this.#batches[i + BATCH_FIRST]
      const last = first + this.#batches[i + BATCH_RECORDS] - 1
      if (last >= from) batches.push([this.firstPosition + Math.max(first, from), this.firstPosition + last])
    }
    return { records, batches }
  }

  #record(record: number): DetailedRecord {
    const { position, key, value, tombstone } = new RecordView(this, record)
    const meta = this.meta(record)
    let at = meta >>> META_EXTRA_SHIFT
    const expiresAt = meta & META_EXPIRES ? this.#numbers[at++] : undefined
    const version = meta & META_VERSION ? { term: this.#numbers[at], index: this.#numbers[at + 1] } : undefined
    return { position, key, value, tombstone, expiresAt, version }
  }
}
