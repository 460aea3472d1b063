// Reads the counts, and what failed and why, from what cargo test and ava print.

import { stripVTControlCharacters } from 'node:util'

const sum = (text, pattern) => {
  let total = 0
  for (const match of stripVTControlCharacters(text).matchAll(pattern)) total += Number(match[1])
  return total
}

export function cargoCounts(text) {
  return {
    passed: sum(text, /^test result: \w+\. (\d+) passed/gm),
    failed: sum(text, /^test result: \w+\. \d+ passed; (\d+) failed/gm),
  }
}

/** Tests marked `#[ignore = "reason"]`. */
export function ignoredRustTests(text) {
  const lines = stripVTControlCharacters(text).matchAll(/^test (\S+) \.\.\. ignored(?:, (.+))?$/gm)
  return [...lines].map(([, name, reason]) => ({ name, reason: reason ?? 'no reason given' }))
}

// ava gives each test that passed a line, and closes with lines like "1 test failed", "1 uncaught exception", "2 unhandled rejections",
// "1 test remained pending after a timeout"; how many passed it says only when none failed.
export function avaCounts(text) {
  return {
    passed: stripVTControlCharacters(text).match(/^\s*[✔√] /gm)?.length ?? 0,
    failed: sum(text, /^\s*(\d+) (?:tests?|hooks?) failed$/gm) + sum(text, /^\s*(\d+) (?:uncaught exceptions?|unhandled rejections?)$/gm),
  }
}

const DETAIL_LINES = 40
const DETAIL_COLUMNS = 200

const clipped = (line) => (line.length > DETAIL_COLUMNS ? `${line.slice(0, DETAIL_COLUMNS)}…` : line)

function shortened(text) {
  const lines = text.trim().split('\n').map(clipped)
  if (lines.length <= DETAIL_LINES) return lines.join('\n')
  return [...lines.slice(0, DETAIL_LINES), `… ${lines.length - DETAIL_LINES} more lines`].join('\n')
}

/** Each Rust test that failed with what it printed, and the end of the output where the build or a process failed. */
export function cargoFailures(text) {
  const plain = stripVTControlCharacters(text)
  const failures = []
  // With --show-output those that passed are printed alike, under "successes:".
  for (const [, section] of plain.matchAll(/^failures:\n\n(----[^]*?)\n\nfailures:\n/gm)) {
    for (const part of section.split(/^(?=---- .+ ----$)/m)) failures.push(shortened(part))
  }
  if (failures.length === 0) failures.push(shortened(plain.trim().split('\n').slice(-DETAIL_LINES).join('\n')))
  return failures
}

/** Returns the failures in AVA's output: failed tests from the list at its end, and crashed test files from where they crashed. */
export function avaFailures(text) {
  const plain = stripVTControlCharacters(text)
  const lines = plain.split('\n')
  const failures = []
  for (const [at, line] of lines.entries()) {
    if (!/^(Uncaught exception|Unhandled rejection) in |^[✘×] (?!\[)/.test(line.trim())) continue
    failures.push(shortened(lines.slice(at, at + DETAIL_LINES / 2).join('\n')))
  }
  const parts = plain.split(/^\s*─+\s*$/m)
  if (parts.length > 2) for (const part of parts.at(-2).split(/\n{4,}/)) failures.push(shortened(part))
  return failures
}
