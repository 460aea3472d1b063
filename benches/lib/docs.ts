import fs from 'node:fs'

const START = '<!-- results: written by npm run bench -- --write-docs -->'
const END = '<!-- end of results -->'

/** Puts the tables between the two comments of the page; what is around them is written by hand. */
export function writeDocs(page: string, tables: string): void {
  const text = fs.readFileSync(page, 'utf8')
  const start = text.indexOf(START)
  const end = text.indexOf(END)
  if (start < 0 || end < start) throw new Error(`the page of results has lost its markers ${START} and ${END}`)
  fs.writeFileSync(page, `${text.slice(0, start + START.length)}\n\n${tables}\n\n${text.slice(end)}`)
}
