// `npm run test:nodes [-- [MAJOR …] [--short] [SPEC …]]`: the JavaScript tests under other versions of Node.js, with the binary that is built
// here; a line for each version, and the output where something fails. --short takes the specs that a version can break.

import path from 'node:path'
import { root, run, setup } from './lib.mjs'
import { avaCounts } from './test-output.mjs'

const MAJORS = ['20', '22', '24']
// Loading, the samples, the API, threads, and every way of ending.
const SHORT = ['package', 'samples', 'append', 'read', 'follow', 'workers', 'environment-exit']

const ava = path.join(root, 'node_modules', 'ava', 'entrypoints', 'cli.mjs')
const isMajor = (arg) => /^\d+$/.test(arg)

/** Runs a command to its end; gives its exit code and what it said. */
async function said(...commandLine) {
  const output = []
  const code = await run(commandLine, (data) => output.push(data))
  return { code, text: Buffer.concat(output).toString() }
}

/** The program of the newest release of that major version, from the registry. */
async function nodeOf(major) {
  const args = ['--yes', '--package', `node@${major}`, '--', 'node', '--print', 'process.execPath']
  const npx = process.env.npm_execpath?.replace(/npm-cli\.(c?js)$/, 'npx-cli.$1')
  const { text } = npx ? await said(process.execPath, [npx, ...args]) : await said('npx', args, { shell: process.platform === 'win32' })
  const file = text.trim().split('\n').at(-1)
  if (!path.isAbsolute(file)) throw new Error(`no Node.js ${major}: ${text}`)
  return file
}

const args = process.argv.slice(2)
const specs = args.filter((arg) => !isMajor(arg) && arg !== '--short')
if (args.includes('--short')) specs.push(...SHORT.map((name) => path.join('__test__', `${name}.spec.ts`)))
const majors = args.filter(isMajor)

await setup()
for (const major of majors.length > 0 ? majors : MAJORS) {
  const node = await nodeOf(major)
  const version = (await said(node, ['--version'])).text.trim()
  const started = performance.now()
  const { code, text } = await said(node, [ava, ...specs])
  const { passed, failed } = avaCounts(text)
  console.log(`Node.js ${version}: ${passed} passed, ${failed} failed, ${((performance.now() - started) / 1000).toFixed(0)} s`)
  if (code === 0) continue
  console.log(text)
  process.exitCode = 1
}
