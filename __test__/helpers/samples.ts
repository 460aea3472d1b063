// The code samples of the Markdown pages: found, and run as a reader would who has installed the package.

import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { cliScript, root } from './command.js'

export interface Sample {
  /** Page and line, as an editor takes it. */
  at: string
  language: string
  code: string
  /** Why it cannot run alone: `<!-- not run: WHY -->` above it. */
  notRun?: string
}

const READ_ON = /^<!-- continues -->$/
const NOT_RUN = /^<!-- not run: (\S.*) -->$/
const FENCE = /^( *)(`{3,})(\S*)(.*)$/

/**
 * The fenced blocks of a page. One below `<!-- continues -->` goes on where the block of that language above it ended: it runs as the text of
 * both.
 */
export function samplesOf(text: string, page: string): Sample[] {
  const samples: Sample[] = []
  const lines = text.split('\n')
  let remark = ''
  for (let i = 0; i < lines.length; i += 1) {
    const [, indent, fence, language] = FENCE.exec(lines[i]) ?? []
    if (fence === undefined) {
      if (lines[i].trim() !== '') remark = lines[i].trim()
      continue
    }
    const at = `${page}:${i + 1}`
    const body: string[] = []
    while (lines[++i] !== undefined && lines[i].trim() !== fence) body.push(lines[i].slice(indent.length))
    if (lines[i] === undefined) throw new Error(`${at}: never ends`)
    const before = READ_ON.test(remark) ? samples.findLast((sample) => sample.language === language)?.code : ''
    if (before === undefined) throw new Error(`${at}: continues nothing`)
    samples.push({ at, language, code: `${before}${body.join('\n')}\n`, notRun: NOT_RUN.exec(remark)?.[1] })
    remark = ''
  }
  return samples
}

/** README.md and docs/*.md, as far as they are there. */
export function pages(): string[] {
  const docs = readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md'))
  return ['README.md', ...docs.sort().map((name) => `docs/${name}`)]
}

export const read = (page: string): string => readFileSync(path.join(root, page), 'utf8')

/** Makes a directory one in which forelog, and what its development installs, is installed. */
function install(project: string): void {
  const { dependencies = {}, devDependencies = {} } = JSON.parse(read('package.json'))
  const modules = path.join(project, 'node_modules')
  mkdirSync(path.join(modules, '.bin'), { recursive: true })
  symlinkSync(root, path.join(modules, 'forelog'), 'junction')
  for (const name of Object.keys({ ...dependencies, ...devDependencies })) {
    mkdirSync(path.dirname(path.join(modules, name)), { recursive: true })
    symlinkSync(path.join(root, 'node_modules', name), path.join(modules, name), 'junction')
  }
  writeFileSync(path.join(modules, '.bin', 'forelog'), `#!/bin/sh\nexec "${process.execPath}" "${cliScript}" "$@"\n`, { mode: 0o755 })
}

const tsx = import.meta.resolve('tsx')
const scripts: { [language: string]: { file: string; flags: string[] } } = {
  js: { file: 'sample.mjs', flags: [] },
  cjs: { file: 'sample.cjs', flags: [] },
  ts: { file: 'sample.mts', flags: ['--import', tsx] },
}

/** Blocks in these are run, those in the others are to be looked at. */
export const runs = (language: string): boolean => language === 'sh' || scripts[language] !== undefined
export const isText = (language: string): boolean => ['', 'text', 'json', 'yaml', 'rust'].includes(language)

const arrows = (code: string): string[] => [...code.matchAll(/\/\/ → (.*)$/gm)].map(([, said]) => said.trimEnd())

/**
 * Runs a sample in `project`, an empty directory. Gives what is wrong with it, nothing when all is well. Where it has comments of the form
 * `// → text`, these are the lines it prints, in order.
 */
export async function trouble({ language, code }: Sample, project: string, timeoutMs: number): Promise<string | undefined> {
  install(project)
  const script = scripts[language]
  const [file, args] =
    script === undefined ? ['sh', ['-e', '-c', code]] : [process.execPath, ['--unhandled-rejections=strict', ...script.flags, script.file]]
  if (script !== undefined) writeFileSync(path.join(project, script.file), code)
  const PATH = [path.join(project, 'node_modules', '.bin'), process.env['PATH']].join(path.delimiter)
  const child = spawn(file, args, {
    cwd: project,
    env: { ...process.env, PATH },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  })
  let stdout = ''
  let stderr = ''
  child.stdout.on('data', (data: Buffer) => (stdout += String(data)))
  child.stderr.on('data', (data: Buffer) => (stderr += String(data)))
  const [exit, signal] = await new Promise<[number | null, NodeJS.Signals | null]>((ended, failed) => {
    child.on('error', failed)
    child.on('close', (...how) => ended(how))
  })
  if (signal !== null) return `ended by ${signal}, by us after ${timeoutMs} ms\n${stderr}`
  if (exit !== 0) return `exit code ${exit}\n${stderr}`
  const expected = arrows(code)
  if (script !== undefined && expected.length > 0 && stdout.trimEnd() !== expected.join('\n')) {
    return `printed\n${stdout}instead of\n${expected.join('\n')}`
  }
  return undefined
}

const ALWAYS = ['install', 'ci', 'pack', 'publish']

/** What is wrong with the npm and node commands of a shell sample: a script or a file that is not there. */
export function missing(code: string): string[] {
  const scripts: { [name: string]: string } = JSON.parse(read('package.json')).scripts
  const wrong: string[] = []
  for (const [command, name] of code.matchAll(/\bnpm (?:run )?(?:-\S+ )*([\w:-]+)/g)) {
    const known = command.startsWith('npm run')
      ? name in scripts
      : ALWAYS.includes(name) || (['test', 'start'].includes(name) && name in scripts)
    if (!known) wrong.push(command)
  }
  for (const [command, file] of code.matchAll(/\bnode (?:--\S+ )*([\w./-]+\.[cm]?js)\b/g)) {
    if (!existsSync(path.join(root, file))) wrong.push(command)
  }
  return wrong
}
