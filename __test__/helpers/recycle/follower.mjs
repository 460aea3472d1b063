// Follows a log that another process writes and truncates, until that says where it ends. A record that is not what its
// position makes it, and an error other than that what came next is truncated, are told and end it.

import { createInterface } from 'node:readline'
import { Wal } from '../../../index.js'
import { valueAt } from './values.mjs'

const controller = new AbortController()
let end = Infinity
let next = 'start'
const told = { records: 0, truncated: 0 }
const isOver = () => next > end && (controller.abort(), true)
createInterface({ input: process.stdin }).on('line', (line) => {
  end = Number(line)
  isOver()
})

const wal = await Wal.open(process.argv[2], { mode: 'readOnly' })
console.log('open')
while (!isOver()) {
  try {
    for await (const records of wal.readFrom(next, { follow: true, signal: controller.signal }).batches()) {
      for (const { position, value } of records) {
        if (value.toString() !== valueAt(position)) throw new Error(`position ${position} reads ${value}`)
        if (next !== 'start' && position !== next) throw new Error(`position ${position} comes instead of ${next}`)
        next = position + 1
        told.records += 1
      }
      if (isOver()) break
    }
  } catch (error) {
    if (error.code === 'ABORT_ERR') break
    if (error.code !== 'ERR_WAL_TRUNCATED') throw error
    told.truncated += 1
    next = error.firstPosition
  }
}
console.log(JSON.stringify(told))
process.exit()
