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

/** Measures a curve point by point, each in a fresh process, and leaves nothing on the disk. */
export async function grow(curve: Curve, { build, data, entry, rounds, quick, settle }: Growing): Promise<Grown> {
  const dir = join(data, `growth-${curve.name}`)
  const measured = (quick ? curve.quick : curve.points).map((x) => ({ x, points: [] as Point[], reason: undefined as string | undefined }))
  for (let round = 1; round <= rounds; round++) {
    for (const each of measured) {
      if (each.reason !== undefined) continue
      process.stderr.write(`${curve.name} ${curve.label(each.x)}, round ${round} …\n`)
      settle.wait()
      const task: Task = { name: curve.name, x: each.x, dir, entry, seconds: quick ? 0.6 : 3 }
      const result = await inProcess<Point>(join(build, 'growth', 'child.js'), task)
      if (typeof result === 'string') each.reason = result
      else each.points.push(result)
      fs.rmSync(dir, { recursive: true, force: true })
    }
  }
  return { curve, measured }
}
