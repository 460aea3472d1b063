// `forelog cat`: the records, as they came or as JSON.

import { isUtf8 } from 'node:buffer'
import { Wal, type WalRecord } from '../index.js'
import { Output } from './output.js'

export interface CatOptions {
  from?: number
  json?: boolean
  chomp?: boolean
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

/** Resolves to the exit code. */
export async function cat(dir: string, options: CatOptions): Promise<number> {
  const output = new Output(process.stdout)
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  try {
    for await (const records of wal.readFrom(options.from ?? 'start').batches()) {
      await output.write(render(records, options))
      if (output.abandoned) break
    }
    await output.flush()
  } finally {
    await wal.close()
  }
  return 0
}
