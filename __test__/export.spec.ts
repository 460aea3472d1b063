import { spawn } from 'node:child_process'
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync, writeSync } from 'node:fs'
import path from 'node:path'
import test, { type ExecutionContext } from 'ava'
import { Record, Wal, type RecordInit } from '../index.js'
import { cliScript, forelog, type Result } from './helpers/command.js'
import { segments, temporaryDirectory } from './helpers/directory.js'
import { SEGMENT_BYTES } from './helpers/log.js'
import { exactEntry } from '../dist/records/record.js'
import { parseLine, recordLine, type RecordLine } from '../dist/cli/ndjson.js'
import type { DetailedRecord } from '../dist/records/detailed-block.js'

type Fields = { [name: string]: unknown }

const MIB = 1 << 20

/** What runs, and has to end well. */
async function ok(t: ExecutionContext, args: string[], input?: string | Buffer): Promise<Result> {
  const result = await forelog(args, { input })
  t.is(result.code, 0, result.stderr)
  return result
}

const exported = async (t: ExecutionContext, dir: string, ...options: string[]): Promise<string> =>
  String((await ok(t, ['export', dir, '--quiet', ...options])).stdout)

const objects = (text: string): Fields[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Fields)

const HEADER = '{"forelog":"export","version":1,"firstPosition":1}\n'
const value = (position: number, text = `value ${position}`): string => `${JSON.stringify({ position, value: text })}\n`
const END = (nextPosition: number, records = nextPosition - 1): string => `{"end":{"nextPosition":${nextPosition},"records":${records}}}\n`

/** A log of its own, closed again. */
async function written(t: ExecutionContext, write: (wal: Wal) => Promise<unknown>, options = {}): Promise<string> {
  const dir = path.join(temporaryDirectory(t), 'log')
  const wal = await Wal.open(dir, { segmentBytes: SEGMENT_BYTES, ...options })
  await write(wal)
  await wal.close()
  return dir
}

/** Numbers from 0 to 1, the same for the same seed. */
function random(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

const SPECIAL = ['', '\0', '\n', '"\\', '\u2028', '\ufeff', '😀', '\ufffd', '__proto__', '{"end":1}', 'ä'.repeat(300)]
const NUMBERS = [0n, 1n, 4_102_444_800_000n, (1n << 53n) - 1n, 1n << 53n, (1n << 53n) + 1n, (1n << 64n) - 1n]

/** A record of any kind that a log may hold. */
function anyRecord(draw: () => number): ReturnType<typeof exactEntry> {
  const pick = <T>(from: readonly T[]): T => from[Math.floor(draw() * from.length)]
  const bytes = () => {
    if (draw() < 0.3) return Buffer.from(pick(SPECIAL))
    if (draw() < 0.2) return Buffer.of(0xff)
    const length = Math.floor(draw() ** 4 * 3000)
    return Buffer.from(Array.from({ length }, () => (draw() < 0.5 ? 97 + Math.floor(draw() * 26) : Math.floor(draw() * 256))))
  }
  const isTombstone = draw() < 0.2
  const hasValue = !isTombstone && draw() < 0.9
  const hasKey = !hasValue || draw() < 0.5
  const isKeyless = isTombstone && draw() < 0.2
  return exactEntry(
    hasKey && !isKeyless ? bytes() : undefined,
    hasValue ? bytes() : undefined,
    isTombstone,
    draw() < 0.3 ? pick(NUMBERS) : undefined,
    draw() < 0.3 ? { term: pick(NUMBERS), index: pick(NUMBERS) } : undefined
  )
}

for (const [seed, compression] of [
  [1, 'none'],
  [2, 'lz4'],
  [3, 'zstd'],
  [4, 'none'],
] as const) {
  test(`export and import reproduce a log of any content: seed ${seed}, ${compression}`, async (t) => {
    const draw = random(seed)
    const dir = await written(
      t,
      async (wal) => {
        if (seed === 4) await wal.reset(2 ** 53 - 5000)
        for (let n = 0; n < 250; n++) {
          const size = draw() < 0.3 ? Math.floor(draw() ** 2 * 20) + 1 : 0
          if (size === 0) wal.enqueue(anyRecord(draw))
          else await wal.appendBatch(Array.from({ length: size }, () => anyRecord(draw)))
          if (draw() < 0.1) await wal.sync()
        }
      },
      { compression }
    )
    const text = await exported(t, dir)
    const lines = objects(text)
    t.true(lines.some(({ batch }) => batch !== undefined) && lines.some(({ keyBase64 }) => keyBase64 !== undefined))
    t.true(lines.some(({ expiresAt }) => expiresAt === '18446744073709551615'))

    const copy = path.join(path.dirname(dir), 'copy')
    const { stderr } = await ok(t, ['import', copy, '--compression', compression === 'none' ? 'lz4' : 'none'], text)
    t.regex(stderr, /^[\d,]+ records, [\d,]+ records\/s; the next position of the log is \d+\n$/)
    t.is(await exported(t, copy), text)
    // The export says what a reader sees.
    const [from, to] = await Promise.all([dir, copy].map((log) => Wal.open(log, { mode: 'readOnly' })))
    t.is(to.firstPosition, from.firstPosition)
    const others = to.readFrom('start')
    for await (const record of from.readFrom('start')) t.deepEqual((await others.next()).value?.toJSON(), record.toJSON())
    t.true((await others.next()).done)
    await Promise.all([from.close(), to.close()])
  })
}

test('a line restores the bytes of its record, for every kind of record', (t) => {
  const draw = random(99)
  for (let n = 1; n <= 3000; n++) {
    const { key, value, tombstone, expiresAt, version } = anyRecord(draw)
    const whole = (number: unknown) => BigInt(number as number)
    const record: DetailedRecord = {
      position: n,
      key: key as Buffer | undefined,
      value: value as Buffer | undefined,
      tombstone,
      expiresAt: expiresAt === undefined ? undefined : whole(expiresAt),
      version: version && { term: whole(version.term), index: whole(version.index) },
    }
    const line = recordLine(record, n % 3 === 0 ? [n, n + 1] : undefined)
    const parsed = parseLine(Buffer.from(line), 2) as RecordLine
    t.deepEqual(parsed, { kind: 'record', record, batch: n % 3 === 0 ? [n, n + 1] : undefined }, line)
  }
})

test('an export has a header, one line per record with its fields, and an end', async (t) => {
  const dir = await written(t, async (wal) => {
    await wal.append('plain\n')
    await wal.append(Record.put(Buffer.of(0xff), Buffer.of(0, 0xff), { expiresAt: 4e12, version: { term: 2, index: 7 } }))
    await wal.appendBatch([Record.put('a', ''), Record.delete('a')])
    await wal.appendBatch(['alone'])
    await wal.append('after')
  })
  t.deepEqual(objects(await exported(t, dir)), [
    { forelog: 'export', version: 1, firstPosition: 1 },
    { position: 1, value: 'plain\n' },
    { position: 2, keyBase64: '/w==', valueBase64: 'AP8=', expiresAt: 4e12, version: { term: 2, index: 7 } },
    { position: 3, key: 'a', value: '', batch: [3, 4] },
    { position: 4, key: 'a', tombstone: true, batch: [3, 4] },
    { position: 5, value: 'alone', batch: [5, 5] },
    { position: 6, value: 'after' },
    { end: { nextPosition: 7, records: 6 } },
  ])
  t.deepEqual(objects(await exported(t, dir, '--from', '4')).slice(0, 2), [
    { forelog: 'export', version: 1, firstPosition: 4 },
    { position: 4, key: 'a', tombstone: true, batch: [4, 4] },
  ])
})

test('a log without records keeps its next position', async (t) => {
  const dir = await written(t, (wal) => wal.reset(1001))
  const text = await exported(t, dir)
  t.deepEqual(objects(text), [{ forelog: 'export', version: 1, firstPosition: 1001 }, { end: { nextPosition: 1001, records: 0 } }])
  const copy = path.join(path.dirname(dir), 'copy')
  await ok(t, ['import', copy], text)
  const wal = await Wal.open(copy)
  t.is(wal.nextPosition, 1001)
  await wal.close()
})

test('the copy of a truncated log begins at the same position', async (t) => {
  const dir = await written(t, async (wal) => {
    await wal.append('gone')
    await wal.appendBatch(['gone too', 'b', 'c'])
    await wal.append('d')
    await wal.truncateBefore(3)
  })
  const text = await exported(t, dir)
  // What is left of a batch is a smaller batch.
  t.deepEqual(objects(text)[1], { position: 3, value: 'b', batch: [3, 4] })
  const copy = path.join(path.dirname(dir), 'copy')
  await ok(t, ['import', copy], text)
  t.is(await exported(t, copy), text)
})

test('an imported batch is atomic in the new log', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const batch = [1, 2, 3].map((position) => JSON.stringify({ position, value: 'x'.repeat(3000), batch: [1, 3] })).join('\n')
  await ok(t, ['import', dir], `${HEADER}${batch}\n${END(4)}`)
  const file = path.join(dir, segments(dir)[0])
  // Damage to its last record takes all of it.
  const bytes = readFileSync(file)
  bytes[bytes.lastIndexOf('x')] ^= 1
  writeFileSync(file, bytes)
  const { code, stdout } = await forelog(['export', dir, '--salvage', '--quiet'])
  t.is(code, 1)
  t.like(objects(String(stdout))[1], { hole: { first: 1, last: 3 } })
})

test('records and a batch of the largest default size come back, line by line, from a file', async (t) => {
  const bytes = Buffer.alloc(16 * MIB - 64)
  for (let i = 0; i < bytes.length; i += 4096) bytes[i] = i / 4096
  const dir = await written(t, async (wal) => {
    await wal.append(bytes)
    await wal.append('"'.repeat(16 * MIB - 64))
    await wal.appendBatch([bytes, bytes])
  })
  const [file, copy] = ['log.ndjson', 'copy'].map((name) => path.join(path.dirname(dir), name))
  writeFileSync(file, (await ok(t, ['export', dir])).stdout)
  await ok(t, ['import', copy, file])
  const wal = await Wal.open(copy, { mode: 'readOnly' })
  const sizes: (number | undefined)[] = []
  for await (const { position, value } of wal.readFrom('start')) {
    sizes.push(value?.length)
    t.true(position === 2 || value?.equals(bytes))
  }
  t.deepEqual(
    sizes,
    Array.from({ length: 4 }, () => 16 * MIB - 64)
  )
  await wal.close()
})

/** Imports lines that are wrong somewhere into a new log; what stands before is kept, and nothing else. */
async function refused(t: ExecutionContext, input: string | Buffer, message: RegExp, kept: string[], ...options: string[]): Promise<void> {
  const dir = path.join(temporaryDirectory(t), 'log')
  const { code, stderr } = await forelog(['import', dir, '--quiet', ...options], { input })
  t.is(code, 6, stderr)
  t.regex(stderr, message)
  t.regex(stderr, /^forelog: [^\n]+\n$/)
  t.regex(
    stderr,
    kept.length > 0 ? new RegExp(`the records up to position ${kept.length} are in the log`) : /nothing was imported|no record was/
  )
  if (!existsSync(dir)) {
    t.deepEqual(kept, [])
    return
  }
  const wal = await Wal.open(dir, { mode: 'readOnly' })
  const values: string[] = []
  for await (const { value } of wal.readFrom('start')) values.push(String(value))
  await wal.close()
  t.deepEqual(values, kept)
}

const wrongRecords: { [what: string]: [fields: unknown, message: RegExp] } = {
  'no object': [[2], /line 3: the record must be an object/],
  'a null': [null, /line 3: the record must be an object/],
  'no position': [{ value: 'x' }, /line 3: position must be a position/],
  'position 0': [{ position: 0, value: 'x' }, /line 3: position must be a position/],
  'a position that is rounded': ['{"position":9007199254740993,"value":"x"}', /line 3: position must be a position/],
  'an unknown field': [{ position: 2, value: 'x', ttl: 5 }, /line 3: the record has an unknown field "ttl"/],
  'a field by the name of __proto__': ['{"position":2,"value":"x","__proto__":{}}', /unknown field "__proto__"/],
  'two values': [{ position: 2, value: 'x', valueBase64: 'eA==' }, /value and valueBase64 exclude each other/],
  'a value that is no string': [{ position: 2, value: 5 }, /line 3: value must be a string/],
  'half a surrogate pair': ['{"position":2,"value":"\\ud800"}', /line 3: value has half of a surrogate pair/],
  'bad base64': [{ position: 2, valueBase64: 'x?' }, /line 3: valueBase64 must be base64/],
  'base64 without its padding': [{ position: 2, valueBase64: 'eA' }, /line 3: valueBase64 must be base64/],
  'a tombstone with a value': [{ position: 2, key: 'k', value: 'x', tombstone: true }, /line 3: a tombstone cannot have a value/],
  'a tombstone that is no boolean': [{ position: 2, key: 'k', tombstone: 1 }, /line 3: tombstone must be true or false/],
  'an empty record': [{ position: 2 }, /line 3: the record has neither key nor value nor tombstone/],
  'an expiry below zero': [{ position: 2, value: 'x', expiresAt: -1 }, /line 3: expiresAt must be a whole number/],
  'an expiry that is rounded': [
    '{"position":2,"value":"x","expiresAt":9007199254740993}',
    /line 3: expiresAt must be .* a string of digits/,
  ],
  'an expiry above 64 bits': [{ position: 2, value: 'x', expiresAt: '18446744073709551616' }, /line 3: expiresAt must be/],
  'a version without an index': [{ position: 2, value: 'x', version: { term: 1 } }, /line 3: version.index must be/],
  'a version with more': [{ position: 2, value: 'x', version: { term: 1, index: 1, node: 3 } }, /version has an unknown field "node"/],
  'a batch that is no range': [{ position: 2, value: 'x', batch: 2 }, /line 3: batch must be \[first position, last position\]/],
  'a batch elsewhere': [{ position: 2, value: 'x', batch: [5, 6] }, /line 3: position 2 is not in its batch/],
}

for (const [what, [fields, message]] of Object.entries(wrongRecords)) {
  test(`a line is refused with its number: ${what}`, (t) => {
    const line = typeof fields === 'string' ? fields : JSON.stringify(fields)
    t.throws(() => parseLine(Buffer.from(line), 3), { name: 'InputError', code: 'ERR_WAL_INVALID_ARG', message })
  })
}

test('import refuses a line that does not continue the previous one, and appends nothing of it', async (t) => {
  for (const [fields, message] of [
    [{ position: 1, value: 'x' }, /line 3: position 1 comes after 1: positions must increase/],
    [{ position: 3, value: 'x' }, /line 3: expected position 2, got 3: position 2 .*--renumber/],
    [{ position: 2, value: 'x', batch: [1, 3] }, /line 3: the batch 1 to 3 must begin with position 1, got 2/],
    [{ position: 2 }, /line 3: the record has neither key nor value nor tombstone/],
  ] as const) {
    await refused(t, `${HEADER}${value(1)}${JSON.stringify(fields)}\n${value(2)}${END(3)}`, message, ['value 1'])
  }
})

test('import refuses a line that is not JSON or not UTF-8 with its number, and appends nothing of it', async (t) => {
  await refused(t, `${HEADER}${value(1)}{"position":2,\n`, /line 3: it is not JSON/, ['value 1'])
  const bytes = Buffer.concat([
    Buffer.from(HEADER + value(1)),
    Buffer.from('{"position":2,"value":"'),
    Buffer.of(0xff),
    Buffer.from('"}\n'),
  ])
  await refused(t, bytes, /line 3: it is not UTF-8/, ['value 1'])
})

test('a batch with a wrong line is refused whole', async (t) => {
  const line = (position: number, fields = {}) => `${JSON.stringify({ position, value: `${position}`, batch: [2, 4], ...fields })}\n`
  const begun = `${HEADER}${value(1, '1')}${line(2)}`
  const wrongs: [string, RegExp][] = [
    [line(3, { value: 3 }), /line 4: value must be a string/],
    [line(4), /line 4: the batch 2 to 4 is incomplete: expected position 3 here/],
    [line(3, { batch: [2, 3] }), /line 4: the batch 2 to 4 is incomplete/],
    [line(3, { batch: undefined }), /line 4: the batch 2 to 4 is incomplete/],
    ['{"hole":{"first":3,"last":3}}\n', /line 4: the batch 2 to 4 is incomplete/],
    [END(3), /line 4: the batch 2 to 4 is incomplete/],
    ['', /line 4: the batch 2 to 4 is incomplete/],
  ]
  for (const [wrong, message] of wrongs) {
    await refused(t, `${begun}${wrong}`, message, ['1'])
    await refused(t, `${begun}${wrong}`, message, ['1'], '--renumber', '--partial')
  }
})

test('a file that is not an export of forelog is refused, and no log is created', async (t) => {
  for (const [input, message] of [
    ['', /line 1: the input is empty/],
    ['{"position":1,"value":"x"}\n', /line 1: this is not an export of forelog/],
    ['seq\n', /line 1: it is not JSON/],
    [
      '{"forelog":"export","version":2,"firstPosition":1,"new":true}\n',
      /line 1: the export has format version 2, and this forelog reads versions up to 1/,
    ],
    ['{"forelog":"export","firstPosition":1}\n', /line 1: the header has no version/],
    ['{"forelog":"export","version":1,"firstPosition":0}\n', /line 1: firstPosition must be a position/],
  ] as const) {
    const dir = path.join(temporaryDirectory(t), 'log')
    const { code, stderr } = await forelog(['import', dir], { input })
    t.is(code, 6, stderr)
    t.regex(stderr, message)
    t.false(existsSync(dir))
  }
})

test('an incomplete export is refused, unless that is allowed', async (t) => {
  const cut = `${HEADER}${value(1)}`
  await refused(t, cut, /line 3: the input ends without the end line of an export.*--partial/, ['value 1'])
  await refused(t, `${cut}${END(3, 2)}`, /the end line says that the last position is 2, but the last one in the input is 1/, ['value 1'])
  await refused(t, `${cut}${END(2)}${value(2)}`, /line 4: there are more lines after the end/, ['value 1'])
  const dir = path.join(temporaryDirectory(t), 'log')
  await ok(t, ['import', dir, '--partial'], cut)
  // An editor may leave an empty line.
  await ok(t, ['import', path.join(path.dirname(dir), 'other')], `${cut}${END(2)}\n\r\n`)
})

test('import continues a log with records only at its end', async (t) => {
  const dir = await written(t, (wal) => wal.appendBatch(['a', 'b']))
  const again = await forelog(['import', dir], { input: await exported(t, dir) })
  t.is(again.code, 6)
  t.regex(
    again.stderr,
    /line 1: the export begins at position 1, but the next position of the log is 3: .*--renumber; nothing was imported/
  )
  const more = '{"forelog":"export","version":1,"firstPosition":3}\n' + value(3, 'c') + END(4, 1)
  await ok(t, ['import', dir], more)
  t.is((await forelog(['import', dir], { input: more })).code, 6)
  t.is(String((await forelog(['cat', dir])).stdout), 'abc')
})

test('--renumber closes gaps and continues any log, and prints how positions changed', async (t) => {
  const gaps = `{"forelog":"export","version":1,"firstPosition":5}\n${value(5)}${value(6)}{"hole":{"first":7,"last":8}}\n${value(9)}${value(20)}${value(21)}${END(22, 5)}`
  const dir = path.join(temporaryDirectory(t), 'log')
  const { stderr } = await ok(t, ['import', dir, '--renumber', '--quiet'], gaps)
  t.is(
    stderr,
    'forelog: left out: positions 7 to 8, lost in the export\n' +
      'forelog: renumbered: position 9 became 7\n' +
      'forelog: renumbered: positions 20 to 21 became 8 to 9\n'
  )
  t.deepEqual(
    objects(await exported(t, dir))
      .map(({ position, value }) => [position, value])
      .slice(1, -1),
    [
      [5, 'value 5'],
      [6, 'value 6'],
      [7, 'value 9'],
      [8, 'value 20'],
      [9, 'value 21'],
    ]
  )
  const twice = await ok(t, ['import', dir, '--renumber', '--quiet'], `${HEADER}${value(1)}${END(2)}`)
  t.is(twice.stderr, 'forelog: renumbered: position 1 became 10\n')
})

/** Writes over bytes of a file. */
function spoil(file: string, offset: number): void {
  const fd = openSync(file, 'r+')
  const old = Buffer.alloc(8)
  readSync(fd, old, 0, 8, offset)
  writeSync(
    fd,
    old.map((byte) => byte ^ 0xff),
    0,
    8,
    offset
  )
  closeSync(fd)
}

test('an export stops at damage and has no end; with --salvage it continues and has the holes as lines', async (t) => {
  const dir = await written(t, async (wal) => {
    for (let n = 1; n <= 300; n++) await wal.append(Record.put(`key ${n}`, '.'.repeat(900), { expiresAt: 4e12 }))
  })
  const names = segments(dir)
  spoil(path.join(dir, names[1]), 20_000)
  const stopped = await forelog(['export', dir])
  t.is(stopped.code, 1)
  t.regex(
    stopped.stderr,
    /is damaged at offset \d+: .*; the export is incomplete, and has no end line \(ERR_WAL_CORRUPT\)\n {2}next: .*salvage/
  )
  t.is(objects(String(stopped.stdout)).filter(({ end }) => end !== undefined).length, 0)
  // The pipeline ends with an error at both ends.
  const copy = path.join(path.dirname(dir), 'copy')
  t.is((await forelog(['import', copy], { input: stopped.stdout })).code, 6)

  const { code, stdout, stderr } = await forelog(['export', dir, '--salvage'])
  t.is(code, 1)
  const lines = objects(String(stdout))
  const hole = lines.find(({ hole }) => hole !== undefined)?.hole as {
    first: number
    last: number
    segment: string
    offset: number
    bytes: number
  }
  t.is(hole.segment, names[1])
  t.true(hole.offset > 4096 && hole.bytes > 900)
  t.regex(stderr, new RegExp(`^forelog: lost: positions? ${hole.first}.* ${names[1]} from offset \\d+, \\d+ bytes\\n$`))
  const kept = lines.filter(({ position }) => position !== undefined).map(({ position }) => position as number)
  t.deepEqual(
    kept,
    Array.from({ length: 300 }, (_, i) => i + 1).filter((n) => n < hole.first || n > hole.last)
  )
  t.deepEqual(lines.at(-1), { end: { nextPosition: 301, records: kept.length, lost: 300 - kept.length } })
  const refusedImport = await forelog(['import', path.join(path.dirname(dir), 'gaps')], { input: stdout })
  t.is(refusedImport.code, 6)
  t.regex(refusedImport.stderr, /the export lost position.* cannot leave gaps: .*--renumber/)
  const salvaged = path.join(path.dirname(dir), 'salvaged')
  await ok(t, ['import', salvaged, '--renumber'], stdout)
  const keys = objects(await exported(t, salvaged)).filter(({ key }) => key !== undefined)
  t.deepEqual(
    keys.map(({ key, expiresAt }) => [key, expiresAt]),
    kept.map((n) => [`key ${n}`, 4e12])
  )
})

test('an import of a log that lost its first segment begins after it, and no position changes', async (t) => {
  const dir = await written(t, async (wal) => {
    for (let n = 1; n <= 200; n++) await wal.append('.'.repeat(900))
  })
  const [first, second] = segments(dir)
  rmSync(path.join(dir, first))
  const { stdout, stderr } = await forelog(['export', dir, '--salvage'])
  t.regex(stderr, new RegExp(`^forelog: lost: positions 1 to \\d+, ${first} is missing\\n$`))
  const copy = path.join(path.dirname(dir), 'copy')
  const { stderr: told } = await ok(t, ['import', copy, '--quiet'], stdout)
  t.regex(told, /^forelog: left out: positions 1 to \d+, lost in the export\n$/)
  t.is(objects(await exported(t, copy))[1].position, Number(second.slice(0, 20)))
})

test('imported records are durable when import exits, and an import that is killed leaves a prefix of the lines', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const child = spawn(process.execPath, [cliScript, 'import', dir], { stdio: ['pipe', 'ignore', 'inherit'] })
  child.stdin.write(HEADER)
  let n = 0
  const isThere = () =>
    existsSync(dir) && readdirSync(dir).some((name) => name.endsWith('.wal') && readFileSync(path.join(dir, name)).includes('value 500'))
  while (!isThere()) {
    n += 1
    if (!child.stdin.write(value(n))) await new Promise((resolve) => child.stdin.once('drain', resolve))
    if (n % 500 === 0) await new Promise(setImmediate)
  }
  child.kill('SIGKILL')
  child.stdin.on('error', () => {})
  await new Promise((resolve) => child.on('close', resolve))
  const lines = objects(await exported(t, dir)).slice(1, -1)
  t.true(lines.length >= 500)
  t.deepEqual(lines[499], { position: 500, value: 'value 500' })
})

test('an export of a log with a writer has the records acknowledged at the call', async (t) => {
  const dir = temporaryDirectory(t)
  const wal = await Wal.open(dir)
  t.teardown(() => wal.close())
  const records: RecordInit[] = Array.from({ length: 100 }, (_, n) => ({ key: `${n}`, value: 'v' }))
  await wal.appendBatch(records)
  let text = ''
  while (!text.includes('"records":100')) text = await exported(t, dir)
  t.is(objects(text).length, 102)
})

test('positions that an earlier salvage recorded as lost are holes in an export, and not damage', async (t) => {
  const dir = await written(t, async (wal) => {
    for (let n = 1; n <= 300; n++) await wal.append('.'.repeat(900))
  })
  const names = segments(dir)
  rmSync(path.join(dir, names[1]))
  const salvaged = path.join(path.dirname(dir), 'salvaged')
  t.is((await forelog(['salvage', dir, salvaged])).code, 1)
  const { stdout, stderr } = await ok(t, ['export', salvaged])
  const [first, last] = [Number(names[1].slice(0, 20)), Number(names[2].slice(0, 20)) - 1]
  t.is(stderr, `forelog: lost earlier: positions ${first} to ${last}, recorded by an earlier salvage\n`)
  t.like(
    objects(String(stdout)).find(({ hole }) => hole !== undefined),
    { hole: { first, last, recorded: true } }
  )
  const kept = objects(String(stdout)).filter(({ position }) => position !== undefined)
  t.is(kept.length, 300 - (last - first + 1))
  t.is((await ok(t, ['cat', salvaged])).stdout.length, kept.length * 900)
  const { stderr: told } = await ok(t, ['import', path.join(path.dirname(dir), 'copy'), '--renumber', '--quiet'], stdout)
  t.regex(told, new RegExp(`left out: positions ${first} to ${last}, .*\\n.*renumbered: positions ${last + 1} to 300 became ${first} to `))
})
