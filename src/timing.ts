// The timing functions that logs run on, taken once when the module loads. Test runners replace those of the process by fake ones
// (`mock.timers` of node:test, the fake timers of Vitest and Jest), and a log that waited for one of these would never go on.

import process from 'node:process'
import timers from 'node:timers'
import { MessageChannel } from 'node:worker_threads'

type Task = () => void

const { setImmediate, clearImmediate, setInterval, clearInterval } = timers
const { nextTick } = process

/** Whether `setImmediate` is the runtime's own: a fake one returns an object of another class. */
function isGenuine(): boolean {
  const immediate = setImmediate(() => {})
  clearImmediate(immediate)
  return (immediate as object | undefined)?.constructor?.name === 'Immediate'
}

/** A later turn of the event loop for each task, by messages: these have no fake. */
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

// They are where the package is loaded after a runner has replaced them.
const isFake = !isGenuine()
// @sinonjs/fake-timers, which Jest and Vitest use, leaves its clock on the functions that it puts in place.
const isFakeTick = isFake || Object.hasOwn(nextTick, 'clock')

/** Calls `task` in a later turn of the event loop, and keeps the process alive until then. */
export const later: (task: Task) => void = isFake ? byMessages() : setImmediate

/** Calls `task` once no microtask is left; where `nextTick` was fake at loading, in a microtask. */
export const soon: (task: Task) => void = isFakeTick ? (task) => void Promise.resolve().then(task) : (task) => nextTick(task)

/** Calls `task` at intervals until the returned function is called. Where timers were fake at loading, a fake clock decides when. */
export function every(milliseconds: number, task: Task): Task {
  const timer = setInterval(task, milliseconds)
  return () => clearInterval(timer)
}
