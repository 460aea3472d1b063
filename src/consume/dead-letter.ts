// Where a consumer puts the records that its handler cannot handle.

import { invalid, mustBe, WalError, whileReading } from '../errors.js'
import type { DeadLetter, DeadLetterHandler } from '../options/consumer-types.js'
import type { WalRecord } from '../records/block.js'
import { letterBox, type LetterBox, type Source } from './source.js'

/** Takes a record as stored. It has been taken when the returned promise, if it is one, resolves. */
export type TakeDeadLetter = (record: WalRecord, dead: DeadLetter) => unknown

/**
 * Returns the function for an option `deadLetter`.
 *
 * @throws `ERR_WAL_INVALID_ARG` if the option is an object and no log, or the log that is consumed.
 */
export function deadLetterOf<V>(given: unknown, source: Source<V>): TakeDeadLetter | undefined {
  if (given === undefined) return undefined
  if (typeof given === 'function')
    return (record, dead) => (given as DeadLetterHandler<V>)(dead.undecodable ? record : source.view(record), dead)
  const box = boxOf(given)
  if (box.log === source.log) throw invalid('options.deadLetter must be another log than the one that is consumed', 'consume')
  return (record) => append(box, record)
}

function boxOf(given: unknown): LetterBox {
  try {
    const open = (given as { [letterBox]?: unknown })[letterBox]
    if (typeof open !== 'function') throw mustBe('options.deadLetter', 'a function or a log', given, 'consume')
    return open.call(given) as LetterBox
  } catch (error) {
    throw whileReading('options.deadLetter', 'consume', error)
  }
}

async function append(box: LetterBox, record: WalRecord): Promise<void> {
  for (;;) {
    try {
      await box.append(record)
      return
    } catch (error) {
      if (!(error instanceof WalError) || error.code !== 'ERR_WAL_BACKPRESSURE') throw error
      await box.drain()
    }
  }
}
