// Errors say what a program and a person need to know.

import { once } from 'node:events'
import { cpSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { inspect } from 'node:util'
import test, { type ExecutionContext } from 'ava'
import { Wal, WalError } from '../index.js'
import { holder, node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES, temporaryLog } from './helpers/log.js'

test('an error is an Error with a code and only the fields that apply', async (t) => {
  const wal = await temporaryLog(t)
  const error = await t.throwsAsync<WalError>(wal.append({} as never))
  t.true(error instanceof WalError && error instanceof Error)
  t.is(error.name, 'WalError')
  t.is(error.code, 'ERR_WAL_INVALID_ARG')
  t.is(error.operation, 'append')
  t.deepEqual(Object.keys(error).sort(), ['code', 'operation'])
  t.regex(inspect(error), /^WalError: /)
})

test('an error of the operating system is the cause, with the fields that Node.js gives it', async (t) => {
  const file = path.join(temporaryDirectory(t), 'file')
  writeFileSync(file, '')
  const error = await t.throwsAsync<WalError>(Wal.open(path.join(file, 'log')))
  t.is(error.operation, 'open')
  const cause = error.cause as NodeJS.ErrnoException
  t.true(cause instanceof Error)
  t.is(cause.code, 'ENOTDIR')
  t.true(Number.isInteger(cause.errno) && (cause.errno as number) < 0)
  t.is(typeof cause.syscall, 'string')
  t.true(cause.path?.includes('file'))
})

test('a log that another process has open is locked, with the id of that process', async (t) => {
  const dir = temporaryDirectory(t)
  const child = await holder(t, dir)
  const error = await t.throwsAsync<WalError>(Wal.open(dir))
  t.is(error.code, 'ERR_WAL_LOCKED')
  t.is(error.pid, child.pid)
  child.send('exit')
  await once(child, 'exit')
  await (await Wal.open(dir, { segmentBytes: SEGMENT_BYTES })).close()
})

/** The package as it would be installed, without a binary. */
function installation(t: ExecutionContext): string {
  const dir = temporaryDirectory(t)
  for (const name of ['package.json', 'index.js', 'native.js', 'dist'])
    cpSync(path.join(root, name), path.join(dir, name), { recursive: true })
  return dir
}

const tryToOpen = `
  const { Wal, Record, WalError } = await import(process.argv[1] + '/index.js')
  Record.put('k', 'v')
  const error = await Wal.open(process.argv[1] + '/log').catch((error) => error)
  console.log(JSON.stringify({ code: error.code, typed: error instanceof WalError, message: error.message }))`

async function openIn(dir: string): Promise<{ code?: string; typed: boolean; message: string }> {
  const { stdout, stderr } = await node(['--input-type=module', '-e', tryToOpen, dir])
  if (stderr !== '') throw new Error(stderr)
  return JSON.parse(stdout.toString())
}

test('without a native module the package can be imported, and open says for which platform it is missing', async (t) => {
  const { code, typed, message } = await openIn(installation(t))
  t.is(code, 'ERR_WAL_NATIVE_NOT_FOUND')
  t.true(typed)
  t.true(message.includes(`${process.platform}-${process.arch}`))
})

test('a loader that was never generated counts as a missing native module', async (t) => {
  const dir = installation(t)
  rmSync(path.join(dir, 'native.js'))
  t.is((await openIn(dir)).code, 'ERR_WAL_NATIVE_NOT_FOUND')
})

test('a native module that exists but does not load is reported as broken, with the message of the system', async (t) => {
  const dir = installation(t)
  const binary = readdirSync(root).find((name) => name.endsWith('.node')) as string
  writeFileSync(path.join(dir, binary), 'not a library')
  const { code, typed, message } = await openIn(dir)
  t.is(code, 'ERR_WAL_NATIVE_NOT_FOUND')
  t.true(typed)
  t.true(message.includes(binary))
  t.regex(message, /truncated|too short|invalid ELF/)
})
