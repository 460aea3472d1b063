// The frozen logs of `__test__/fixtures`.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { root } from './command.js'

export const fixtures = path.join(root, '__test__', 'fixtures')

/** Makes the files of a log as they were packed. */
export function unpack(dir: string, to: string): void {
  mkdirSync(to)
  for (const name of readdirSync(dir).filter((name) => name.endsWith('.gz'))) {
    writeFileSync(path.join(to, name.slice(0, -'.gz'.length)), gunzipSync(readFileSync(path.join(dir, name))))
  }
}
