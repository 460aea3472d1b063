// Fails each call of the file system that a checkpoint makes, one after the other, before or after it has been made. Tells for each what
// became of the checkpoint, what a restart would find, and what the next checkpoint leaves.

import { mkdtempSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { checkpoint, WalError } from '../../../index.js'
import { tell } from '../kill/records.mjs'
import { fileOf, found, inits, prepare } from './scenario.mjs'
import { unwatch, watch } from './steps.mjs'

const [around, name, code, when] = process.argv.slice(2)

for (let at = 1, isOver = false; !isOver; at += 1) {
  const dir = mkdtempSync(path.join(around, 'failing-'))
  const wal = await prepare(dir)
  let step = 0
  let failed = ''
  watch(dir, async (call, args, make) => {
    if (call.startsWith('Wal.')) return make()
    step += 1
    if (step !== at) return make()
    failed = call
    // A file that is not closed would be reported when it is collected.
    if (when === 'after' || call === 'close') await make()
    throw Object.assign(new Error(`${code}: injected`), { code, syscall: call, path: args[0] })
  })
  const outcome = await checkpoint(wal, fileOf(dir), inits[name]).then(
    () => 'resolved',
    (error) => (error instanceof WalError ? error.code : `not a WalError: ${error.stack}`)
  )
  unwatch()
  isOver = failed === ''
  const state = await found(wal, dir)
  const next = wal.nextPosition - 1
  await checkpoint(wal, fileOf(dir), { position: next, keep: 1, state: JSON.stringify(state) })
  const again = await found(wal, dir)
  const files = readdirSync(dir).length
  tell(JSON.stringify({ at, failed, outcome, state, again, files }))
  await wal.close()
}
