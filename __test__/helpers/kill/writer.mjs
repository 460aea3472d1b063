// Appends, and now and then truncates at either end, resets or makes a backup, until it is killed. Tells:
//   open NEXT
//   appended POSITION ATTEMPT;           acknowledged: the record made at that attempt
//   pending COUNT;                       so many are in flight
//   before|after|reset POSITION ATTEMPT?;  about to be called, after that attempt
//   before|after|reset POSITION;         done
//   backup NUMBER?;                      about to be made beside the log
//   backup NUMBER FIRST LAST;            done

import { Wal } from '../../../index.js'
import { IN_FLIGHT, random, recordAt, tell } from './records.mjs'

const [dir, seed, firstAttempt, segmentBytes] = process.argv.slice(2).map((arg, i) => (i === 0 ? arg : Number(arg)))
const COMMAND_EVERY = 40
const FARTHEST_RESET = 100_000

const next = random(seed ^ firstAttempt)
const upTo = (n) => Math.floor(next() * (n + 1))

const wal = await Wal.open(dir, { fsync: 'always', segmentBytes })
let attempt = firstAttempt - 1
let pending = 0
let due = false
let commanding = false
let copying = false
tell(`open ${wal.nextPosition}`)

function settled(position, made) {
  pending -= 1
  if (!due) queueMicrotask(goOn)
  due = true
  tell(`appended ${position} ${made};`)
}

// One at a time, so that where the log starts is known when it is called.
const commands = {
  before: { call: (position) => wal.truncateBefore(position), where: (first, length) => first + upTo(length) },
  // Mostly close to the end.
  after: {
    call: (position) => wal.truncateAfter(position),
    where: (first, length) => first + length - 1 - upTo(next() < 0.2 ? length : Math.min(length, 80)),
  },
  reset: { call: (position) => wal.reset(position), where: () => 1 + upTo(FARTHEST_RESET) },
}

async function command(word) {
  if (commanding) return
  commanding = true
  const { firstPosition } = wal
  const position = commands[word].where(firstPosition, wal.nextPosition - firstPosition)
  tell(`${word} ${position} ${attempt}?;`)
  await commands[word].call(position)
  tell(`${word} ${position};`)
  commanding = false
}

async function backup() {
  if (copying) return
  copying = true
  const number = attempt
  tell(`backup ${number}?;`)
  const { firstPosition, lastPosition } = await wal.backup(`${dir}-${number}`)
  tell(`backup ${number} ${firstPosition} ${lastPosition};`)
  copying = false
}

function commandOrBackup() {
  const kind = next()
  if (kind < 0.2) backup()
  else command(kind < 0.6 ? 'before' : kind < 0.93 ? 'after' : 'reset')
}

// New appends go in before anything is told about the next ones: there are always some in flight.
function goOn() {
  due = false
  while (pending < IN_FLIGHT) {
    attempt += 1
    pending += 1
    const made = attempt
    wal.append(recordAt(seed, made)).then((position) => settled(position, made))
    if (next() * COMMAND_EVERY < 1) commandOrBackup()
  }
  tell(`pending ${pending};`)
}

goOn()
