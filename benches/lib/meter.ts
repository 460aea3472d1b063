import fs from 'node:fs'
import { monitorEventLoopDelay, performance, type IntervalHistogram } from 'node:perf_hooks'
import type { Job, Outcome } from './contract.js'
import { Latency } from './latency.js'

/**
 * The stopwatch of one run and its stop rule: `take()` hands out the job's records one at a time until they are
 * used up or the time is. Latency is taken of every `sampleEvery`-th operation; 61 shares no factor with the
 * 1,000 loops of the in-flight rows, so every loop is sampled.
 */
export class Meter {
  readonly keys: readonly Buffer[] = makeKeys()
  readonly value: Buffer
  operations = 0
  #left: number
  #expired = false
  readonly #sampleEvery: number
  readonly #latency: Latency | undefined
  readonly #timer: NodeJS.Timeout
  readonly #started = performance.now()
  readonly #cpu = process.cpuUsage()
  readonly #loop = performance.eventLoopUtilization()
  readonly #delay: Delay | undefined

  private constructor(job: Job, latency: Latency | undefined, sampleEvery: number, delay: Delay | undefined) {
    this.#delay = delay
    delay?.histogram.enable()
    this.value = makeValue(job.valueBytes)
    this.#left = job.records
    this.#latency = latency
    this.#sampleEvery = sampleEvery
    this.#timer = setTimeout(() => this.expire(), job.seconds * 1000)
  }

  /** Starts the clock. Everything that is not to be measured (opening, zero-filling) comes before. */
  static async start(job: Job): Promise<Meter> {
    const timed = job.kind === 'one' || job.kind === 'inFlight' || job.kind === 'batches'
    const latency = timed ? await Latency.create() : undefined
    const delay = job.loopDelay === true ? await Delay.atRest() : undefined
    return new Meter(job, latency, job.kind === 'inFlight' ? 61 : 1, delay)
  }

  /** Whether another operation (of `records` records) is to be done; counts it as one that will be. */
  take(records = 1): boolean {
    if (this.#expired || this.#left < records) return false
    this.#left -= records
    this.operations += records
    return true
  }

  /** For workloads that never let the timer run: they look at the clock themselves, now and then. */
  checkClock(seconds: number): void {
    if (performance.now() - this.#started > seconds * 1000) this.#expired = true
  }

  expire(): void {
    this.#expired = true
  }

  /** The start of an operation whose latency is to be recorded, or 0. */
  begin(): number {
    return this.#latency !== undefined && this.operations % this.#sampleEvery === 0 ? performance.now() : 0
  }

  end(begun: number): void {
    if (begun !== 0) this.#latency!.record(performance.now() - begun)
  }

  stop(): Outcome {
    const seconds = (performance.now() - this.#started) / 1000
    const loop = performance.eventLoopUtilization(this.#loop)
    const cpu = process.cpuUsage(this.#cpu)
    clearTimeout(this.#timer)
    return {
      operations: this.operations,
      seconds,
      cpuSeconds: (cpu.user + cpu.system) / 1e6,
      activeSeconds: loop.active / 1000,
      peakRssMiB: peakRss() / 1024,
      ...this.#latency?.percentiles(),
      loopDelay: this.#delay?.stop(),
    }
  }
}

const IDLE_MS = 500

/** How late the event loop runs its timers. */
class Delay {
  readonly histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: 1 })
  readonly #idleP99Micros: number

  private constructor(idleP99Micros: number) {
    this.#idleP99Micros = idleP99Micros
  }

  /** Watches an idle process first: its timers are not on time either. */
  static async atRest(): Promise<Delay> {
    const idle = monitorEventLoopDelay({ resolution: 1 })
    idle.enable()
    await new Promise((resolve) => setTimeout(resolve, IDLE_MS))
    idle.disable()
    return new Delay(idle.percentile(99) / 1000)
  }

  stop(): NonNullable<Outcome['loopDelay']> {
    this.histogram.disable()
    return { p99Micros: this.histogram.percentile(99) / 1000, maxMicros: this.histogram.max / 1000, idleP99Micros: this.#idleP99Micros }
  }
}

/**
 * In KiB. Linux passes `maxRSS` on from the process that forked this one, so that it can be the harness's own peak;
 * the high-water mark of the address space starts anew.
 */
export function peakRss(): number {
  if (process.platform !== 'linux') return process.resourceUsage().maxRSS
  return Number(/VmHWM:\s*(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))![1])
}

/** 16-byte keys, made before the clock starts; a power of two of them, so that loops can cycle by masking. */
export const KEY_MASK = 1023

function makeKeys(): Buffer[] {
  return Array.from({ length: KEY_MASK + 1 }, (_, index) => Buffer.from(`key:${String(index).padStart(12, '0')}`))
}

/** Not a constant byte, so that a store that compresses (LevelDB, left to its default) has something to do. */
function makeValue(bytes: number): Buffer {
  const value = Buffer.allocUnsafeSlow(bytes)
  let state = 0x2545f491
  for (let index = 0; index < bytes; index++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    value[index] = state >>> 24
  }
  return value
}
