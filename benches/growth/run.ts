import fs from 'node:fs'
import { join } from 'node:path'
import { inProcess } from '../lib/process.js'
import type { Settle } from '../lib/settle.js'
import type { Curve, Point, Task } from './curves.js'

export interface Growing {
  readonly build: string
  readonly data: string
  readonly entry: string
  readonly rounds: number
  readonly quick: boolean
  /** Size in GiB of the largest log. */
  readonly upTo: number
  readonly settle: Settle
}

/** All rounds of one point, or why there are none. */
export interface Measured {
  readonly x: number
  readonly points: readonly Point[]
  readonly reason?: string
}

export interface Grown {
  readonly curve: Curve
  readonly measured: readonly Measured[]
}

const GIB = 2 ** 30
/** The rest of the disk is somebody else's. */
const MOST_OF_FREE = 0.8

/** Measures a curve point by point, each in a fresh process, and leaves nothing on the disk. */
export async function grow(curve: Curve, growing: Growing): Promise<Grown> {
  const xs = pointsOf(curve, growing)
  const found = new Map(xs.map((x) => [x, { points: [] as Point[], reason: undefined as string | undefined }]))
  const tell = (x: number, round: number): void => void process.stderr.write(`${curve.name} ${curve.label(x)}, round ${round} …\n`)
  const measure = async (x: number, round: number, dir: string): Promise<void> => {
    const to = found.get(x)!
    if (to.reason !== undefined) return
    tell(x, round)
    growing.settle.wait()
    const result = await inProcess<Point>(script(growing), task(growing, curve.name, x, dir))
    if (typeof result === 'string') to.reason = result
    else to.points.push(result)
  }
  const dir = join(growing.data, `growth-${curve.name}`)
  if (curve.name === 'size') await measureSizes(xs, growing, dir, measure)
  else
    for (let round = 1; round <= growing.rounds; round++) {
      for (const x of xs) {
        await measure(x, round, dir)
        fs.rmSync(dir, { recursive: true, force: true })
      }
    }
  return { curve, measured: xs.map((x) => ({ x, ...found.get(x)! })) }
}

/** One log grows from point to point, so that the disk holds one and not all of them. */
async function measureSizes(
  xs: readonly number[],
  growing: Growing,
  dir: string,
  measure: (x: number, round: number, dir: string) => Promise<void>
): Promise<void> {
  const { bavail, bsize } = fs.statfsSync(growing.data)
  const free = (bavail * bsize * MOST_OF_FREE) / GIB
  if (xs.at(-1)! > free) throw new Error(`a log of ${xs.at(-1)} GiB does not fit into ${free.toFixed(1)} GiB: use --up-to`)
  try {
    for (const x of xs) {
      process.stderr.write(`size: filling up to ${x} GiB …\n`)
      const missing = x - size(dir) / GIB
      if (missing > 0) await inProcess<Point>(script(growing), task(growing, 'fill', missing, dir))
      for (let round = 1; round <= growing.rounds; round++) await measure(x, round, dir)
    }
  } finally {
    fs.rmSync(dir, { recursive: true, force: true })
  }
}

function pointsOf({ name, points, quick }: Curve, { quick: isQuick, upTo }: Growing): readonly number[] {
  const xs = isQuick ? quick : points
  return name === 'size' ? [...xs.filter((x) => x < upTo), upTo] : xs
}

function task({ entry, quick }: Growing, name: Task['name'], x: number, dir: string): Task {
  return { name, x, dir, entry, seconds: quick ? 0.6 : 3 }
}

const script = ({ build }: Growing): string => join(build, 'growth', 'child.js')

function size(dir: string): number {
  const log = join(dir, 'wal')
  if (!fs.existsSync(log)) return 0
  return fs.readdirSync(log).reduce((sum, name) => sum + fs.statSync(join(log, name)).blocks * 512, 0)
}
