// Types of options, records and errors.

import {
  AbortError,
  checkpoint,
  Record,
  restore,
  Wal,
  WalError,
  type BatchPositions,
  type RecordVersion,
  type WalErrorCode,
  type WalRecord,
} from '../../index.js'
import { same } from './same.js'

export async function options(wal: Wal): Promise<void> {
  await Wal.open('dir', {
    fsync: { everyMs: 5 },
    mode: 'prefix',
    compression: 'zstd',
    retention: { maxAgeMs: 1 },
    captureStacks: true,
    codec: undefined,
  })
  // @ts-expect-error a misspelt option
  await Wal.open('dir', { fsnyc: 'always' })
  // @ts-expect-error no such policy
  await Wal.open('dir', { fsync: 'never' })
  // @ts-expect-error no such mode
  await Wal.open('dir', { mode: 'lenient' })
  // @ts-expect-error an option of the wrong type
  await Wal.open('dir', { segmentBytes: '64k' })

  const { signal } = new AbortController()
  same<number>()(await wal.append('x', { durable: true, expect: 7, signal }))
  same<BatchPositions>()(await wal.appendBatch(['x'], { durable: true, expect: 7, signal }))
  same<number>()(wal.enqueue('x', { durable: true, expect: 7 }))
  same<void>()(await wal.acknowledged())
  same<void>()(await wal.acknowledged(7, { signal }))
  same<void>()(await wal.acknowledged(undefined, { signal }))
  same<void>()(await wal.sync({ signal }))
  // @ts-expect-error nothing waits
  wal.enqueue('x', { signal })
  // @ts-expect-error it makes nothing durable
  await wal.acknowledged(7, { durable: true })
  // @ts-expect-error a sync expects no position
  await wal.sync({ expect: 7 })
  // @ts-expect-error a controller is no signal
  await wal.append('x', { signal: new AbortController() })

  await Wal.open(new URL('file:///dir'), { mode: 'readOnly' })
  await wal.backup(Buffer.from('dir'))
  // @ts-expect-error a number is no path
  await Wal.open(7)

  same<WalRecord | undefined>()(await wal.get(1, { signal }))
  same<WalRecord[]>()(await wal.last(1, { signal }))
  // @ts-expect-error how many has to be said
  await wal.last()
  // @ts-expect-error a record is read where it is
  await wal.get('start')
  wal.readable().pipe(wal.writable())
  // @ts-expect-error a misspelt option
  wal.readable(1, { follw: true })

  const codec: Wal<{ n: number }> = await Wal.open<{ n: number }>('dir', { codec: 'json' })
  await checkpoint(codec, 'file', { position: 1, state: [new Uint8Array(), 'text'], keep: 3, install: true, signal })
  const { snapshot, from } = await restore(new URL('file:///file'), { wal: codec, signal })
  same<number>()(from)
  same<string | undefined>()(await snapshot?.text())
  if (snapshot !== undefined) for await (const piece of snapshot) same<Buffer>()(piece)
  // @ts-expect-error a state is bytes
  await checkpoint(wal, 'file', { position: 1, state: { n: 1 } })
  // @ts-expect-error which records the state has the effect of has to be said
  await checkpoint(wal, 'file', { state: '' })

  wal.readFrom(1, { follow: true, to: 7, limit: 3, skipExpired: true, copy: true, salvage: true, signal })
  // @ts-expect-error no such place
  wal.readFrom('middle')
  // @ts-expect-error a misspelt option
  wal.readFrom(1, { follw: true })
  // @ts-expect-error there is no mark in objects here
  wal.writable({ highWaterMark: 16 })
}

export function records(record: WalRecord): void {
  same<number>()(record.position)
  same<boolean>()(record.tombstone)
  same<number | undefined>()(record.expiresAt)
  same<RecordVersion | undefined>()(record.version)
  // @ts-expect-error it is read, not written
  record.position = 7
  Record.put('k', 'v', { ttlMs: 5, version: { term: 1, index: 2 } })
  // @ts-expect-error a tombstone has no value
  Record.delete('k', { value: 'v' })
  // @ts-expect-error a key is bytes
  Record.put(7, 'v')
}

/** Codes are told apart by the compiler: one that is new has to be handled here. */
export function handling(error: unknown): string {
  if (error instanceof AbortError) return error.code satisfies 'ABORT_ERR'
  if (!(error instanceof WalError)) throw error
  same<WalErrorCode>()(error.code)
  switch (error.code) {
    case 'ERR_WAL_TRUNCATED':
      same<number | undefined>()(error.firstPosition)
      return 'start anew'
    case 'ERR_WAL_CONFLICT':
      same<number | undefined>()(error.actual)
      return 'try again'
    case 'ERR_WAL_BACKPRESSURE':
      return 'drain'
    case 'ERR_WAL_LOCKED':
      same<number | undefined>()(error.pid)
      return 'close it there'
    case 'ERR_WAL_CORRUPT':
      same<string | undefined>()(error.segment)
      return 'see docs/recovery.md'
    case 'ERR_WAL_BUSY':
    case 'ERR_WAL_TIMEOUT':
    case 'ERR_WAL_HANDLER':
    case 'ERR_WAL_DEAD_LETTER':
      return 'see docs/consumers.md'
    case 'ERR_WAL_CLOSED':
    case 'ERR_WAL_FORMAT':
    case 'ERR_WAL_INVALID_ARG':
    case 'ERR_WAL_CODEC':
    case 'ERR_WAL_IO':
    case 'ERR_WAL_NATIVE_NOT_FOUND':
    case 'ERR_WAL_NOT_FOUND':
    case 'ERR_WAL_NO_SPACE':
    case 'ERR_WAL_OUT_OF_RANGE':
    case 'ERR_WAL_POISONED':
    case 'ERR_WAL_DETACHED':
    case 'ERR_WAL_READ_ONLY':
    case 'ERR_WAL_TOO_LARGE':
      return 'give up'
    // @ts-expect-error no such code
    case 'ERR_WAL_TIRED':
      return ''
    default:
      return error.code satisfies never
  }
}
