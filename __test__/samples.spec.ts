// The samples that people will copy run as they are printed.

import os from 'node:os'
import test from 'ava'
import { temporaryDirectory } from './helpers/directory.js'
import { has } from './helpers/needs.js'
import { isText, missing, pages, read, runs, samplesOf, trouble, type Sample } from './helpers/samples.js'

const TIMEOUT_MS = 60_000

// AVA begins all tests at once; the machine has only so many processors.
let free = os.availableParallelism()
const queue: (() => void)[] = []
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  if (free > 0) free -= 1
  else await new Promise<void>((turn) => queue.push(turn))
  try {
    return await work()
  } finally {
    const next = queue.shift()
    if (next === undefined) free += 1
    else next()
  }
}

const samples = pages().flatMap((page) => samplesOf(read(page), page))

/** Programs of this repository, which a reader starts in a checkout, are looked up instead of run. */
const isRepository = ({ language, code }: Sample): boolean => language === 'sh' && /^(npm|node) /.test(code)

for (const sample of samples.filter(({ language }) => runs(language))) {
  test(sample.at, async (t) => {
    if (sample.notRun !== undefined) t.log(`NOT RUN ${sample.at}: ${sample.notRun}`)
    if (sample.language === 'sh') t.deepEqual(missing(sample.code), [])
    if (sample.notRun !== undefined || isRepository(sample)) return t.pass()
    if (sample.language === 'sh' && !has(t, 'posix')) return
    t.timeout(10 * TIMEOUT_MS)
    const dir = temporaryDirectory(t)
    t.is(await inTurn(() => trouble(sample, dir, TIMEOUT_MS)), undefined)
  })
}

test('every code block is in a language that is run, or says why not', (t) => {
  const others = samples.filter(({ language }) => !runs(language) && !isText(language))
  t.deepEqual(others, [])
})

test('the README begins with a sample that is run', (t) => {
  const [first] = samplesOf(read('README.md'), 'README.md')
  t.like(first, { language: 'js', notRun: undefined })
})

const broken = {
  'js that throws': ['js', `throw new Error('thrown')`, /^exit code 1/],
  'js with a mistake in a name': ['js', `import { Wall } from 'forelog'`, /^exit code 1[^]*Wall/],
  'js with an unhandled rejection': ['js', `process.on('exit', () => {}); Promise.reject(new Error('rejected'))`, /^exit code 1/],
  'js that waits for nothing': ['js', `await new Promise(() => {})`, /^exit code 13/],
  'js that never ends': ['js', `setInterval(() => {}, 1000)`, /^ended by SIGKILL/],
  'js that prints something else': ['js', `console.log(1) // → 2`, /^printed\n1\ninstead of\n2/],
  'ts that throws': ['ts', `const wrong: string = 'x'; throw wrong`, /^exit code 1/],
  'sh that fails in the middle': ['sh', `forelog verify DIR\ntrue`, /^exit code 3/],
} satisfies { [name: string]: [string, string, RegExp] }

for (const [name, [language, code, told]] of Object.entries(broken)) {
  test(`a bad sample is detected: ${name}`, async (t) => {
    if (language === 'sh' && !has(t, 'posix')) return
    const timeout = name === 'js that never ends' ? 2000 : TIMEOUT_MS
    t.regex((await inTurn(() => trouble({ at: name, language, code }, temporaryDirectory(t), timeout))) ?? '', told)
  })
}

test('a shell sample that names a missing script or file is detected', (t) => {
  const good = 'npm test && npm run bench -- --quick\nnpm install\nnode examples/key-value.mjs'
  t.deepEqual(missing(good), [])
  t.deepEqual(missing('npm run nothing\nnpm strat\nnode examples/none.mjs'), ['npm run nothing', 'npm strat', 'node examples/none.mjs'])
})

test('samples are found with their lines, remarks and continuations', (t) => {
  const page = '```js\na\n```\n\n<!-- not run: why -->\n\n```sh\nb\n```\n\n<!-- continues -->\n\n  ```js\n  c\n  ```\n'
  t.deepEqual(samplesOf(page, 'p'), [
    { at: 'p:1', language: 'js', code: 'a\n', notRun: undefined },
    { at: 'p:7', language: 'sh', code: 'b\n', notRun: 'why' },
    { at: 'p:13', language: 'js', code: 'a\nc\n', notRun: undefined },
  ])
  t.throws(() => samplesOf('```js\na', 'p'), { message: 'p:1: never ends' })
  t.throws(() => samplesOf('<!-- continues -->\n```js\na\n```', 'p'), { message: 'p:2: continues nothing' })
})
