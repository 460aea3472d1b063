// Creates the native readers of a `WalReader`.

import type { NativeReader, ReaderOptions, Resumed } from '../native/calls.js'
import type { Environment } from '../native/environment.js'
import { START_END, START_FIRST } from '../native/wire.js'
import type { LogQueue } from '../queue/log-queue.js'
import type { ReadRange } from './range.js'

/** Creates a reader from a position, or from an end of the log. */
export function openNativeReader(
  environment: Environment,
  queue: LogQueue,
  from: ReadRange['from'],
  to: number,
  options: ReaderOptions
): NativeReader {
  queue.flush()
  const start = from === 'start' ? START_FIRST : from === 'end' ? START_END : from
  const reader = environment.native.reader(queue.log, start, to, options)
  if (reader === null) throw environment.refusal('read')
  return reader
}

/** Replaces a reader after a truncation by one that begins at `next`, or where the other one began. */
export function resumeNativeReader(
  environment: Environment,
  queue: LogQueue,
  replaced: NativeReader,
  next: number | undefined,
  to: number,
  options: ReaderOptions
): Resumed {
  queue.flush()
  const resumed = environment.native.resume(queue.log, replaced, next ?? 0, to, options)
  if (resumed === null) throw environment.refusal('read')
  return resumed
}
