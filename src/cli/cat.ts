// `forelog cat`: prints records, as bytes or as JSON.

import { isUtf8 } from 'node:buffer'
import { Wal, type WalRecord } from '../index.js'
import { EXIT } from './exit-codes.js'
import { describeHole, isNew } from './holes.js'
import { Interrupt } from './interrupt.js'
import { say, stdout } from './output.js'

export interface CatOptions {
  from?: number
  since?: number
  follow?: boolean
  json?: boolean
  chomp?: boolean
  salvage?: boolean
}

const LINE_FEED = Buffer.from('\n')

const chomped = (value: Buffer): Buffer => (value.at(-1) === LINE_FEED[0] ? value.subarray(0, -1) : value)

/** UTF-8 as a string; other bytes as `{ base64 }`, so that none are lost. */
function text(bytes: Buffer | undefined): string | { base64: string } | null {
  if (bytes === undefined) return null
  return isUtf8(bytes) ? bytes.toString() : { base64: bytes.toString('base64') }
}

function asJson(record: WalRecord, chomp: boolean): string {
  const { position, key, value, tombstone, expiresAt, version, committedAt } = record
  const shown = chomp && value ? chomped(value) : value
  return `${JSON.stringify({
    position,
    key: text(key),
    value: text(shown),
    tombstone,
    expiresAt: expiresAt ?? null,
    committedAt: committedAt ?? null,
    ...(version && { version }),
  })}\n`
}

/** Renders a batch of records in one piece, because a write per record would be the slowest part. */
function render(records: WalRecord[], { json = false, chomp = false }: CatOptions): Buffer | string {
  if (json) return records.map((record) => asJson(record, chomp)).join('')
  const values = records.flatMap(({ value }) => {
    if (value === undefined) return []
    return chomp ? [chomped(value), LINE_FEED] : [value]
  })
  return Buffer.concat(values)
}

/** Prints the records, and resolves to the exit code. */
export async function cat(dir: string, options: CatOptions): Promise<number> {
  const { from = 'start', since, follow = false, salvage = false } = options
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  const interrupt = new Interrupt()
  const { signal } = interrupt
  stdout.stopOn(signal)
  const reader = wal.readFrom(since === undefined ? from : { since }, { follow, salvage, signal })
  try {
    for await (const records of reader.batches()) {
      await stdout.write(render(records, options))
      if (stdout.abandoned) break
    }
    await stdout.flush()
    for (const hole of reader.holes) say(describeHole(dir, hole))
    return reader.holes.some(isNew) ? EXIT.damage : EXIT.done
  } catch (error) {
    if (interrupt.name === undefined) throw error
    const reached = reader.position === 0 ? 'before the first record' : `after position ${reader.position}`
    say(`forelog: stopped by ${interrupt.name} ${reached}\n`)
    return interrupt.exitCode(EXIT.done)
  } finally {
    interrupt.stop()
    await wal.close()
  }
}
