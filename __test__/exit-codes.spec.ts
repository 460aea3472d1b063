import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { constants } from 'node:os'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, WalError, type WalErrorCode } from '../index.js'
import { EXIT, exitCodeOf, exitCodeTable, meanings, SIGNALLED } from '../dist/cli/exit-codes.js'
import { failure, InputError, OutputError } from '../dist/cli/failure.js'
import { cliScript, command, forelog, root, type Result } from './helpers/command.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'
import { has } from './helpers/needs.js'

const COMMANDS = ['append', 'cat', 'export', 'import', 'verify', 'stat', 'backup', 'salvage'] as const
type Command = (typeof COMMANDS)[number]

/** The logs and files that the commands are run on. */
interface Place {
  dir: string
  log: string
  missing: string
  export: string
}

async function place(t: ExecutionContext): Promise<Place> {
  const dir = temporaryDirectory(t)
  const log = path.join(dir, 'log')
  const wal = await Wal.open(log, { segmentBytes: SEGMENT_BYTES })
  for (let n = 1; n <= 300; n++) await wal.append(`${n} ${'.'.repeat(800)}\n`)
  await wal.close()
  const exported = path.join(dir, 'export.ndjson')
  writeFileSync(exported, (await forelog(['export', log])).stdout)
  return { dir, log, missing: path.join(dir, 'missing'), export: exported }
}

/** The arguments of a command on a log, with everything else as it should be. */
function on({ dir, export: file }: Place, command: Command, log: string, ...options: string[]): string[] {
  const rest: { [command in Command]: string[] } = {
    append: [path.join(root, 'package.json')],
    cat: [],
    export: [],
    import: [file],
    verify: [],
    stat: [],
    backup: [path.join(dir, 'copy')],
    salvage: [path.join(dir, 'copy')],
  }
  return [command, log, ...rest[command], ...options]
}

const NO_LOCK = 'it takes no lock'
const NO_INPUT = 'it takes no input'
const NO_POSITION = 'it takes no position, and reads the whole log'

type Case = (t: ExecutionContext, at: Place) => Promise<string[]> | string[]
type Cases = { [command in Command]: Case | string }

const every = (of: (command: Command) => Case): Cases =>
  Object.fromEntries(COMMANDS.map((command) => [command, of(command)])) as unknown as Cases

/** A directory whose log has lost a segment in its middle. */
function withGap({ log }: Place): string {
  rmSync(path.join(log, segments(log)[1]))
  return log
}

async function locked(t: ExecutionContext, dir: string): Promise<string> {
  const wal = await Wal.open(dir)
  t.teardown(() => wal.close())
  return dir
}

/** A log that ends where positions do. */
async function full(dir: string): Promise<string> {
  const wal = await Wal.open(dir)
  await wal.reset(Number.MAX_SAFE_INTEGER)
  await wal.close()
  return dir
}

const table: { [code: number]: Cases } = {
  [EXIT.done]: {
    append: (_, at) => on(at, 'append', at.log),
    cat: (_, at) => on(at, 'cat', at.log),
    export: (_, at) => on(at, 'export', at.log),
    import: (_, at) => on(at, 'import', at.missing),
    verify: (_, at) => on(at, 'verify', at.log),
    stat: (_, at) => on(at, 'stat', at.log),
    backup: (_, at) => on(at, 'backup', at.log),
    salvage: (_, at) => on(at, 'salvage', at.log),
  },
  [EXIT.damage]: every((command) => (_, at) => on(at, command, withGap(at))),
  [EXIT.usage]: every((command) => (_, at) => on(at, command, at.log, '--nonsense')),
  [EXIT.noLog]: every((command) => async (_, at) => {
    const dir = path.join(at.dir, 'somebody')
    mkdirSync(dir)
    writeFileSync(path.join(dir, 'letter.txt'), 'dear')
    return on(at, command, dir)
  }),
  [EXIT.locked]: {
    append: async (t, at) => on(at, 'append', await locked(t, at.log)),
    import: async (t, at) => on(at, 'import', await locked(t, at.log)),
    salvage: async (t, at) => on(at, 'salvage', await locked(t, at.log)),
    backup: 'it takes no lock on the log; a destination with a log in it is not empty, which is wrong usage',
    cat: NO_LOCK,
    export: NO_LOCK,
    verify: NO_LOCK,
    stat: NO_LOCK,
  },
  [EXIT.system]: every((command) => (_, at) => {
    // Nothing can be made in /proc; those that make nothing are sent to a device that is full.
    if (command === 'backup' || command === 'salvage') return [command, at.log, '/proc/forelog-copy']
    return on(at, command, command === 'append' || command === 'import' ? '/proc/forelog-log' : at.log)
  }),
  [EXIT.input]: {
    append: (_, at) => ['append', at.log, at.missing],
    import: (_, at) => ['import', at.missing, path.join(root, 'package.json')],
    cat: NO_INPUT,
    export: 'only a record above 256 MiB is refused: the pure test of it is below',
    verify: NO_INPUT,
    stat: NO_INPUT,
    backup: NO_INPUT,
    salvage: NO_INPUT,
  },
  [EXIT.position]: {
    append: async (_, at) => on(at, 'append', await full(at.missing)),
    cat: (_, at) => on(at, 'cat', at.log, '--from', '1000'),
    export: (_, at) => on(at, 'export', at.log, '--from', '1000'),
    import: async (_, at) => on(at, 'import', await full(at.missing), '--renumber'),
    verify: NO_POSITION,
    stat: NO_POSITION,
    backup: NO_POSITION,
    salvage: NO_POSITION,
  },
}

/** What commands write on standard error: a line, or two with what to do next. Never a stack. */
function isShort(t: ExecutionContext, { stderr }: Pick<Result, 'stderr'>, code: number): void {
  t.notRegex(stderr, /\n {4}at |node:internal|Unhandled/)
  if (code !== EXIT.done && code !== EXIT.damage && code !== EXIT.usage) t.regex(stderr, /^forelog: [^\n]+\n( {2}next: [^\n]+\n)?$/)
}

for (const [name, cases] of Object.entries(table)) {
  const code = Number(name)
  for (const command of COMMANDS) {
    const run = cases[command]
    if (typeof run === 'string') continue
    test(`${command} exits with ${code}: ${meanings[code as keyof typeof meanings]}`, async (t) => {
      if (code === EXIT.system && !has(t, 'linux')) return
      const at = await place(t)
      const result = await atDevice(await run(t, at), code === EXIT.system)
      t.is(result.code, code, result.stderr)
      isShort(t, result, code)
      if (code === EXIT.damage && command === 'salvage')
        t.regex(result.stderr, /^forelog: lost: positions \d+ to \d+, \S+\.wal is missing\n/)
      else if (code === EXIT.damage) {
        const [before, after] = segments(at.log)
        const said = `${result.stdout}${result.stderr}`
        for (const file of [before, after]) t.true(said.includes(file), said)
        t.regex(said, /positions \d+ to \d+ are missing: the segment \S+\.wal between \S+ and \S+ is missing/)
        t.regex(said, /next: .*forelog (salvage|verify)/)
      }
    })
  }
}

/** Runs a command, where it is asked for with a device that is always full as its standard output. */
const atDevice = (args: string[], isFull: boolean): Promise<Result> =>
  isFull ? command('sh', ['-c', '"$@" > /dev/full', 'sh', process.execPath, cliScript, ...args]) : forelog(args)

test('every exit code has its cases for each command, or a reason why the command never uses it', (t) => {
  const codes = Object.values(EXIT).filter((code) => code !== EXIT.bug)
  t.deepEqual(Object.keys(table).map(Number), codes)
  for (const cases of Object.values(table)) t.deepEqual(Object.keys(cases).sort(), [...COMMANDS].sort())
})

// Its constructor is not for programs.
const Failed = WalError as unknown as new (code: WalErrorCode, message: string) => WalError

test('every code of a WalError has an exit code in the table and prints no stack', (t) => {
  const known = readFileSync(path.join(root, 'src', 'errors.ts'), 'utf8').match(/^ {2}\| 'ERR_WAL_\w+'$/gm) ?? []
  t.true(known.length >= 16)
  for (const line of known) {
    const code = line.slice(5, -1) as WalErrorCode
    t.true(exitCodeOf(code) in meanings, code)
    const { text, exitCode } = failure(new Failed(code, 'what went wrong'), '/a log/of mine')
    t.is(exitCode, exitCodeOf(code))
    t.regex(text, new RegExp(`^forelog: what went wrong \\(${code}\\)\\n( {2}next: [^\\n]+\\n)?$`))
    t.false(/[^'a-z/ ]\/a log/.test(text), 'a path is quoted for a shell')
  }
})

test('a bug in forelog itself is reported in one line too', (t) => {
  t.deepEqual(failure(new TypeError('x is not\na function'), undefined), { text: 'forelog: x is not a function\n', exitCode: EXIT.bug })
  t.is(failure('thrown', undefined).exitCode, EXIT.bug)
  t.is(failure(undefined, undefined).text, 'forelog: undefined\n')
  t.is(failure(new InputError('too long', { line: 3 }), 'log').exitCode, EXIT.input)
  const full = Object.assign(new Error('no space left'), { code: 'ENOSPC', syscall: 'write' })
  t.deepEqual([failure(full, 'log').exitCode, failure(new OutputError(full), 'log').exitCode], [EXIT.system, EXIT.system])
})

// The command signals itself as soon as it listens, so nothing depends on who is faster.
const signalling = (signal: string): string =>
  `--import=data:text/javascript,process.on('newListener',(name)=>{if(name==='${signal}')process.nextTick(()=>process.kill(process.pid,'${signal}'))})`

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  for (const [name, args, said] of [
    ['append', (at: Place) => ['append', at.log], /: no line is in the log and durable\n$/],
    ['cat', (at: Place) => ['cat', at.log], /(before the first record|after position \d+)\n$/],
    ['cat --follow', (at: Place) => ['cat', at.log, '--follow'], /(before the first record|after position \d+)\n$/],
    ['export', (at: Place) => ['export', at.log], /: the export is incomplete, and has no end line\n$/],
    ['import', (at: Place) => ['import', at.missing], /: nothing was imported\n$/],
    ['verify', (at: Place) => ['verify', at.log], /: the log was not read to its end\n$/],
    ['backup', (at: Place) => ['backup', at.log, at.missing], /: no backup was made, and its files were removed\n$/],
    ['salvage', (at: Place) => ['salvage', at.log, at.missing], /: no log was made, and its files were removed\n$/],
  ] as const) {
    test(`${signal} ends ${name} in order, with 128 and its number`, async (t) => {
      if (!has(t, 'posix')) return
      const at = await place(t)
      const child = spawn(process.execPath, [signalling(signal), cliScript, ...args(at)], { stdio: ['pipe', 'ignore', 'pipe'] })
      let stderr = ''
      child.stderr.on('data', (data: Buffer) => (stderr += String(data)))
      t.is(await new Promise((resolve) => child.on('close', resolve)), SIGNALLED + constants.signals[signal], stderr)
      t.regex(stderr, new RegExp(`^forelog: stopped by ${signal}`))
      t.regex(stderr, said)
    })
  }
}

test('when append is stopped, it says how many lines are durable, and they are', async (t) => {
  if (!has(t, 'posix')) return
  const { missing } = await place(t)
  const child = spawn(process.execPath, [cliScript, 'append', missing], { stdio: ['pipe', 'ignore', 'pipe'] })
  let stderr = ''
  child.stderr.on('data', (data: Buffer) => (stderr += String(data)))
  child.stdin.write('one\ntwo\nhalf a li')
  const acknowledged = async () => {
    const { stdout } = await forelog(['cat', missing])
    return String(stdout) === 'one\ntwo\n'
  }
  while (!(await acknowledged())) await new Promise(setImmediate)
  child.kill('SIGTERM')
  t.is(await new Promise((resolve) => child.on('close', resolve)), 143)
  t.is(stderr, 'forelog: stopped by SIGTERM: the first 2 lines are in the log and durable\n')
  t.is(String((await forelog(['cat', missing])).stdout), 'one\ntwo\n')
})

/** What a shell does with a command's output. */
const shell = (script: string, ...args: string[]): Promise<Result> => command('bash', ['-c', script, process.execPath, cliScript, ...args])

for (const command of COMMANDS) {
  test(`${command}: help whose reader leaves early, and output or errors that cannot be written`, async (t) => {
    if (!has(t, 'linux')) return
    const at = await place(t)
    const args = (log: string) => on({ ...at, dir: path.join(at.dir, String(Math.random())) }, command, log)
    const isFresh = command === 'import'
    const log = () => (isFresh ? path.join(at.dir, `new ${Math.random()}`) : at.log)
    const pipe = await shell('"$0" "$@" | true; echo ${PIPESTATUS[0]}', command, '--help')
    t.deepEqual([String(pipe.stdout), pipe.stderr], ['0\n', ''])
    const full = await shell('"$0" "$@" > /dev/full', command, '--help')
    t.is(full.code, EXIT.system)
    t.regex(full.stderr, /^forelog: standard output cannot be written: [^\n]* \(ENOSPC\)\n$/)

    const left = await shell('"$0" "$@" | head -c 1 > /dev/null; echo ${PIPESTATUS[0]}', ...args(log()))
    t.is(String(left.stdout), '0\n', left.stderr)
    const closed = await shell('"$0" "$@" >&-', ...args(log()))
    t.is(closed.code, EXIT.done, closed.stderr)
    for (const result of [left, closed]) isShort(t, result, EXIT.done)
    for (const redirection of ['2>&-', '2> /dev/full', '2> >(true)', '> /dev/null 2>&- <&-']) {
      const fine = await shell(`"$0" "$@" ${redirection}`, ...args(log()))
      t.is(fine.code, EXIT.done, redirection)
      const failed = await shell(`"$0" "$@" ${redirection}`, command, at.missing, '--nonsense')
      t.is(failed.code, EXIT.usage, redirection)
    }
  })
}

test('the help has the table of exit codes, every command has examples, and a mistyped option or command is suggested', async (t) => {
  const { stdout } = await forelog(['--help'])
  t.true(String(stdout).includes(exitCodeTable()))
  for (const command of COMMANDS) {
    t.true(String(stdout).includes(`\n  ${command} `), command)
    t.regex(
      String((await forelog([command, '--help'])).stdout),
      new RegExp(`\\nExamples:\\n( {2}\\$ [^\\n]*forelog ${command} [^\\n]+\\n)+$`)
    )
  }
  t.regex((await forelog(['cat', 'log', '--folow'])).stderr, /unknown option '--folow'\n\(Did you mean --follow\?\)/)
  t.regex((await forelog(['exprot', 'log'])).stderr, /unknown command 'exprot'\n\(Did you mean export\?\)/)
})

test('docs/operations.md has the table of exit codes', (t) => {
  const page = readFileSync(path.join(root, 'docs', 'operations.md'), 'utf8')
  for (const [code, meaning] of Object.entries(meanings)) {
    t.regex(page, new RegExp(`^\\| ${code} +\\| ${meaning.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')} +\\|$`, 'm'))
  }
})
