// `npm run mutants [-- NAME …]`: builds the engine or the facade wrong, one way at a time, and shows that the unmodified campaign or
// a test fails for each. Ends with 1 when one survives. Mutants of the facade need the native module to be built.
//
// A patch begins with `Check:`, which is what has to fail: `test NAME` of the engine, `ava SPEC` of the facade, or the campaign's arguments.
//
// --ci checks that all of them still apply and runs three.

import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import { root } from './lib.mjs'
import { requireToolchain } from './toolchain.mjs'

const CI = ['acknowledge-before-fsync', 'name-in-control-before-it-is-durable', 'no-fence']
const TIMEOUT = 300_000

requireToolchain()
const patches = path.join(root, 'mutants')
const target = path.join(process.env.CARGO_TARGET_DIR ?? path.join(root, 'target'), 'mutants')
const tree = path.join(target, 'tree')
const engine = ['Cargo.toml', 'Cargo.lock', 'rustfmt.toml', 'crates', 'docs']
const facade = [
  'package.json',
  'tsconfig.json',
  'index.js',
  'index.d.ts',
  'native.js',
  'native.d.ts',
  'otel.js',
  'otel.d.ts',
  'src',
  '__test__',
]
// Built before, and shared by all mutants of the facade.
const binaries = readdirSync(root).filter((file) => file.endsWith('.node'))

function read(name) {
  const text = readFileSync(path.join(patches, `${name}.patch`), 'utf8')
  const field = (label) => new RegExp(`^${label}: *(.*)$`, 'm').exec(text)?.[1] ?? ''
  return { name, what: field('Mutant'), breaks: field('Breaks'), check: field('Check').split(' '), says: new RegExp(field('Says')) }
}

// Outside of any repository git applies a patch to what is there.
function apply(name, ...options) {
  const env = { ...process.env, GIT_CEILING_DIRECTORIES: target }
  return spawnSync('git', ['apply', ...options, path.join(patches, `${name}.patch`)], { cwd: tree, env, encoding: 'utf8' })
}

function cargo(...args) {
  const env = {
    ...process.env,
    CARGO_TARGET_DIR: path.join(target, 'build'),
    CARGO_PROFILE_TORTURE_INCREMENTAL: 'true',
    CARGO_PROFILE_TORTURE_OPT_LEVEL: '2',
  }
  return spawnSync('cargo', args, { cwd: tree, env, encoding: 'utf8', timeout: TIMEOUT, maxBuffer: 1 << 28 })
}

/** Runs a program of node_modules in the tree. */
function tool(name, ...args) {
  const program = path.join(root, 'node_modules', name)
  return spawnSync(process.execPath, [program, ...args], { cwd: tree, encoding: 'utf8', timeout: TIMEOUT, maxBuffer: 1 << 28 })
}

/** Runs the check of a mutant. Returns what caught it and how many seeds that took, or `undefined` if it survives. */
function run({ check: [kind, ...args], says }) {
  if (kind === 'ava') {
    if (binaries.length === 0) throw new Error('there is no native module: npm run build')
    const built = tool('typescript/bin/tsc')
    if (built.status !== 0) throw new Error(built.stdout)
    const { status, stdout } = tool('ava/entrypoints/cli.mjs', ...args)
    return status !== 0 && says.test(stdout) ? { caught: says.exec(stdout)[0].trim(), seeds: '' } : undefined
  }
  if (kind === 'test' || kind === 'suite') {
    // `test NAME`: of the library; `suite FILE NAME …`: of a file in crates/forelog/tests.
    const [where, names] = kind === 'test' ? [['--lib'], args] : [['--test', args[0]], args.slice(1)]
    const built = cargo('test', '--quiet', '--package', 'forelog', ...where, '--no-run')
    if (built.status !== 0) throw new Error(built.stderr)
    const { status, stdout } = cargo('test', '--quiet', '--package', 'forelog', ...where, '--', ...names)
    return status !== 0 && says.test(stdout) ? { caught: `test ${names[0]}`, seeds: '' } : undefined
  }
  const campaign = ['--quiet', '--profile', 'torture', '--package', 'forelog-torture']
  const built = cargo('build', ...campaign)
  if (built.status !== 0) throw new Error(built.stderr)
  const { status, stdout } = cargo('run', ...campaign, '--', ...args)
  const text = /^=> (.*)/m.exec(stdout)?.[1] ?? ''
  const seed = /^FAILED: seed (\d+)/m.exec(stdout)?.[1]
  return status === 1 && seed && says.test(text) ? { caught: text, seeds: seed } : undefined
}

const asked = process.argv.slice(2).filter((name) => name !== '--ci')
const ci = process.argv.includes('--ci')
const all = readdirSync(patches)
  .filter((file) => file.endsWith('.patch'))
  .map((file) => read(file.replace(/\.patch$/, '')))
const chosen = all.filter(({ name }) => (ci ? CI : asked.length ? asked : [name]).includes(name))

rmSync(tree, { recursive: true, force: true })
mkdirSync(tree, { recursive: true })
for (const source of [...engine, ...facade]) {
  cpSync(path.join(root, source), path.join(tree, source), { recursive: true, preserveTimestamps: true })
}
for (const file of ['node_modules', ...binaries]) symlinkSync(path.join(root, file), path.join(tree, file))

let bad = 0
for (const { name } of all) {
  const { status, stderr } = apply(name, '--check')
  if (status === 0) continue
  bad += 1
  console.log(`STALE ${name}: ${stderr.trim()}`)
}
console.log(`${all.length - bad} of ${all.length} mutants apply`)
if (bad === 0) console.log('\n| mutant | breaks | caught by | seeds |\n| --- | --- | --- | ---: |')
for (const mutant of bad === 0 ? chosen : []) {
  apply(mutant.name)
  let row
  try {
    const result = run(mutant)
    if (result === undefined) bad += 1
    row = result ? `${result.caught.slice(0, 110)} | ${result.seeds}` : 'SURVIVES |'
  } catch (error) {
    bad += 1
    row = `DOES NOT BUILD: ${error.message} |`
  }
  console.log(`| ${mutant.name}: ${mutant.what} | ${mutant.breaks} | ${row} |`)
  apply(mutant.name, '--reverse')
}
process.exitCode = bad === 0 ? 0 : 1
