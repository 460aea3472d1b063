// Appends in every way, through rolls and truncations. Arguments: directory of the log, marker file.

import { openSync, writeSync } from 'node:fs'
import { Wal } from '../../../index.js'

const [dir, marker] = process.argv.slice(2)
const wal = await Wal.open(dir, { segmentBytes: 1 << 19 })
const fd = openSync(marker, 'w')
writeSync(fd, 'busy<0>\n')
const append = (length) => wal.append('x'.repeat(length))
for (let n = 0; n < 200; n++) await append(100)
for (let round = 0; round < 30; round++) {
  await Promise.all(Array.from({ length: 50 }, (_, n) => append(n * 10)))
  await wal.appendBatch(Array.from({ length: 100 }, () => 'x'.repeat(200)))
}
// Groups that are handed over in the middle of a turn.
await Promise.all(Array.from({ length: 100 }, () => append(20_000)))
await wal.truncateBefore(wal.nextPosition - 100)
for (let n = 0; n < 20; n++) await append(300)
await wal.truncateAfter(wal.nextPosition - 10)
for (let n = 0; n < 100; n++) await append(100)
for (let n = 0; n < 1000; n++) wal.enqueue('x')
await wal.sync()
writeSync(fd, 'busy<1>\n')
await wal.close()
