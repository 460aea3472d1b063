// The timing functions that logs use, captured once when the module loads. Test runners replace those of the process by fakes
// (`mock.timers` of node:test, the fake timers of Vitest and Jest), and a log that waited for a fake would never continue.

import { performance } from 'node:perf_hooks'
import process from 'node:process'
import timers from 'node:timers'
import { MessageChannel } from 'node:worker_threads'

type Task = () => void

const { setImmediate, clearImmediate, setInterval, clearInterval, setTimeout, clearTimeout } = timers
const { nextTick } = process

/** Whether `setImmediate` is the runtime's own: a fake returns an object of another class. */
function isGenuine(): boolean {
  const immediate = setImmediate(() => {})
  clearImmediate(immediate)
  return (immediate as object | undefined)?.constructor?.name === 'Immediate'
}

/** Runs each task in a later turn of the event loop by posting a message, which test runners do not fake. */
function byMessages(): (task: Task) => void {
  const { port1, port2 } = new MessageChannel()
  const tasks: Task[] = []
  port1.on('message', () => {
    if (tasks.length === 1) port1.unref()
    tasks.shift()?.()
  })
  port1.unref()
  return (task) => {
    if (tasks.push(task) === 1) port1.ref()
    port2.postMessage(undefined)
  }
}

// Timers are fake if the package is loaded after a test runner has replaced them.
const isFake = !isGenuine()
// @sinonjs/fake-timers, which Jest and Vitest use, leaves its clock on the functions that it installs.
const isFakeTick = isFake || Object.hasOwn(nextTick, 'clock')

/** Calls `task` in a later turn of the event loop, and keeps the process alive until then. */
export const later: (task: Task) => void = isFake ? byMessages() : setImmediate

/** Calls `task` when no microtask is left. If `nextTick` was fake at loading, calls it in a microtask. */
export const soon: (task: Task) => void = isFakeTick ? (task) => void Promise.resolve().then(task) : (task) => nextTick(task)

/** Calls `task` at intervals until the returned function is called. If timers were fake at loading, the fake clock decides when. */
export function every(milliseconds: number, task: Task): Task {
  const timer = setInterval(task, milliseconds)
  return () => clearInterval(timer)
}

/** What waits for time to pass. Tests have clocks of their own. */
export interface Clock {
  /** Milliseconds that never go back. */
  now(): number
  /** Calls `task` once after `milliseconds`, until the returned function is called. Keeps the process alive meanwhile. */
  after(milliseconds: number, task: Task): Task
}

/** The longest delay that a timer takes, in milliseconds. */
export const MAX_DELAY_MS = 2 ** 31 - 1

/** The clock of the runtime. If timers were fake at loading, the fake clock decides when. */
export const clock: Clock = {
  now: performance.now.bind(performance),
  after(milliseconds, task) {
    const timer = setTimeout(task, milliseconds)
    return () => clearTimeout(timer)
  },
}
