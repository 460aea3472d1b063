// Records share the memory of their block: to transfer one must not take it from the others.

import test, { type ExecutionContext } from 'ava'
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads'
import { Record, type Wal, type WalRecord } from '../index.js'
import { collect, temporaryLog } from './helpers/log.js'

async function filled(t: ExecutionContext): Promise<Wal> {
  const wal = await temporaryLog(t)
  await wal.appendBatch(
    Array.from({ length: 5 }, (_, i) => Record.put(`k${i}`, `v${i}`, { expiresAt: 4e12, version: { term: 1, index: i } }))
  )
  return wal
}

const shown = ({ key, value }: WalRecord) => `${key?.toString()}=${value?.toString()}`
const expected = ['k0=v0', 'k1=v1', 'k2=v2', 'k3=v3', 'k4=v4']

/** Ways to hand bytes over for good; some runtimes refuse, others leave out of the transfer what is not to be transferred. */
const transfers: { [name: string]: (bytes: Buffer) => unknown } = {
  postMessage: (bytes) => {
    const { port1, port2 } = new MessageChannel()
    try {
      port1.postMessage(bytes, [bytes.buffer as ArrayBuffer])
      return receiveMessageOnPort(port2)?.message
    } finally {
      port1.close()
    }
  },
  structuredClone: (bytes) => structuredClone(bytes, { transfer: [bytes.buffer as ArrayBuffer] }),
}

for (const [name, transfer] of Object.entries(transfers)) {
  test(`a value transferred by ${name} leaves the other records of its block intact`, async (t) => {
    const wal = await filled(t)
    const seen: string[] = []
    const records: WalRecord[] = []
    for await (const record of wal.readFrom('start', { skipExpired: true })) {
      seen.push(shown(record))
      records.push(record)
      try {
        t.is(Buffer.from(transfer(record.value as Buffer) as Uint8Array).toString(), `v${record.position - 1}`)
      } catch (error) {
        t.is((error as Error).name, 'DataCloneError')
      }
    }
    t.deepEqual(seen, expected)
    t.deepEqual(records.map(shown), expected)
  })

  test(`copies are transferred by ${name} independently of each other`, async (t) => {
    const wal = await filled(t)
    const records = await collect(wal.readFrom('start', { copy: true }))
    for (const { key, value, position } of records) {
      t.is(Buffer.from(transfer(value as Buffer) as Uint8Array).toString(), `v${position - 1}`)
      t.is(value?.length, 0)
      t.is(key?.toString(), `k${position - 1}`)
    }
  })
}

test('if the memory of a block is gone all the same, its records throw', async (t) => {
  // Of ES2024: Node 20 has no way to take it.
  const take = (ArrayBuffer.prototype as { transfer?: () => ArrayBuffer }).transfer
  if (take === undefined) return t.pass()
  const wal = await filled(t)
  const records = await collect(wal.readFrom('start'))
  take.call(records[0].value?.buffer as ArrayBuffer)
  for (const record of records) {
    for (const field of ['key', 'value', 'tombstone', 'expiresAt', 'version'] as const) {
      t.throws(() => record[field], { code: 'ERR_WAL_INVALID_ARG', message: /transferred.*copy: true/ })
    }
    t.true(record.position > 0)
  }
})
