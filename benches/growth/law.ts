/** What a curve follows, computed from its points: a power of what grows, in one piece or two, or a straight line. */
export interface Power {
  readonly exponent: number
  /** Squared distance from the points, of logarithms. */
  readonly error: number
}

export interface Law {
  readonly whole: Power
  /** Where two powers describe the points much better than one: up to here, and from here on. */
  readonly bend?: { readonly at: number; readonly before: Power; readonly after: Power }
}

export interface Line {
  readonly base: number
  readonly slope: number
  /** Part of the variance that the line explains. */
  readonly r2: number
}

type Points = readonly (readonly [x: number, y: number])[]

/** Two pieces have to leave less than this part of the error of one: they would always leave a little less. */
const WORTH_A_BEND = 0.25

export function powerLaw(points: Points): Law {
  const whole = power(points)
  let best: Law['bend']
  for (let index = 1; index < points.length - 1; index++) {
    const [before, after] = [power(points.slice(0, index + 1)), power(points.slice(index))]
    if (best === undefined || before.error + after.error < best.before.error + best.after.error) {
      best = { at: points[index][0], before, after }
    }
  }
  const bends = points.length >= 5 && best !== undefined && best.before.error + best.after.error < whole.error * WORTH_A_BEND
  return bends && Math.abs(best!.before.exponent - best!.after.exponent) > 0.1 ? { whole, bend: best } : { whole }
}

function power(points: Points): Power {
  const logs = points.map(([x, y]) => [Math.log(x), Math.log(y)] as const)
  const { base, slope } = line(logs)
  return { exponent: slope, error: logs.reduce((sum, [x, y]) => sum + (y - base - slope * x) ** 2, 0) }
}

export function line(points: Points): Line {
  const mean = (values: readonly number[]): number => values.reduce((sum, each) => sum + each, 0) / values.length
  const [middleX, middleY] = [mean(points.map(([x]) => x)), mean(points.map(([, y]) => y))]
  const spreadX = points.reduce((sum, [x]) => sum + (x - middleX) ** 2, 0)
  const slope = spreadX === 0 ? 0 : points.reduce((sum, [x, y]) => sum + (x - middleX) * (y - middleY), 0) / spreadX
  const base = middleY - slope * middleX
  const total = points.reduce((sum, [, y]) => sum + (y - middleY) ** 2, 0)
  const rest = points.reduce((sum, [x, y]) => sum + (y - base - slope * x) ** 2, 0)
  return { base, slope, r2: total === 0 ? 1 : 1 - rest / total }
}
