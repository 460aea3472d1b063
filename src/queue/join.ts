// One queue for all handles that an environment has on a log.

import type { Environment } from '../native/environment.js'
import { LogQueue } from './log-queue.js'

/**
 * Returns the queue of a log just opened. If this environment already has the log open, its existing queue is used, so that all its appends
 * settle in the order of their positions, and the new native handle is closed.
 */
export async function joinLog(environment: Environment, log: number, identity: number, dir: string): Promise<LogQueue> {
  for (let queue; (queue = findQueue(environment, identity)) !== undefined;) {
    if (queue.enter()) {
      // The handles that close the queue report how closing ends.
      const forget = () => environment.native.forget(log)
      void environment.request(environment.native.close(log)).then(forget, forget)
      return queue
    }
    // The queue is closing: let its promises settle first.
    await queue.idle()
  }
  const queue = new LogQueue(environment, log, identity, dir)
  environment.add(queue)
  return queue
}

function findQueue(environment: Environment, identity: number): LogQueue | undefined {
  for (const log of environment.logs()) {
    if (log instanceof LogQueue && log.identity === identity && !log.isQuiet) return log
  }
  return undefined
}
