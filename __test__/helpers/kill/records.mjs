// What record `position` holds, for whoever writes it and whoever checks it.

import { writeSync } from 'node:fs'

const nap = new Int32Array(new SharedArrayBuffer(4))

/**
 * Says a line to the parent. It is in the pipe when this returns, and so outlives the process: what `process.stdout` is given waits in
 * here while the pipe is full. A pipe that does not block is tried again until the parent has made room.
 */
export function tell(line) {
  const bytes = Buffer.from(`${line}\n`)
  for (let at = 0; at < bytes.length;) {
    try {
      at += writeSync(1, bytes, at)
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error
      Atomics.wait(nap, 0, 0, 1)
    }
  }
}

/** Appends that a writer has in flight at the most. */
export const IN_FLIGHT = 64

/** Mulberry32: a small seeded generator of numbers in [0, 1). */
export function random(seed) {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Mostly small, some of several pages, a few large enough that rolls come often. */
export function recordAt(seed, position) {
  const next = random(seed ^ Math.imul(position, 0x9e3779b1))
  const kind = next()
  const longest = kind < 0.8 ? 1 << 10 : kind < 0.97 ? 16 << 10 : 128 << 10
  const bytes = Buffer.alloc(8 + Math.floor(next() * longest), `${position}:${Math.floor(next() * 2 ** 32)};`)
  bytes.writeDoubleLE(position)
  return bytes
}

/** The number that `recordAt` was given. */
export const attemptOf = (bytes) => bytes.readDoubleLE(0)
