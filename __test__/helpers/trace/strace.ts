// System calls as strace -f -y prints them, put back together where threads interleave.

import { readFileSync } from 'node:fs'
import path from 'node:path'
import { command, root } from '../command.js'

export interface Call {
  thread: string
  name: string
  /** As printed: decoded descriptors, quoted bytes. */
  args: string
  /** Base name of the file that its first argument stands for. */
  file: string
  result: number
  /** A write past the page cache that returns once it is durable. */
  direct: boolean
  /** Lines of the trace at which it began and ended. */
  began: number
  ended: number
}

const traced =
  'openat,pwrite64,write,fdatasync,fsync,rename,renameat,renameat2,io_submit,io_getevents,' +
  'pread64,preadv,writev,pwritev,fallocate,ftruncate,unlink,unlinkat,sync_file_range,fadvise64,linkat,mkdirat'
const script = (name: string) => path.join(root, '__test__', 'helpers', 'trace', `${name}.mjs`)

/** Runs the appender under strace; gives its calls in the order in which they ended. */
export const traceAppends = (dir: string, records: number, size: number): Promise<Call[]> =>
  trace(dir, 'appender', String(records), String(size))

/** Runs a program of this directory under strace, with the directory of a log and a marker file. */
export async function trace(dir: string, name: string, ...args: string[]): Promise<Call[]> {
  const output = path.join(dir, 'trace')
  const child = [process.execPath, script(name), path.join(dir, 'log'), path.join(dir, 'marker'), ...args]
  // Strings long enough to show the key of a record behind the headers that stand before it.
  const { code, stderr } = await command('strace', ['-f', '-y', '-s', '16384', '-e', `trace=${traced}`, '-o', output, ...child])
  if (code !== 0) throw new Error(`the traced program failed: ${stderr}`)
  return parse(readFileSync(output, 'latin1'))
}

export function parse(output: string): Call[] {
  const calls: Call[] = []
  const unfinished = new Map<string, { text: string; began: number }>()
  const directs = new Set<number>()
  output.split('\n').forEach((line, at) => {
    const [, thread, rest] = /^(\d+)\s+(.*)$/s.exec(line) ?? []
    if (thread === undefined) return
    if (rest.endsWith('<unfinished ...>')) {
      unfinished.set(thread, { text: rest.slice(0, -'<unfinished ...>'.length), began: at })
      return
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/s.exec(rest)
    const start = resumed ? unfinished.get(thread) : undefined
    const text = resumed ? (start?.text ?? '') + resumed[1] : rest
    const call = /^(\w+)\((.*)\)\s+= (-?\d+)/s.exec(text)
    if (!call) return
    const [, name, args, result] = call
    if (name === 'openat' && /O_DIRECT\b/.test(args) && args.includes('O_DSYNC')) directs.add(Number(result))
    else if (name === 'openat') directs.delete(Number(result))
    const direct = directs.has(parseInt(args))
    const file = path.basename((/^\d+<(.*?[^\\])>/s.exec(args) ?? /aio_fildes=\d+<(.*?[^\\])>/s.exec(args))?.[1] ?? '')
    calls.push({ thread, name, args, file, result: Number(result), direct, began: start?.began ?? at, ended: at })
  })
  return calls
}
