// Makes the fixtures of `__test__/fixtures`, once per format version: `npx tsx __test__/helpers/fixtures.ts v2`.
// What is there is never made again: fixtures are frozen, and this refuses to write over them.

import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'

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
  /** Positions 1, 2, 3 … */
  records: Expected[]
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

/** An array is one batch; `crash` leaves the log as a killed process does. */
type Step = Expected | Expected[] | 'crash' | 'close'

const shapes: { [name: string]: { options?: object; steps: Step[]; damage?: (segment: string) => void; verdict: string } } = {
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
}

const segments = (dir: string): string[] =>
  readdirSync(dir)
    .filter((name) => name.endsWith('.wal'))
    .sort()

async function make(to: string): Promise<void> {
  const { Wal } = await import('../../index.js')
  const record = ({ value, ...rest }: Expected) => ({
    ...rest,
    ...(value === undefined ? {} : { value: typeof value === 'object' ? value.repeat.repeat(value.times) : value }),
  })
  for (const [name, { options, steps, damage, verdict }] of Object.entries(shapes)) {
    const work = mkdtempSync(path.join(os.tmpdir(), 'forelog-fixture-'))
    const open = (dir: string) => Wal.open(dir, { segmentBytes: SEGMENT_BYTES, ...options })
    let dir = path.join(work, 'log-0')
    let wal = await open(dir)
    for (const [i, step] of steps.entries()) {
      if (step === 'close') await wal.close()
      else if (step === 'crash') {
        const next = path.join(work, `log-${i + 1}`)
        cpSync(dir, next, { recursive: true })
        await wal.close()
        dir = next
        if (i + 1 < steps.length) wal = await open(dir)
      } else if (Array.isArray(step)) await wal.appendBatch(step.map(record))
      else await wal.append(record(step))
    }
    damage?.(path.join(dir, segments(dir).at(-1) as string))
    const fixture = path.join(to, name)
    mkdirSync(fixture)
    const records = steps.filter((step) => typeof step === 'object').flat()
    writeFileSync(path.join(fixture, 'expected.json'), `${JSON.stringify({ verdict, records } satisfies Fixture)}\n`)
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
  const to = path.join(fileURLToPath(new URL('../fixtures', import.meta.url)), version)
  if (!/^v\d+$/.test(version) || existsSync(to)) throw new Error(`no version, or ${to} exists: fixtures are made once`)
  mkdirSync(to, { recursive: true })
  await make(to)
}
