// `forelog verify`: checks that a log is as it was written.

import { verify, type Problem, type Verification } from '../index.js'
import { EXIT } from './exit-codes.js'
import { quoted } from './failure.js'
import { Interrupt } from './interrupt.js'
import { count, megabytes } from './numbers.js'
import { say, stdout } from './output.js'
import { progressOn, silent, type Progress } from './progress.js'

export interface VerifyOptions {
  json?: boolean
  quiet?: boolean
}

function line({ kind, message, segment, offset, firstLost, lastLost }: Problem): string {
  const lost = firstLost === undefined ? '' : `, positions ${firstLost} to ${lastLost}`
  return `${kind}: ${segment} at offset ${offset}${lost}: ${message}\n`
}

function summary({ segments, frames, records, bytes, withoutFooter, brokenFooters, holes, problems }: Verification): string {
  const parts = [`${count(segments)} segments`, `${count(frames)} frames`, `${count(records)} records`, megabytes(bytes)]
  // The summary does not distinguish the two: a crash can leave either, and no record depends on the footer.
  const bare = withoutFooter + brokenFooters
  if (bare > 0) parts.push(`${count(bare)} without an intact footer`)
  const lost = holes.reduce((sum, { first, last }) => sum + last - first + 1, 0)
  if (lost > 0) parts.push(`${count(holes.length)} holes of ${count(lost)} positions lost earlier`)
  parts.push(problems.length === 0 ? 'no damage' : `${count(problems.length)} problems`)
  return `${parts.join(', ')}\n`
}

function advice(dir: string, problems: Problem[]): string {
  if (problems.every(({ kind }) => kind === 'damaged-cursors')) {
    return 'restore CURSORS from a copy, or close the log and remove that file: then every cursor starts over'
  }
  return `\`forelog salvage ${quoted(dir)} NEW\` makes a new log of all good records`
}

/** Verifies the log, and resolves to the exit code. */
export async function verifyLog(dir: string, { json = false, quiet = false }: VerifyOptions): Promise<number> {
  let progress: Progress | undefined
  const onProgress = (done: number, total: number) => {
    progress ??= quiet || !process.stderr.isTTY ? silent : progressOn(process.stderr, total)
    progress.update(done, `${megabytes(done)} of ${megabytes(total)}`)
  }
  const interrupt = new Interrupt()
  let found: Verification
  try {
    found = await verify(dir, { onProgress, signal: interrupt.signal })
  } catch (error) {
    if (interrupt.name === undefined) throw error
    progress?.stop()
    say(`forelog: stopped by ${interrupt.name}: the log was not read to its end\n`)
    return interrupt.exitCode(EXIT.done)
  } finally {
    interrupt.stop()
    progress?.stop()
  }
  const isDamaged = found.problems.length > 0
  await stdout.write(json ? `${JSON.stringify(found)}\n` : found.problems.map(line).join('') + (quiet ? '' : summary(found)))
  await stdout.flush()
  if (isDamaged && !quiet && !json) say(`  next: ${advice(dir, found.problems)}\n`)
  return isDamaged ? EXIT.damage : EXIT.done
}
