import { openSync, readdirSync, readFileSync, writeSync, closeSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { Wal } from '../index.js'
import { forelog } from './helpers/command.js'
import { copyOpenFiles, temporaryDirectory } from './helpers/directory.js'
import { values } from './helpers/log.js'

const PAGE = 4096
const FRAME_HEADER = 40
/** Flags, no key, a length of two bytes. */
const RECORD_HEADER = 4

test('a log opens after a power cut lost the first page of an unacknowledged commit and kept the later ones', async (t) => {
  const parent = temporaryDirectory(t)
  const wal = await Wal.open(path.join(parent, 'writer'), { fsync: 'os', segmentBytes: 256 * 1024 })
  await wal.append('durable\n', { durable: true })
  await wal.append('x'.repeat(2 * PAGE))
  const before = wal.nextPosition
  await wal.appendBatch(Array.from({ length: 20 }, (_, i) => `${i} ${'y'.repeat(1000)}`))

  for (const lost of [0, 1, 2, 3]) {
    const dir = copyOpenFiles(wal.dir, path.join(parent, `lost-${lost}`))
    const segment = readdirSync(dir).find((name) => name.endsWith('.wal')) as string
    const file = path.join(dir, segment)
    const bytes = readFileSync(file)
    const record = bytes.indexOf('0 yyy')
    // What shares the first page with it was promised, and a sector that is rewritten keeps what does not change.
    const from = lost === 0 ? record - FRAME_HEADER - RECORD_HEADER : (Math.floor(record / PAGE) + lost) * PAGE
    const to = (Math.floor(from / PAGE) + 1) * PAGE
    t.true(bytes.subarray(to).some((byte) => byte !== 0))
    const fd = openSync(file, 'r+')
    writeSync(fd, Buffer.alloc(to - from), 0, to - from, from)
    closeSync(fd)

    // Nothing of it is damage: salvage finds no hole, and nothing more either.
    for (const args of [[], ['--salvage']]) {
      const { code, stdout, stderr } = await forelog(['cat', dir, ...args])
      t.deepEqual([code, String(stdout), stderr], [0, `durable\n${'x'.repeat(2 * PAGE)}`, ''])
    }
    const opened = await Wal.open(dir)
    t.like(opened.recovery, { verdict: 'torn', clean: false, nextPosition: before, damage: undefined, leftOut: [] })
    t.is(opened.recovery.fenced?.segment, segment)
    t.deepEqual(await values(opened.readFrom('start')), ['durable\n', 'x'.repeat(2 * PAGE)])
    t.is(await opened.append('goes on'), before)
    await opened.close()
    t.true((await Wal.open(dir, { mode: 'readOnly' })).recovery.clean)
  }
  await wal.close()
})
