// Appends while the process goes without something, and again once it has that back; reports what happened, as JSON.
// Arguments: the log's directory; what is wanting, and how much of it is left.

import { execFileSync } from 'node:child_process'
import { chmodSync, closeSync, openSync, readdirSync } from 'node:fs'
import path from 'node:path'
import { Wal } from '../../index.js'

const [dir, kind, amount] = process.argv.slice(2)
const options = { segmentBytes: 64 << 10 }
// Four to a segment.
const value = (n) => Buffer.alloc(15_000, `record ${n};`)
const failure = (promise) =>
  promise.then(() => undefined).catch((error) => ({ code: error.code, cause: error.cause?.code, message: error.message }))

const taken = []
/** A roll gives back those of the segment that it leaves: they are taken as well. */
function takeDescriptors() {
  try {
    for (;;) taken.push(openSync('/dev/null'))
  } catch {
    // None is left.
  }
}

/** Takes it away, and gives what brings it back. */
const shortages = {
  descriptors() {
    takeDescriptors()
    return () => taken.splice(0).forEach((fd) => closeSync(fd))
  },
  fileSize() {
    const limit = (bytes) => execFileSync('prlimit', ['--pid', String(process.pid), `--fsize=${bytes}:`])
    limit(amount)
    return () => limit('unlimited')
  },
  permission() {
    // Root may write anywhere.
    const isRoot = process.geteuid() === 0
    chmodSync(dir, isRoot ? 0o755 : 0o555)
    if (isRoot) process.seteuid(65534)
    return () => (isRoot ? process.seteuid(0) : chmodSync(dir, 0o755))
  },
}

const wal = await Wal.open(dir, options)
const appended = []
const told = { rejected: [] }
async function append() {
  if (taken.length > 0) takeDescriptors()
  try {
    appended.push(await wal.append(value(appended.length + 1)))
  } catch (error) {
    told.rejected.push({ code: error.code, cause: error.cause?.code, message: error.message })
  }
}

const cursor = await wal.cursor('consumer')
for (let n = 0; n < 2; n += 1) await append()
const giveBack = shortages[kind]()
for (let n = 0; n < 60 && told.rejected.length < 5; n += 1) await append()
told.before = appended.length
told.sync = await failure(wal.sync())
told.poisoned = wal.stats().poisoned
told.other = await failure(Wal.open(path.join(dir, '../other')))
told.backup = await failure(wal.backup(path.join(dir, '../copy-1')))
told.commit = await failure(cursor.commit(1))
const reader = wal.readFrom('start')
told.read = await failure(reader.next())
giveBack()

for (let n = 0; n < 20; n += 1) await append()
told.after = appended.length - told.before
told.commitAfter = await failure(cursor.commit(2))
told.cursor = cursor.position
told.readAfter = []
for await (const { position, value: bytes } of wal.readFrom('start')) {
  if (!bytes.equals(value(position))) throw new Error(`record ${position} is wrong`)
  told.readAfter.push(position)
}
told.backupAfter = await failure(wal.backup(path.join(dir, '../copy-2')))

// `reserve` is made in the background, and a clean close removes it.
const deadline = Date.now() + 30_000
while (!told.poisoned && !readdirSync(dir).includes('reserve') && Date.now() < deadline) await append()
told.reserve = readdirSync(dir).includes('reserve')

if (process.argv[5] === 'close') {
  // Once more, and to its end.
  const again = shortages[kind]()
  for (let n = 0; n < 60 && told.rejected.length < 10; n += 1) await append()
  told.close = await failure(wal.close())
  again()
} else {
  told.close = await failure(wal.close())
}
told.appended = appended.length
console.log(JSON.stringify(told))
