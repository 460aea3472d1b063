import { fork } from 'node:child_process'
import { withoutPaths } from './optional.js'

const PATIENCE_MS = 300_000

/** Runs a compiled bench in a fresh process of plain Node.js; gives what it reported, or in words why it did not. */
export function inProcess<T extends object>(script: string, task: object): Promise<T | string> {
  const child = fork(script, [JSON.stringify(task)], {
    execArgv: [],
    env: { ...process.env, NODE_OPTIONS: '' },
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  })
  const timer = setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
  let errors = ''
  let result: T | undefined
  child.stderr!.on('data', (text) => (errors = (errors + String(text)).slice(-4000)))
  child.on('message', (message) => (result = message as T))
  return new Promise((resolve) => {
    child.on('close', (code, signal) => {
      clearTimeout(timer)
      const line = errors.split('\n').find((each) => /Error\b/.test(each)) ?? errors.trim().split('\n').at(-1) ?? ''
      resolve(result ?? withoutPaths(`failed (${signal ?? `exit code ${code}`}): ${line.trim()}`))
    })
  })
}
