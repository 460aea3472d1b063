// The ring behind the promises, against a plain list.

import test from 'ava'
import { Waiters } from '../src/waiters.js'

test('a ring of waiters settles what a list would, however it grows and wraps', (t) => {
  // A small generator of numbers, so that a failure can be repeated.
  let state = 1
  const below = (n: number) => (state = (state * 48271) % 2147483647) % n
  const waiters = new Waiters()
  const list: { operation: number; value: string }[] = []
  const settled: unknown[] = []
  const expected: unknown[] = []
  let operation = 0
  for (let round = 0; round < 2000; round++) {
    for (let n = below(round % 100 === 0 ? 500 : 30); n > 0; n--) {
      operation += 1 + below(3)
      const value = `value of ${operation}`
      list.push({ operation, value })
      const rejected = (reason: unknown) => settled.push([value, reason])
      waiters.push(operation, value, (resolved) => settled.push(resolved), rejected)
    }
    const upTo = operation - below(50)
    t.is(waiters.has(upTo), list.length > 0 && list[0].operation <= upTo)
    if (below(4) === 0 && list.length > 0) {
      t.is(waiters.first, list[0].operation)
      waiters.rejectFirst(round)
      expected.push([list.shift()?.value, round])
    } else {
      const limit = below(40)
      let count = 0
      while (count < limit && list.length > 0 && list[0].operation <= upTo) {
        expected.push(list.shift()?.value)
        count++
      }
      t.is(waiters.resolve(upTo, limit), count)
    }
  }
  t.deepEqual(settled, expected)
})
