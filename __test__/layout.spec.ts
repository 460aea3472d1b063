// The rooms of the facade are in an order, an import never goes up in it, and no files import each other in a circle.

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import ts from 'typescript'
import { root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'

/** The rooms from the ground up. A room may use itself and the rooms above it in this list. A file in no folder is a room of its name. */
const ROOMS = [
  ['errors', 'util'],
  ['native'],
  ['records'],
  ['reports'],
  ['observe'],
  ['options'],
  ['queue'],
  ['consume'],
  ['read'],
  ['jobs'],
  ['log'],
  ['checkpoint'],
  ['index', 'otel'],
  ['cli'],
  ['demo'],
]

const floorOf = (room: string) => ROOMS.findIndex((rooms) => rooms.includes(room))
const roomOf = (file: string) => file.split('/', 1)[0].replace(/\.ts$/, '')

interface Import {
  line: number
  /** The imported file, relative to the source folder. */
  to: string
}

/** Imports and re-exports of other files of the facade, those of types included. */
function importsOf(src: string, file: string): Import[] {
  const source = ts.createSourceFile(file, readFileSync(path.join(src, file), 'utf8'), ts.ScriptTarget.Latest, true)
  const found: Import[] = []
  const visit = (node: ts.Node): void => {
    const { line } = source.getLineAndCharacterOfPosition(node.getStart())
    const name =
      ts.isImportDeclaration(node) || ts.isExportDeclaration(node)
        ? node.moduleSpecifier
        : ts.isImportTypeNode(node)
          ? ts.isLiteralTypeNode(node.argument)
            ? node.argument.literal
            : undefined
          : ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword
            ? node.arguments[0]
            : undefined
    if (name !== undefined && ts.isStringLiteral(name) && name.text.startsWith('.')) {
      const to = path.join(path.dirname(file), name.text).replaceAll(path.sep, '/').replace(/\.js$/, '.ts')
      // What is not in the source folder is the native module.
      if (!to.startsWith('../')) found.push({ line: line + 1, to })
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** A circle of imports that leads through `file`, if there is one that `done` does not rule out. */
function circleFrom(file: string, imports: Map<string, Import[]>, done: Set<string>, trail: string[] = []): string[] | undefined {
  if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file]
  if (done.has(file)) return undefined
  for (const { to } of imports.get(file) ?? []) {
    const circle = circleFrom(to, imports, done, [...trail, file])
    if (circle !== undefined) return circle
  }
  done.add(file)
  return undefined
}

/** What is wrong with the imports of the sources in a folder. */
function faultsOf(src: string): string[] {
  const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).map((file) => file.replaceAll(path.sep, '/'))
  const imports = new Map(files.filter((file) => file.endsWith('.ts')).map((file) => [file, importsOf(src, file)]))
  const faults: string[] = []
  for (const [file, all] of imports) {
    const room = roomOf(file)
    if (floorOf(room) < 0) faults.push(`${file}: the room ${room} is not in the list`)
    for (const { line, to } of all) {
      const other = roomOf(to)
      if (floorOf(other) > floorOf(room)) faults.push(`${file}:${line}: imports ${to}: ${room} may not use ${other}`)
      else if (floorOf(other) === floorOf(room) && room !== other && floorOf(room) > 0)
        faults.push(`${file}:${line}: imports ${to}: ${room} and ${other} are beside each other`)
    }
  }
  const done = new Set<string>()
  for (const file of imports.keys()) {
    const circle = circleFrom(file, imports, done)
    if (circle === undefined) continue
    faults.push(`imports in a circle: ${circle.join(' -> ')}`)
    break
  }
  return faults
}

test('no import of the facade goes up, and none goes in a circle', (t) => {
  t.deepEqual(faultsOf(path.join(root, 'src')), [])
})

test('an import that goes up is named with its line and both rooms, and so are a circle and a room that nobody knows', (t) => {
  const src = temporaryDirectory(t)
  const files = {
    'util/a.ts': "import fs from 'node:fs'\nimport type { B } from '../read/b.js'\n",
    'read/b.ts': "export type { C } from './c.js'\n",
    'read/c.ts': "// import '../log/wal.js'\nconst text = \"import '../log/wal.js'\"\nexport type C = import('./b.js').C\n",
    'elsewhere/d.ts': "await import('../util/a.js')\n",
  }
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(path.join(src, path.dirname(file)), { recursive: true })
    writeFileSync(path.join(src, file), text)
  }
  t.deepEqual(faultsOf(src).sort(), [
    'elsewhere/d.ts: the room elsewhere is not in the list',
    'elsewhere/d.ts:1: imports util/a.ts: elsewhere may not use util',
    'imports in a circle: read/b.ts -> read/c.ts -> read/b.ts',
    'util/a.ts:2: imports read/b.ts: util may not use read',
  ])
})
