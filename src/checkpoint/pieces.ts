// A state as pieces of bounded size, whatever it was given as.

import { Readable } from 'node:stream'
import { mustBe, whileReading } from '../errors.js'
import { orAborted } from '../util/abort-listeners.js'
import { checkArray, checkText, isBytes, lengthOf, viewOf } from '../util/bytes.js'
import { isAborted } from '../util/signals.js'

export const PIECE_BYTES = 256 * 1024
// At most three bytes of UTF-8 for each.
const PIECE_CHARACTERS = 64 * 1024

type ChunkIterator = Iterator<unknown> | AsyncIterator<unknown>

const isHighSurrogate = (code: number): boolean => code >= 0xd800 && code <= 0xdbff

function* piecesOfText(text: string): Iterable<Uint8Array> {
  for (let from = 0; from < text.length;) {
    const end = from + PIECE_CHARACTERS
    // Both halves of a pair belong to one character.
    const to = end < text.length && isHighSurrogate(text.charCodeAt(end - 1)) ? end - 1 : end
    yield Buffer.from(text.slice(from, to))
    from = to
  }
}

function* piecesOfChunk(chunk: unknown): Iterable<Uint8Array> {
  if (typeof chunk === 'string') {
    checkText('state', chunk, 'checkpoint')
    yield* piecesOfText(chunk)
    return
  }
  checkArray('state', chunk, 'checkpoint')
  const length = lengthOf(chunk)
  for (let from = 0; from < length; from += PIECE_BYTES) yield viewOf(chunk, from, Math.min(from + PIECE_BYTES, length))
}

/** Lets a stream fail before it is read. Reading it reports the failure, but an event without a listener would end the process before. */
export function letFail(state: unknown): void {
  let isStream = false
  try {
    isStream = state instanceof Readable
  } catch {
    // A Proxy.
  }
  if (isStream) (state as Readable).on('error', () => {})
}

/** Begins to iterate over the chunks of a state. */
function iterate(state: unknown): ChunkIterator {
  const { [Symbol.asyncIterator]: asynchronous, [Symbol.iterator]: method } = Object(state) as { [method: symbol]: unknown }
  const begin = asynchronous ?? method
  if (typeof begin !== 'function') throw mustBe('state', 'a string, a Uint8Array or an iterable of both', state, 'checkpoint')
  return Reflect.apply(begin, state, []) as ChunkIterator
}

/** Passes the pieces of a state to `take`, in order. Stops when the signal is aborted, even while a chunk is awaited. */
export async function eachPiece(
  state: unknown,
  signal: AbortSignal | undefined,
  take: (piece: Uint8Array) => Promise<void> | undefined
): Promise<void> {
  let iterator: ChunkIterator | undefined
  // Whether the iterator has returned a chunk and would go on.
  let isSuspended = false
  try {
    iterator = iterate(isBytes(state) ? [state] : state)
    for (;;) {
      isSuspended = false
      const result = await orAborted(Promise.resolve(iterator.next() as Promise<IteratorResult<unknown>>), signal)
      if (result.done === true) return
      isSuspended = true
      for (const piece of piecesOfChunk(result.value)) await take(piece)
    }
  } catch (error) {
    // An iterator that is asked for a chunk may never answer.
    if (signal !== undefined && isAborted(signal)) void giveUp(iterator)
    else if (isSuspended) await giveUp(iterator)
    throw whileReading('state', 'checkpoint', error)
  }
}

/** Ends an iterator early, like leaving a loop does. */
async function giveUp(iterator: ChunkIterator | undefined): Promise<void> {
  try {
    await iterator?.return?.()
  } catch {
    // The state failed before, and that is the error to report.
  }
}
