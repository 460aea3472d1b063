// The delay before the next attempt for a record.

import { backoffFailed } from '../errors.js'
import type { ConsumerOptions } from '../options/consume.js'
import { MAX_DELAY_MS } from '../util/timing.js'

/**
 * Returns the delay in milliseconds after so many attempts. `random` returns a number from 0 to below 1.
 *
 * @throws `ERR_WAL_INVALID_ARG` if the caller's function throws or returns no delay.
 */
export function delayAfter(backoff: ConsumerOptions['backoff'], attempts: number, error: unknown, random: () => number): number {
  if (typeof backoff !== 'function') {
    const { minMs, maxMs, factor, jitter } = backoff
    const delay = Math.min(maxMs, minMs * factor ** (attempts - 1))
    // 0 times infinity.
    return Number.isNaN(delay) ? 0 : delay * (1 - jitter * random())
  }
  let delay: unknown
  try {
    delay = backoff(attempts, error)
  } catch (thrown) {
    throw backoffFailed('threw', thrown)
  }
  if (typeof delay !== 'number' || !(delay >= 0)) throw backoffFailed('must return a number of milliseconds from 0')
  return Math.min(delay, MAX_DELAY_MS)
}
