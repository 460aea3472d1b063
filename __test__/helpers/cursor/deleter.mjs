// A worker that does with the cursor 'a' what it is asked to, and answers.

import { parentPort, workerData } from 'node:worker_threads'
import { Wal } from '../../../index.js'

const { dir, options } = workerData
const wal = await Wal.open(dir, options)
let cursor

const answers = {
  async position() {
    cursor = await wal.cursor('a')
    return cursor.position
  },
  async delete() {
    await cursor.delete()
    return 'deleted'
  },
  async commit() {
    return cursor.commit(1).then(
      () => 'committed',
      (error) => error.code
    )
  },
}

parentPort.on('message', async (what) => {
  if (what === 'end') {
    await wal.close()
    parentPort.close()
  } else {
    parentPort.postMessage(await answers[what]())
  }
})
