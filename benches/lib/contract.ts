/**
 * The interface between the harness and a contestant. A contestant is one module whose default export maps each kind of
 * workload it can run to one function; the harness runs that function alone in a fresh process.
 */

/** The shapes of work. A row of the table is a kind plus sizes. */
export type Kind = 'one' | 'inFlight' | 'written' | 'batches' | 'replay' | 'replayArrays' | 'service'

/** One run: everything a workload may depend on, so that two contestants cannot run different work. */
export interface Job {
  readonly kind: Kind
  /** Module of the contestant, relative to `benches/`, without its extension. */
  readonly module: string
  /** Which of the module's configurations to run ('' for its only one). */
  readonly variant: string
  /** An empty directory on the disk under test; for a replay, the directory that `prepare` filled. */
  readonly dir: string
  /** The public entry of Forelog, as a URL. */
  readonly entry: string
  /** Replays only: fill `dir` instead of reading it. */
  readonly prepare: boolean
  readonly valueBytes: number
  /** Stop after this many records … */
  readonly records: number
  /** … or after this long, whichever comes first. */
  readonly seconds: number
  /** Appends awaited at the same time (1 for `one`), or connections. */
  readonly window: number
  /** Records in one atomic batch, or in one array of a replay. */
  readonly batch: number
  /** Whether one fsync at the end of the run belongs to the measured time (`written`). */
  readonly finalSync: boolean
  /** Whether to watch how long timers wait, which costs the run a timer each millisecond. */
  readonly loopDelay?: boolean
}

/** The measurements of one run. Times are in seconds unless the name says otherwise. */
export interface Outcome {
  readonly operations: number
  readonly seconds: number
  /** CPU time of all threads of the process during the run. */
  readonly cpuSeconds: number
  /** Time the JavaScript thread was not waiting for the event loop. */
  readonly activeSeconds: number
  readonly peakRssMiB: number
  readonly p50Micros?: number
  readonly p99Micros?: number
  /** CPU time of the process that made the requests (`service`), which is not part of `cpuSeconds`. */
  readonly loadCpuSeconds?: number
  /** Delay of timers of a millisecond during the run, and in the idle process before it. */
  readonly loopDelay?: { readonly p99Micros: number; readonly maxMicros: number; readonly idleP99Micros: number }
}

export type Workload = (job: Job) => Promise<Outcome>

/** A module under `benches/` that takes part: one function per kind, and what fills the log that its replays read. */
export interface Contestant {
  readonly workloads: Partial<{ [K in Kind]: Workload }>
  readonly prepare?: (job: Job) => Promise<void>
}

/** CPU seconds of all that belongs to the run: the rest of the machine's load is foreign. */
export interface Measured {
  readonly outcome: Outcome
  readonly processCpuSeconds: number
}

/** The report of a child process: a measurement, or the reason why there is none. */
export type Report = Measured | { readonly skipped: string } | { readonly prepared: true }

/** Thrown by a contestant that is not installed or not built: the row says so and the run goes on. */
export class Unavailable extends Error {}

export const KEY_BYTES = 16
