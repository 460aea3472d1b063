// `npm test [-- AVA ARGUMENTS]`: builds if needed, then the Rust and the JavaScript tests, what failed
// once more, and one line that sums them up.

import path from 'node:path'
import { root, run, setup } from './lib.mjs'
import { avaCounts, avaFailures, cargoCounts, cargoFailures, ignoredRustTests } from './test-output.mjs'
import { requireToolchain } from './toolchain.mjs'

requireToolchain()
await setup()

async function suite(commandLine, count, failuresOf) {
  const output = []
  const code = await run(commandLine, (data) => {
    output.push(data)
    process.stdout.write(data)
  })
  const text = Buffer.concat(output).toString()
  const counts = count(text)
  // A crash, a timeout or a compile error fails the suite without a test to show for it.
  if (code !== 0 && counts.failed === 0) counts.failed = 1
  return { ...counts, text, failures: code === 0 ? [] : failuresOf(text) }
}

const color = process.stdout.isTTY ? { FORCE_COLOR: '1', CARGO_TERM_COLOR: 'always' } : {}
const env = { ...process.env, ...color }
// In CI the output of passing Rust tests is shown as well: it holds the lines about skips.
const shown = process.env.CI ? ['--', '--show-output'] : []
const ava = path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs')

const rust = await suite(['cargo', ['test', '--workspace', '--no-fail-fast', ...shown], { env }], cargoCounts, cargoFailures)
for (const { name, reason } of ignoredRustTests(rust.text)) console.log(`SKIP ${name}: ${reason}`)
const node = await suite([process.execPath, [ava, ...process.argv.slice(2)], { env }], avaCounts, avaFailures)

const passed = rust.passed + node.passed
const failed = rust.failed + node.failed
const failures = [...rust.failures, ...node.failures]
if (failures.length > 0) console.log(`\n== what failed\n\n${failures.join('\n\n')}`)
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
