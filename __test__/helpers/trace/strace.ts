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

const traced = 'openat,pwrite64,write,fdatasync,fsync,rename,renameat,renameat2'
const script = path.join(root, '__test__', 'helpers', 'trace', 'appender.mjs')

/** Runs the appender under strace; gives its calls in the order in which they ended. */
export async function traceAppends(dir: string, records: number, size: number): Promise<Call[]> {
  const output = path.join(dir, 'trace')
  const child = [process.execPath, script, path.join(dir, 'log'), path.join(dir, 'marker'), String(records), String(size)]
  // Strings long enough to show the key of a record behind the headers that stand before it.
  const { code, stderr } = await command('strace', ['-f', '-y', '-s', '4096', '-e', `trace=${traced}`, '-o', output, ...child])
  if (code !== 0) throw new Error(`the traced program failed: ${stderr}`)
  return parse(readFileSync(output, 'latin1'))
}

export function parse(trace: string): Call[] {
  const calls: Call[] = []
  const unfinished = new Map<string, { text: string; began: number }>()
  const directs = new Set<number>()
  trace.split('\n').forEach((line, at) => {
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
    const file = path.basename(/^\d+<(.*?[^\\])>/s.exec(args)?.[1] ?? '')
    calls.push({ thread, name, args, file, result: Number(result), direct, began: start?.began ?? at, ended: at })
  })
  return calls
}
