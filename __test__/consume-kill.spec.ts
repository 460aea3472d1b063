// kill -9 of a process that consumes, at random moments: no record is skipped, and none is handled out of order.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import test from 'ava'
import { temporaryDirectory } from './helpers/directory.js'
import { random } from './helpers/kill/records.mjs'
import { fill, SEGMENT_BYTES, temporaryLog, values } from './helpers/log.js'
import { has } from './helpers/needs.js'

const RECORDS = 250
const WINDOW = 50
const options = { segmentBytes: SEGMENT_BYTES }
const script = fileURLToPath(new URL('./helpers/consume/killed.mjs', import.meta.url))
const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)

/** One life of the consumer, which ends after so many records, or at the end of the log. */
async function life(args: string[], limit: number): Promise<{ from: number; handled: number[]; ended: boolean; stderr: string }> {
  const child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = once(child, 'close')
  let stderr = ''
  child.stderr.on('data', (data: Buffer) => (stderr += String(data)))
  const told = { from: 0, handled: [] as number[], ended: false }
  for await (const line of createInterface({ input: child.stdout })) {
    const [word, position] = line.split(' ')
    if (word === 'from') told.from = Number(position)
    else if (word === 'handled') told.handled.push(Number(position))
    else if (word === 'end') told.ended = true
    if (told.handled.length === limit) child.kill('SIGKILL')
  }
  await closed
  return { ...told, stderr }
}

for (const concurrency of [1, 8]) {
  test(`with concurrency ${concurrency} every record is handled or a dead letter, however often the consumer is killed`, async (t) => {
    if (!has(t, 'posix')) return
    t.log(`seed ${seed} (FORELOG_SEED)`)
    const next = random(seed + concurrency)
    const around = temporaryDirectory(t)
    const [dir, file] = [path.join(around, 'log'), path.join(around, 'seen')]
    const wal = await temporaryLog(t, options, dir)
    await fill(wal, RECORDS)
    await wal.close()

    const isPoison = (position: number) => position % 13 === 0
    const args = [dir, file, `${concurrency}`, JSON.stringify(options)]
    const seen = new Set<number>()
    let kills = 0
    let furthest = 0
    for (let ended = false; !ended;) {
      const round = await life(args, 1 + Math.floor(next() * 60))
      t.is(round.stderr, '')
      ended = round.ended
      if (!ended) kills++
      // Nothing before the first record of this life is skipped, and no more than the window is handled again.
      for (let position = 1; position < round.from; position++) t.true(seen.has(position) || isPoison(position), `${position} is skipped`)
      t.true(furthest - round.from < WINDOW, `from ${round.from}, after ${furthest}`)
      if (concurrency === 1) {
        const expected = Array.from({ length: RECORDS }, (_, i) => round.from + i).filter((position) => !isPoison(position))
        t.deepEqual(round.handled, expected.slice(0, round.handled.length))
      }
      for (const position of readFileSync(file, 'utf8').matchAll(/^(\d+);$/gm)) seen.add(Number(position[1]))
      furthest = Math.max(furthest, ...round.handled)
    }
    t.true(kills >= 3, `${kills} kills`)
    t.log(`${kills} kills`)

    const dead = await temporaryLog(t, options, `${dir}-dead`)
    const letters = new Set(await values(dead.readFrom('start')))
    for (let position = 1; position <= RECORDS; position++) {
      t.is(seen.has(position), !isPoison(position), `${position}`)
      t.is(letters.has(`value-${position}`), isPoison(position), `${position}`)
    }
    const after = await temporaryLog(t, options, dir)
    t.deepEqual(after.cursors(), [{ name: 'a', position: RECORDS }])
  })
}
