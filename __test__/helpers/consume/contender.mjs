// Tries all that moves or consumes the cursor `a`, on `try`, and posts how each attempt ended. On `hold` consumes it for as long as it lives.

import { parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../../index.js'

const { dir, options } = workerData
const wal = await Wal.open(dir, options)
const cursor = await wal.cursor('a')

async function outcome(attempt) {
  try {
    return (await attempt()) ?? 'done'
  } catch (error) {
    return error.code
  }
}

async function consume() {
  const handled = []
  await cursor.consume(({ position }) => void handled.push(position), { follow: false }).done
  return handled
}

parentPort.on('message', async (message) => {
  if (message === 'hold') {
    cursor.consume(() => {})
    return parentPort.postMessage('held')
  }
  parentPort.postMessage({
    commit: await outcome(() => cursor.commit(20)),
    rewind: await outcome(() => cursor.rewind(5)),
    read: await outcome(async () => void (await cursor.read().return())),
    consume: await outcome(consume),
  })
})
