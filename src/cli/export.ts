// `forelog export`: prints a log as lines of JSON, from which `forelog import` makes an equal log.

import type { DetailedBlock } from '../records/detailed-block.js'
import { Wal } from '../index.js'
import { EXIT } from './exit-codes.js'
import { describeHole, isNew } from './holes.js'
import { Interrupt } from './interrupt.js'
import { endLine, headerLine, holeLine, recordLine } from './ndjson.js'
import { count } from './numbers.js'
import { say, stdout } from './output.js'
import { progressOn, silent } from './progress.js'

export interface ExportOptions {
  from?: number
  salvage?: boolean
  quiet?: boolean
}

// Lines are joined up to this length for one write. A larger record is written by itself.
const PIECE_CHARACTERS = 1 << 20

/** Writes the records of a block with their batches. */
async function write({ records, batches }: DetailedBlock): Promise<void> {
  let piece = ''
  let next = 0
  for (const record of records) {
    while (next < batches.length && batches[next][1] < record.position) next++
    const isBatched = next < batches.length && batches[next][0] <= record.position
    const line = recordLine(record, isBatched ? batches[next] : undefined)
    if (piece.length + line.length > PIECE_CHARACTERS) {
      await stdout.write(piece)
      piece = ''
    }
    piece += line
  }
  await stdout.write(piece)
}

/** Exports the log, and resolves to the exit code. */
export async function exportLog(dir: string, { from, salvage = false, quiet }: ExportOptions): Promise<number> {
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  const interrupt = new Interrupt()
  stdout.stopOn(interrupt.signal)
  const first = from ?? wal.firstPosition
  const reader = wal.readDetailed(first, { salvage, signal: interrupt.signal })
  const isShown = !quiet && process.stderr.isTTY && !process.stdout.isTTY
  const progress = isShown ? progressOn(process.stderr, Math.max(wal.nextPosition - first, 1)) : silent
  let [exported, lost, reported, next] = [0, 0, 0, first]
  const writeHoles = async () => {
    for (const hole of reader.holes.slice(reported)) {
      await stdout.write(holeLine(hole))
      if (!quiet) say(describeHole(dir, hole))
      lost += hole.last - hole.first + 1
      next = hole.last + 1
    }
    reported = reader.holes.length
  }
  let hasBegun = false
  try {
    for await (const block of reader.blocks()) {
      // Write the header after the first block was read, so that a position that the log does not hold leaves no output.
      if (!hasBegun) await stdout.write(headerLine(first))
      hasBegun = true
      await writeHoles()
      await write(block)
      exported += block.records.length
      next = reader.position + 1
      progress.update(next - first, `${count(exported)} records`)
      if (stdout.abandoned) return EXIT.done
    }
    if (!hasBegun) await stdout.write(headerLine(first))
    await writeHoles()
    await stdout.write(endLine(next, exported, lost))
    await stdout.flush()
  } catch (error) {
    if (interrupt.name === undefined) {
      if (hasBegun && error instanceof Error) error.message += '; the export is incomplete, and has no end line'
      throw error
    }
    progress.stop()
    say(`forelog: stopped by ${interrupt.name} after position ${next - 1}: the export is incomplete, and has no end line\n`)
    return interrupt.exitCode(EXIT.done)
  } finally {
    interrupt.stop()
    progress.stop()
    await wal.close()
  }
  return reader.holes.some(isNew) ? EXIT.damage : EXIT.done
}
