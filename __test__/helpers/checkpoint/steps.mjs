// Makes every call of a checkpoint, of the file system and of the log, a step that a test can stop at.

import files from 'node:fs/promises'
import { syncBuiltinESMExports } from 'node:module'
import path from 'node:path'
import { Wal } from '../../../index.js'

/** Calls that change what is on the disk. */
export const CHANGES = ['write', 'sync', 'rename', 'unlink', 'Wal.sync', 'Wal.truncateBefore', 'Wal.reset']

let take

/** Passes each call on a file in `dir`, but not those in the log, to `step(name, args, call)`, which has to make it. */
export function watch(dir, step) {
  take = (name, file, args, call) =>
    typeof file === 'string' && path.dirname(`${file}/.`).startsWith(dir) ? step(name, args, call) : call()
}

export function unwatch() {
  take = undefined
}

const wrap = (target, name, fileOf, nameOf = name) => {
  const real = target[name]
  target[name] = function (...args) {
    const file = fileOf(this, args)
    const call = () => real.apply(this, args)
    return take === undefined ? call() : take(nameOf, file, [file, ...args], call)
  }
}

for (const name of ['rename', 'unlink', 'readdir', 'open']) wrap(files, name, (_, [file]) => file)
const { open } = files
files.open = async (...args) => {
  const handle = await open(...args)
  for (const name of ['write', 'read', 'sync', 'stat', 'close']) wrap(handle, name, () => args[0])
  return handle
}
syncBuiltinESMExports()
for (const name of ['sync', 'truncateBefore', 'reset']) wrap(Wal.prototype, name, ({ dir }) => path.dirname(dir), `Wal.${name}`)
