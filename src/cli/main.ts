#!/usr/bin/env node
// The `forelog` command: arguments in, exit code out. One file per subcommand.

import { readFileSync } from 'node:fs'
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { append, type AppendOptions } from './append.js'
import { backup, type BackupOptions } from './backup.js'
import { cat, type CatOptions } from './cat.js'
import { salvage, type SalvageOptions } from './salvage.js'
import { statLog, type StatOptions } from './stat.js'
import { verifyLog, type VerifyOptions } from './verify.js'

const USAGE = 2

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

/** One line for any failure, with the code that programs match on. */
function describe(error: unknown): string {
  const { message, code } = error as NodeJS.ErrnoException
  return `forelog: ${message ?? String(error)}${code ? ` (${code})` : ''}\n`
}

function program(finish: (code: number) => void): Command {
  const manifest = new URL('../../package.json', import.meta.url)
  const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }
  const command = new Command('forelog')
    .description('Write-ahead logs from the command line.')
    .version(version)
    .exitOverride()
    .showHelpAfterError('Try --help.')

  command
    .command('append')
    .description('append the lines of a file, or of standard input, as records')
    .argument('<dir>', 'directory of the log, created when absent')
    .argument('[file]', 'file to read instead of standard input')
    .option('--fsync <policy>', '"always", "os", or at the latest after so many milliseconds', fsyncPolicy, 'always')
    .option('--segment-bytes <n>', 'size of a segment file', positiveInteger)
    .option('--max-record-bytes <n>', 'longest line that is taken', positiveInteger, 16 << 20)
    .addOption(new Option('--compression <codec>', 'how the records are compressed').choices(['none', 'lz4', 'zstd']).default('none'))
    .option('--quiet', 'no progress and no summary')
    .addHelpText('after', '\nA line keeps its line feed, so that `forelog cat` gives the same bytes back.')
    .action(async (dir: string, file: string | undefined, options: AppendOptions) => {
      finish(await append(dir, file, options))
    })

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
      '\nNothing is written and nothing is locked: cat works on a log that another process is writing, on\na read-only file system, and up to the damage on a damaged log.'
    )
    .action(async (dir: string, options: CatOptions) => finish(await cat(dir, options)))

  command
    .command('verify')
    .description('read every segment and say what is damaged')
    .argument('<dir>', 'directory of the log')
    .option('--json', 'print the report as one JSON object')
    .option('--quiet', 'print problems alone, and no progress')
    .addHelpText('after', '\nExits with 1 when there is damage. Nothing is written and nothing is locked.')
    .action(async (dir: string, options: VerifyOptions) => finish(await verifyLog(dir, options)))

  command
    .command('stat')
    .description('say how a log stands, and what it takes of the disk')
    .argument('<dir>', 'directory of the log')
    .option('--json', 'print the report as one JSON object')
    .addHelpText('after', '\nNothing is written and nothing is locked: stat works beside a writer.')
    .action(async (dir: string, options: StatOptions) => finish(await statLog(dir, options)))

  command
    .command('backup')
    .description('copy a log, also while it is written, to a directory where it opens as one of its own')
    .argument('<dir>', 'directory of the log')
    .argument('<dest>', 'directory of the copy, created when absent, empty otherwise')
    .option('--quiet', 'no progress and no summary')
    .addHelpText(
      'after',
      '\nThe copy holds what is durable when the backup begins. Segments that are complete become hard links\nor clones where the file system can.'
    )
    .action(async (dir: string, dest: string, options: BackupOptions) => finish(await backup(dir, dest, options)))

  command
    .command('salvage')
    .description('make a new log of every good record of a damaged one, positions kept')
    .argument('<dir>', 'directory of the damaged log, which is only read')
    .argument('<dest>', 'directory of the new log, created when absent, empty otherwise')
    .option('--json', 'print the report as one JSON object')
    .option('--quiet', 'no progress and no summary; what is lost is named all the same')
    .addHelpText(
      'after',
      '\nWhat is lost is named on standard error, with the segment and the offset where it was, and becomes a hole that\nreaders of the new log pass over; the exit code is 1 then. The log must not be open for writing.'
    )
    .action(async (dir: string, dest: string, options: SalvageOptions) => finish(await salvage(dir, dest, options)))

  return command
}

// process.exitCode and not process.exit(): what is still on its way to a pipe must arrive.
async function main(): Promise<void> {
  try {
    await program((code) => (process.exitCode = code)).parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) {
      // Commander has printed its message; help and --version are no errors.
      process.exitCode = error.exitCode === 0 ? 0 : USAGE
    } else {
      process.stderr.write(describe(error))
      process.exitCode = 1
    }
  }
}

void main()
