// `npm run check [-- NAME …]`: everything that a change must pass beside the tests, or the named checks. Prints a line for each check, and
// the output of each that fails, and what the others skipped. `--list` prints the names, which `.ci/run` runs one by one.

import path from 'node:path'
import { npm, root, run } from './lib.mjs'

const checks = {
  fmt: ['cargo', ['fmt', '--all', '--check']],
  clippy: ['cargo', ['clippy', '--workspace', '--all-targets', '--', '-D', 'warnings']],
  platforms: [process.execPath, [path.join(root, 'scripts', 'platforms.mjs')], {}],
  rustdoc: ['cargo', ['doc', '-p', 'forelog', '--no-deps'], { env: { ...process.env, RUSTDOCFLAGS: '-D warnings' } }],
  types: npm('run', 'typecheck'),
  eslint: npm('run', 'lint'),
  prettier: npm('run', 'format:check'),
  typedoc: npm('run', 'docs'),
  package: npm('run', 'lint:package'),
}

const args = process.argv.slice(2)
const unknown = args.find((name) => name !== '--list' && !(name in checks))

if (args.includes('--list')) {
  console.log(Object.keys(checks).join('\n'))
} else if (unknown !== undefined) {
  console.error(`There is no check ${unknown}; there are ${Object.keys(checks).join(', ')}.`)
  process.exitCode = 2
} else {
  for (const name of args.length > 0 ? args : Object.keys(checks)) {
    const started = performance.now()
    const output = []
    const code = await run(checks[name], (data) => output.push(data))
    console.log(`${name}: ${code === 0 ? 'passed' : 'FAILED'} after ${((performance.now() - started) / 1000).toFixed(1)} s`)
    const text = Buffer.concat(output)
    if (code === 0) {
      for (const [skip] of String(text).matchAll(/^SKIP .*/gm)) console.log(skip)
      continue
    }
    process.stdout.write(text)
    process.exitCode = 1
  }
}
