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
    .argument('<dir>', 'directory of the log, created when absent')
    .argument('[file]', 'file to read instead of standard input, which is also `-`')
    .option('--fsync <policy>', '"always", "os", or at the latest after so many milliseconds', fsyncPolicy, 'always')
    .option('--segment-bytes <n>', 'size of a segment file', positiveInteger)
    .option('--max-record-bytes <n>', 'longest line that is taken', positiveInteger, 16 << 20)
    .addOption(compression())
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      help(
        'A line keeps its line feed, so that `forelog cat` gives the same bytes back. SIGINT and SIGTERM end the input: what\nwas read is committed, and how much that is said.',
        ['forelog append LOG events.txt', 'tail -f events.txt | forelog append LOG --fsync 100']
      )
    )
    .action(run.action((dir, file: string | undefined, options: AppendOptions) => append(dir, file, options)))

  command
    .command('cat')
    .description('print the values of the records')
    .argument('<dir>', 'directory of the log')
    .option('--from <position>', 'first record to print', positiveInteger)
    .option('--follow', 'go on as the log does, until interrupted')
    .option('--json', 'one JSON object per record; bytes that are not UTF-8 as {"base64": …}')
    .option('--salvage', 'go on behind damage; what is lost is named on standard error, and the exit code is 1 then')
    .option('--chomp', 'strip the line feed a record ends with, and print one after each')
    .addHelpText(
      'after',
      help(
        'Nothing is written and nothing is locked: cat works on a log that another process is writing, on\na read-only file system, and up to the damage on a damaged log. For records with keys see `forelog export`.',
        ['forelog cat LOG --from 1000 | head', 'forelog cat LOG --follow --json']
      )
    )
    .action(run.action((dir, options: CatOptions) => cat(dir, options)))

  command
    .command('export')
    .description('print every record with all that belongs to it, as lines of JSON for `forelog import`')
    .argument('<dir>', 'directory of the log')
    .option('--from <position>', 'first record to export', positiveInteger)
    .option('--salvage', 'go on behind damage; what is lost is a line of its own, and the exit code is 1 then')
    .option('--quiet', 'no progress, and no word of what is lost')
    .addHelpText(
      'after',
      help(
        'A header, a line per record, and an end line without which an export is incomplete. Nothing is written and nothing\nis locked. Named cursors are not exported; `forelog backup` copies them.',
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
    .description('append the records of an export, positions and batches kept')
    .argument('<dir>', 'directory of the log, created when absent')
    .argument('[file]', 'file to read instead of standard input, which is also `-`')
    .option('--renumber', 'give new positions where the log has others or the export has gaps; which ones is said at the end')
    .option('--partial', 'take an export that is cut off before its end line')
    .option('--segment-bytes <n>', 'size of a segment file', positiveInteger)
    .option('--max-record-bytes <n>', 'largest record that is taken', positiveInteger, 1 << 30)
    .addOption(compression())
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      help(
        'A new log begins with the first position of the export; a log with records must go on where the export begins.\nThe first line that is wrong ends the import: it is named, and nothing of it or its batch is appended. When import\nexits with 0, everything is durable.',
        ['forelog import COPY log.ndjson', 'forelog export LOG --salvage | forelog import COPY --renumber']
      )
    )
    .action(run.action((dir, file: string | undefined, options: ImportOptions) => importLog(dir, file, options)))

  command
    .command('verify')
    .description('read every segment and say what is damaged')
    .argument('<dir>', 'directory of the log')
    .option('--json', 'print the report as one JSON object')
    .option('--quiet', 'print problems alone, and no progress')
    .addHelpText(
      'after',
      help('Exits with 1 when there is damage. Nothing is written and nothing is locked.', [
        'forelog verify LOG && echo whole',
        'forelog verify LOG --json | jq .problems',
      ])
    )
    .action(run.action((dir, options: VerifyOptions) => verifyLog(dir, options)))

  command
    .command('stat')
    .description('say how a log stands, and what it takes of the disk')
    .argument('<dir>', 'directory of the log')
    .option('--json', 'print the report as one JSON object')
    .addHelpText(
      'after',
      help('Nothing is written and nothing is locked: stat works beside a writer. It reads the newest segment alone.', [
        'forelog stat LOG',
        "forelog stat LOG --json | jq '.allocatedBytes - .usedBytes'",
      ])
    )
    .action(run.action((dir, options: StatOptions) => statLog(dir, options)))

  command
    .command('backup')
    .description('copy a log, also while it is written, to a directory where it opens as one of its own')
    .argument('<dir>', 'directory of the log')
    .argument('<dest>', 'directory of the copy, created when absent, empty otherwise')
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      help(
        'The copy holds what is durable when the backup begins. Segments that are complete become hard links\nor clones where the file system can. When it is ended by a signal nothing of it is left.',
        ['forelog backup LOG /backups/today', 'forelog backup LOG /backups/today && forelog verify /backups/today']
      )
    )
    .action(run.action((dir, dest: string, options: BackupOptions) => backup(dir, dest, options)))

  command
    .command('salvage')
    .description('make a new log of every good record of a damaged one, positions kept')
    .argument('<dir>', 'directory of the damaged log, which is only read')
    .argument('<dest>', 'directory of the new log, created when absent, empty otherwise')
    .option('--json', 'print the report as one JSON object')
    .option('--quiet', 'no progress and no summary; what is lost is named all the same')
    .addHelpText(
      'after',
      help(
        'What is lost is named on standard error, with the segment and the offset where it was, and becomes a hole that\nreaders of the new log pass over; the exit code is 1 then. The log must not be open for writing.',
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
