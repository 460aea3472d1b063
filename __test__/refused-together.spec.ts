// Records that were buffered together and refused together: each of their promises settles, and with its own outcome.

import path from 'node:path'
import { pathToFileURL } from 'node:url'
import test, { type ExecutionContext } from 'ava'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'

const program = path.join(root, '__test__', 'helpers', 'refused-together.mjs')
const entry = pathToFileURL(path.join(root, 'index.js')).href

async function outcomes(t: ExecutionContext, how: string): Promise<string[]> {
  const { code, stdout, stderr } = await node([program, entry, temporaryDirectory(t), how])
  t.is(stderr, '', how)
  t.is(code, 0, how)
  return stdout.toString().trim().split('\n')
}

test('buffered records that are refused together settle one by one, wherever the stack ends', async (t) => {
  const allowed = new Set(['ok', 'ERR_WAL_BACKPRESSURE', 'RangeError'])
  for (let left = 2; left <= 26; left += 2) {
    const found = await outcomes(t, String(left))
    t.is(found.length, 8)
    t.true(
      found.every((outcome) => allowed.has(outcome)),
      `${left}: ${found.join(', ')}`
    )
    t.deepEqual(found.slice(3), Array<string>(5).fill('ok'), `${left}: what is appended later`)
  }
})

test('no method of a signal runs while buffered records are passed on one by one', async (t) => {
  const found = await outcomes(t, 'signal')
  t.deepEqual(found, ['ERR_WAL_BACKPRESSURE', ...Array<string>(7).fill('ok')])
})
