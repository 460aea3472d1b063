// The C programs of `native/`, compiled when a test first asks for them.

import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { root } from './command.js'

const compiled = new Map<string, string>()

/** Compiles `native/NAME.c`; gives the path of the result, which is removed when the process ends. Needs `cc`. */
export function compile(name: string, ...flags: string[]): string {
  const known = compiled.get(name)
  if (known !== undefined) return known
  const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-native-'))
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
  const output = path.join(dir, name)
  const source = path.join(root, '__test__', 'native', `${name}.c`)
  const { status, stderr } = spawnSync('cc', ['-O1', '-Wall', '-Wextra', '-o', output, source, ...flags], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`cc ${name}.c: ${stderr}`)
  compiled.set(name, output)
  return output
}
