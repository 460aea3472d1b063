// What npm would publish, in an empty folder: it loads by import and by require, and needs nothing that is not in it.

import {
  existsSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import ts from 'typescript'
import { command, node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'

const host: ts.FormatDiagnosticsHost = { getCurrentDirectory: () => root, getCanonicalFileName: (name) => name, getNewLine: () => '\n' }

const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'))

interface Packed {
  archive: string
  files: string[]
}

/** What `npm pack` makes of a package. */
async function pack(from: string, to: string): Promise<Packed> {
  const script = process.env['npm_execpath']
  const [npm, args] = script === undefined ? ['npm', []] : [process.execPath, [script]]
  const { code, stdout, stderr } = await command(npm, [...args, 'pack', '--json', '--ignore-scripts', '--pack-destination', to], {
    cwd: from,
  })
  if (code !== 0) throw new Error(stderr)
  // One entry for a package, in a list or under its name.
  const [{ filename, files }] = Object.values<{ filename: string; files: { path: string }[] }>(JSON.parse(String(stdout)))
  return { archive: path.join(to, filename), files: files.map((file) => file.path) }
}

let main: Promise<Packed> | undefined

/** This package, packed once for all tests. */
function packMain(): Promise<Packed> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'forelog-package-'))
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
  return pack(root, dir)
}

/** Unpacks a package where a project would have it installed. */
async function install(t: ExecutionContext, { archive }: Packed, name: string, project: string): Promise<void> {
  const to = path.join(project, 'node_modules', name)
  mkdirSync(to, { recursive: true })
  const unpacked = await command('tar', ['-xzf', archive, '-C', to, '--strip-components=1'])
  t.is(unpacked.code, 0, unpacked.stderr)
}

/** A project with the package in it; with its binary, if so wished, from the package of this platform. */
async function project(t: ExecutionContext, withBinary: boolean): Promise<{ dir: string; files: string[] }> {
  const dir = temporaryDirectory(t)
  const packed = await (main ??= packMain())
  await install(t, packed, manifest.name, dir)
  for (const name of Object.keys(manifest.dependencies)) {
    const to = path.join(dir, 'node_modules', name)
    mkdirSync(path.dirname(to), { recursive: true })
    symlinkSync(path.join(root, 'node_modules', name), to, 'junction')
  }
  if (withBinary) {
    const platform = readdirSync(path.join(root, 'npm')).find((name) => existsSync(path.join(root, `forelog.${name}.node`)))
    if (platform === undefined) throw new Error('no binary is built')
    const from = path.join(temporaryDirectory(t), platform)
    cpSync(path.join(root, 'npm', platform), from, { recursive: true })
    copyFileSync(path.join(root, `forelog.${platform}.node`), path.join(from, `forelog.${platform}.node`))
    const binary = await pack(from, dir)
    t.true(binary.files.includes(`forelog.${platform}.node`))
    await install(t, binary, `${manifest.name}-${platform}`, dir)
  }
  return { dir, files: packed.files }
}

test('the packed and installed package works, and exports the same by import and by require', async (t) => {
  const { dir, files } = await project(t, true)
  for (const file of [
    'index.js',
    'index.d.ts',
    'otel.js',
    'otel.d.ts',
    'native.js',
    'dist/index.js',
    'dist/cli/main.js',
    'README.md',
    'LICENSE',
  ]) {
    t.true(files.includes(file), file)
  }
  t.deepEqual(
    files.filter((file) => /^(src|__test__|crates|docs|dist\/demo)\/|\.(node|tsbuildinfo)$/.test(file)),
    []
  )
  writeFileSync(
    path.join(dir, 'imports.mjs'),
    `import * as imported from 'forelog'
    import required from './requires.cjs'
    if (Object.keys(imported).length === 0) throw new Error('nothing')
    for (const name of Object.keys(imported)) if (imported[name] !== required[name]) throw new Error(name)
    const wal = await imported.Wal.open('log')
    console.log(await wal.append('one'))
    await wal.close()`
  )
  writeFileSync(
    path.join(dir, 'requires.cjs'),
    `module.exports = require('forelog')
    if (require.main === module) {
      const { Wal } = module.exports
      Wal.open('log').then(async (wal) => {
        console.log(await wal.append('two'))
        for await (const { value } of wal.readFrom('start')) console.log(String(value))
        await wal.close()
      })
    }`
  )
  const imports = await node(['imports.mjs'], { cwd: dir })
  t.is(imports.code, 0, imports.stderr)
  t.is(String(imports.stdout), '1\n')
  const requires = await node(['requires.cjs'], { cwd: dir })
  t.is(requires.code, 0, requires.stderr)
  t.is(String(requires.stdout), '2\none\ntwo\n')
  const cli = await node([path.join(dir, 'node_modules', 'forelog', manifest.bin.forelog), 'cat', 'log'], { cwd: dir })
  t.is(String(cli.stdout), 'onetwo')
  t.is(cli.code, 0, cli.stderr)
})

test('forelog/otel of the package loads by import and by require, with the same Wal, and needs no OpenTelemetry to be installed', async (t) => {
  const { dir } = await project(t, true)
  t.false(existsSync(path.join(dir, 'node_modules', '@opentelemetry')))
  writeFileSync(
    path.join(dir, 'otel.mjs'),
    `import { createRequire } from 'node:module'
    import { Wal } from 'forelog'
    import { instrument } from 'forelog/otel'
    if (createRequire(import.meta.url)('forelog/otel').instrument !== instrument) throw new Error('two of them')
    const made = []
    const make = (name) => made.push(name)
    const nothing = () => {}
    const meter = {
      createObservableCounter: make, createObservableUpDownCounter: make, createObservableGauge: make,
      addBatchObservableCallback: nothing, removeBatchObservableCallback: nothing,
    }
    const wal = await Wal.open('log')
    instrument(wal, { meter })()
    console.log(made.includes('forelog.commits'))
    await wal.close()`
  )
  const { code, stdout, stderr } = await node(['otel.mjs'], { cwd: dir })
  t.is(stderr, '')
  t.is(String(stdout), 'true\n')
  t.is(code, 0)
})

test('the declarations compile in a strict program, which needs only the types of Node.js', async (t) => {
  const { dir } = await project(t, false)
  for (const name of ['@types/node', 'undici-types']) {
    mkdirSync(path.dirname(path.join(dir, 'node_modules', name)), { recursive: true })
    symlinkSync(path.join(root, 'node_modules', name), path.join(dir, 'node_modules', name), 'junction')
  }
  const file = path.join(dir, 'program.mts')
  writeFileSync(
    file,
    `import { Wal, Record, type WalRecord } from 'forelog'
    const wal: Wal<{ id: number }> = await Wal.open<{ id: number }>('log', { codec: 'json' })
    const position: number = await wal.append(Record.put('k', { id: 1 }))
    for await (const record of wal.readFrom(position)) record satisfies WalRecord<{ id: number }>
    // @ts-expect-error: not what the log holds
    await wal.append('text')`
  )
  const options: ts.CompilerOptions = {
    strict: true,
    noEmit: true,
    module: ts.ModuleKind.NodeNext,
    target: ts.ScriptTarget.ES2022,
    lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
    types: ['node'],
    typeRoots: [path.join(dir, 'node_modules', '@types')],
  }
  t.is(ts.formatDiagnostics(ts.getPreEmitDiagnostics(ts.createProgram([file], options)), host), '')
})

test('with the oldest compiler that the README names, the declarations are valid and generic code needs no casts', async (t) => {
  const { version } = JSON.parse(readFileSync(path.join(root, 'node_modules', 'typescript-oldest', 'package.json'), 'utf8')) as {
    version: string
  }
  t.true(readFileSync(path.join(root, 'README.md'), 'utf8').includes(`TypeScript ≥ ${version.replace(/\.\d+$/, '')}`))
  const { dir } = await project(t, false)
  for (const name of ['@types/node', 'undici-types', '@opentelemetry/api']) {
    mkdirSync(path.dirname(path.join(dir, 'node_modules', name)), { recursive: true })
    symlinkSync(path.join(root, 'node_modules', name), path.join(dir, 'node_modules', name), 'junction')
  }
  writeFileSync(path.join(dir, 'package.json'), '{ "type": "module" }')
  for (const name of ['same.ts', 'generic.ts']) {
    const source = readFileSync(path.join(root, '__test__', 'types', name), 'utf8')
    writeFileSync(path.join(dir, name), source.replace("'../../index.js'", "'forelog'"))
  }
  writeFileSync(path.join(dir, 'otel.ts'), "export { instrument } from 'forelog/otel'")
  const tsc = path.join(root, 'node_modules', 'typescript-oldest', 'bin', 'tsc')
  const flags = '--noEmit --strict --skipLibCheck false --module nodenext --moduleResolution nodenext --target es2022 --types node'
  const { code, stdout } = await node([tsc, ...flags.split(' '), 'generic.ts', 'otel.ts'], { cwd: dir })
  t.is(String(stdout), '')
  t.is(code, 0)
})

test('without its binary the package can be imported, and opening a log reports what is missing', async (t) => {
  const { dir } = await project(t, false)
  const script = `import('forelog').then(({ Wal }) => Wal.open('log')).catch(({ code }) => console.log(code))`
  const { stdout, code } = await node(['-e', script], { cwd: dir })
  t.is(String(stdout), 'ERR_WAL_NATIVE_NOT_FOUND\n')
  t.is(code, 0)
})

const dist = path.join(root, 'dist')
const modules = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.js'))

/** The first `await` that does not stand in a function. */
function topLevelAwait(node: ts.Node): ts.Node | undefined {
  if (ts.isFunctionLike(node) || ts.isClassStaticBlockDeclaration(node)) return undefined
  const waits = ts.isAwaitExpression(node) || (ts.isForOfStatement(node) && node.awaitModifier !== undefined)
  return waits ? node : ts.forEachChild(node, topLevelAwait)
}

test('no module has a top-level await', (t) => {
  t.true(modules.length > 20)
  for (const name of modules) {
    const file = ts.createSourceFile(name, readFileSync(path.join(dist, name), 'utf8'), ts.ScriptTarget.Latest)
    t.is(topLevelAwait(file)?.getText(file), undefined, name)
  }
  const waiting = ts.createSourceFile('x.js', 'const f = async () => { await 1 }\nfor await (const x of y);', ts.ScriptTarget.Latest)
  t.true(topLevelAwait(waiting) !== undefined)
})

test('every module can be required', async (t) => {
  // The two programs that the others start are for the test above; the third one is asked for its version.
  const all = modules.map((name) => path.join(dist, name))
  const script = 'for (const file of process.argv.slice(2)) require(file)'
  const results = await Promise.all([
    node(['-e', script, '', ...all.filter((file) => !/main\.js$|ingest\.js$/.test(file))]),
    node(['-e', 'require(process.argv[2])', '', path.join(dist, 'cli', 'main.js'), '--version']),
  ])
  for (const { stderr } of results) t.is(stderr, '')
  t.is(String(results[1].stdout), `${manifest.version}\n`)
})
