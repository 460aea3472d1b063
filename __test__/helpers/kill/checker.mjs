// A fresh process that opens the log and says what is in it: `open FIRST NEXT` when recovery is over, `POSITION ATTEMPT`
// for every record that is as it was made, and `end`; or `refused CODE`. With `abandon` it ends without closing, so that whoever comes
// next has to recover again.

import { Wal } from '../../../index.js'
import { attemptOf, recordAt, tell } from './records.mjs'

const [dir, seed, segmentBytes, ending] = process.argv.slice(2)

const wal = await Wal.open(dir, { create: false, segmentBytes: Number(segmentBytes) }).catch(({ code, message }) => {
  tell(`refused ${code} ${message}`)
  process.exit()
})
tell(`open ${wal.firstPosition} ${wal.nextPosition}`)
for await (const records of wal.readFrom('start').batches()) {
  const lines = records.map(({ position, value }) => {
    const attempt = attemptOf(value)
    return value.equals(recordAt(Number(seed), attempt)) ? `${position} ${attempt}` : `${position} damaged`
  })
  tell(lines.join('\n'))
}
tell('end')
if (ending === 'abandon') process.kill(process.pid, 'SIGKILL')
else await wal.close()
