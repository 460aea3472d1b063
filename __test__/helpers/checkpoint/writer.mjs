// Restores, then appends and makes checkpoints until it is killed. Tells `start POSITION DIGEST`, and `POSITION;` for each that is
// acknowledged. The state is a chain of hashes over all records, padded to several sizes.

import { createHash } from 'node:crypto'
import path from 'node:path'
import { checkpoint, restore, Wal } from '../../../index.js'
import { random, recordAt, tell } from '../kill/records.mjs'

const [dir, seed, round] = process.argv.slice(2).map((arg, i) => (i === 0 ? arg : Number(arg)))
const next = random(seed ^ Math.imul(round + 1, 7919))
const wal = await Wal.open(path.join(dir, 'log'), { segmentBytes: 64 * 1024 })
const file = path.join(dir, 'state')

const { snapshot, from, skipped } = await restore(file, { wal })
if (skipped.length > 0) throw skipped[0].error
let digest = snapshot === undefined ? '' : (await snapshot.text()).trimEnd()
const apply = (value) => (digest = createHash('sha256').update(digest).update(value).digest('hex'))
for await (const { value } of wal.readFrom(from)) apply(value)
tell(`start ${wal.nextPosition - 1} ${digest};`)

for (;;) {
  const positions = []
  for (let n = 0; n < 1 + next() * 6; n += 1) positions.push(wal.append(recordAt(seed, wal.nextPosition)))
  for (const position of await Promise.all(positions)) apply(recordAt(seed, position))
  tell(`${wal.nextPosition - 1};`)
  if (next() < 0.4) continue
  const state = `${digest}${' '.repeat(next() < 0.5 ? next() * 100 : next() * 900_000)}`
  await checkpoint(wal, file, { position: wal.nextPosition - 1, state, keep: 1 + Math.floor(next() * 3) })
}
