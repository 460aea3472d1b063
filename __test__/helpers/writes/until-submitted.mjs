// Appends until writes are submitted. A job in the background fills blocks first, and may be late.

import { existsSync, readFileSync } from 'node:fs'
import { env } from 'node:process'

const { FORELOG_WRITES_RECORD: record = '', FORELOG_WRITES_MODE: mode, FORELOG_ASYNC_WRITES: choice } = env
const canSubmit = (mode === 'played' || mode === 'bad') && choice !== 'off'
const hasSubmitted = () => existsSync(record) && readFileSync(record, 'utf8').includes('submitted')

export async function untilSubmitted(append) {
  for (let n = 0; n < 150 || (canSubmit && n < 20_000 && !hasSubmitted()); n++) await append()
}
