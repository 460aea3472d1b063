// What `npm run package` makes, installed into an empty folder from a registry, on a machine without Rust.

import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { command, node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'
import { startRegistry } from './helpers/registry.js'

/** The first sample of the README. */
function quickStart(): string {
  const sample = /```js\n([^]*?)```/.exec(readFileSync(path.join(root, 'README.md'), 'utf8'))?.[1]
  if (sample === undefined) throw new Error('the README has no sample')
  return sample
}

test('npm installs the package and the binary of this platform alone from a registry, and the quick start runs by import and by require', async (t) => {
  if (!has(t, 'linux')) return
  const tarballs = temporaryDirectory(t)
  const packed = await node([path.join(root, 'scripts', 'package.mjs'), tarballs], { cwd: root })
  // Its exit code tells whether the sizes are within their budgets, which a binary with debug information is not.
  t.is(packed.stderr, '')
  t.regex(String(packed.stdout), /forelog-\d+\.\d+\.\d+\.tgz: \d+ KiB of at most \d+ KiB$/m)

  const { url, stop } = await startRegistry(tarballs)
  t.teardown(stop)
  const dir = path.join(temporaryDirectory(t), 'project')
  mkdirSync(dir)
  writeFileSync(path.join(dir, 'package.json'), '{ "name": "project", "private": true }')
  // No cargo: what is installed is what was packed.
  const PATH = [path.dirname(process.execPath), '/usr/bin', '/bin'].join(path.delimiter)
  const env = { PATH, HOME: dir, npm_config_registry: url, npm_config_cache: path.join(dir, '.cache') }
  const { code, stdout, stderr } = await command('npm', ['install', 'forelog', '--no-audit', '--no-fund'], { cwd: dir, env })
  t.is(code, 0, `${stdout} ${stderr}`)
  t.deepEqual(
    readdirSync(path.join(dir, 'node_modules'))
      .filter((name) => name.startsWith('forelog-'))
      .map((name) => name.split('-').slice(1, 3)),
    [[process.platform, process.arch]]
  )

  const sample = quickStart().replace("'./data/wal'", '`./data/${process.argv[2]}`')
  writeFileSync(path.join(dir, 'imports.mjs'), sample)
  const [first, ...rest] = sample.split('\n')
  writeFileSync(path.join(dir, 'requires.cjs'), `${first.replace(/.*or: /, '')}\nvoid (async () => {\n${rest.join('\n')}\n})()`)
  for (const file of ['imports.mjs', 'requires.cjs']) {
    const run = await node([file, file], { cwd: dir, env })
    t.is(run.code, 0, run.stderr)
    t.is(String(run.stdout), '1 user:1 Ada\n2 user:2 Grace\n3 user:1 deleted\n')
  }
})
