// Is killed at the n-th change that a checkpoint makes; with `half`, in the middle of a write. Tells each change that it has made.

import { tell } from '../kill/records.mjs'
import { checkpoint } from '../../../index.js'
import { fileOf, inits, prepare } from './scenario.mjs'
import { CHANGES, watch } from './steps.mjs'

const [dir, name, at, half] = process.argv.slice(2)

const wal = await prepare(dir)
let step = 0
watch(dir, async (change, args, call) => {
  if (!CHANGES.includes(change)) return call()
  step += 1
  if (step === Number(at)) {
    if (half === 'half' && change === 'write') {
      const [, bytes, offset, length, position] = args
      const { open } = await import('node:fs/promises')
      const file = await open(args[0], 'r+')
      await file.write(bytes, offset, Math.floor(length / 2), position)
      tell(JSON.stringify(['write', args[0]]))
    }
    process.kill(process.pid, 'SIGKILL')
    await new Promise(() => {})
  }
  const result = await call()
  tell(JSON.stringify([change, ...args.filter((arg) => typeof arg === 'string')]))
  return result
})
await checkpoint(wal, fileOf(dir), inits[name])
tell('"done"')
