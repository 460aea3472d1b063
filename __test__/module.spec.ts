// The package loads both ways.

import { readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import test from 'ava'
import * as imported from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'

const entry = path.join(root, 'index.js')

test('the exports are the documented ones', (t) => {
  t.deepEqual(Object.keys(imported).sort(), [
    'AbortError',
    'Cursor',
    'Record',
    'Wal',
    'WalError',
    'WalReader',
    'channels',
    'checkpoint',
    'restore',
    'salvage',
    'stat',
    'verify',
  ])
})

test('require gives what import gives', async (t) => {
  // In a process without a loader for TypeScript, which would replace `require`. Throws if any module awaits at its top level.
  const script = `
    import { createRequire } from 'node:module'
    const imported = await import(process.argv[1])
    const required = createRequire(process.argv[1])(process.argv[1])
    for (const name of Object.keys(imported)) if (imported[name] !== required[name]) console.log(name, 'differs')
    console.log(Object.keys(required).sort().join(' '))`
  const { stdout } = await node(['--input-type=module', '-e', script, entry])
  t.is(stdout.toString().trim(), Object.keys(imported).sort().join(' '))
})

test('a CommonJS program opens a log and ends by itself', async (t) => {
  const script = `
    const { Wal, Record } = require(process.argv[1])
    Wal.open(process.argv[2]).then((wal) => wal.append(Record.put('k', 'v'))).then(console.log)`
  const { code, stdout } = await node(['-e', script, entry, temporaryDirectory(t)])
  t.is(stdout.toString(), '1\n')
  t.is(code, 0)
})

test('the package manifest can be read by name', (t) => {
  const { name, exports } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))
  t.is(name, 'forelog')
  t.is(exports['./package.json'], './package.json')
  t.is(createRequire(entry)('forelog/package.json').name, 'forelog')
})

test('every target has a package for its binary, with the version of the main package', (t) => {
  const read = (...names: string[]) => JSON.parse(readFileSync(path.join(root, ...names, 'package.json'), 'utf8'))
  const main = read()
  const platforms = readdirSync(path.join(root, 'npm'))
  t.is(platforms.length, main.napi.targets.length)
  for (const platform of platforms) {
    t.like(read('npm', platform), {
      name: `forelog-${platform}`,
      version: main.version,
      main: `forelog.${platform}.node`,
      engines: main.engines,
    })
  }
})
