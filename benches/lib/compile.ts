import fs from 'node:fs'
import { dirname, join, relative } from 'node:path'
import ts from 'typescript'

/**
 * Turns the benches into plain JavaScript under `dist/`. The measured processes run that: a TypeScript loader in
 * them would double their memory and rewrites every closure of the hot loops to keep its name.
 */
export function compile(benches: string): string {
  const output = join(benches, 'dist')
  fs.rmSync(output, { recursive: true, force: true })
  for (const source of sources(benches)) {
    const target = join(output, relative(benches, source)).replace(/\.ts$/, '.js')
    const { outputText } = ts.transpileModule(fs.readFileSync(source, 'utf8'), {
      compilerOptions: { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true },
      fileName: source,
    })
    fs.mkdirSync(dirname(target), { recursive: true })
    fs.writeFileSync(target, outputText)
  }
  return output
}

function sources(directory: string): string[] {
  // `engines` is run by a loader: it measures other programs.
  return fs.readdirSync(directory, { withFileTypes: true }).flatMap((entry) => {
    const path = join(directory, entry.name)
    if (entry.isDirectory()) return entry.name.startsWith('.') || ['node_modules', 'engines'].includes(entry.name) ? [] : sources(path)
    return entry.name.endsWith('.ts') ? [path] : []
  })
}
