// On a machine that cannot build, the scripts say so at once and touch nothing.

import { chmodSync, cpSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { complaints } from '../scripts/toolchain.mjs'
import { avaCounts, cargoCounts, ignoredRustTests } from '../scripts/test-output.mjs'
import { node, root, type Result } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'

const fine = { node: '20.19.0', cargo: '1.89.0', rustc: '1.95.1', linker: '12.2.0' }

test('a missing or old toolchain is reported with what is needed', (t) => {
  t.deepEqual(complaints(fine), [])
  for (const node of ['20.20.0', '22.12.0', '24.0.0']) t.deepEqual(complaints({ ...fine, node, cargo: '2.0.0' }), [])
  for (const bad of [
    { node: '20.18.9' },
    { node: '18.20.0' },
    { node: '21.7.3' },
    { node: '22.11.0' },
    { cargo: '1.88.9' },
    { rustc: '1.63.0' },
    { cargo: undefined },
    { linker: undefined },
  ]) {
    t.is(complaints({ ...fine, ...bad }).length, 1, JSON.stringify(bad))
  }
  t.regex(complaints({ ...fine, rustc: '1.63.0' })[0], /1\.89\.0.*rustc 1\.63\.0.*rustup/)
  t.regex(complaints({ ...fine, cargo: undefined })[0], /cargo was not found.*rustup\.rs/)
})

/** Runs a script in a bare copy of the checkout, with only these programs on the path. */
async function bareRun(t: ExecutionContext, script: string, programs: { [name: string]: string }): Promise<Result> {
  const dir = temporaryDirectory(t)
  const bin = path.join(dir, 'bin')
  const checkout = path.join(dir, 'checkout')
  mkdirSync(bin)
  for (const [name, version] of Object.entries(programs)) {
    writeFileSync(path.join(bin, name), `#!/bin/sh\necho "${name} ${version}"\n`)
    chmodSync(path.join(bin, name), 0o755)
  }
  cpSync(path.join(root, 'scripts'), path.join(checkout, 'scripts'), { recursive: true })
  cpSync(path.join(root, 'package.json'), path.join(checkout, 'package.json'))
  const result = await node([path.join(checkout, 'scripts', script)], {
    cwd: checkout,
    env: { PATH: bin, CARGO_HOME: path.join(dir, 'none') },
  })
  t.deepEqual(readdirSync(checkout).sort(), ['package.json', 'scripts'])
  return result
}

for (const script of ['setup.mjs', 'build.mjs', 'test.mjs', 'start.mjs']) {
  test(`${script} without Rust, or with one that is too old`, async (t) => {
    if (!has(t, 'posix')) return
    const missing = await bareRun(t, script, { cc: '12.2.0' })
    t.is(missing.code, 1)
    t.regex(missing.stderr, /cargo was not found.*rustup\.rs/)

    const old = await bareRun(t, script, { cc: '12.2.0', cargo: '1.70.0 (abc 2023-06-01)', rustc: '1.70.0' })
    t.is(old.code, 1)
    t.regex(old.stderr, /cargo 1\.70\.0 is too old/)

    for (const { stdout, stderr } of [missing, old]) {
      t.is(String(stdout), '')
      t.true(stderr.trimEnd().split('\n').length <= 3)
    }
  })
}

test('the test script sums up the counts of Rust tests and specs', (t) => {
  const cargo = [
    'test a::b ... ok',
    'test c ... ignored, needs root',
    'test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured',
    'test result: FAILED. 3 passed; 2 failed; 0 ignored',
  ].join('\n')
  t.deepEqual(cargoCounts(cargo), { passed: 15, failed: 2 })
  t.deepEqual(ignoredRustTests(cargo), [{ name: 'c', reason: 'needs root' }])
  t.deepEqual(avaCounts('  ✔ a › b (1s)\n    ℹ 3 rounds\n  ✔ c\n  ─\n\n  2 tests passed\n'), { passed: 2, failed: 0 })
  const failed = '  \u001b[32m✔\u001b[39m a\n  ✘ [fail]: b\n\u001b[31m  1 test failed\u001b[39m\n  1 uncaught exception'
  t.deepEqual(avaCounts(failed), { passed: 1, failed: 2 })
})
