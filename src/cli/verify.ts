// `forelog verify`: is the log as it was written?

import { verify, type Problem, type Verification } from '../index.js'
import { count, megabytes } from './numbers.js'
import { progressOn, silent, type Progress } from './progress.js'

export interface VerifyOptions {
  json?: boolean
  quiet?: boolean
}

const DAMAGED = 1

function line({ kind, message, segment, offset, firstLost, lastLost }: Problem): string {
  const lost = firstLost === undefined ? '' : `, positions ${firstLost} to ${lastLost}`
  return `${kind}: ${segment} at offset ${offset}${lost}: ${message}\n`
}

function summary({ segments, frames, records, bytes, withoutFooter, brokenFooters, holes, problems }: Verification): string {
  const parts = [`${count(segments)} segments`, `${count(frames)} frames`, `${count(records)} records`, megabytes(bytes)]
  // Which of the two is no matter: a crash leaves either, and no record depends on it.
  const bare = withoutFooter + brokenFooters
  if (bare > 0) parts.push(`${count(bare)} without a whole footer`)
  const lost = holes.reduce((sum, { first, last }) => sum + last - first + 1, 0)
  if (lost > 0) parts.push(`${count(holes.length)} holes of ${count(lost)} positions lost earlier`)
  parts.push(problems.length === 0 ? 'no damage' : `${count(problems.length)} problems`)
  return `${parts.join(', ')}\n`
}

/** Resolves to the exit code: 1 when there is damage. */
export async function verifyLog(dir: string, { json = false, quiet = false }: VerifyOptions): Promise<number> {
  let progress: Progress | undefined
  const onProgress = (done: number, total: number) => {
    progress ??= quiet || !process.stderr.isTTY ? silent : progressOn(process.stderr, total)
    progress.update(done, `${megabytes(done)} of ${megabytes(total)}`)
  }
  let found: Verification
  try {
    found = await verify(dir, { onProgress })
  } finally {
    progress?.stop()
  }
  if (json) process.stdout.write(`${JSON.stringify(found)}\n`)
  else process.stdout.write(found.problems.map(line).join('') + (quiet ? '' : summary(found)))
  return found.problems.length === 0 ? 0 : DAMAGED
}
