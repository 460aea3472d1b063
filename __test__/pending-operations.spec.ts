// The queue behind the promises, against a plain list.

import test from 'ava'
import { PendingOperations, type PendingRun } from '../src/queue/pending-operations.js'

test('waiters settle like a plain list of promises, for any sequence of operations and positions', (t) => {
  // A small generator of numbers, so that a failure can be repeated.
  let state = 1
  const below = (n: number) => (state = (state * 48271) % 2147483647) % n
  const operations = new PendingOperations()
  const list: { operation: number; value: unknown }[] = []
  const settled: unknown[] = []
  const expected: unknown[] = []
  let operation = 0
  let position = 0
  const waiter = (value: unknown) => {
    list.push({ operation, value })
    return [(resolved: unknown) => settled.push(resolved), (reason: unknown) => settled.push([value, reason])] as const
  }
  /** Waiters that are told their positions once all of them are there. */
  const staged = (count: number) => {
    const run: PendingRun = operations.begin(operation + 1, 0)
    for (let i = 0; i < count; i++) {
      operation++
      run.add(...waiter(++position))
    }
    run.first = position - count + 1
  }
  for (let round = 0; round < 2000; round++) {
    for (let n = below(round % 100 === 0 ? 500 : 30); n > 0; n--) {
      const kind = below(20)
      if (kind === 0) staged(1 + below(10))
      else if (kind === 1) operations.begin(++operation, undefined, `value of ${operation}`).add(...waiter(`value of ${operation}`))
      else {
        operation += kind === 2 ? 2 : 1
        position += kind === 3 ? 2 : 1
        operations.push(operation, position, ...waiter(position))
      }
    }
    if (below(10) === 0) {
      // A run that is refused leaves as it came.
      const refused = operations.begin(operation + 1, 0)
      refused.add(...[() => t.fail(), () => t.fail()])
      operations.removeNewest(refused)
    }
    const upTo = operation - below(50)
    t.is(operations.has(upTo), list.length > 0 && list[0].operation <= upTo)
    if (below(4) === 0 && list.length > 0) {
      t.is(operations.first, list[0].operation)
      operations.rejectFirst(round)
      expected.push([list.shift()?.value, round])
    } else {
      const limit = below(40)
      let count = 0
      while (count < limit && list.length > 0 && list[0].operation <= upTo) {
        expected.push(list.shift()?.value)
        count++
      }
      t.is(operations.resolve(upTo, limit), count)
    }
  }
  t.deepEqual(settled, expected)
})

test('a run whose promises have all settled does not keep later runs in memory', (t) => {
  const operations = new PendingOperations()
  const first = operations.begin(1, 1)
  const told = first.wait<number>()
  void operations.begin(2, 2).wait()
  t.is(operations.resolve(1, 10), 1)
  // The collector takes it for old, and would carry every run that ever comes after it with it.
  t.is(first.next, undefined)
  t.is(operations.resolve(2, 10), 1)
  return told.then((position) => t.is(position, 1))
})
