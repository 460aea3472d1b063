// Buffered records of this thread are refused together, because a worker has filled the log meanwhile, and are then passed on one by one.
// Meanwhile the stack is used up at a depth, or a method of the caller's signal appends. Prints one line for each of the appends: `ok` if it
// resolved to the position of its own record, its error, or what went wrong.
// Arguments: the package's entry, a directory, and the depth or `signal`.

import { Worker, isMainThread, workerData, parentPort } from 'node:worker_threads'

const LIMIT = 4096
const LEFT = 700
const options = { maxPendingBytes: LIMIT }

async function fill({ entry, dir }) {
  const { Wal } = await import(entry)
  const log = await Wal.open(dir, options)
  parentPort.on('message', (gate) => {
    while (log.pendingBytes < LIMIT - LEFT) log.enqueue('f'.repeat(60))
    Atomics.store(gate, 0, 1)
    Atomics.notify(gate, 0)
    Atomics.wait(gate, 0, 1)
    void log.close()
  })
  parentPort.postMessage('ready')
}

/** Runs the code under test once, so that it is compiled and takes as little of the stack as it ever will. */
async function warmUp(Wal, dir) {
  await (await Wal.open(dir)).close()
  const readOnly = await Wal.open(dir, { mode: 'readOnly' })
  await readOnly.append('refused').catch(() => undefined)
  const refused = ['refused', 'too'].map((text) => readOnly.append(text))
  void readOnly.nextPosition
  await Promise.allSettled(refused)
  await readOnly.close()
}

/** Reads a position, which passes the buffered records on, with about `left` small frames of the stack left. */
function passOnNearTheEnd(log, left) {
  let frames = 0
  function descend() {
    try {
      descend()
    } catch {
      // The end of the stack: from here it goes back up.
    }
    if (++frames === left) {
      try {
        void log.nextPosition
      } catch {
        // The stack did not suffice.
      }
    }
  }
  descend()
}

async function run([entry, dir, how]) {
  const { Wal } = await import(entry)
  await warmUp(Wal, `${dir}/other`)
  const log = await Wal.open(`${dir}/log`, options)
  const worker = new Worker(new URL(import.meta.url), { workerData: { entry, dir: `${dir}/log` } })
  await new Promise((ready) => worker.once('message', ready))
  await log.append('first')
  void log.nextPosition
  const texts = ['O'.repeat(1000), 'second', 'third']
  const { signal } = new AbortController()
  const appends = []
  const append = (text, given) => {
    const promise = log.append(text, given)
    promise.catch(() => undefined)
    appends.push([text, promise])
  }
  if (how === 'signal') {
    signal.removeEventListener = () => ['a', 'b', 'c'].forEach((text) => append(text))
    append(texts[0], { signal })
    for (const text of texts.slice(1)) append(text)
  } else for (const text of texts) append(text)
  const gate = new Int32Array(new SharedArrayBuffer(4))
  worker.postMessage(gate)
  Atomics.wait(gate, 0, 0, 10_000)
  if (how === 'signal') void log.nextPosition
  else passOnNearTheEnd(log, Number(how))
  Atomics.store(gate, 0, 2)
  Atomics.notify(gate, 0)
  // Turns of the event loop in which the worker's records settle.
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
  for (const text of ['later', 'and', 'later', 'and', 'last']) append(text)
  await log.sync()
  const outcomes = []
  for (const [, promise] of appends) {
    const settled = new Promise((resolve) => setImmediate(() => setImmediate(resolve, 'never settled')))
    outcomes.push(await Promise.race([promise.catch((error) => error.code ?? error.name), settled]))
  }
  const stored = new Map()
  for await (const { position, value } of log.readFrom('start')) stored.set(position, value.toString())
  outcomes.forEach((outcome, i) => {
    const [text] = appends[i]
    const isOwn = typeof outcome !== 'number' || stored.get(outcome) === text
    console.log(typeof outcome !== 'number' ? outcome : isOwn ? 'ok' : `position ${outcome} of another record`)
  })
  await log.close()
  await worker.terminate()
}

await (isMainThread ? run(process.argv.slice(2)) : fill(workerData))
