// Types of consumers.

import type {
  BatchHandler,
  ConsumeOptions,
  Consumer,
  ConsumerStats,
  Cursor,
  DeadLetter,
  Handler,
  HandlerCall,
  Wal,
  WalRecord,
} from '../../index.js'
import { same } from './same.js'

interface Job {
  n: number
}

export async function consumers(cursor: Cursor<Job>, plain: Cursor, wal: Wal<Job>, other: Wal): Promise<void> {
  const consumer = cursor.consume((record, call) => {
    same<WalRecord<Job>>()(record)
    same<HandlerCall>()(call)
    same<AbortSignal>()(call.signal)
  })
  same<Consumer>()(consumer)
  same<ConsumerStats>()(consumer.stats())
  same<void>()(await consumer.done)
  same<void>()(await consumer.stop({ graceMs: 1000 }))
  cursor.consume(
    (records) => {
      same<WalRecord<Job>[]>()(records)
    },
    { batch: 100, deadLetter: wal }
  )
  plain.consume(async ({ value }) => same<Buffer | undefined>()(value), {
    concurrency: 8,
    retries: Infinity,
    backoff: (attempts, error) => (same<unknown>()(error), attempts * 100),
    deadLetter: (record, dead) => {
      same<WalRecord>()(record)
      same<DeadLetter>()(dead)
    },
  })
  plain.consume(() => {}, { deadLetter: other, backoff: { minMs: 1 } })
  const handler: Handler<Job> = () => {}
  const batchHandler: BatchHandler<Job> = () => {}
  const options: ConsumeOptions<Job> = { share: true }
  cursor.consume(handler, options)
  cursor.consume(batchHandler, { ...options, batch: 2 })
  cursor.consume(batchHandler, { batch: 2 })
  // @ts-expect-error a handler of arrays needs the option batch
  cursor.consume(batchHandler)
  // @ts-expect-error a handler of single records gets no arrays
  cursor.consume(handler, { batch: 2 })
  // @ts-expect-error a misspelt option
  cursor.consume(handler, { retry: 2 })
  // @ts-expect-error a path is no log
  cursor.consume(handler, { deadLetter: 'dir' })
}
