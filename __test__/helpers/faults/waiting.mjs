// Lets every fsync fail while every kind of operation waits; tells what each of them was told, as JSON, or `null` if one failed before all
// of them waited.
// Arguments: options of opening, as JSON; the rules in force once the log is open.

import { writeFileSync } from 'node:fs'
import { Record, Wal } from '../../../index.js'

const [options, rules] = process.argv.slice(2)
const wal = await Wal.open(process.env.FORELOG_FAULT_DIR, JSON.parse(options))
await wal.append('first')
writeFileSync(process.env.FORELOG_FAULT_RULES, rules)

const theCaller = () => [
  wal.append('second'),
  wal.appendBatch(['third', 'fourth']),
  wal.append(Record.put('k', 'fifth', { expiresAt: 1 })),
  wal.sync(),
  wal.truncateBefore(2),
  wal.truncateAfter(3),
  wal.append('fourth again'),
  wal.reset(10),
  wal.append('tenth'),
]
const calls = theCaller()
const early = wal.stats().poisoned
const told = (await Promise.allSettled(calls)).map(({ status, reason }) => {
  if (status !== 'rejected') return status
  const { code, operation, position, stack, cause } = reason
  return { code, operation, position, cause: cause?.code, stack }
})
wal.close().catch(() => {})
console.log(JSON.stringify(early ? null : told))
