// A fresh process that opens the log and compares all of it. Says `open` when recovery is over, then
// `INTACT NEXT`: the last position up to which every record is right, and the log's next position.
// With `abandon` it ends without closing, so that whoever comes next has to recover again.

import { Wal } from '../../../index.js'
import { recordAt } from './records.mjs'

const [dir, seed, ending] = process.argv.slice(2)

const wal = await Wal.open(dir, { create: false, segmentBytes: 1 << 20 })
process.stdout.write('open\n')
let intact = wal.firstPosition - 1
for await (const { position, value } of wal.readFrom('start')) {
  if (position !== intact + 1 || !value?.equals(recordAt(Number(seed), position))) break
  intact = position
}
process.stdout.write(`${intact} ${wal.nextPosition}\n`)
if (ending === 'abandon') process.kill(process.pid, 'SIGKILL')
else await wal.close()
