// Every code that an error can have: how one gets there, and that it is documented. A code that is new fails here until it has both.

import { cpSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Wal, WalError, type DeadLetter, type WalErrorCode } from '../index.js'
import { holder, node, root } from './helpers/command.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { Shim, rule } from './helpers/faults/shim.js'
import { filledLog, temporaryLog } from './helpers/log.js'
import { has, type Need } from './helpers/needs.js'

/** The code that an attempt ended with; nothing when it succeeded. */
const codeOf = async (attempt: () => unknown): Promise<string | undefined> => {
  try {
    await attempt()
  } catch (error) {
    if (!(error instanceof WalError)) throw error
    return error.code
  }
  return undefined
}

/** What an append in a process of its own is told when the n-th such call of the log fails. */
async function failing(t: ExecutionContext, rules: string): Promise<string | undefined> {
  const shim = new Shim(t)
  const script = `
    import { writeFileSync } from 'node:fs'
    const { Wal } = await import(process.argv[1])
    const wal = await Wal.open(process.env.FORELOG_FAULT_DIR)
    writeFileSync(process.env.FORELOG_FAULT_RULES, process.argv[2])
    console.log(await wal.append('x').catch(({ code }) => code))
    await wal.close().catch(() => {})`
  const { stdout } = await node(['--input-type=module', '-e', script, path.join(root, 'index.js'), rules], { env: shim.env })
  t.true(shim.fired().length > 0, 'the fault fired')
  return stdout.toString().trim()
}

interface Situation {
  code: WalErrorCode
  needs?: Need[]
  how(t: ExecutionContext): Promise<string | undefined>
}

const situations: Situation[] = [
  {
    code: 'ERR_WAL_LOCKED',
    how: async (t) => {
      const dir = temporaryDirectory(t)
      await holder(t, dir)
      return codeOf(() => Wal.open(dir))
    },
  },
  { code: 'ERR_WAL_NOT_FOUND', how: (t) => codeOf(() => Wal.open(path.join(temporaryDirectory(t), 'none'), { create: false })) },
  {
    code: 'ERR_WAL_CORRUPT',
    how: async (t) => {
      const wal = await filledLog(t, 100)
      await wal.close()
      const file = path.join(wal.dir, segments(wal.dir)[0])
      const bytes = readFileSync(file)
      bytes[bytes.indexOf('value-50')] ^= 1
      writeFileSync(file, bytes)
      return codeOf(() => Wal.open(wal.dir))
    },
  },
  {
    code: 'ERR_WAL_CLOSED',
    how: async (t) => {
      const wal = await temporaryLog(t)
      await wal.close()
      return codeOf(() => wal.append('x'))
    },
  },
  { code: 'ERR_WAL_POISONED', needs: ['preload'], how: (t) => failing(t, rule('fdatasync', '*.wal', 1, 'EIO')) },
  {
    code: 'ERR_WAL_DETACHED',
    how: async (t) => {
      const wal = await temporaryLog(t, {}, path.join(temporaryDirectory(t), 'log'))
      renameSync(wal.dir, `${wal.dir}.aside`)
      return codeOf(() => wal.append('x'))
    },
  },
  { code: 'ERR_WAL_NO_SPACE', needs: ['preload'], how: (t) => failing(t, rule('pwrite64', '*.wal', 1, 'ENOSPC')) },
  {
    code: 'ERR_WAL_TOO_LARGE',
    how: async (t) => {
      const wal = await temporaryLog(t, { maxRecordBytes: 10 })
      return codeOf(() => wal.append('more than ten bytes'))
    },
  },
  {
    code: 'ERR_WAL_TRUNCATED',
    how: async (t) => {
      const wal = await filledLog(t, 10)
      await wal.truncateBefore(5)
      return codeOf(() => wal.readFrom(4).next())
    },
  },
  {
    code: 'ERR_WAL_OUT_OF_RANGE',
    how: async (t) => {
      const wal = await filledLog(t, 10)
      return codeOf(() => wal.readFrom(12).next())
    },
  },
  {
    code: 'ERR_WAL_CONFLICT',
    how: async (t) => {
      const wal = await filledLog(t, 10)
      return codeOf(() => wal.append('x', { expect: 10 }))
    },
  },
  {
    code: 'ERR_WAL_BACKPRESSURE',
    how: async (t) => {
      const wal = await temporaryLog(t, { maxPendingBytes: 1024 })
      return codeOf(() => [1, 2].map(() => wal.enqueue('x'.repeat(1000))))
    },
  },
  {
    code: 'ERR_WAL_READ_ONLY',
    how: async (t) => {
      const { dir } = await filledLog(t, 1)
      const view = await temporaryLog(t, { mode: 'readOnly' }, dir)
      return codeOf(() => view.append('x'))
    },
  },
  {
    code: 'ERR_WAL_FORMAT',
    how: (t) => {
      const dir = temporaryDirectory(t)
      writeFileSync(path.join(dir, 'something else'), '')
      return codeOf(() => Wal.open(dir))
    },
  },
  {
    code: 'ERR_WAL_INVALID_ARG',
    how: async (t) => {
      const wal = await temporaryLog(t)
      return codeOf(() => wal.append(7 as never))
    },
  },
  {
    code: 'ERR_WAL_CODEC',
    how: async (t) => {
      const wal = await Wal.open(temporaryDirectory(t), { codec: 'json' })
      t.teardown(() => wal.close())
      return codeOf(() => wal.append(() => 1))
    },
  },
  {
    code: 'ERR_WAL_IO',
    how: (t) => {
      const file = path.join(temporaryDirectory(t), 'file')
      writeFileSync(file, '')
      return codeOf(() => Wal.open(path.join(file, 'log')))
    },
  },
  {
    code: 'ERR_WAL_BUSY',
    how: async (t) => {
      const cursor = await (await temporaryLog(t)).cursor('a')
      const consumer = cursor.consume(() => {})
      const code = await codeOf(() => cursor.consume(() => {}))
      await consumer.stop()
      return code
    },
  },
  {
    code: 'ERR_WAL_TIMEOUT',
    how: async (t) => {
      const cursor = await (await filledLog(t, 1)).cursor('a')
      let error: unknown
      const deadLetter = (_: unknown, dead: DeadLetter) => (error = dead.error)
      await cursor.consume(() => new Promise(() => {}), { timeoutMs: 1, retries: 0, deadLetter, follow: false }).done
      return codeOf(() => Promise.reject(error))
    },
  },
  {
    code: 'ERR_WAL_HANDLER',
    how: async (t) => {
      const cursor = await (await filledLog(t, 1)).cursor('a')
      return codeOf(() => cursor.consume(() => Promise.reject(new Error('no')), { retries: 0 }).done)
    },
  },
  {
    code: 'ERR_WAL_DEAD_LETTER',
    how: async (t) => {
      const cursor = await (await filledLog(t, 1)).cursor('a')
      const failing = () => Promise.reject(new Error('no'))
      return codeOf(() => cursor.consume(failing, { retries: 0, deadLetter: failing }).done)
    },
  },
  {
    code: 'ERR_WAL_NATIVE_NOT_FOUND',
    how: async (t) => {
      const dir = temporaryDirectory(t)
      for (const name of ['package.json', 'index.js', 'native.js', 'dist']) {
        cpSync(path.join(root, name), path.join(dir, name), { recursive: true })
      }
      const script = `
        const { Wal } = await import(process.argv[1] + '/index.js')
        await Wal.open(process.argv[1] + '/log').catch(({ code }) => console.log(code))`
      const { stdout } = await node(['--input-type=module', '-e', script, dir])
      return stdout.toString().trim()
    },
  },
]

for (const { code, needs = [], how } of situations) {
  test(`${code} occurs`, async (t) => {
    if (!has(t, ...needs)) return
    t.is(await how(t), code)
  })
}

/** The codes in a text, where the pattern finds them. */
const codesIn = (file: string, pattern: RegExp): string[] =>
  [...readFileSync(path.join(root, file), 'utf8').matchAll(pattern)].map(([, code]) => code).sort()

test('every code of the type has one test, one line in its description and one row in docs/errors.md', (t) => {
  const codes = codesIn('src/errors.ts', /^ {2}\| '(ERR_WAL_\w+)'$/gm)
  t.true(codes.length >= 18)
  t.deepEqual(situations.map(({ code }) => code).sort(), codes)
  t.deepEqual(codesIn('src/errors.ts', /^ \* - `(ERR_WAL_\w+)`:/gm), codes)
  t.deepEqual(codesIn('docs/errors.md', /^\| `(ERR_WAL_\w+)` +\|/gm), codes)
})
