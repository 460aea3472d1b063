// Steps shared by setup, build, test and start. Plain Node: this runs before `npm ci`.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

export const root = fileURLToPath(new URL('..', import.meta.url))
const at = (...parts) => path.join(root, ...parts)

/** A command line that runs npm without a shell wherever npm says where its script is. */
export function npm(...args) {
  const script = process.env.npm_execpath
  if (script && /npm-cli\.c?js$/.test(script)) return [process.execPath, [script, ...args], {}]
  // Without one, Windows has only npm.cmd, which Node starts through a shell; the words are ours.
  return ['npm', args, { shell: process.platform === 'win32' }]
}

/** Runs a command, gives its output to `onData` as it comes, resolves to the exit code. */
export function run([command, args, options = {}], onData) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      ...options,
    })
    child.stdout.on('data', onData)
    child.stderr.on('data', onData)
    child.on('error', reject)
    child.on('close', (code, signal) => resolve(signal ? 1 : code))
  })
}

/** One line with its duration; the output is shown only if the command fails. */
async function step(label, commandLine) {
  const started = performance.now()
  process.stdout.write(`${label} … `)
  const output = []
  const code = await run(commandLine, (data) => output.push(data))
  const seconds = `${((performance.now() - started) / 1000).toFixed(1)} s`
  if (code === 0) return console.log(`done in ${seconds}`)
  console.log(`failed after ${seconds}`)
  process.stderr.write(Buffer.concat(output))
  process.exit(1)
}

const modified = (file) => (existsSync(file) ? statSync(file).mtimeMs : 0)

// Directories count too: theirs is the only trace that a removed file leaves.
function newest(file, skip = () => false) {
  const times = [modified(file)]
  if (existsSync(file) && statSync(file).isDirectory()) {
    for (const name of readdirSync(file)) {
      if (!skip(name)) times.push(newest(path.join(file, name), skip))
    }
  }
  return Math.max(...times)
}

function dependenciesAreStale() {
  return modified(at('node_modules', '.package-lock.json')) < modified(at('package-lock.json'))
}

const notCompiledIn = new Set(['target', 'tests', 'benches', 'examples', 'fuzz', 'README.md'])

function nativeIsStale() {
  if (!existsSync(at('native.js'))) return true
  const ours = (name) => name.includes(`${process.platform}-${process.arch}`) && name.endsWith('.node')
  const built = readdirSync(root)
    .filter(ours)
    .map((name) => modified(at(name)))
  if (built.length === 0) return true
  const sources = [newest(at('crates'), (name) => notCompiledIn.has(name)), modified(at('Cargo.toml')), modified(at('Cargo.lock'))]
  return Math.max(...sources) > Math.max(...built)
}

// tsc writes its output even if it finds errors, so a stamp records that it found none.
const stamp = at('node_modules', '.cache', 'forelog', 'tsc')

function typescriptIsStale() {
  if (!existsSync(at('dist'))) return true
  return Math.max(newest(at('src')), modified(at('tsconfig.json'))) > modified(stamp)
}

async function install() {
  // NODE_ENV=production would leave out what the build needs.
  await step('install dependencies', npm('ci', '--include=dev', '--no-audit', '--no-fund'))
}

async function buildNative() {
  await step('build native module', npm('run', 'build:native'))
}

async function buildTypescript() {
  // npm would publish the output of modules that were moved or removed.
  rmSync(at('dist'), { recursive: true, force: true })
  await step('compile TypeScript', npm('run', 'build:ts'))
  mkdirSync(path.dirname(stamp), { recursive: true })
  writeFileSync(stamp, '')
}

/** Brings a checkout up to date, doing only what is needed. */
export async function setup() {
  if (dependenciesAreStale()) await install()
  if (nativeIsStale()) await buildNative()
  if (typescriptIsStale()) await buildTypescript()
}

/** Builds everything, whatever the dates say. */
export async function build() {
  if (dependenciesAreStale()) await install()
  await buildNative()
  await buildTypescript()
}
