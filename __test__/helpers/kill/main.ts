// `npm run kill -- [--rounds N] [--seed S]`: kill -9 for as long as one likes. Exits with 1 at the first broken promise.

import { spawnSync } from 'node:child_process'
import os from 'node:os'
import { parseArgs } from 'node:util'
import { kill, summary } from './rounds.js'

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '1000' }, seed: { type: 'string' } } })
const [rounds, seed] = [values.rounds, values.seed ?? Date.now() % 2 ** 31].map(Number)
if (!Number.isSafeInteger(rounds) || !Number.isSafeInteger(seed)) throw new Error('--rounds and --seed take whole numbers')
const traced = spawnSync('strace', ['-f', '-o', os.devNull, process.execPath, '-e', '0']).status === 0

console.log(`seed ${seed}, ${rounds} rounds${traced ? '' : '; without strace none is aimed at a system call'}`)
const onRound = (round: number, counts: Parameters<typeof summary>[0]): void => {
  if (round % 50 === 0) console.log(`${round}: ${summary(counts)}`)
}
console.log(summary(await kill({ rounds, seed, traced, onRound })))
