// Makes the fixtures of `__test__/fixtures` that a format version lacks: `npx tsx __test__/helpers/fixtures.ts v2`. `v1` are logs whose
// frames do not carry the time of their commit, `v1-times` logs whose frames do.
// What is there is never made again: fixtures are frozen.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { copyOpenFiles, segments } from './directory.js'
import { rule, shimEnvironment } from './faults/shim.js'

/** A record that a fixture holds; long values are told as repetitions. */
export interface Expected {
  key?: string
  value?: string | { repeat: string; times: number }
  tombstone?: boolean
  expiresAt?: number
  version?: { term: number; index: number }
}

/** `expected.json` of a fixture. */
export interface Fixture {
  /** What opening says. */
  verdict: string
  /** Positions 1, 2, 3 … but for those in `holes`. */
  records: Expected[]
  /** When the records were committed; absent if they do not say so. */
  times?: number[]
  /** Positions that a salvage left out. */
  holes?: { first: number; last: number }[]
}

const SEGMENT_BYTES = 64 * 1024

const long = (repeat: string, times: number): Expected => ({ key: repeat, value: { repeat, times } })
const kinds: Expected[] = [
  { value: 'a value without a key' },
  { key: 'user:1', value: 'Ada' },
  { key: 'user:2', value: '' },
  { key: '', value: 'an empty key' },
  { key: 'user:1', tombstone: true },
  { tombstone: true },
  { key: 'only a key' },
  { key: 'session', value: 'x', expiresAt: 1_767_229_200_000 },
  { key: 'gone', tombstone: true, expiresAt: Number.MAX_SAFE_INTEGER },
  { value: 'entry', version: { term: 3, index: 17 } },
  { key: 'both', value: 'naïve ✓', expiresAt: 0, version: { term: 0, index: Number.MAX_SAFE_INTEGER } },
]
const numbered = (from: number, to: number): Expected[] =>
  Array.from({ length: to - from + 1 }, (_, i) => ({ key: `key-${from + i}`, value: `value of record number ${from + i}` }))

/** An array is one batch; what is `refused` finds space for half of its write; `crash` leaves the log as a killed process does. */
type Step = Expected | Expected[] | { refused: Expected[] } | 'crash' | 'close'

interface Shape {
  options?: object
  steps: Step[]
  /** What befalls the newest segment. */
  damage?: (segment: string) => void
  /** The fixture is what a salvage makes of the log, damaged at these shares of the used part of its segments. */
  salvaged?: number[][]
  verdict: string
}

const shapes: { [name: string]: Shape } = {
  clean: { steps: [...kinds, 'close'], verdict: 'clean' },
  empty: { steps: ['close'], verdict: 'clean' },
  killed: { steps: [...kinds, 'crash'], verdict: 'unproven' },
  'killed-os': { options: { fsync: 'os' }, steps: [...kinds, ...numbered(12, 40), 'crash'], verdict: 'unproven' },
  batches: { steps: [kinds, { value: 'between' }, numbered(13, 30), [long('b', 5000)], 'close'], verdict: 'clean' },
  torn: {
    steps: [...numbered(1, 20), 'crash'],
    // The first half of one more page, as a power cut may leave it behind zeroes.
    damage: (segment) => {
      const bytes = readFileSync(segment)
      const end = bytes.findLastIndex((byte) => byte !== 0) + 1
      bytes.fill(0xab, end + 64, end + 64 + 512)
      writeFileSync(segment, bytes)
    },
    verdict: 'torn',
  },
  'several-segments': {
    steps: [long('a', 30_000), long('b', 30_000), ...kinds, long('c', 40_000), long('d', 100_000), ...numbered(16, 20), 'close'],
    verdict: 'clean',
  },
  'recovered-twice': { steps: [...numbered(1, 5), 'crash', ...numbered(6, 9), 'crash', ...numbered(10, 12), 'close'], verdict: 'clean' },
  // The fence stands in CONTROL, and behind it whole frames that were rejected.
  fenced: { steps: [...numbered(1, 12), { refused: numbered(13, 40) }, 'crash'], verdict: 'fenced' },
  'fenced-and-left': { steps: [...numbered(1, 12), { refused: numbered(13, 40) }, ...numbered(13, 15), 'crash'], verdict: 'unproven' },
  // Opened after an unclean end, and killed before anything was appended: all of it is proven by then.
  carried: { options: { fsync: 'os' }, steps: [...kinds, ...numbered(12, 40), 'crash', 'crash'], verdict: 'clean' },
  'carried-and-killed': {
    options: { fsync: 'os' },
    steps: [...numbered(1, 20), 'crash', ...numbered(21, 24), 'crash'],
    verdict: 'unproven',
  },
  lz4: {
    options: { compression: 'lz4' },
    steps: [...kinds, long('lorem ipsum ', 3000), kinds, long('x', 90_000), 'close'],
    verdict: 'clean',
  },
  zstd: {
    options: { compression: 'zstd' },
    steps: [...kinds, long('lorem ipsum ', 3000), kinds, long('x', 90_000), 'crash'],
    verdict: 'unproven',
  },
  // Holes in the middle of the first two segments and at the end of the last, which has to be known to be one: it was closed.
  salvaged: {
    steps: [...kinds, ...numbered(12, 500), kinds, long('d', 60_000), ...numbered(513, 700), kinds, ...numbered(712, 730), 'close'],
    salvaged: [[0.3, 0.6], [0.97], [0.999]],
    verdict: 'clean',
  },
}

/** Spoils 100 bytes at each place of each segment, and one bit of the last frame. */
function spoil(dir: string, places: number[][]): void {
  for (const [i, name] of segments(dir).entries()) {
    const file = path.join(dir, name)
    const bytes = readFileSync(file)
    const used = bytes.findLastIndex((byte) => byte !== 0) + 1
    for (const share of places[i] ?? []) bytes.fill(0xab, Math.floor(used * share), Math.floor(used * share) + 100)
    writeFileSync(file, bytes)
  }
}

async function make(to: string, around: string): Promise<void> {
  const rules = path.join(around, 'rules')
  const { Wal, salvage } = await import('../../index.js')
  const record = ({ value, ...rest }: Expected) => ({
    ...rest,
    ...(value === undefined ? {} : { value: typeof value === 'object' ? value.repeat.repeat(value.times) : value }),
  })
  for (const [name, { options, steps, damage, salvaged, verdict }] of Object.entries(shapes)) {
    let holes: Fixture['holes']
    const fixture = path.join(to, name)
    if (existsSync(fixture)) continue
    const work = mkdtempSync(path.join(around, 'fixture-'))
    const open = (dir: string) => Wal.open(dir, { segmentBytes: SEGMENT_BYTES, ...options })
    let dir = path.join(work, 'log-0')
    let wal = await open(dir)
    for (const [i, step] of steps.entries()) {
      if (step === 'close') await wal.close()
      else if (step === 'crash') {
        const next = copyOpenFiles(dir, path.join(work, `log-${i + 1}`))
        await wal.close()
        dir = next
        if (i + 1 < steps.length) wal = await open(dir)
      } else if (typeof step === 'object' && 'refused' in step) {
        writeFileSync(rules, rule('pwrite64', '*.wal', 1, 'HALF') + rule('pwrite64', '*.wal', 2, 'ENOSPC'))
        // A batch each: each has a frame, and half of the write has some of them whole.
        const refused = await Promise.allSettled(step.refused.map((one) => wal.appendBatch([record(one)])))
        if (refused.some(({ status }) => status === 'fulfilled')) throw new Error(`${name}: not refused`)
        writeFileSync(rules, '')
      } else if (Array.isArray(step)) await wal.appendBatch(step.map(record))
      else await wal.append(record(step))
    }
    damage?.(path.join(dir, segments(dir).at(-1) as string))
    if (salvaged) {
      spoil(dir, salvaged)
      const to = path.join(work, 'salvaged')
      const report = await salvage(dir, to)
      holes = report.holes.map(({ first, last }) => ({ first, last }))
      if (holes.length !== salvaged.flat().length) throw new Error(`${name}: ${JSON.stringify(holes)}`)
      dir = to
    }
    mkdirSync(fixture)
    const lost = (position: number) => holes?.some(({ first, last }) => first <= position && position <= last) ?? false
    const records = steps.filter((step): step is Expected | Expected[] => typeof step === 'object' && !('refused' in step)).flat()
    const kept = records.filter((_, i) => !lost(i + 1))
    const view = await Wal.open(dir, { mode: 'readOnly' })
    const times: number[] = []
    for await (const { committedAt } of view.readFrom('start')) times.push(committedAt as number)
    await view.close()
    writeFileSync(
      path.join(fixture, 'expected.json'),
      `${JSON.stringify({ verdict, records: kept, times, ...(holes && { holes }) } satisfies Fixture)}\n`
    )
    for (const file of readdirSync(dir)) {
      // What nothing reads after a crash or a closing need not be kept.
      if (file === 'LOCK' || file === 'reserve' || file.startsWith('spare-')) continue
      writeFileSync(path.join(fixture, `${file}.gz`), gzipSync(readFileSync(path.join(dir, file)), { level: 9 }))
    }
    rmSync(work, { recursive: true })
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const version = process.argv[2] ?? ''
  if (!/^v\d+(-[a-z]+)?$/.test(version)) throw new Error('which version?')
  const around = process.env['FORELOG_FAULT_DIR']
  if (around === undefined) {
    // Once more, with a shim between it and the disk.
    const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-fixtures-'))
    const env = shimEnvironment(dir, path.join(dir, 'record'), path.join(dir, 'rules'))
    process.exitCode = spawnSync(process.execPath, [...process.execArgv, ...process.argv.slice(1)], { env, stdio: 'inherit' }).status ?? 1
    rmSync(dir, { recursive: true })
  } else {
    const to = path.join(fileURLToPath(new URL('../fixtures', import.meta.url)), version)
    mkdirSync(to, { recursive: true })
    await make(to, around)
  }
}
