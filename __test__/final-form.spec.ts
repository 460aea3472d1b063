// Records are written by JavaScript as they go to the disk: whatever their lengths, and while earlier ones are on their way there.

import test from 'ava'
import { Record, type AppendableBytes, type Wal } from '../index.js'
import { temporaryLog } from './helpers/log.js'

// Around the lengths that need another byte for the length itself, that are copied in another way, or that cross by themselves.
const LENGTHS = [
  1, 2, 23, 24, 25, 42, 43, 63, 64, 65, 126, 127, 128, 129, 255, 4095, 5458, 5459, 5461, 8000, 16_370, 16_383, 16_384, 70_000,
]

function* texts(): Generator<string> {
  for (const length of LENGTHS) {
    for (const character of ['a', 'é', '漢', '😀']) {
      yield character.repeat(length)
      // Its bytes need a longer length than its characters do.
      yield 'a'.repeat(length - 1) + character
    }
  }
}

/** Every combination of a short key and a value, and of a key and a short value. */
function records(): [string | Buffer, string | Buffer][] {
  const all = [...texts()]
  return [...all, ...all.map((text) => Buffer.from(text))].flatMap((bytes) => [
    ['k', bytes],
    [bytes, 'v'],
    [bytes, bytes],
  ])
}

const ways: { [way: string]: (wal: Wal, made: AppendableBytes[]) => Promise<unknown> } = {
  'one after the other': async (wal, made) => {
    for (const record of made) await wal.append(record)
  },
  together: (wal, made) => Promise.all(made.map((record) => wal.append(record))),
  'as one batch': (wal, made) => wal.appendBatch(made),
  'with their positions at once': (wal, made) => {
    for (const record of made) wal.enqueue(record)
    return wal.sync()
  },
}

for (const [way, append] of Object.entries(ways)) {
  for (const fsync of ['always', 'os'] as const) {
    test(`keys and values of every length and width are read back as they were appended, ${way}, with fsync '${fsync}'`, async (t) => {
      const wal = await temporaryLog(t, { fsync })
      const given = records()
      await append(
        wal,
        given.map(([key, value]) => Record.put(key, value))
      )
      let count = 0
      for await (const { key, value } of wal.readFrom('start')) {
        const [expectedKey, expectedValue] = given[count++].map((bytes) => Buffer.from(bytes as string))
        if (!key!.equals(expectedKey) || !value!.equals(expectedValue)) return t.fail(`record ${count}`)
      }
      t.is(count, given.length)
    })
  }
}

test('records are not changed by those that are written while they are on their way to the disk', async (t) => {
  const wal = await temporaryLog(t, { fsync: 'always' })
  const [TOTAL, IN_FLIGHT] = [12_000, 700]
  // Groups of all sizes, of which large ones fill an arena.
  const value = (n: number) => Buffer.alloc(1 + ((n * 7919) % (n % 2000 < 1000 ? 60 : 3000)), `${n} `)
  const positions: number[] = []
  let next = 0
  const loop = async () => {
    while (next < TOTAL) {
      const n = next++
      const position = n % 5 === 0 ? (await wal.appendBatch([value(n)])).first : await wal.append(value(n))
      positions[position] = n
    }
  }
  await Promise.all(Array.from({ length: IN_FLIGHT }, loop))
  let read = 0
  for await (const { position, value: bytes } of wal.readFrom('start')) {
    read++
    if (!bytes!.equals(value(positions[position]))) return t.fail(`record ${position}`)
  }
  t.is(read, TOTAL)
})

const replaced: { [what: string]: object } = {
  'has neither key nor value': { key: undefined, value: undefined },
  'is a tombstone with a value': { tombstone: true },
  'has no boolean in tombstone': { value: undefined, tombstone: 'false' },
}

for (const [what, fields] of Object.entries(replaced)) {
  test(`a record that ${what} since it was made is refused at once, and those beside it are not`, async (t) => {
    const wal = await temporaryLog(t, { fsync: 'os' })
    const bad = Object.assign(Record.put('k', 'v'), fields)
    const refused = { code: 'ERR_WAL_INVALID_ARG' }
    const [first, , last] = await Promise.all([wal.append('a'), t.throwsAsync(wal.append(bad), refused), wal.append('b')])
    t.deepEqual([first, last], [1, 2])
    t.throws(() => wal.enqueue(bad), refused)
    await t.throwsAsync(wal.appendBatch(['c', bad, 'd']), refused)
    t.is(await wal.append('e'), 3)
  })
}
