import fs from 'node:fs'

/**
 * Puts what a run made between two comments of a page that is written by hand otherwise; `name` says which: there is
 * `<!-- results: written by npm run bench -- --write-docs -->` and `<!-- end of results -->`.
 */
export function writeDocs(page: string, name: string, command: string, made: string): void {
  const text = fs.readFileSync(page, 'utf8')
  const [opening, closing] = [`<!-- ${name}: written by npm run ${command} -->`, `<!-- end of ${name} -->`]
  const [start, end] = [text.indexOf(opening), text.indexOf(closing)]
  if (start < 0 || end < start) throw new Error(`${page} has lost its markers ${opening} and ${closing}`)
  fs.writeFileSync(page, `${text.slice(0, start + opening.length)}\n\n${made}\n\n${text.slice(end)}`)
}
