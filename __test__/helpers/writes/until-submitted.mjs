// Appends until writes are submitted. A job in the background fills blocks first, and may be late.

import { existsSync, readFileSync } from 'node:fs'
import { env } from 'node:process'

const { FORELOG_WRITES_RECORD: record = '', FORELOG_WRITES_MODE: mode, FORELOG_ASYNC_WRITES: choice } = env
const canSubmit = (mode === 'played' || mode === 'bad') && choice !== 'off'
const has = (what) => existsSync(record) && readFileSync(record, 'utf8').includes(what)

export async function untilSubmitted(append) {
  for (let n = 0; n < 150 || (canSubmit && n < 20_000 && !has('submitted')); n++) await append()
}

/** Whether the kernel that is played should report writes out of order, and has not done so yet. */
export const isInOrder = () => mode === 'bad' && !has('overtook')
