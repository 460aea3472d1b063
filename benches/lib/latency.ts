import { optional } from './optional.js'

interface Histogram {
  recordValue(value: number): void
  getValueAtPercentile(percentile: number): number
  readonly totalCount: number
}

interface HdrHistogram {
  build(options: { numberOfSignificantValueDigits: number; highestTrackableValue: number; autoResize: boolean }): Histogram
}

/** A histogram of nanoseconds with three significant digits, up to a minute. */
export class Latency {
  readonly #histogram: Histogram

  private constructor(histogram: Histogram) {
    this.#histogram = histogram
  }

  /** Loaded only by the rows that time single operations: it would weigh on the peak memory of the others. */
  static async create(): Promise<Latency> {
    const hdr = await optional<HdrHistogram>('hdr-histogram-js')
    return new Latency(hdr.build({ numberOfSignificantValueDigits: 3, highestTrackableValue: 60e9, autoResize: false }))
  }

  record(milliseconds: number): void {
    this.#histogram.recordValue(Math.round(milliseconds * 1e6))
  }

  percentiles(): { p50Micros: number; p99Micros: number } | undefined {
    if (this.#histogram.totalCount === 0) return undefined
    return { p50Micros: this.#histogram.getValueAtPercentile(50) / 1000, p99Micros: this.#histogram.getValueAtPercentile(99) / 1000 }
  }
}
