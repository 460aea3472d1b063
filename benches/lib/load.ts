import { once } from 'node:events'
import type { EventEmitter } from 'node:events'
import { performance } from 'node:perf_hooks'
import { Latency } from './latency.js'
import { optionalDefault } from './optional.js'

/** The requests of one run of a row S1. */
export interface Load {
  readonly url: string
  readonly connections: number
  readonly bytes: number
  readonly seconds: number
}

export interface Loaded {
  readonly requests: number
  readonly seconds: number
  readonly latency: { readonly p50Micros: number; readonly p99Micros: number } | undefined
  /** Of this process. */
  readonly cpuSeconds: number
}

/** The part of autocannon that the bench uses. */
type Autocannon = (options: Record<string, unknown>) => EventEmitter & PromiseLike<{ errors: number; non2xx: number }>

const WARM_UP_SECONDS = 1

/** The process that makes the requests: it warms the server up, says so, waits for `go`, and reports what it measured. */
async function main(load: Load): Promise<void> {
  const autocannon = await optionalDefault<Autocannon>('autocannon')
  await run(autocannon, { ...load, seconds: WARM_UP_SECONDS })
  process.send!('warm')
  await once(process, 'message')
  const { requests, seconds, latency } = await run(autocannon, load)
  const { user, system } = process.cpuUsage()
  const loaded: Loaded = { requests, seconds, latency, cpuSeconds: (user + system) / 1e6 }
  process.send!(loaded, () => process.disconnect())
}

/** Its own latencies are whole milliseconds, so they are taken from each response. */
async function run(autocannon: Autocannon, { url, connections, bytes, seconds }: Load): Promise<Omit<Loaded, 'cpuSeconds'>> {
  const latency = await Latency.create()
  let requests = 0
  const begun = performance.now()
  let last = begun
  const body = Buffer.alloc(bytes, 'v')
  const running = autocannon({ url, connections, duration: seconds, method: 'POST', body, sampleInt: 100 })
  running.on('response', (_client, status: number, _bytes, milliseconds: number) => {
    if (status !== 200) throw new Error(`the server answered ${status}`)
    requests++
    latency.record(milliseconds)
    last = performance.now()
  })
  const { errors, non2xx } = await running
  if (errors + non2xx > 0) throw new Error(`${errors + non2xx} requests failed`)
  return { requests, seconds: (last - begun) / 1000, latency: latency.percentiles() }
}

await main(JSON.parse(process.argv[2]) as Load)
