// ext4 and XFS cut off from their disk, as when the power fails: what was acknowledged as durable is there after the next mount.

import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, type WalOptions } from '../index.js'
import { append, flaws, holds, type Job, type Told } from './helpers/faults/process.js'
import { Shim, rule, type Syscall } from './helpers/faults/shim.js'
import { random } from './helpers/kill/records.mjs'
import { LoopDisk, type Kind } from './helpers/mount.js'
import { has } from './helpers/needs.js'

const ROUNDS = 6
const seed = Number(process.env['FORELOG_SEED'] ?? Date.now() % 2 ** 31)
const next = random(seed)
const upTo = (n: number): number => 1 + Math.floor(next() * n)
const pick = <T>(...all: T[]): T => all[upTo(all.length) - 1]

const always: WalOptions = { fsync: 'always', segmentBytes: 1 << 20 }
const os: WalOptions = { fsync: 'os', segmentBytes: 1 << 20 }

/** A log on a disk that loses its power again and again, and everything it has ever acknowledged. */
class Log {
  readonly disk: LoopDisk
  readonly shim: Shim
  readonly all: Told = { signal: null, opened: true, acknowledged: new Map(), written: 0, rejected: [], stderr: '' }
  /** Records handed to the operating system that no fsync covered, and that a cut took away. */
  lost = 0
  #attempt = 1

  constructor(
    readonly t: ExecutionContext,
    kind: Kind,
    readonly options: WalOptions
  ) {
    this.disk = new LoopDisk(t, kind, 64)
    this.shim = new Shim(t, path.join(this.disk.dir, 'log'))
  }

  get job(): Job {
    const durableEvery = this.options.fsync === 'always' ? 1 : 40
    const inFlight = this.options.fsync === 'always' ? 16 : 4
    return { dir: this.shim.dir, seed, options: this.options, durableEvery, inFlight, firstAttempt: this.#attempt, then: 'tell' }
  }

  /**
   * Appends until the power is cut: from outside after so many acknowledgements, or by the shim. A process goes on after the cut, and
   * an fsync that was under way may still succeed and tell it lies; what power loss leaves behind is what was told before.
   */
  async write(cutAfter: number, arm?: string): Promise<Told> {
    let before: Map<number, number> | undefined
    this.shim.arm('')
    const told = await append(
      { ...this.job, arm },
      {
        env: this.shim.env,
        onLine: (_word, { acknowledged }) => {
          if (before || acknowledged.size < cutAfter) return
          before = new Map(acknowledged)
          this.disk.cut(pick('flushed', 'lost'))
        },
      }
    )
    this.t.is(told.stderr, '')
    this.#attempt += 1_000_000
    told.acknowledged = before ?? told.acknowledged
    for (const [position, attempt] of told.acknowledged) this.all.acknowledged.set(position, attempt)
    return told
  }

  /** After the restart: everything is there, and the log goes on. */
  async survives(written: number, label: string): Promise<void> {
    this.disk.restart()
    const { nextPosition } = await holds(this.t, this.job, this.all, label)
    this.lost += Math.max(0, written - nextPosition + 1)
    this.all.acknowledged.set(nextPosition, 0)
  }
}

const needs = ['root', 'loop', 'preload'] as const

for (const [policy, options, kind] of [
  ["'always'", always, 'ext4'],
  ["'always'", always, 'xfs'],
  ["'os' with { durable: true }", os, 'ext4'],
  ["'os' with { durable: true }", os, 'xfs'],
] as const) {
  test(`${policy}: every record acknowledged as durable survives ${ROUNDS} cuts of ${kind}`, async (t) => {
    if (!has(t, ...needs, kind)) return
    t.timeout(600_000)
    t.log(`seed ${seed} (FORELOG_SEED)`)
    const log = new Log(t, kind, options)
    let acknowledged = 0
    for (let round = 0; round < ROUNDS; round += 1) {
      // Every other cut comes right before a certain call: of a write, of its sync, inside a roll.
      const [call, pattern, nth] = pick<[Syscall, string, number]>(
        ['pwrite64', '*.wal', 25 + upTo(60)],
        ['fdatasync', '*.wal', 1 + upTo(10)],
        ['fdatasync', 'spare-*', upTo(4)],
        ['rename', '*.wal', upTo(3)],
        ['fsync', '.', upTo(3)],
        ['pwrite64', 'CONTROL', upTo(3)],
        ['fdatasync', 'CONTROL', upTo(3)]
      )
      const label = round % 2 ? `cut before ${call} ${nth} of ${pattern}` : 'cut from outside'
      const fired = log.shim.fired().length
      const told = round % 2 ? await log.write(Infinity, rule(call, pattern, nth, 'CUT')) : await log.write(upTo(options === os ? 15 : 150))
      if (round % 2) t.is(log.shim.fired().length, fired + 1, label)
      t.true(told.rejected.length > 0, `${label}: ${JSON.stringify(told.end)}`)
      acknowledged += told.acknowledged.size
      await log.survives(told.written, label)
    }
    t.log(`${ROUNDS} cuts, ${acknowledged} records acknowledged as durable, 0 lost; ${log.lost} others were`)
  })
}

test('a power cut at any step of recovery loses nothing', async (t) => {
  if (!has(t, ...needs, 'ext4')) return
  t.timeout(600_000)
  const log = new Log(t, 'ext4', always)
  const cuts: string[] = []
  for (const [call, pattern] of [
    ['pwrite64', 'CONTROL'],
    ['fdatasync', 'CONTROL'],
    ['pwrite64', 'spare-*'],
    ['fdatasync', 'spare-*'],
    ['rename', '*.wal'],
    ['fsync', '.'],
  ] as const) {
    for (const nth of [1, 2]) {
      const label = `cut before ${call} ${nth} of ${pattern} in recovery`
      const written = await log.write(upTo(40))
      log.disk.restart()
      const fired = log.shim.fired().length
      log.shim.arm(rule(call, pattern, nth, 'CUT'))
      const recovering = await append({ ...log.job, upTo: 0, inFlight: 1 }, { env: log.shim.env })
      t.is(recovering.stderr, '', label)
      for (const [position, attempt] of recovering.acknowledged) log.all.acknowledged.set(position, attempt)
      if (log.shim.fired().length > fired) cuts.push(`${call} ${pattern}`)
      await log.survives(written.written, label)
    }
  }
  t.log(`${cuts.length} cuts during recovery, none lost anything`)
  t.is(new Set(cuts).size, 6, cuts.join(', '))
  const wal = await Wal.open(log.shim.dir, always)
  t.deepEqual(await flaws(wal, seed, log.all), [])
  await wal.close()
})
