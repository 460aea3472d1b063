// Appends until it is told to end or is killed, under the policy and with the options given. Before a record is
// appended nothing is said; after every acknowledgement it says the position that is acknowledged:
// what was acknowledged first is also told first, and outlives the process.

import { createInterface } from 'node:readline'
import { Wal } from '../../../index.js'
import { tell as say } from '../kill/records.mjs'

const [dir, options, commands] = [process.argv[2], JSON.parse(process.argv[3]), createInterface({ input: process.stdin })]
const wal = await Wal.open(dir, options)
say(`open ${wal.nextPosition}`)
let running = true
// What comes in the place of something that was cut off is told from it.
let fill = '.'
commands.on('line', async (line) => {
  const [command, argument] = line.split(' ')
  if (command === 'end') running = false
  if (command === 'truncate') {
    await wal.truncateBefore(Number(argument))
    say('truncated')
  }
  if (command === 'cut') {
    const cut = wal.truncateAfter(Number(argument))
    fill = '+'
    await cut
    say('cut')
  }
})
while (running) {
  const from = wal.nextPosition
  const group = Array.from({ length: 50 }, (_, n) => wal.append(`value-${from + n}`.padEnd(200, fill)))
  await Promise.all(group)
  say(`acknowledged ${wal.acknowledgedPosition}`)
}
await wal.close()
say('closed')
process.exit()
