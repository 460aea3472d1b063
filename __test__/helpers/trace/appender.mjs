// Appends records one after another and leaves a marker in a file at the moment each promise has resolved.
// Arguments: directory of the log, marker file, records, bytes per record.

import { openSync, writeSync } from 'node:fs'
import { Record, Wal } from '../../../index.js'

const [dir, marker, count, size] = process.argv.slice(2)
const wal = await Wal.open(dir, { fsync: 'always', segmentBytes: 65536 })
const fd = openSync(marker, 'w')
for (let n = 1; n <= Number(count); n++) {
  const position = await wal.append(Record.put(`record<${n}>`, 'v'.repeat(Number(size))))
  writeSync(fd, `acknowledged<${position}>\n`)
}
await wal.close()
