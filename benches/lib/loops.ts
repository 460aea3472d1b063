import type { Job, Outcome } from './contract.js'
import { Meter } from './meter.js'

/** A store that is open for one run. */
interface Closable {
  close(): unknown
}

/**
 * The frame of every workload: open (not measured), run, stop the clock, close. `work` returns when everything it
 * took from the meter is as durable as the row says.
 */
export async function measured<S extends Closable>(
  job: Job,
  open: () => S | Promise<S>,
  work: (store: S, meter: Meter) => Promise<void>
): Promise<Outcome> {
  const store = await open()
  const meter = await Meter.start(job)
  await work(store, meter)
  const outcome = meter.stop()
  await store.close()
  return outcome
}

/** A workload of a contestant: `open` prepares the store, and `work` is measured. */
export const workload =
  <S extends Closable>(open: (job: Job) => S | Promise<S>, work: (job: Job, store: S, meter: Meter) => Promise<void>) =>
  (job: Job): Promise<Outcome> =>
    measured(
      job,
      () => open(job),
      (store, meter) => work(job, store, meter)
    )

/** `job.window` loops at the same time, each awaiting its own operations one after the other. */
export async function inFlight(job: Job, loop: (index: number) => Promise<void>): Promise<void> {
  const loops: Promise<void>[] = []
  for (let index = 0; index < job.window; index++) loops.push(loop(index))
  await Promise.all(loops)
}

/** Where a check fails, the figure is worthless: the run ends as an error. */
export function expect(condition: boolean, message: string): void {
  if (!condition) throw new Error(message)
}
