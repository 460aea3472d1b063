// A queue's consumer: takes the records that its cursor has not done, one after the other, and tells the parent line by line:
//   from POSITION     where it begins
//   doing POSITION    before it commits
//   done POSITION     once that is durable
//   end
// A pipe is written synchronously: what is told outlives this process.

import { Wal } from '../../../index.js'

const [dir, options] = process.argv.slice(2)
const tell = (...words) => process.stdout.write(`${words.join(' ')}\n`)

const wal = await Wal.open(dir, JSON.parse(options))
const cursor = await wal.cursor('queue')
tell('from', cursor.position + 1)
for await (const { position } of cursor.read()) {
  tell('doing', position)
  await cursor.commit(position)
  tell('done', position)
}
tell('end')
await wal.close()
