// Appends while the disk takes long, and counts how often a timer fires meanwhile. Arguments: directory of the log, the file of the delay,
// milliseconds, the record. Prints the ticks of each append.

import { appendFileSync, rmSync, writeFileSync } from 'node:fs'
import { Wal } from '../../../index.js'
import { untilSubmitted } from './until-submitted.mjs'

const [dir, delay, ms, record] = process.argv.slice(2)
const wal = await Wal.open(dir, { segmentBytes: 1 << 20 })
await untilSubmitted(() => wal.append('x'.repeat(100)))
writeFileSync(delay, ms)
appendFileSync(record, 'slow\n')
let ticks = 0
const timer = setInterval(() => ticks++, 2)
const made = [
  () => wal.append('one'),
  () => Promise.all([wal.append('two'), wal.append('three'), wal.append('x'.repeat(100_000))]),
  () => wal.sync(),
  () => wal.truncateAfter(wal.nextPosition - 2),
  () => wal.append('four'),
]
for (const make of made) {
  const before = ticks
  await make()
  console.log(ticks - before)
}
clearInterval(timer)
appendFileSync(record, 'fast\n')
rmSync(delay)
await wal.close()
