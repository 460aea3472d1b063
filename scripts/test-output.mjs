// Reads the counts from what cargo test and ava print.

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
