// Calls the log at every depth near the end of the stack, and looks whether each `acknowledged` that was answered is right.
// Usage: node acknowledged-deep.mjs DIRECTORY

import { Wal } from '../../index.js'

const wal = await Wal.open(process.argv[2])
let [overflows, wrong] = [0, 0]

async function check(position, acknowledged) {
  await acknowledged
  if (wal.durablePosition < position) wrong += 1
}

for (let left = 0; left < 60; left += 1) {
  const calls = []
  const deep = () => {
    try {
      deep()
    } catch {
      // The stack ends somewhere in these calls, at another place in each frame on the way back.
      if (calls.length > left + 3) return
      try {
        const position = wal.enqueue('x')
        calls.push(check(position, wal.acknowledged(position)))
        calls.push(check(0, wal.append('y')))
        calls.push(check(position, wal.acknowledged()))
      } catch {
        overflows += 1
      }
    }
  }
  deep()
  for (const result of await Promise.allSettled(calls)) {
    if (result.status === 'fulfilled') continue
    if (result.reason instanceof RangeError) overflows += 1
    else wrong += 1
  }
  const last = wal.enqueue('z')
  await check(last, wal.acknowledged(last))
}
await wal.close()
console.log(`${overflows} overflows, ${wrong} wrong`)
