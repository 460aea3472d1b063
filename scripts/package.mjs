// `npm run package [-- FOLDER]`: the tarballs that are to be published, in target/packages or the given folder: `forelog`, and one package for
// each platform whose binary is built here. Prints the size of each, and fails if one is over its budget.

import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { npm, root, setup } from './lib.mjs'
import { requireToolchain } from './toolchain.mjs'

// The largest size of a tarball, in KiB.
const BUDGET = { forelog: 400, binary: 1500 }

// Fields of package.json that only a checkout needs.
const development = new Set(['scripts', 'devDependencies', 'overrides', 'ava', 'prettier', 'napi'])

const read = (folder) => JSON.parse(readFileSync(path.join(folder, 'package.json'), 'utf8'))

/** Packs a folder and returns the path of the tarball. */
function pack(from, to) {
  const [command, args, options] = npm('pack', '--json', '--ignore-scripts', '--pack-destination', to)
  const { status, stdout, stderr } = spawnSync(command, args, { cwd: from, encoding: 'utf8', ...options })
  if (status !== 0) throw new Error(`npm pack failed in ${from}: ${stderr}`)
  // One entry for a package, in a list or under its name.
  const [{ filename }] = Object.values(JSON.parse(stdout))
  return path.join(to, filename)
}

/** The package itself. Only what is published depends on the packages of the platforms: a checkout builds its binary. */
function packMain(platforms, to, scratch) {
  const first = pack(root, scratch)
  const folder = path.join(scratch, 'main')
  mkdirSync(folder)
  const { status, stderr } = spawnSync('tar', ['-xzf', first, '-C', folder, '--strip-components=1'], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`tar failed: ${stderr}`)
  const manifest = Object.fromEntries(Object.entries(read(folder)).filter(([field]) => !development.has(field)))
  manifest.optionalDependencies = Object.fromEntries(platforms.map((name) => [`${manifest.name}-${name}`, manifest.version]))
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)
  return pack(folder, to)
}

function packPlatform(name, to, scratch) {
  const folder = path.join(scratch, name)
  cpSync(path.join(root, 'npm', name), folder, { recursive: true })
  const binary = `forelog.${name}.node`
  copyFileSync(path.join(root, binary), path.join(folder, binary))
  const { version } = read(folder)
  if (version !== read(root).version) throw new Error(`npm/${name} has version ${version}, and the package ${read(root).version}`)
  return pack(folder, to)
}

function report(file, budget) {
  const size = statSync(file).size / 1024
  const fits = size <= budget
  console.log(`${path.relative(process.cwd(), file)}: ${size.toFixed(0)} KiB of at most ${budget} KiB${fits ? '' : ': too large'}`)
  if (!fits) process.exitCode = 1
}

requireToolchain()
await setup()
const to = path.resolve(process.argv[2] ?? path.join(root, 'target', 'packages'))
mkdirSync(to, { recursive: true })
const scratch = mkdtempSync(path.join(os.tmpdir(), 'forelog-package-'))
try {
  const platforms = readdirSync(path.join(root, 'npm'))
  for (const name of platforms) {
    if (existsSync(path.join(root, `forelog.${name}.node`))) report(packPlatform(name, to, scratch), BUDGET.binary)
    else console.log(`SKIP forelog-${name}: its binary is not built here`)
  }
  report(packMain(platforms, to, scratch), BUDGET.forelog)
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
