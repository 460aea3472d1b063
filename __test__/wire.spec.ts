// The numbers that the facade and the binding must agree on.

import test from 'ava'
import { wireLayout } from '../native.js'
import * as wire from '../dist/native/wire.js'

test('the facade and the binding have the same numbers under the same names', (t) => {
  // Complete in both directions: a name that one side lacks fails as well.
  t.deepEqual({ ...wire }, wireLayout() as typeof wire)
})

test('bits of one set differ from each other, and so do indexes of one array', (t) => {
  const sets = new Map<string, [name: string, number: number][]>()
  for (const [name, number] of Object.entries(wire)) {
    const [set] = name.split('_', 1)
    if (/_(LENGTH|ENTRIES|BYTES|SHIFT|START|NO_LOG)$/.test(name) && !/^(POSITIONS|FLAG)_/.test(name)) continue
    sets.set(set, [...(sets.get(set) ?? []), [name, number]])
  }
  for (const numbers of sets.values()) t.is(new Set(numbers.map(([, number]) => number)).size, numbers.length, numbers.join(' '))
})
