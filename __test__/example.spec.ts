// The examples people will copy have to run as they are printed.

import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'

test('examples/key-value.mjs', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'store')
  const script = path.join(root, 'examples', 'key-value.mjs')
  const expected = [
    '7 changes in the log, 4 keys after replay',
    'barbara: abstract data types',
    'frances: optimizing compilers',
    'grace: first linker, too',
    'margaret: first software engineer',
    'ada: undefined',
    '',
  ].join('\n')

  const { code, stdout, stderr } = await node([script, dir])
  t.is(stderr, '')
  t.is(String(stdout), expected)
  t.is(code, 0)

  // The second run begins with what the first one left.
  t.regex(String((await node([script, dir])).stdout), /^14 changes in the log, 4 keys/)
})

test('the first example of the README', async (t) => {
  const readme = path.join(root, 'README.md')
  const [, code] = /^```(?:js|javascript|mjs)\n([^]*?)^```/m.exec(readFileSync(readme, 'utf8')) ?? []
  if (code === undefined) {
    t.fail('the README has no JavaScript example')
    return
  }
  // As in a project that has installed the package.
  const project = temporaryDirectory(t)
  mkdirSync(path.join(project, 'node_modules'))
  symlinkSync(root, path.join(project, 'node_modules', 'forelog'), 'junction')
  writeFileSync(path.join(project, 'example.mjs'), code)
  const ran = await node(['example.mjs'], { cwd: project })
  t.is(ran.stderr, '')
  t.is(ran.code, 0)
})
