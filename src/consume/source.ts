// What a consumer needs of a cursor, its log and the log for dead letters. The cursor and the handle are in rooms above this one.

import type { WalRecord } from '../records/block.js'

/** A reader of records whose values are as stored. */
export interface SourceReader {
  next(): Promise<IteratorResult<WalRecord, undefined>>
  takeNow(limit: number): WalRecord[]
  /** Why `next()` rejects from now on, if that is known already: a truncation of records that it has returned, or the closed handle. */
  readonly failure: unknown
  return(): Promise<unknown>
}

/** The cursor that is consumed, through one handle. */
export interface Source<V = unknown> {
  readonly name: string
  /** Operation queue of the log, which all handles of the environment share. */
  readonly log: object
  /** Position of the cursor, as stored. */
  position(): number
  firstPosition(): number
  acknowledgedPosition(): number
  /** Whether the handle is open. */
  isOpen(): boolean
  isDeleted(): boolean
  /** Claims the cursor for this environment's consumers. Returns false if those of another one have it. */
  claim(): boolean
  /** Ends the claim. */
  unclaim(): void
  /** Reads from `from` on. Commits may then not go past what a truncation of the end has removed. */
  readStored(from: number, follow: boolean): SourceReader
  /** Makes the position of the cursor durable. */
  commitConsumed(position: number): Promise<void>
  /** Returns the record as the handle's readers do: decoded, if it has a codec. Throws if the value cannot be decoded. */
  view(record: WalRecord): WalRecord<V>
}

/** A log that takes dead letters. */
export interface LetterBox {
  /** Operation queue of the log, which all handles of the environment share. */
  readonly log: object
  /** Appends the record's key and value as they are stored. Resolves once they are durable. */
  append(record: WalRecord): Promise<number>
  /** See `Wal.drain`. */
  drain(): Promise<void>
}

/** Method of a log that returns its letter box. Registered, so that a log of another copy of the package has it too. */
export const letterBox: unique symbol = Symbol.for('forelog.letterBox') as never
