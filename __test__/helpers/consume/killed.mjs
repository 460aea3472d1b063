// A consumer that is killed: it writes each record that it handles into a file, with an fsync, and then tells the parent.
//   from POSITION       where it begins
//   handled POSITION
//   end
// Every thirteenth record is poison.

import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs'
import { Wal } from '../../../index.js'
import { tell } from '../kill/records.mjs'

const [dir, file, concurrency, options] = process.argv.slice(2)
const wal = await Wal.open(dir, JSON.parse(options))
const dead = await Wal.open(`${dir}-dead`, JSON.parse(options))
const fd = openSync(file, 'a')
const cursor = await wal.cursor('a')
tell(`from ${cursor.position + 1}`)
const handler = async ({ position }) => {
  // Out of order, if there is more than one at a time.
  for (let turns = position % 5; concurrency > 1 && turns > 0; turns--) await new Promise(setImmediate)
  if (position % 13 === 0) throw new Error('poison')
  writeSync(fd, `${position};\n`)
  fsyncSync(fd)
  tell(`handled ${position}`)
}
const backoff = { minMs: 0, maxMs: 1 }
await cursor.consume(handler, {
  concurrency: Number(concurrency),
  retries: 1,
  backoff,
  deadLetter: dead,
  follow: false,
  window: 50,
  commitEveryMs: 2,
}).done
tell('end')
closeSync(fd)
await wal.close()
await dead.close()
