// `forelog cat`: the records, as they came or as JSON.

import { isUtf8 } from 'node:buffer'
import { Wal, type Hole, type WalRecord } from '../index.js'
import { Output } from './output.js'

export interface CatOptions {
  from?: number
  follow?: boolean
  json?: boolean
  chomp?: boolean
  salvage?: boolean
}

const LINE_FEED = Buffer.from('\n')

const chomped = (value: Buffer): Buffer => (value.at(-1) === LINE_FEED[0] ? value.subarray(0, -1) : value)

/** Text as a string; bytes that are no text as `{ base64 }`, so that none is lost. */
function text(bytes: Buffer | undefined): string | { base64: string } | null {
  if (bytes === undefined) return null
  return isUtf8(bytes) ? bytes.toString() : { base64: bytes.toString('base64') }
}

function asJson(record: WalRecord, chomp: boolean): string {
  const { position, key, value, tombstone, expiresAt, version } = record
  const shown = chomp && value ? chomped(value) : value
  return `${JSON.stringify({
    position,
    key: text(key),
    value: text(shown),
    tombstone,
    expiresAt: expiresAt ?? null,
    ...(version && { version }),
  })}\n`
}

/** What a batch of records prints, in one piece: a write per record would be the slowest part. */
function render(records: WalRecord[], { json = false, chomp = false }: CatOptions): Buffer | string {
  if (json) return records.map((record) => asJson(record, chomp)).join('')
  const values = records.flatMap(({ value }) => {
    if (value === undefined) return []
    return chomp ? [chomped(value), LINE_FEED] : [value]
  })
  return Buffer.concat(values)
}

function describe({ first, last, segment, offset, bytes, flipped, recorded }: Hole): string {
  const positions = first === last ? `position ${first}` : `positions ${first} to ${last}`
  if (recorded) return `forelog: lost earlier: ${positions}, as the log itself records\n`
  const bit = flipped ? `; bit ${flipped.bit} of the byte at ${flipped.offset} has flipped` : ''
  return `forelog: lost: ${positions}, ${segment} from offset ${offset}, ${bytes} bytes${bit}\n`
}

/** Resolves to the exit code. */
export async function cat(dir: string, options: CatOptions): Promise<number> {
  const output = new Output(process.stdout)
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  try {
    const { from = 'start', follow = false, salvage = false } = options
    const reader = wal.readFrom(from, { follow, salvage })
    for await (const records of reader.batches()) {
      await output.write(render(records, options))
      if (output.abandoned) break
    }
    await output.flush()
    for (const hole of reader.holes) process.stderr.write(describe(hole))
    return reader.holes.some(({ recorded }) => recorded !== true) ? 1 : 0
  } finally {
    await wal.close()
  }
}
