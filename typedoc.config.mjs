// The reference, in docs/api: every entry that package.json exports. Whatever is public has to say what it is.

import { readFileSync } from 'node:fs'

const { exports } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'))
const types = Object.values(exports).flatMap((entry) => entry.types ?? [])
const entryPoints = types.map((file) => file.replace(/^\.\/(dist\/)?/, 'src/').replace(/\.d\.ts$/, '.ts'))

export default {
  name: 'Forelog',
  entryPoints,
  out: 'docs/api',
  readme: 'none',
  excludeInternal: true,
  excludePrivate: true,
  disableSources: true,
  hideGenerator: true,
  treatWarningsAsErrors: true,
  treatValidationWarningsAsErrors: true,
  validation: { notExported: true, invalidLink: true, notDocumented: true },
}
