// The bench command: installs the rivals if they are missing and starts the TypeScript harness. Plain JavaScript,
// because it runs before anything is known to be installed.
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import fs from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const benches = fileURLToPath(new URL('.', import.meta.url))
const stamp = join(benches, 'node_modules', '.installed-for')

const loader = findLoader()
if (!isInstalled()) install()
const harness = spawnSync(process.execPath, ['--import', loader, join(benches, 'harness.ts'), ...process.argv.slice(2)], {
  stdio: 'inherit',
})
process.exit(harness.status ?? 1)

function findLoader() {
  try {
    return pathToFileURL(createRequire(import.meta.url).resolve('tsx')).href
  } catch {
    console.error('The benches need the development dependencies of the root: run `npm install` there first.')
    process.exit(1)
  }
}

// Compiled rivals belong to one Node.js ABI and one lockfile.
function state() {
  const lockfile = fs.readFileSync(join(benches, 'package-lock.json'))
  return `${process.versions.modules} ${createHash('sha256').update(lockfile).digest('hex')}`
}

function isInstalled() {
  return fs.existsSync(stamp) && fs.readFileSync(stamp, 'utf8') === state()
}

// The rivals are optional dependencies: npm goes on without one that cannot be built, and its rows say so. Most
// come prebuilt; better-sqlite3 may be compiled from source, which takes a minute.
function install() {
  console.error('Installing the rivals (once; a minute or two if one has to be compiled) …')
  const quietly = ['--no-audit', '--no-fund', '--loglevel=error']
  // A registry that lacks a package for another platform fails the first, and not the second.
  const status = npm(['ci', ...quietly], 'ignore').status && npm(['install', '--no-save', ...quietly], 'inherit').status
  if (status !== 0) {
    console.error('Installing the rivals failed.')
    process.exit(status ?? 1)
  }
  const leftOut = {}
  for (const [name, version] of Object.entries(readPackage().optionalDependencies)) {
    if (!fs.existsSync(join(benches, 'node_modules', name))) leftOut[name] = reasonWhyNot(name, version)
  }
  fs.writeFileSync(join(benches, 'node_modules', '.left-out.json'), JSON.stringify(leftOut))
  fs.writeFileSync(stamp, state())
}

// npm drops a failing optional dependency silently. Installing it alone prints the reason.
function reasonWhyNot(name, version) {
  const { stderr } = npm(['install', `${name}@${version}`, '--no-save', '--no-audit', '--no-fund', '--loglevel=error'], 'pipe')
  const lines = String(stderr).split('\n')
  return lines.findLast((line) => /err(or|!)/i.test(line) && !/log of this run|complete log/i.test(line)) ?? 'no reason given'
}

function npm(args, stdio) {
  const windows = process.platform === 'win32'
  return spawnSync(windows ? 'npm.cmd' : 'npm', args, { cwd: benches, stdio: ['ignore', stdio, stdio], shell: windows })
}

function readPackage() {
  return JSON.parse(fs.readFileSync(join(benches, 'package.json'), 'utf8'))
}
