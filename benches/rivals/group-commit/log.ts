import fs from 'node:fs'
import { FRAME_HEADER, RECORD_HEADER, align4, alignPage, checksum } from './frame.js'

/**
 * The strongest group commit we could write in JavaScript alone. Appends are copied into a preallocated buffer and
 * share one promise per group, or get one each. While one group is being written and synced in libuv's pool, the next fills. Write
 * and sync are one system call (`O_DSYNC`, the same guarantee as `fdatasync` after the write) because each trip
 * through the pool costs up to half of what the disk does; platforms without the flag take the two trips.
 */
export interface LogOptions {
  /**
   * `direct` adds O_DIRECT: page-aligned memory and padded groups, past the page cache. `fdatasync` takes two calls, one group at a time:
   * what most would write first. `none` only writes.
   */
  readonly sync: 'dsync' | 'direct' | 'fdatasync' | 'none'
  /** `none` only: start writing back early, so that a `sync` at the end finds little left to do. */
  readonly writeBack?: boolean
  /** Zero-fill this much before starting: overwriting allocated blocks syncs faster than growing the file. */
  readonly prepareBytes: number
}

interface Memory {
  readonly bytes: Uint8Array
  readonly buffer: Buffer
  readonly words: Uint32Array
}

/** The appends that one write makes durable together. */
interface Group {
  readonly memory: Memory
  readonly promise: Promise<void>
  readonly resolve: () => void
  readonly reject: (error: Error) => void
  readonly first: number
  /** For those of {@link GroupCommitLog.appendOne}: each is called with the position of its record. */
  readonly waiters: Settle[]
  count: number
  length: number
  finished: boolean
}

type Settle = (position: number | Promise<never>) => void

const CAPACITY = 4 << 20
/** Two writes at the same time: the second is on its way to the disk while JavaScript hears of the first. */
const DEPTH = 2
/** Without a sync to amortise, a group is written as soon as it is worth a system call. */
const WRITTEN_TARGET = 256 << 10
const WRITE_BACK_BYTES = 16 << 20
const { O_RDWR, O_CREAT, O_DSYNC, O_DIRECT } = fs.constants

export class GroupCommitLog {
  position = 0
  /** Bytes the current group may reach before it is committed in the middle of a turn. */
  #target: number
  #previousLength = 0
  #current: Group | undefined
  // The fields of the current group that `append` touches, held here because one level of indirection is 5 % of it.
  #bytes!: Uint8Array
  #words!: Uint32Array
  #offset = 0
  #scheduled = false
  #fileOffset = 0
  #error: Error | undefined
  #writtenBack = 0
  #writingBack = false
  readonly #options: LogOptions
  readonly #depth: number
  readonly #fd: number
  readonly #free: Memory[] = []
  /** Being written, in position order: a later group may finish first but is not acknowledged before. */
  readonly #inFlight: Group[] = []
  readonly #endOfTurn = (): void => {
    this.#scheduled = false
    if (this.#inFlight.length < this.#depth) this.#commit()
  }

  constructor(path: string, options: LogOptions) {
    this.#options = options
    this.#depth = options.sync === 'fdatasync' ? 1 : DEPTH
    this.#target = options.sync === 'none' ? WRITTEN_TARGET : CAPACITY
    zeroFill(path, options.prepareBytes)
    this.#fd = fs.openSync(path, O_RDWR | O_CREAT | syncFlags(options.sync))
    for (let count = 0; count <= DEPTH; count++) this.#free.push(allocate(options.sync === 'direct'))
    this.#startGroup()
  }

  /** The promise of the whole group; the caller's own position is `position` right after the call. */
  append(key: Uint8Array, value: Uint8Array): Promise<void> {
    return this.#put(key, value).promise
  }

  /** A promise of its own for the record, which resolves to its position. A log uses either this or {@link append}. */
  appendOne(key: Uint8Array, value: Uint8Array): Promise<number> {
    const promise = new Promise<number>(capture)
    const settle = captured
    this.#put(key, value).waiters.push(settle)
    return promise
  }

  #put(key: Uint8Array, value: Uint8Array): Group {
    let offset = this.#offset
    const end = align4(offset + RECORD_HEADER + key.length + value.length)
    const group = this.#current
    if (group === undefined || end > CAPACITY) throw this.#error ?? new Error('the buffer is full: await ready() first')
    const word = offset >>> 2
    this.#words[word] = key.length
    this.#words[word + 1] = value.length
    offset += RECORD_HEADER
    this.#bytes.set(key, offset)
    this.#bytes.set(value, offset + key.length)
    this.#offset = end
    group.count++
    this.position++
    if (!this.#scheduled) {
      this.#scheduled = true
      // After the continuations of the group just acknowledged: they are in the microtask queue already.
      queueMicrotask(this.#endOfTurn)
    } else if (end >= this.#target && this.#inFlight.length < this.#depth) {
      this.#commit()
    }
    return group
  }

  /** One frame of its own, so that the batch is atomic. */
  appendBatch(keys: readonly Uint8Array[], values: readonly Uint8Array[]): Promise<void> {
    this.#commit()
    const group = this.#current!
    const target = this.#target
    this.#target = CAPACITY // no commit in the middle
    for (let index = 0; index < keys.length; index++) void this.append(keys[index], values[index])
    this.#target = target
    this.#commit()
    return group.promise
  }

  /** Whether a producer that does not await its appends should await `ready()` now. */
  get saturated(): boolean {
    return this.#offset >= this.#target && this.#inFlight.length === this.#depth
  }

  /** Resolves when the oldest write is done. */
  ready(): Promise<void> {
    return this.#inFlight[0]?.promise ?? Promise.resolve()
  }

  /** Everything appended is written and synced. */
  async sync(): Promise<void> {
    await this.drain()
    await new Promise<void>((resolve, reject) => fs.fdatasync(this.#fd, (error) => (error ? reject(error) : resolve())))
  }

  /** Everything appended is written, and as durable as the log's policy makes it. */
  async drain(): Promise<void> {
    while (this.#inFlight.length > 0 || this.#offset > FRAME_HEADER) {
      if (this.#inFlight.length < this.#depth) this.#commit()
      await this.ready()
    }
    if (this.#error !== undefined) throw this.#error
  }

  async close(): Promise<void> {
    await this.drain()
    // The zeroes that were never written over are not part of the log.
    fs.ftruncateSync(this.#fd, this.#fileOffset)
    fs.closeSync(this.#fd)
  }

  #startGroup(): void {
    const memory = this.#free.pop()
    if (memory === undefined) {
      this.#current = undefined
      return
    }
    let resolve!: () => void
    let reject!: (error: Error) => void
    const promise = new Promise<void>((resolvePromise, rejectPromise) => {
      resolve = resolvePromise
      reject = rejectPromise
    })
    this.#current = { memory, promise, resolve, reject, first: this.position + 1, waiters: [], count: 0, length: 0, finished: false }
    this.#bytes = memory.bytes
    this.#words = memory.words
    this.#offset = FRAME_HEADER
  }

  #commit(): void {
    const group = this.#current
    if (group === undefined || group.count === 0) return
    group.length = this.#offset
    seal(group)
    if (this.#depth > 1 && this.#options.sync !== 'none') this.#aim(group.length)
    this.#inFlight.push(group)
    this.#startGroup()
    let length = group.length
    if (this.#options.sync === 'direct') {
      length = alignPage(length)
      group.memory.bytes.fill(0, group.length, length)
    }
    const at = this.#fileOffset
    this.#fileOffset += length
    this.#write(group, length, at)
    if (this.#options.writeBack === true && !this.#writingBack && at - this.#writtenBack >= WRITE_BACK_BYTES) this.#writeBack(at)
  }

  #writeBack(upTo: number): void {
    this.#writingBack = true
    fs.fdatasync(this.#fd, (error) => {
      if (error !== null) return this.#fail(error)
      this.#writtenBack = upTo
      this.#writingBack = false
    })
  }

  /**
   * Half of what a cycle brings: when a thousand appends arrive at once, the first half is on its way while
   * JavaScript still runs the second. Two groups make a cycle, so their mean is the half.
   */
  #aim(length: number): void {
    this.#target = Math.max(16 << 10, (length + this.#previousLength) >>> 1)
    this.#previousLength = length
  }

  #write(group: Group, length: number, at: number): void {
    fs.write(this.#fd, group.memory.buffer, 0, length, at, (error, written) => {
      if (error !== null) return this.#fail(error)
      if (written !== length) return this.#fail(new Error(`short write: ${written} of ${length} bytes`))
      if (this.#options.sync === 'none' || (this.#options.sync !== 'fdatasync' && O_DSYNC !== undefined)) return this.#finish(group)
      fs.fdatasync(this.#fd, (failed) => (failed !== null ? this.#fail(failed) : this.#finish(group)))
    })
  }

  #finish(group: Group): void {
    group.finished = true
    while (this.#inFlight.length > 0 && this.#inFlight[0].finished) {
      const done = this.#inFlight.shift()!
      this.#free.push(done.memory)
      if (this.#current === undefined) this.#startGroup()
      const { waiters, first } = done
      for (let index = 0; index < waiters.length; index++) waiters[index](first + index)
      done.resolve()
    }
    if (!this.#scheduled && this.#offset > FRAME_HEADER) {
      this.#scheduled = true
      queueMicrotask(this.#endOfTurn)
    }
  }

  /** A failed write is final: nothing after it can be acknowledged. */
  #fail(error: Error): void {
    this.#error ??= error
    for (const group of this.#inFlight.splice(0)) reject(group, error)
    if (this.#current !== undefined) reject(this.#current, error)
    this.#current = undefined
    this.#offset = FRAME_HEADER
  }
}

/** Takes the resolver out of the promise being made. One function for all, since a closure for each record would be made anew. */
let captured!: Settle
const capture = (resolve: Settle): void => {
  captured = resolve
}

function reject({ promise, reject: rejectAll, waiters }: Group, error: Error): void {
  rejectAll(error)
  // Nobody may be waiting for it: the waiters have promises of their own, which it rejects.
  promise.catch(() => {})
  for (const settle of waiters) settle(promise as Promise<never>)
}

function seal(group: Group): void {
  const { words, buffer } = group.memory
  words[1] = group.length - FRAME_HEADER
  words[2] = group.count
  words[3] = group.first >>> 0
  words[4] = (group.first / 2 ** 32) >>> 0
  words[0] = checksum(buffer.subarray(4, group.length))
}

/** Typed here because its declarations come with the browser's. */
declare const WebAssembly: { readonly Memory: new (descriptor: { initial: number }) => { readonly buffer: ArrayBuffer } }

/** Direct I/O needs page-aligned memory. WebAssembly's is, and JavaScript has no other way to get it. */
function allocate(aligned: boolean): Memory {
  const memory = aligned ? new WebAssembly.Memory({ initial: CAPACITY >>> 16 }).buffer : new ArrayBuffer(CAPACITY)
  const bytes = new Uint8Array(memory)
  bytes.fill(1) // touched now, so that the first groups do not pay for page faults
  return { bytes, buffer: Buffer.from(memory), words: new Uint32Array(memory) }
}

function syncFlags(sync: LogOptions['sync']): number {
  if (sync === 'none' || sync === 'fdatasync') return 0
  if (sync === 'direct' && O_DIRECT === undefined) throw new Error('this platform has no O_DIRECT')
  return (O_DSYNC ?? 0) | (sync === 'direct' ? O_DIRECT : 0)
}

function zeroFill(path: string, bytes: number): void {
  const fd = fs.openSync(path, 'w')
  const zeroes = Buffer.alloc(1 << 20)
  for (let offset = 0; offset < bytes; offset += zeroes.length) fs.writeSync(fd, zeroes, 0, zeroes.length, offset)
  fs.fsyncSync(fd)
  fs.closeSync(fd)
}
