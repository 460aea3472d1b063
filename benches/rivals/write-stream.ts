import { createWriteStream, type WriteStream } from 'node:fs'
import { once } from 'node:events'
import { join } from 'node:path'
import type { Contestant, Job } from '../lib/contract.js'
import { workload } from '../lib/loops.js'
import { KEY_MASK, type Meter } from '../lib/meter.js'

/**
 * What many programs do instead of a log: `fs.createWriteStream` with its own buffering, no checksum, no framing
 * but a length. It never syncs, so it takes part only in rows without a sync.
 */
class StreamLog {
  readonly stream: WriteStream

  constructor(job: Job) {
    this.stream = createWriteStream(join(job.dir, 'log'), { highWaterMark: 256 << 10 })
  }

  close(): Promise<unknown> {
    return new Promise((resolve) => this.stream.end(resolve))
  }
}

async function written(job: Job, log: StreamLog, meter: Meter): Promise<void> {
  const stream = log.stream
  for (let index = 0; meter.take(); index++) {
    const key = meter.keys[index & KEY_MASK]
    const record = Buffer.allocUnsafe(4 + key.length + meter.value.length)
    record.writeUInt32LE(record.length, 0)
    record.set(key, 4)
    record.set(meter.value, 4 + key.length)
    if (stream.write(record)) continue
    await once(stream, 'drain')
    meter.checkClock(job.seconds)
  }
  // An empty write is called back after everything before it.
  await new Promise((resolve) => stream.write('', resolve))
}

export default {
  workloads: { written: workload((job) => new StreamLog(job), written) },
} satisfies Contestant
