// `forelog append`: appends lines as records.

import { addAbortSignal } from 'node:stream'
import { Wal, WalError, type WalOptions } from '../index.js'
import { EXIT } from './exit-codes.js'
import { InputError } from './failure.js'
import { Interrupt } from './interrupt.js'
import { openInput, splitLines, type Input } from './lines.js'
import { count, mean, megabytes, milliseconds, rate } from './numbers.js'
import { say } from './output.js'
import { progressOn, silent, type Progress } from './progress.js'

export interface AppendOptions {
  fsync: NonNullable<WalOptions['fsync']>
  segmentBytes?: number
  compression: NonNullable<WalOptions['compression']>
  maxRecordBytes: number
  quiet?: boolean
}

// A record is a little longer than its line, and the user's limit is that of the line.
const FRAMING_BYTES = 64
const PENDING_BYTES = 64 << 20

/** Appends lines in order, and stops at the first one that does not get the next position. */
class LineAppender {
  lines = 0
  bytes = 0
  readonly #wal: Wal
  readonly #first: number
  #position: number

  constructor(wal: Wal) {
    this.#wal = wal
    this.#first = wal.nextPosition
    this.#position = this.#first
  }

  async take(lines: Buffer[]): Promise<void> {
    // After a failed write the log assigns the positions of the rejected records again. Appending the next lines in a later turn would
    // leave out the rejected lines.
    if (this.refused) return
    for (const line of lines) {
      if (!this.#enqueue(line)) {
        await this.#wal.drain()
        if (this.refused) return
        this.#wal.enqueue(line)
      }
      this.#position += 1
      this.lines += 1
      this.bytes += line.length
    }
    await this.#wal.drain()
  }

  get refused(): boolean {
    return this.#wal.nextPosition !== this.#position
  }

  /** Lines that will be in the log when it is opened again. */
  get acknowledged(): number {
    return Math.max(0, this.#wal.acknowledgedPosition - this.#first + 1)
  }

  /** Describes the acknowledged lines. */
  get reached(): string {
    const lines = this.acknowledged
    if (lines === 0) return 'no line is'
    return lines === 1 ? 'the first line is' : `the first ${count(lines)} lines are`
  }

  #enqueue(line: Buffer): boolean {
    try {
      this.#wal.enqueue(line)
      return true
    } catch (error) {
      if (error instanceof WalError && error.code === 'ERR_WAL_BACKPRESSURE') return false
      throw error
    }
  }
}

function summary(appender: LineAppender, wal: Wal, started: number): string {
  const { lines, bytes } = appender
  const elapsed = performance.now() - started
  const stats = wal.stats()
  return [
    `${count(lines)} records`,
    megabytes(bytes),
    `${rate(lines, elapsed)} records/s`,
    `${count(stats.fsyncs)} fsyncs`,
    `mean group ${mean(lines, stats.commits)}`,
    `p99 commit ${milliseconds(stats.commitUs.p99 / 1000)}`,
  ].join(', ')
}

/** Adds to an error's message what the user needs to continue from there. */
function explain(error: unknown, appender: LineAppender): unknown {
  if (!(error instanceof Error)) return error
  const hint = error instanceof InputError && error.code === 'ERR_WAL_TOO_LARGE' ? ' (see --max-record-bytes)' : ''
  error.message += `${hint}; ${appender.reached} in the log`
  return error
}

async function ingest(input: Input, appender: LineAppender, limit: number, progress: Progress) {
  for await (const lines of splitLines(input.stream, limit)) {
    await appender.take(lines)
    if (appender.refused) return
    progress.update(appender.bytes, `${count(appender.lines)} records, ${megabytes(appender.bytes)}`)
  }
}

/** Appends the lines of the input, and resolves to the exit code. */
export async function append(dir: string, file: string | undefined, options: AppendOptions): Promise<number> {
  const { fsync, segmentBytes, compression, maxRecordBytes, quiet } = options
  // Open the input before the log: a misspelt file name must not create a log.
  const input = await openInput(file)
  const wal = await Wal.open(dir, {
    fsync,
    compression,
    maxRecordBytes: maxRecordBytes + FRAMING_BYTES,
    maxPendingBytes: Math.max(PENDING_BYTES, 2 * maxRecordBytes),
    ...(segmentBytes === undefined ? {} : { segmentBytes }),
  })

  const started = performance.now()
  const appender = new LineAppender(wal)
  const progress = quiet || !process.stderr.isTTY ? silent : progressOn(process.stderr, input.bytes)
  // A signal ends the input, not the process: whole lines that were read are committed, as after `tail -f`.
  const interrupt = new Interrupt()
  addAbortSignal(interrupt.signal, input.stream)
  try {
    await ingest(input, appender, maxRecordBytes, progress).catch((error: unknown) => {
      if (interrupt.name === undefined) throw error
    })
    await wal.close()
  } catch (error) {
    // Closing commits what was accepted. If a commit is what failed, closing fails with the same error.
    await wal.close().catch(() => {})
    throw explain(error, appender)
  } finally {
    interrupt.stop()
    progress.stop()
    input.stream.destroy()
  }
  if (interrupt.name !== undefined) {
    say(`forelog: stopped by ${interrupt.name}: ${appender.reached} in the log and durable\n`)
  } else if (!quiet) say(`${summary(appender, wal, started)}\n`)
  return interrupt.exitCode(EXIT.done)
}
