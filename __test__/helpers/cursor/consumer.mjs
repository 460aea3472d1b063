// A queue's consumer: takes the records that its cursor has not done, one after the other, and tells the parent line by line:
//   from POSITION     where it begins
//   doing POSITION    before it commits
//   done POSITION     once that is durable
//   end
// It kills itself at the nth record: before it commits, while it does, or once it has.
// A pipe is written synchronously: what is told outlives this process.

import { Wal } from '../../../index.js'

const [dir, options, nth, when] = process.argv.slice(2)
const die = () => process.kill(process.pid, 'SIGKILL')
const tell = (...words) => process.stdout.write(`${words.join(' ')}\n`)

const wal = await Wal.open(dir, JSON.parse(options))
const cursor = await wal.cursor('queue')
tell('from', cursor.position + 1)
let count = 0
for await (const { position } of cursor.read()) {
  const isLast = ++count === Number(nth)
  tell('doing', position)
  if (isLast && when === 'before') die()
  const committed = cursor.commit(position)
  if (isLast && when === 'during') {
    await new Promise(setImmediate)
    die()
  }
  await committed
  tell('done', position)
  if (isLast) die()
}
tell('end')
await wal.close()
