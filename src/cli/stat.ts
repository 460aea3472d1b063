// `forelog stat`: prints the state of a log and its disk usage.

import { stat, type LogStat } from '../index.js'
import { EXIT } from './exit-codes.js'
import { quoted } from './failure.js'
import { count, megabytes } from './numbers.js'
import { say, stdout } from './output.js'

export interface StatOptions {
  json?: boolean
}

function lines(at: LogStat): string {
  const records = at.nextPosition - at.firstPosition
  const state = at.locked ? 'open for writing' : at.clean ? 'clean' : `not clean: ${at.verdict}`
  const cursors = at.cursors?.map(({ name, position }) => `${name} at ${position}`).join(', ') ?? 'CURSORS is damaged'
  const rows = [
    ['uuid', at.uuid],
    ['state', state],
    ...(at.damage === undefined ? [] : [['damage', at.damage.message]]),
    [
      'records',
      records === 0 ? `none; the next is ${at.nextPosition}` : `${count(records)}: ${at.firstPosition} to ${at.nextPosition - 1}`,
    ],
    ['segments', count(at.segments)],
    ['cursors', cursors || 'none'],
    ['allocated', megabytes(at.allocatedBytes)],
    ['used', megabytes(at.usedBytes)],
    ['spares', at.spares === 0 ? 'none' : `${count(at.spares)}, ${megabytes(at.spareBytes)}`],
    ['reserve', at.reserveBytes === 0 ? 'none' : megabytes(at.reserveBytes)],
  ]
  return rows.map(([name, value]) => `${name.padEnd(10)}${value}\n`).join('')
}

/** Prints the state of the log, and resolves to the exit code: that of damage if any is visible. */
export async function statLog(dir: string, { json = false }: StatOptions): Promise<number> {
  const found = await stat(dir)
  await stdout.write(json ? `${JSON.stringify(found)}\n` : lines(found))
  await stdout.flush()
  if (found.damage === undefined) return EXIT.done
  if (!json) say(`  next: \`forelog verify ${quoted(dir)}\` lists all damage\n`)
  return EXIT.damage
}
