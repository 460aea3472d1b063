// `forelog import`: makes a log from the lines of an export.

import { addAbortSignal } from 'node:stream'
import { constants } from 'node:buffer'
import { Wal, WalError, type WalOptions } from '../index.js'
import { exactEntry, type Entry } from '../records/record.js'
import { EXIT } from './exit-codes.js'
import { InputError } from './failure.js'
import { positions } from './holes.js'
import { Interrupt } from './interrupt.js'
import { openInput, splitLines, type Input } from './lines.js'
import { parseLine, type HoleLine, type RecordLine } from './ndjson.js'
import { count, megabytes, rate } from './numbers.js'
import { say } from './output.js'
import { progressOn, silent, type Progress } from './progress.js'

export interface ImportOptions {
  renumber?: boolean
  partial?: boolean
  compression: NonNullable<WalOptions['compression']>
  segmentBytes?: number
  maxRecordBytes: number
  quiet?: boolean
}

/** Consecutive positions that were renumbered by the same distance. */
interface Moved {
  first: number
  last: number
  to: number
}

/** A batch of which not all lines have been read. */
interface Pending {
  first: number
  last: number
  entries: Entry[]
  /** Number of its first line. */
  line: number
}

const entryOf = ({ record: { key, value, tombstone, expiresAt, version } }: RecordLine): Entry =>
  exactEntry(key, value, tombstone, expiresAt, version)

/** Appends records in the order of their lines, and rejects lines that do not continue the log. */
class Importer {
  records = 0
  /** Holes that were skipped, with `--renumber` or before the first record. */
  readonly leftOut: HoleLine[] = []
  readonly moved: Moved[] = []
  /** Position before the first imported record. */
  readonly before: number
  readonly #wal: Wal
  readonly #renumber: boolean
  /** Position that the next line must have. */
  #expected: number
  #isEmpty: boolean
  #batch: Pending | undefined
  #failure: unknown

  private constructor(wal: Wal, firstPosition: number, renumber: boolean) {
    this.#wal = wal
    this.#renumber = renumber
    this.#isEmpty = wal.firstPosition === wal.nextPosition
    this.#expected = firstPosition
    this.before = wal.nextPosition - 1
  }

  /** Starts an import. A new log is reset to begin where the export begins. */
  static async begin(wal: Wal, firstPosition: number, renumber: boolean): Promise<Importer> {
    const isNew = wal.firstPosition === 1 && wal.nextPosition === 1
    if (isNew && firstPosition > 1) await wal.reset(firstPosition)
    if (!renumber && wal.nextPosition !== firstPosition) {
      throw new InputError(
        `the export begins at position ${firstPosition}, but the next position of the log is ${wal.nextPosition}: import into a new directory, or assign new positions with --renumber`,
        { line: 1 }
      )
    }
    return new Importer(wal, firstPosition, renumber)
  }

  /** Position to expect for the next append, so that a rejected record leaves no gap. Undefined after the last possible position. */
  get #expect(): number | undefined {
    const { nextPosition } = this.#wal
    return Number.isSafeInteger(nextPosition) ? nextPosition : undefined
  }

  get next(): number {
    return this.#wal.nextPosition
  }

  async hole(hole: HoleLine, line: number): Promise<void> {
    this.#isWhole(line)
    this.#continues(hole.first, line)
    const isAtStart = this.#isEmpty && this.records === 0 && this.#wal.nextPosition === hole.first
    if (isAtStart) {
      // The log is empty, so it can begin after the lost positions.
      await this.#wal.reset(hole.last + 1)
    } else if (!this.#renumber) {
      throw new InputError(
        `the export lost ${positions(hole.first, hole.last)}, and import cannot leave gaps: assign new positions to the later records with --renumber`,
        {
          line,
        }
      )
    }
    this.leftOut.push(hole)
    this.#expected = hole.last + 1
  }

  async record(given: RecordLine, line: number): Promise<void> {
    const { position } = given.record
    if (this.#batch !== undefined) return this.#batched(given, line)
    this.#continues(position, line)
    if (given.batch === undefined) {
      await this.#append(() => this.#wal.enqueue(entryOf(given), { expect: this.#expect }), line)
      this.#took(position, 1)
      return
    }
    const [first, last] = given.batch
    if (position !== first)
      throw new InputError(`the batch ${first} to ${last} must begin with position ${first}, got ${position}`, { line })
    this.#batch = { first, last, entries: [], line }
    return this.#batched(given, line)
  }

  async #batched(given: RecordLine, line: number): Promise<void> {
    const batch = this.#batch as Pending
    const { first, last, entries } = batch
    const { position } = given.record
    const isNext = position === first + entries.length && given.batch?.[0] === first && given.batch[1] === last
    if (!isNext) this.#isWhole(line)
    entries.push(entryOf(given))
    if (position < last) return
    this.#batch = undefined
    await this.#append(() => this.#appendBatch(entries), batch.line)
    this.#took(first, entries.length)
  }

  /** Appends a batch. Throws if it is refused, as `enqueue` does for a record. */
  async #appendBatch(entries: Entry[]): Promise<void> {
    const next = this.#wal.nextPosition
    const appended = this.#wal.appendBatch(entries, { expect: this.#expect })
    if (this.#wal.nextPosition !== next + entries.length) await appended
    appended.catch((error: unknown) => (this.#failure ??= error))
  }

  /** Runs an append, again after `drain()` while the log refuses it with backpressure. */
  async #append(append: () => unknown, line: number): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure
      try {
        await append()
        return
      } catch (error) {
        if (!(error instanceof WalError)) throw error
        if (error.code === 'ERR_WAL_TOO_LARGE')
          throw new InputError(`${error.message} (see --max-record-bytes)`, { line, code: error.code })
        if (error.code === 'ERR_WAL_INVALID_ARG') throw new InputError(error.message, { line })
        if (error.code !== 'ERR_WAL_BACKPRESSURE') throw error
        await this.#wal.drain()
      }
    }
  }

  #took(position: number, records: number): void {
    const to = this.#wal.nextPosition - records
    this.records += records
    this.#expected = position + records
    if (to === position) return
    const last = this.moved.at(-1)
    if (last !== undefined && last.last + 1 === position && last.to - last.first === to - position) last.last += records
    else this.moved.push({ first: position, last: position + records - 1, to })
  }

  #continues(position: number, line: number): void {
    if (position === this.#expected) return
    if (position < this.#expected)
      throw new InputError(`position ${position} comes after ${this.#expected - 1}: positions must increase`, { line })
    if (this.#renumber) return
    const missing = positions(this.#expected, position - 1)
    throw new InputError(`expected position ${this.#expected}, got ${position}: ${missing} are missing; --renumber closes gaps`, {
      line,
    })
  }

  #isWhole(line: number): void {
    const batch = this.#batch
    if (batch === undefined) return
    const { first, last, entries } = batch
    throw new InputError(`the batch ${first} to ${last} is incomplete: expected position ${first + entries.length} here`, { line })
  }

  /** Checks the end line. Without an end line the input was cut off. */
  end(end: { nextPosition: number; records: number } | undefined, line: number, partial: boolean): void {
    this.#isWhole(line)
    if (end === undefined) {
      if (partial) return
      throw new InputError('the input ends without the end line of an export, so some of it is missing (--partial accepts it)', {
        line,
      })
    }
    if (end.nextPosition !== this.#expected) {
      throw new InputError(
        `the end line says that the last position is ${end.nextPosition - 1}, but the last one in the input is ${this.#expected - 1}`,
        {
          line,
        }
      )
    }
    if (end.records !== this.records && !this.#renumber) {
      throw new InputError(`the end line says ${end.records} records, but the input has ${this.records}`, { line })
    }
  }
}

/** Reads the lines, and opens the log once the first line has shown that the input is an export. */
class Import {
  wal: Wal | undefined
  importer: Importer | undefined
  readonly #dir: string
  readonly #options: ImportOptions

  constructor(dir: string, options: ImportOptions) {
    this.#dir = dir
    this.#options = options
  }

  async run(input: Input, progress: Progress): Promise<void> {
    let [number, bytes] = [0, 0]
    let end: { nextPosition: number; records: number } | undefined
    for await (const lines of splitLines(input.stream, constants.MAX_STRING_LENGTH)) {
      for (const text of lines) {
        number += 1
        bytes += text.length
        if (isBlank(text)) continue
        const line = parseLine(text, number)
        if (end !== undefined) throw new InputError('there are more lines after the end line of the export', { line: number })
        if (line.kind === 'header') this.importer = await this.#begin(line.firstPosition)
        else if (line.kind === 'record') await this.importer?.record(line, number)
        else if (line.kind === 'hole') await this.importer?.hole(line, number)
        else end = line
      }
      await this.wal?.drain()
      progress.update(bytes, `${count(this.importer?.records ?? 0)} records, ${megabytes(bytes)}`)
    }
    if (this.importer === undefined) throw new InputError('the input is empty: an export begins with a header line', { line: 1 })
    this.importer.end(end, number + (end === undefined ? 1 : 0), this.#options.partial === true)
  }

  async #begin(firstPosition: number): Promise<Importer> {
    const { compression, segmentBytes, maxRecordBytes, renumber = false } = this.#options
    this.wal = await Wal.open(this.#dir, {
      // Only acknowledge what is written: a batch must not wait for the disk, and closing makes everything durable.
      fsync: { everyMs: 100 },
      compression,
      maxRecordBytes,
      maxBatchBytes: MAX_BATCH_BYTES,
      ...(segmentBytes === undefined ? {} : { segmentBytes }),
    })
    return Importer.begin(this.wal, firstPosition, renumber)
  }
}

/** Whether a line is empty, as editors leave one at the end of a file. */
const isBlank = (line: Buffer): boolean => line.length <= 2 && line.toString().trim() === ''

// The engine's maximum, because the batches of an export were within the limits of the log they come from.
const MAX_BATCH_BYTES = 1 << 30

function renumbered({ leftOut, moved }: Importer): string[] {
  const lines = leftOut.map(({ first, last }) => `forelog: left out: ${positions(first, last)}, lost in the export\n`)
  const moves = moved.map(
    ({ first, last, to }) =>
      `forelog: renumbered: ${positions(first, last)} became ${first === last ? to : `${to} to ${to + last - first}`}\n`
  )
  return [...lines, ...moves]
}

/** Describes how much of the input is durable in the log. */
function reached({ wal, importer }: Import): string {
  if (wal === undefined || importer === undefined) return 'nothing was imported'
  const last = wal.durablePosition
  return last > importer.before ? `the records up to position ${last} are in the log and durable` : 'no record was imported'
}

/** Imports the input, and resolves to the exit code. */
export async function importLog(dir: string, file: string | undefined, options: ImportOptions): Promise<number> {
  const { quiet = false } = options
  // Open the input before the log: a misspelt file name must not create a log.
  const input = await openInput(file)
  const started = performance.now()
  const progress = quiet || !process.stderr.isTTY ? silent : progressOn(process.stderr, input.bytes)
  const interrupt = new Interrupt()
  addAbortSignal(interrupt.signal, input.stream)
  const work = new Import(dir, options)
  try {
    await work.run(input, progress)
    await work.wal?.close()
  } catch (error) {
    await work.wal?.close().catch(() => {})
    if (interrupt.name === undefined) {
      if (error instanceof Error) error.message += `; ${reached(work)}`
      throw error
    }
  } finally {
    interrupt.stop()
    progress.stop()
    input.stream.destroy()
  }
  const { importer } = work
  if (importer !== undefined) for (const line of renumbered(importer)) say(line)
  if (interrupt.name !== undefined) say(`forelog: stopped by ${interrupt.name}: ${reached(work)}\n`)
  else if (!quiet && importer !== undefined) {
    const elapsed = performance.now() - started
    say(
      `${count(importer.records)} records, ${rate(importer.records, elapsed)} records/s; the next position of the log is ${importer.next}\n`
    )
  }
  return interrupt.exitCode(EXIT.done)
}
