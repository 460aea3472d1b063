#!/usr/bin/env node
// The `forelog` command: parses the arguments, runs a subcommand and sets the exit code. Each subcommand has a file.

import { readFileSync } from 'node:fs'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { append, type AppendOptions } from './append.js'
import { backup, type BackupOptions } from './backup.js'
import { cat, type CatOptions } from './cat.js'
import { EXIT, exitCodeTable, SIGNALLED } from './exit-codes.js'
import { exportLog, type ExportOptions } from './export.js'
import { failure } from './failure.js'
import { importLog, type ImportOptions } from './import.js'
import { say, stdout } from './output.js'
import { salvage, type SalvageOptions } from './salvage.js'
import { statLog, type StatOptions } from './stat.js'
import { verifyLog, type VerifyOptions } from './verify.js'

function positiveInteger(text: string): number {
  const value = Number(text)
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(value) || value === 0) {
    throw new InvalidArgumentError('It must be a positive integer.')
  }
  return value
}

/** A date and perhaps a time of day, as in ISO 8601. Other texts that `Date` takes mean different things in different engines. */
const ISO = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}([.,]\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/

/** `Date` takes a day without a time of day for one in UTC, and everything else without a zone for local time. */
const DAY = /^\d{4}-\d{2}-\d{2}$/

function time(text: string): number {
  const iso = DAY.test(text) ? `${text}T00:00` : text.replace(',', '.')
  const value = /^\d+$/.test(text) ? Number(text) : ISO.test(text) ? Date.parse(iso) : NaN
  if (!(value >= 0 && value <= 8.64e15)) {
    throw new InvalidArgumentError('It must be a time in ISO 8601 from 1970 on, or milliseconds since 1970.')
  }
  return value
}

function fsyncPolicy(text: string): AppendOptions['fsync'] {
  if (text === 'always' || text === 'os') return text
  if (!/^\d+$/.test(text) || Number(text) === 0) {
    throw new InvalidArgumentError('It must be "always", "os" or a number of milliseconds.')
  }
  return { everyMs: Number(text) }
}

const compression = () =>
  new Option('--compression <codec>', 'how the records are compressed').choices(['none', 'lz4', 'zstd']).default('none')

/** Text below a command's options: notes, then examples to copy. */
const help = (notes: string, examples: string[]): string => `\n${notes}\n\nExamples:\n${examples.map((line) => `  $ ${line}`).join('\n')}`

/** State of one run: what is known after the arguments were parsed, and what remains to be printed. */
class Run {
  /** Directory of the log, for the report of a failure. */
  dir: string | undefined
  exitCode: number = EXIT.done
  /** Text that commander has printed on standard output. */
  printed = ''

  /** Wraps a command, which resolves to its exit code, as an action of commander. */
  action<A extends unknown[]>(command: (dir: string, ...rest: A) => Promise<number>): (dir: string, ...rest: A) => Promise<void> {
    return async (dir, ...rest) => {
      this.dir = dir
      this.exitCode = await command(dir, ...rest)
    }
  }
}

function program(run: Run): Command {
  const manifest = new URL('../../package.json', import.meta.url)
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }
  const command = new Command('forelog')
    .description('Write-ahead logs from the command line.')
    .version(version)
    .exitOverride()
    .configureOutput({ writeOut: (text) => (run.printed += text), writeErr: say })
    .showHelpAfterError('Try --help.')
    .addHelpText(
      'after',
      `\n${exitCodeTable()}\n\nExamples:\n  $ seq 1000 | forelog append LOG\n  $ forelog cat LOG --follow\n  $ forelog export LOG | forelog import COPY\n  $ forelog verify LOG`
    )

  command
    .command('append')
    .description('append the lines of a file, or of standard input, as records')
    .argument('<dir>', 'directory of the log, created if it does not exist')
    .argument('[file]', 'file to read instead of standard input, which is also `-`')
    .option('--fsync <policy>', '"always", "os", or the longest delay of an fsync in milliseconds', fsyncPolicy, 'always')
    .option('--segment-bytes <n>', 'size of a segment file', positiveInteger)
    .option('--max-record-bytes <n>', 'longest line that is accepted', positiveInteger, 16 << 20)
    .addOption(compression())
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      help(
        'A record includes the line feed of its line, so `forelog cat` prints the same bytes. SIGINT and SIGTERM end the input:\nthe lines that were read are committed, and their number is printed.',
        ['forelog append LOG events.txt', 'tail -f events.txt | forelog append LOG --fsync 100']
      )
    )
    .action(run.action((dir, file: string | undefined, options: AppendOptions) => append(dir, file, options)))

  command
    .command('cat')
    .description('print the values of the records')
    .argument('<dir>', 'directory of the log')
    .option('--from <position>', 'first record to print', positiveInteger)
    .addOption(
      new Option('--since <time>', 'first record to print: the first one committed at this time or later; ISO 8601 or ms since 1970')
        .argParser(time)
        .conflicts(['from', 'salvage'])
    )
    .option('--follow', 'wait for new records, until interrupted')
    .option('--json', 'print one JSON object per record; bytes that are not UTF-8 become {"base64": …}')
    .option('--salvage', 'continue after damage; lost positions are reported on standard error, and the exit code is 1')
    .option('--chomp', 'end every record with exactly one line feed')
    .addHelpText(
      'after',
      help(
        'cat writes nothing and locks nothing. It works on a log that another process writes to, on a read-only file\nsystem, and on a damaged log up to the damage. For records with keys see `forelog export`.',
        ['forelog cat LOG --from 1000 | head', 'forelog cat LOG --since 2026-03-01T08:00Z', 'forelog cat LOG --follow --json']
      )
    )
    .action(run.action((dir, options: CatOptions) => cat(dir, options)))

  command
    .command('export')
    .description('print every record with all its fields, as lines of JSON for `forelog import`')
    .argument('<dir>', 'directory of the log')
    .option('--from <position>', 'first record to export', positiveInteger)
    .option('--salvage', 'continue after damage; lost positions become lines of their own, and the exit code is 1')
    .option('--quiet', 'no progress, and no report of lost positions')
    .addHelpText(
      'after',
      help(
        'An export has a header line, a line per record, and an end line. Without the end line it is incomplete. export writes\nnothing to the log and locks nothing. It leaves out the named cursors; `forelog backup` copies them.',
        [
          'forelog export LOG > log.ndjson',
          'forelog export LOG | forelog import COPY',
          'forelog export LOG | jq -c \'select(.key == "user:1")\'',
        ]
      )
    )
    .action(run.action((dir, options: ExportOptions) => exportLog(dir, options)))

  command
    .command('import')
    .description('append the records of an export, with their positions and batches')
    .argument('<dir>', 'directory of the log, created if it does not exist')
    .argument('[file]', 'file to read instead of standard input, which is also `-`')
    .option('--renumber', 'assign new positions if they do not follow the log or the export has gaps; the changes are printed at the end')
    .option('--partial', 'accept an export that has no end line')
    .option('--segment-bytes <n>', 'size of a segment file', positiveInteger)
    .option('--max-record-bytes <n>', 'largest record that is accepted', positiveInteger, 1 << 30)
    .addOption(compression())
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      help(
        'A new log begins at the first position of the export. If the log has records, the export must begin at its next position.\nThe first wrong line ends the import: its number is printed, and neither it nor its batch is appended. If import exits\nwith 0, everything is durable.',
        ['forelog import COPY log.ndjson', 'forelog export LOG --salvage | forelog import COPY --renumber']
      )
    )
    .action(run.action((dir, file: string | undefined, options: ImportOptions) => importLog(dir, file, options)))

  command
    .command('verify')
    .description('read every segment and report damage')
    .argument('<dir>', 'directory of the log')
    .option('--json', 'print the report as one JSON object')
    .option('--quiet', 'print only problems, and no progress')
    .addHelpText(
      'after',
      help('Exits with 1 if there is damage. verify writes nothing and locks nothing.', [
        'forelog verify LOG && echo whole',
        'forelog verify LOG --json | jq .problems',
      ])
    )
    .action(run.action((dir, options: VerifyOptions) => verifyLog(dir, options)))

  command
    .command('stat')
    .description('print the state of a log and the disk space that it uses')
    .argument('<dir>', 'directory of the log')
    .option('--json', 'print the report as one JSON object')
    .addHelpText(
      'after',
      help('stat writes nothing and locks nothing, so it works while another process writes. It reads only the newest segment.', [
        'forelog stat LOG',
        "forelog stat LOG --json | jq '.allocatedBytes - .usedBytes'",
      ])
    )
    .action(run.action((dir, options: StatOptions) => statLog(dir, options)))

  command
    .command('backup')
    .description('copy a log, also while it is in use, to a directory where it opens as an independent log')
    .argument('<dir>', 'directory of the log')
    .argument('<dest>', 'directory of the copy, which must be empty or not exist')
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      help(
        'The copy has the records that are durable when the backup begins. Sealed segments become hard links, or clones if the\nfile system supports them. If a signal ends the backup, its files are removed.',
        ['forelog backup LOG /backups/today', 'forelog backup LOG /backups/today && forelog verify /backups/today']
      )
    )
    .action(run.action((dir, dest: string, options: BackupOptions) => backup(dir, dest, options)))

  command
    .command('salvage')
    .description('make a new log of all good records of a damaged one, at their positions')
    .argument('<dir>', 'directory of the damaged log, which is only read')
    .argument('<dest>', 'directory of the new log, which must be empty or not exist')
    .option('--json', 'print the report as one JSON object')
    .option('--quiet', 'no progress and no summary; lost positions are still reported')
    .addHelpText(
      'after',
      help(
        'Lost positions are reported on standard error, with their segment and offset, and become holes that readers of the new\nlog skip. The exit code is then 1. The log must not be open for writing.',
        ['forelog salvage LOG NEW', 'forelog salvage LOG NEW; forelog verify NEW']
      )
    )
    .action(run.action((dir, dest: string, options: SalvageOptions) => salvage(dir, dest, options)))

  return command
}

async function finish(run: Run, error: unknown): Promise<number> {
  if (error === undefined) return run.exitCode
  if (error instanceof CommanderError) {
    // Commander has printed what is wrong. Help and version are not errors, and remain to be printed.
    await stdout.write(run.printed)
    await stdout.flush()
    return error.exitCode === 0 ? EXIT.done : EXIT.usage
  }
  const { text, exitCode } = failure(error, run.dir)
  say(text)
  return exitCode
}

async function main(): Promise<void> {
  const run = new Run()
  const error: unknown = await program(run)
    .parseAsync()
    .then(
      () => undefined,
      (reason: unknown) => reason ?? new Error('failed without a reason')
    )
  const exitCode = await finish(run, error).catch((reason: unknown) => finish(run, reason))
  // Not `process.exit()`: output on its way to a pipe must arrive. After a signal the pipe may have no reader any more, so do not wait.
  process.exitCode = exitCode
  if (exitCode > SIGNALLED) process.exit()
}

// Reports an error that no command has caught in one line, without a stack.
process.on('uncaughtException', (error) => {
  say(failure(error, undefined).text)
  process.exit(EXIT.bug)
})

void main()
