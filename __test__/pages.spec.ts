// The pages hang together: links lead somewhere, every page is found, every error is explained.

import { existsSync, readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { root } from './helpers/command.js'
import { pages, read } from './helpers/samples.js'

const withoutCode = (text: string): string => text.replace(/^ *(```+)[^]*?^ *\1$/gm, '').replace(/`[^`\n]*`/g, 'code')

const links = (text: string): string[] => [...withoutCode(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, to]) => to)

/** As GitHub makes them of headings. */
const anchors = (text: string): string[] =>
  [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-')
  )

/** Why a link of a page leads nowhere; nothing when it does. */
function lost(page: string, to: string): string | undefined {
  if (/^https?:/.test(to)) return undefined
  const [name, anchor] = to.split('#')
  const file = name === '' ? page : path.posix.join(path.posix.dirname(page), name)
  if (!existsSync(path.join(root, file))) return `${page}: ${to} is not there`
  if (anchor !== undefined && !anchors(read(file)).includes(anchor)) return `${page}: ${file} has no #${anchor}`
  return undefined
}

/** The records of decisions, and the page that lists them. */
const decisions = readdirSync(path.join(root, 'docs', 'decisions')).map((name) => `docs/decisions/${name}`)

const all = [...pages(), ...decisions, 'ARCHITECTURE.md', 'CHANGELOG.md', 'CONTRIBUTING.md']

test('every link leads somewhere', (t) => {
  const found = all.flatMap((page) => links(read(page)).map((to) => [page, to]))
  t.true(found.length > 30)
  t.deepEqual(
    found.flatMap(([page, to]) => lost(page, to) ?? []),
    []
  )
  t.is(lost('docs/README.md', 'nothing.md'), 'docs/README.md: nothing.md is not there')
  t.is(lost('docs/README.md', 'errors.md#nothing'), 'docs/README.md: docs/errors.md has no #nothing')
})

test('docs/README.md leads to every page, and the README to it', (t) => {
  const named = links(read('docs/README.md')).map((to) => path.posix.join('docs', to))
  const missing = pages().filter((page) => page.startsWith('docs/') && page !== 'docs/README.md' && !named.includes(page))
  t.deepEqual(missing, [])
  t.true(links(read('README.md')).includes('docs/README.md'))
})

test('docs/decisions/README.md leads to every record, and each has the headings of one', (t) => {
  const list = 'docs/decisions/README.md'
  const records = decisions.filter((page) => page !== list)
  t.true(records.length > 30)
  const listed = links(read(list)).map((to) => path.posix.join('docs/decisions', to))
  for (const record of records) {
    t.true(listed.includes(record), record)
    t.regex(record, /\/\d{4}-[a-z0-9-]+\.md$/)
    const headings = [...read(record).matchAll(/^(#+ .*)$/gm)].map(([heading]) => heading)
    t.regex(headings.join('\n'), /^# .+\n## Context\n## Decision\n(## Measurement\n)?## Consequences$/, record)
  }
  const numbers = records.map((record) => path.posix.basename(record).slice(0, 4))
  t.is(new Set(numbers).size, numbers.length)
})

test('docs/errors.md explains every error code and no other', (t) => {
  const codes = (text: string, pattern: RegExp) => [...new Set([...text.matchAll(pattern)].map(([, code]) => code))].toSorted()
  const known = codes(readFileSync(path.join(root, 'src', 'errors.ts'), 'utf8'), /^ {2}\| '(ERR_WAL_\w+)'$/gm)
  t.true(known.length >= 16)
  t.deepEqual(codes(read('docs/errors.md'), /^\| `(ERR_WAL_\w+)`/gm), known)
})
