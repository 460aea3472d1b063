import { fork } from 'node:child_process'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Job, Outcome, Workload } from './contract.js'
import type { Load, Loaded } from './load.js'
import { Meter } from './meter.js'

interface Closable {
  close(): unknown
}

/** Makes the body of a request durable; gives its position. */
type Put<S> = (store: S, body: Buffer) => number | Promise<number>

/**
 * The workload of the rows S1: an HTTP server in this process answers a `POST` once `put` has made its body durable. A process of its own
 * makes the requests, so that the CPU of this one is the server's.
 */
export const service =
  <S extends Closable>(open: (job: Job) => S | Promise<S>, putOf: (job: Job, store: S) => Put<S>): Workload =>
  async (job) => {
    const store = await open(job)
    const put = putOf(job, store)
    const server = createServer((request, response) => {
      let body: Buffer | undefined
      request.on('data', (chunk: Buffer) => (body = body === undefined ? chunk : Buffer.concat([body, chunk])))
      request.on('end', () => void answer(response, put(store, body!)))
    })
    await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening))
    const { port } = server.address() as AddressInfo
    const outcome = await under(job, {
      url: `http://127.0.0.1:${port}`,
      connections: job.window,
      bytes: job.valueBytes,
      seconds: job.seconds,
    })
    server.closeAllConnections()
    await new Promise((closed) => server.close(closed))
    await store.close()
    return outcome
  }

/** A store that fails ends the process, and with it the run. */
async function answer(response: ServerResponse, durable: number | Promise<number>): Promise<void> {
  const position = await durable
  response.end(String(position))
}

/** The clock runs from the end of the warm-up until the load is over. */
function under(job: Job, load: Load): Promise<Outcome> {
  const client = fork(fileURLToPath(new URL('./load.js', import.meta.url)), [JSON.stringify(load)], { execArgv: [] })
  let meter: Meter | undefined
  return new Promise((resolve, reject) => {
    client.on('message', (message: Loaded | 'warm') => {
      if (message === 'warm') {
        void Meter.start(job).then((started) => {
          meter = started
          client.send('go')
        })
      } else {
        meter!.operations = message.requests
        resolve({ ...meter!.stop(), ...message.latency, seconds: message.seconds, loadCpuSeconds: message.cpuSeconds })
      }
    })
    client.on('exit', (code) => reject(new Error(`the load ended with ${code}`)))
  })
}
