// Whatever throws, or calls the log again, while a record is on its way in: nothing of it is left behind, in this log or in another.

import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { AbortError, Record, Wal, WalError, type CodecOption } from '../index.js'
import { node, root } from './helpers/command.js'
import { temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'

// Above what crosses with others.
const LARGE = 'large '.repeat(4000)
const METHODS = ['append', 'appendBatch', 'enqueue', 'writable'] as const
type Method = (typeof METHODS)[number]

/** Does something at the n-th of the traps that objects made by it fall into. */
class Steps {
  #left: number
  readonly #act: () => void

  constructor(n: number, act: () => void) {
    this.#left = n
    this.#act = act
  }

  /** Whether the n-th has been reached. */
  get isOver(): boolean {
    return this.#left <= 0
  }

  /** The same object, and what is in it, with a step at every look. */
  wrap<T>(target: T): T {
    if (typeof target !== 'object' || target === null) return target
    const step = () => {
      if (--this.#left === 0) this.#act()
    }
    const traps: ProxyHandler<object> = {}
    for (const trap of ['getPrototypeOf', 'getOwnPropertyDescriptor', 'has', 'ownKeys'] as const) {
      traps[trap] = (...args: [never]) => {
        step()
        return (Reflect[trap] as (...args: unknown[]) => never)(...args)
      }
    }
    // Not with the Proxy as the receiver: private fields are looked up in it.
    traps.get = (object, name) => {
      step()
      const value = Reflect.get(object, name)
      if (typeof value === 'function') return value.bind(object)
      // Bytes are to arrive: the wrapped ones are no bytes.
      return value instanceof Uint8Array ? value : this.wrap(value)
    }
    return new Proxy<object>(target, traps) as T
  }
}

/** A log and what is to be in it. */
class Model {
  readonly wal: Wal<unknown>
  readonly expected: string[] = []
  readonly isCoded: boolean

  constructor(wal: Wal<unknown>, isCoded: boolean) {
    this.wal = wal
    this.isCoded = isCoded
  }

  /** A call by one of the methods, as a promise of the positions taken. */
  async call(method: Method, records: unknown[], options?: object): Promise<number[]> {
    const { wal } = this
    switch (method) {
      case 'append':
        return [await wal.append(records[0], options)]
      case 'enqueue': {
        const position = wal.enqueue(records[0], options)
        await wal.sync()
        return [position]
      }
      case 'appendBatch': {
        const { first, last } = await wal.appendBatch(records, options)
        return Array.from({ length: last - first + 1 }, (_, i) => first + i)
      }
      case 'writable': {
        const before = wal.nextPosition
        const stream = wal.writable()
        await new Promise<void>((resolve, reject) => {
          stream.on('error', reject)
          stream.end(records[0], (error?: Error | null) => (error ? reject(error) : resolve()))
        })
        return [before]
      }
    }
  }

  /** Accepted as it should be: the records are in the log, at these positions. */
  note(t: ExecutionContext, positions: number[], ...texts: string[]): void {
    t.deepEqual(
      positions,
      texts.map((_, i) => this.expected.length + 1 + i)
    )
    this.expected.push(...texts)
  }

  /** Goes on by every method as if nothing had been, and looks at all there is. */
  async check(t: ExecutionContext, step: string): Promise<void> {
    for (const method of METHODS) {
      const texts = method === 'appendBatch' ? [`${step} one`, `${step} two`] : [`${step} ${method}`]
      this.note(t, await this.call(method, texts), ...texts)
    }
    const found: string[] = []
    for await (const { value } of this.wal.readFrom(1)) found.push(this.isCoded ? textIn(value) : String(value))
    t.deepEqual(found, this.expected, step)
  }
}

const textIn = (value: unknown): string => (typeof value === 'string' ? value : (value as { text: string }).text)

async function model(t: ExecutionContext, codec?: CodecOption<unknown>): Promise<Model> {
  const options = { fsync: 'os', segmentBytes: SEGMENT_BYTES } as const
  const wal = await (codec === undefined
    ? Wal.open(temporaryDirectory(t), options)
    : Wal.open(temporaryDirectory(t), { ...options, codec }))
  t.teardown(() => wal.close().catch(() => {}))
  return new Model(wal, codec !== undefined)
}

/** Calls with something that does `act` at its n-th step, for every n. `note` is told of the calls that were accepted. */
async function everyStep(
  t: ExecutionContext,
  logs: Model[],
  attempt: (steps: Steps, step: string) => Promise<{ positions: number[]; texts: string[]; log: Model }>,
  act: (step: string) => void
): Promise<void> {
  for (let n = 1; ; n++) {
    const step = `step ${n}`
    const steps = new Steps(n, () => act(step))
    await attempt(steps, step).then(
      ({ positions, texts, log }) => log.note(t, positions, ...texts),
      (error: unknown) => t.true(error instanceof WalError || error instanceof AbortError, `${step}: ${String(error)}`)
    )
    for (const log of logs) await log.check(t, step)
    if (!steps.isOver) {
      t.true(n > 1, 'there are steps')
      return
    }
  }
}

const thrown = [() => new Error('thrown'), () => Object.create(null)] as const

const init = (text: string) => ({ key: 'key', value: text, expiresAt: 4e12, version: { term: 1, index: 2 } })

/** Records with steps in them, each with the text that is read again. */
const shapes: { [name: string]: (steps: Steps, text: string) => unknown } = {
  'a plain object': (steps, text) => steps.wrap({ value: text }),
  'a plain object with every field': (steps, text) => steps.wrap(init(text)),
  'a time to live': (steps, text) => steps.wrap({ key: 'key', value: text, ttlMs: 1e9 }),
  'a record that was made': (steps, text) => steps.wrap(Record.put('key', text, { expiresAt: 4e12, version: { term: 1, index: 2 } })),
}

for (const method of METHODS) {
  for (const [shape, make] of Object.entries(shapes)) {
    for (const size of ['small', 'large'] as const) {
      test(`${method}: ${shape}, ${size}, whose n-th access throws, for every n`, async (t) => {
        const [log, other] = [await model(t), await model(t)]
        for (const reason of thrown) {
          await everyStep(
            t,
            [log, other],
            async (steps, step) => {
              const text = size === 'small' ? step : `${step} ${LARGE}`
              const record = make(steps, text)
              const [before, after] = [`${step} before`, `${step} ${LARGE} after`]
              const isBatch = method === 'appendBatch'
              const positions = await log.call(method, isBatch ? [before, after, record, before] : [record])
              return { positions, texts: isBatch ? [before, after, text, before] : [text], log }
            },
            () => {
              throw reason()
            }
          )
        }
      })
    }
  }
}

test('an iterable whose n-th access throws, for every n, leaves nothing of its batch', async (t) => {
  const [log, other] = [await model(t), await model(t)]
  await everyStep(
    t,
    [log, other],
    async (steps, step) => {
      const texts = [step, `${step} ${LARGE}`, step]
      return { positions: await log.call('appendBatch', steps.wrap(texts)), texts, log }
    },
    () => {
      throw new Error('thrown')
    }
  )
})

for (const method of ['append', 'appendBatch', 'enqueue'] as const) {
  test(`${method}: options whose n-th access throws, for every n`, async (t) => {
    const [log, other] = [await model(t), await model(t)]
    await everyStep(
      t,
      [log, other],
      async (steps, step) => {
        const options = {
          durable: true,
          expect: log.wal.nextPosition,
          ...(method !== 'enqueue' && { signal: new AbortController().signal }),
        }
        return { positions: await log.call(method, [step], steps.wrap(options)), texts: [step], log }
      },
      () => {
        throw new Error('thrown')
      }
    )
  })
}

for (const codec of ['json', 'msgpack'] as const) {
  for (const method of METHODS) {
    test(`${method} with ${codec}: a value whose n-th access throws, for every n`, async (t) => {
      const [log, other] = [await model(t, codec), await model(t)]
      for (const size of ['', LARGE]) {
        await everyStep(
          t,
          [log, other],
          async (steps, step) => {
            const text = `${step}${size}`
            const value = steps.wrap({ text, list: [1, { deep: true }], none: null })
            const isBatch = method === 'appendBatch'
            const positions = await log.call(method, isBatch ? ['a', Record.put('key', value), 'b'] : [Record.put('key', value)])
            return { positions, texts: isBatch ? ['a', text, 'b'] : [text], log }
          },
          () => {
            throw new Error('thrown')
          }
        )
      }
    })
  }
}

// Calls that something makes in the middle of another.
const nested: { [name: string]: (log: Model, text: string) => void } = {
  append: (log, text) => {
    log.expected.push(text)
    void log.wal.append(text)
  },
  'append a large one': (log, text) => {
    log.expected.push(`${text} ${LARGE}`)
    void log.wal.append(`${text} ${LARGE}`)
  },
  enqueue: (log, text) => {
    log.expected.push(text)
    log.wal.enqueue(text)
  },
  appendBatch: (log, text) => {
    log.expected.push(text, `${text} ${LARGE}`)
    void log.wal.appendBatch([text, `${text} ${LARGE}`])
  },
  'appendBatch that is refused': (log, text) => {
    log.wal.appendBatch([text, `${text} ${LARGE}`, 7]).catch(() => {})
  },
}

for (const [name, call] of Object.entries(nested)) {
  for (const method of METHODS) {
    test(`${method}: a record whose n-th access calls ${name}, in the same log and in another, for every n`, async (t) => {
      const [log, other] = [await model(t), await model(t)]
      for (const at of [log, other]) {
        await everyStep(
          t,
          [log, other],
          async (steps, step) => {
            const record = steps.wrap(Record.put('key', `${step} outer`))
            const isBatch = method === 'appendBatch'
            // In the writable, the position is not told.
            const positions = await log.call(method, isBatch ? [`${step} before`, record] : [record])
            const texts = isBatch ? [`${step} before`, `${step} outer`] : [`${step} outer`]
            return { positions: method === 'writable' ? [log.expected.length + 1] : positions, texts, log }
          },
          (step) => call(at, `${step} nested`)
        )
      }
    })
  }
}

for (const method of METHODS) {
  test(`${method}: a record whose n-th access closes the log, for every n`, async (t) => {
    for (let n = 1, isOver = false; !isOver; n++) {
      const [log, other] = [await model(t), await model(t)]
      const steps = new Steps(n, () => void log.wal.close())
      const isBatch = method === 'appendBatch'
      const record = steps.wrap(Record.put('key', 'outer'))
      const outcome = await log.call(method, isBatch ? ['before', record] : [record]).catch((error) => error.code)
      // Without a step nothing was closed.
      isOver = !steps.isOver
      if (!isOver) t.is(outcome, 'ERR_WAL_CLOSED')
      await log.wal.close()
      await other.check(t, `step ${n}`)
      const again = await Wal.open(log.wal.dir, { segmentBytes: SEGMENT_BYTES })
      t.is(again.nextPosition, isOver ? (isBatch ? 3 : 2) : 1)
      await again.close()
    }
  })
}

test('a codec that throws, calls the log again or runs out of memory leaves nothing behind', async (t) => {
  let act = () => {}
  const codec = {
    encode: (value: unknown) => {
      const acts = act
      act = () => {}
      acts()
      return String(value)
    },
    decode: (bytes: Buffer) => bytes.toString(),
  }
  const [log, other] = [await model(t, codec), await model(t)]
  const acts: (() => void)[] = [
    () => {
      throw new Error('thrown')
    },
    () => void new Uint8Array(2 ** 53 - 1),
    () => void 'x'.repeat(2 ** 29).padEnd(2 ** 30),
    () => nested.append(log, 'nested'),
    () => nested.appendBatch(log, 'nested'),
    () => nested.append(other, 'nested'),
  ]
  for (const [i, each] of acts.entries()) {
    for (const method of METHODS) {
      act = each
      const texts = method === 'appendBatch' ? ['one', LARGE] : ['one']
      await log.call(method, texts).then(
        (positions) => log.note(t, method === 'writable' ? [log.expected.length + 1] : positions, ...texts),
        (error) => t.is(error.code, 'ERR_WAL_CODEC')
      )
      for (const each of [log, other]) await each.check(t, `act ${i} of ${method}`)
    }
  }
})

test('a signal whose methods throw or call the log again does not affect other operations', async (t) => {
  const log = await model(t)
  const { signal } = new AbortController()
  const { addEventListener } = signal
  signal.addEventListener = () => {
    throw new Error('thrown')
  }
  for (const method of ['append', 'appendBatch'] as const) {
    for (const text of ['x', LARGE]) await t.throwsAsync(log.call(method, [text], { signal }), { code: 'ERR_WAL_INVALID_ARG' })
    await log.check(t, method)
  }
  signal.addEventListener = (...args: unknown[]) => {
    nested.append(log, 'from the signal')
    return addEventListener.apply(signal, args as never)
  }
  signal.removeEventListener = () => {
    throw new Error('thrown')
  }
  for (const method of ['append', 'appendBatch'] as const) {
    for (const text of ['x', LARGE]) {
      const positions = await log.call(method, [text], { signal })
      log.note(t, positions, text)
      await log.check(t, `${method} ${text.length}`)
    }
  }
})

// Optimized code takes less of the stack, and comes when it likes: without it the end comes at the same places in each run.
for (const [code, flags] of [
  ['optimized code', []],
  ['plain code', ['--no-opt', '--no-maglev']],
] as const) {
  test(`with the stack nearly used up, every promise resolves to the position of its own record: ${code}`, async (t) => {
    // In a process of its own: Node reports there each promise that could not be told.
    const script = `
    const { Wal } = await import(process.argv[1])
    const wal = await Wal.open(process.argv[2], { fsync: 'os', segmentBytes: 1 << 20 })
    const large = 'large '.repeat(1000)
    const outcomes = []
    function call(texts) {
      const told = texts.length === 1 ? wal.append(texts[0]).then((first) => ({ first })) : wal.appendBatch(texts)
      outcomes.push({ texts, told: told.catch(() => undefined) })
    }
    // Arguments that nothing looks at are words on the stack. With one less each time, a call gets one word further each time: so it
    // comes to every place where something is compiled or called for the first time, and the stack ends there.
    const words = Array.from({ length: 64 }, (_, n) => new Array(63 - n))
    let calls = 0
    function atEveryWord() {
      // Small ones in a row: a record without its promise shows in those that cross with it.
      for (const make of [(text) => [text], (text) => [text, text], (text) => [text + large]]) {
        for (const pad of words) try { call.apply(undefined, [make('call ' + calls++), ...pad]) } catch {}
      }
    }
    function dive() {
      try { dive() } catch {}
      try { if (outcomes.length < 5000) atEveryWord() } catch {}
    }
    // Where a count is wrong nothing has settled any more.
    setTimeout(() => (console.log('nothing has settled'), process.exit(1)), 60_000).unref()
    // So that the end of the turn is awaited already: that takes more of the stack than the promise of a record.
    wal.enqueue('first')
    dive()
    let [right, wrong] = [0, 0]
    await wal.sync()
    const found = ['']
    for await (const { value } of wal.readFrom('start')) found.push(String(value))
    for (const { texts, told } of outcomes) {
      const outcome = await told
      if (outcome === undefined) continue
      if (texts.every((text, i) => found[outcome.first + i] === text)) right++
      else wrong++
    }
    console.log(right > 1000, wrong, (await wal.append('next')) === found.length)
    await wal.close()`
    const { stdout } = await node([...flags, '--input-type=module', '-e', script, path.join(root, 'index.js'), temporaryDirectory(t)])
    t.is(stdout.toString(), 'true 0 true\n')
  })
}
