// Values are decoded right before their records are returned, so that a value that cannot be decoded is an outcome of `next()`.

import { mustBe, WalError } from '../errors.js'
import type { ReadOptions } from '../options/types.js'
import { DecodedCopy, DecodedView, own, RecordCopy, RecordView, type Block, type WalRecord } from '../records/block.js'
import type { Values } from '../records/values.js'

/** A record whose value could not be decoded. */
export class Undecodable {
  readonly block: Block
  readonly record: number
  readonly error: unknown
  /** Position of the reader before this record. */
  readonly before: number

  constructor(block: Block, record: number, error: unknown, before: number) {
    this.block = block
    this.record = record
    this.error = error
    this.before = before
  }
}

/**
 * Returns a record that was read as stored with its decoded value.
 *
 * @throws like `Values.decode`
 */
export const decodedView = (stored: WalRecord, values: Values): WalRecord<unknown> =>
  new DecodedView(stored, stored.tombstone ? undefined : values.decode(stored.value, stored.position)) as WalRecord<unknown>

/** Makes the records of a reader of a log with a codec. */
export class Decoder {
  readonly #values: Values
  readonly #copy: boolean
  readonly #onError: ReadOptions<unknown>['onDecodeError']

  constructor(values: Values, copy: boolean, onError: ReadOptions<unknown>['onDecodeError'] = 'throw') {
    this.#values = values
    this.#copy = copy
    this.#onError = onError
  }

  /** Whether records may be skipped, so that the reader has to count those that it returns. */
  get maySkip(): boolean {
    return this.#onError !== 'throw'
  }

  /**
   * Returns a record with its decoded value.
   *
   * @throws what the codec threw, as `ERR_WAL_CODEC`
   */
  decode(block: Block, record: number): WalRecord<unknown> {
    const view = new RecordView(block, record)
    if (view.tombstone) return this.#made(view, undefined)
    const { value } = view
    return this.#made(view, this.#values.decode(this.#copy ? own(value) : value, view.position))
  }

  /**
   * Decides about a record whose value could not be decoded. Resolves to the record with another value, or to `undefined` if it is to be
   * skipped. Rejects with the error with which the reader fails.
   */
  async settle({ block, record, error }: Undecodable): Promise<WalRecord<unknown> | undefined> {
    // A codec that cannot decode any value would have every record skipped.
    if (!(error instanceof WalError) || error.code !== 'ERR_WAL_CODEC') throw error
    const onError = this.#onError
    const raw = () => (this.#copy ? new RecordCopy(new RecordView(block, record)) : new RecordView(block, record)) as WalRecord
    const action = typeof onError === 'function' ? await onError(error, raw()) : onError
    if (action === 'skip') return undefined
    if (action === 'throw') throw error
    if (typeof action === 'object' && action !== null && 'value' in action) return this.#made(new RecordView(block, record), action.value)
    throw mustBe('the result of options.onDecodeError', "'throw', 'skip' or an object { value }", action, 'read', error)
  }

  #made(view: RecordView, value: unknown): WalRecord<unknown> {
    return (this.#copy ? new DecodedCopy(view, value) : new DecodedView(view, value)) as WalRecord<unknown>
  }
}
