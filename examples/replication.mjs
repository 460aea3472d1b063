// A replicated log: a leader and two followers, each with a log of its own. An entry goes to the
// followers while the leader's own disk still writes it, and is committed once two of the three
// logs have acknowledged it. Elections and the repair of a follower that was away are left out.
//
//     node examples/replication.mjs [DIRECTORY]

import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { Wal } from '../index.js' // in your project: from 'forelog'

class Follower {
  constructor(wal) {
    this.wal = wal
  }

  // Answers a message of the leader: the entries after `previous`. Messages follow each other without
  // waiting for the disk; one promise says that all entries up to the last are acknowledged.
  async accept(previous, entries) {
    let last = previous
    for (const entry of entries) last = this.wal.enqueue(entry, { expect: last + 1 })
    await this.wal.acknowledged(last)
    return last
  }
}

class Leader {
  messages = 0
  #followers
  #unsent = []
  // Position up to which each log is known to be acknowledged.
  #acknowledged = new Map()
  // Proposals that are not committed yet, oldest first.
  #proposals = []

  constructor(wal, followers) {
    this.wal = wal
    this.#followers = followers
  }

  // Resolves to the position of the entry once it is committed.
  propose(entry) {
    const position = this.wal.enqueue(entry)
    // What is proposed in one turn goes out in one message.
    if (this.#unsent.push(entry) === 1) queueMicrotask(() => this.#replicate())
    return new Promise((resolve, reject) => this.#proposals.push({ position, resolve, reject }))
  }

  #replicate() {
    const entries = this.#unsent.splice(0)
    const last = this.wal.nextPosition - 1
    this.messages += 1
    this.#follow(this, last, this.wal.acknowledged(last))
    for (const follower of this.#followers) this.#follow(follower, last, follower.accept(last - entries.length, entries))
  }

  async #follow(log, last, acknowledged) {
    try {
      await acknowledged
      this.#acknowledged.set(log, last)
      // At least two logs are as far as the second best.
      const [, committed = 0] = [...this.#acknowledged.values()].sort((a, b) => b - a)
      while (this.#proposals[0]?.position <= committed) {
        const { position, resolve } = this.#proposals.shift()
        resolve(position)
      }
    } catch (error) {
      // A real leader goes on without a follower that fails, and steps down if its own log does.
      for (const { reject } of this.#proposals.splice(0)) reject(error)
    }
  }
}

const dir = process.argv[2] ?? (await mkdtemp(path.join(os.tmpdir(), 'forelog-example-')))
const names = ['leader', 'follower 1', 'follower 2']
const [wal, ...others] = await Promise.all(names.map((name) => Wal.open(path.join(dir, name))))
const leader = new Leader(
  wal,
  others.map((other) => new Follower(other))
)

const proposals = []
for (let turn = 0; turn < 10; turn += 1) {
  for (let n = 0; n < 100; n += 1) proposals.push(leader.propose(`entry ${turn * 100 + n}`))
  await new Promise(setImmediate)
}
const committed = await Promise.all(proposals)
console.log(`${committed.length} entries committed, sent in ${leader.messages} messages`)

await Promise.all([wal, ...others].map((log) => log.acknowledged()))
for (const [i, log] of [wal, ...others].entries()) {
  const { value: last } = await log.readFrom(committed.at(-1)).next()
  console.log(`${names[i]}: ${last.position} ${last.value}`)
  await log.close()
}

if (process.argv[2] === undefined) await rm(dir, { recursive: true })
