// Plays one stage of environment-exit.spec.ts, in a process and, if the stage wants it, in workers.

import { once } from 'node:events'
import { argv } from 'node:process'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { fileURLToPath } from 'node:url'
import { Worker, parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../index.js'

const AsyncFunction = (async () => {}).constructor
const [dir, options, body] = workerData ?? [argv[2], JSON.parse(argv[3]), argv[4]]

/** Plays a stage in a worker; terminates it when it has posted a message, unless told not to. */
async function worker(body, terminate = true) {
  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: [dir, options, body] })
  const ended = once(worker, 'exit')
  await Promise.race([once(worker, 'message'), ended])
  if (terminate) await worker.terminate()
  await ended
}

/** Until the finalizers of what is garbage have run. */
async function collect() {
  setFlagsFromString('--expose-gc')
  const collected = new Promise((resolve) => {
    globalThis.registry = new FinalizationRegistry(resolve)
    globalThis.registry.register({})
  })
  const gc = runInNewContext('gc')
  const again = setInterval(gc, 1)
  await collected
  clearInterval(again)
}

const wal = await Wal.open(dir, options)
const known = { Wal, wal, dir, options, worker, collect, parentPort }
await new AsyncFunction(...Object.keys(known), body)(...Object.values(known))
