// The reference, in docs/api: every entry that package.json exports. Whatever is public has to say what it is.

import { readFileSync } from 'node:fs'

const { exports } = JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8'))
const types = Object.values(exports).flatMap((entry) => entry.types ?? [])
const entryPoints = types.map((file) => file.replace(/^\.\/(dist\/)?/, 'src/').replace(/\.d\.ts$/, '.ts'))

const streams = 'https://nodejs.org/api/stream.html'
const events = 'https://nodejs.org/api/events.html'

export default {
  name: 'Forelog',
  entryPoints,
  out: 'docs/api',
  readme: 'none',
  excludeInternal: true,
  excludePrivate: true,
  disableSources: true,
  hideGenerator: true,
  // What is inherited from Node's stream links to what is not.
  externalSymbolLinkMappings: {
    '@types/node': {
      'Stream.Readable._read': `${streams}#readable_readsize`,
      'Stream.Writable.write': `${streams}#writablewritechunk-encoding-callback`,
      'Stream.Writable.end': `${streams}#writableendchunk-encoding-callback`,
      'EventEmitter.defaultMaxListeners': `${events}#eventsdefaultmaxlisteners`,
    },
  },
  // Told in the words of the types that are made by it.
  treatWarningsAsErrors: true,
  treatValidationWarningsAsErrors: true,
  validation: { notExported: true, invalidLink: true, notDocumented: true },
}
