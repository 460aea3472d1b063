// kill -9, for real: whatever was acknowledged is there for the next process, without any repair. `npm run kill` goes on for longer.

import test from 'ava'
import { kill, summary } from './helpers/kill/rounds.js'
import { has } from './helpers/needs.js'

const ROUNDS = 50
const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)

test(`the log and its backups have every acknowledged record and no rejected one, in ${ROUNDS} rounds of kill -9`, async (t) => {
  if (!has(t, 'posix')) return
  t.timeout(1_800_000)
  t.log(`seed ${seed} (FORELOG_SEED)`)
  const traced = has(t, 'strace')
  const counts = await kill({ rounds: ROUNDS, seed, traced })
  t.log(summary(counts))
  t.true(counts.inFlight >= 40)
  t.true(counts.inCut >= 2)
  t.true(counts.inReset >= 1)
  t.true(counts.inBackup >= 2)
  t.true(counts.backups >= 5)
  if (traced) {
    t.true(counts.inRoll >= 5)
    t.true(counts.inTruncation >= 1)
    t.true(counts.inRecovery >= 5)
  }
})
