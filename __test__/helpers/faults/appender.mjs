// Appends until it has been acknowledged often enough or fails, and tells the parent line by line:
//   open NEXT                        the log is open
//   acknowledged POSITION ATTEMPT    so the record made at that attempt is on the disk
//   written POSITION;                the same, but only handed to the operating system
//   rejected ATTEMPT CODE CAUSE
//   failed CODE                      the first time, once nothing is in flight any more
//   end JSON                         what the log did after that
// What is told outlives this process and the file system below it.
// Its argument is a `Job` of faults/process.ts.

import { writeFileSync } from 'node:fs'
import { Wal } from '../../../index.js'
import { attemptOf, recordAt, tell as tellLine } from '../kill/records.mjs'

const {
  dir,
  seed,
  options,
  durableEvery = 1,
  firstAttempt = 1,
  inFlight = 16,
  upTo = Infinity,
  arm,
  goOn = false,
  then,
} = JSON.parse(process.argv[2])
const tell = (...words) => tellLine(words.join(' '))
const codeOf = (promise) => promise.then(() => undefined).catch((error) => error.code)

let wal
try {
  wal = await Wal.open(dir, options)
} catch (error) {
  tell('end', JSON.stringify({ open: error.code, cause: error.cause?.code }))
  process.exit()
}
tell('open', wal.nextPosition)
if (arm) writeFileSync(process.env.FORELOG_FAULT_RULES, arm)

let attempt = firstAttempt - 1
let pending = 0
let acknowledged = 0
let failure

/** Resolves when nothing is in flight and nothing more is to be appended. */
function append() {
  return new Promise((done) => {
    const settled = () => {
      pending -= 1
      const more = acknowledged < upTo && (failure === undefined || (goOn && failure !== 'ERR_WAL_POISONED'))
      while (more && pending < inFlight) start()
      if (pending === 0) done()
    }
    const start = () => {
      attempt += 1
      pending += 1
      const made = attempt
      const durable = made % durableEvery === 0
      wal
        .append(recordAt(seed, made), { durable })
        .then((position) => {
          acknowledged += 1
          if (durable) tell('acknowledged', position, made)
          else tell('written', `${position};`)
        })
        .catch((error) => {
          failure ??= error.code
          tell('rejected', made, error.code, error.cause?.code)
        })
        .then(settled)
    }
    while (pending < inFlight) start()
  })
}

/** Reads what can be read; how far every record is one that this log was given, and how it ended. */
async function read() {
  let count = 0
  try {
    for await (const { value } of wal.readFrom('start')) {
      if (!value.equals(recordAt(seed, attemptOf(value)))) return { read: count, readError: 'WRONG' }
      count += 1
    }
  } catch (error) {
    return { read: count, readError: error.code }
  }
  return { read: count }
}

await append()
if (failure !== undefined) tell('failed', failure)
if (then === 'kill') process.kill(process.pid, 'SIGKILL')
if (then === 'wait') await new Promise(() => setInterval(() => {}, 1 << 30))
const { durablePosition: durable } = wal
const again = await codeOf(wal.append(recordAt(seed, attempt + 1)))
const sync = await codeOf(wal.sync())
const reading = await read()
const close = await codeOf(wal.close())
tell('end', JSON.stringify({ failure, durable, again, sync, ...reading, close }))
