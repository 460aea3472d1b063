import type { Contestant, Job, Report } from './contract.js'
import { Unavailable } from './contract.js'

/**
 * The process of one run: one contestant, one workload, one report. Nothing else is loaded, so that memory and
 * compiled code are the contestant's own.
 */
async function run(job: Job): Promise<Report> {
  const { default: contestant } = (await import(`../${job.module}.js`)) as { default: Contestant }
  if (job.prepare) {
    if (contestant.prepare === undefined) throw new Error(`${job.module} does not replay`)
    await contestant.prepare(job)
    return { prepared: true }
  }
  const workload = contestant.workloads[job.kind]
  if (workload === undefined) throw new Error(`${job.module} does not run ${job.kind}`)
  const outcome = await workload(job)
  const cpu = process.cpuUsage()
  return { outcome, processCpuSeconds: (cpu.user + cpu.system) / 1e6 + (outcome.loadCpuSeconds ?? 0) }
}

const job = JSON.parse(process.argv[2]) as Job
let report: Report
try {
  report = await run(job)
} catch (error) {
  if (!(error instanceof Unavailable)) throw error
  report = { skipped: error.message }
}
process.send!(report, () => process.disconnect())
