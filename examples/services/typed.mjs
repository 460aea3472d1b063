// @ts-check
// A log of users whose schema has changed twice. Values of every version are read as users of the
// newest one; what no version allows is shown, and stays in the log as it is.
//
//     node examples/services/typed.mjs [DIRECTORY [USERS [VERSION]]]
//
// It adds users up to that number, 20 unless you say more, as VERSION of the program would: 1, 2 or
// 3, the newest. Then it reads all of them. Kill it and run it again with the same directory.

import { mkdtemp, rm } from 'node:fs/promises'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod' // npm install zod
import { Wal } from '../../index.js' // in your project: from 'forelog'

const V1 = z.object({ v: z.literal(1), name: z.string() })
const V2 = z.object({ v: z.literal(2), first: z.string(), last: z.string() })
const V3 = z.object({ v: z.literal(3), first: z.string(), last: z.string(), roles: z.array(z.string()).default([]) })

/** @typedef {z.output<typeof V3>} User */

/**
 * One step from each older version to the next. The schema of the newest one checks the result.
 *
 * @type {Map<unknown, (stored: any) => unknown>}
 */
const steps = new Map([
  [1, ({ name }) => ({ v: 2, first: name.split(' ')[0], last: name.split(' ')[1] ?? '' })],
  [2, (stored) => ({ ...stored, v: 3 })],
])

/** @param {any} stored */
function upcast(stored) {
  let value = stored
  for (let step; (step = steps.get(value?.v)) !== undefined;) value = step(value)
  return value
}

/** Opens the log as the newest version does. @param {string} dir */
export const openUsers = (dir) => Wal.open(dir, { codec: { name: 'user', schema: V3, upcast } })

/**
 * Reads all users, of whatever version. What is none is passed to `refused`, and left out.
 *
 * @param {Awaited<ReturnType<typeof openUsers>>} wal
 * @param {(position: number, stored: string, why: string) => void} refused
 */
export const readUsers = (wal, refused) =>
  wal.readFrom('start', {
    onDecodeError({ issues, cause }, { position, value }) {
      refused(position, String(value), issues === undefined ? String(cause) : issues.map(({ message }) => message).join(', '))
      return 'skip'
    },
  })

/**
 * Adds users until the log has so many records.
 *
 * @template T, In
 * @param {Wal<T, In>} wal
 * @param {number} count
 * @param {(n: number) => In} user
 */
async function add(wal, count, user) {
  while (wal.nextPosition <= count) console.log(`added ${await wal.append(user(wal.nextPosition))}`)
  await wal.close()
}

/** @param {string} dir @param {number} count @param {string} version */
async function addAs(dir, count, version) {
  if (version === '1') return add(await Wal.open(dir, { codec: { schema: V1 } }), count, (n) => ({ v: 1, name: `Ada Number-${n}` }))
  if (version === '2')
    return add(await Wal.open(dir, { codec: { schema: V2 } }), count, (n) => ({ v: 2, first: 'Grace', last: `Number-${n}` }))
  return add(await openUsers(dir), count, (n) => ({ v: 3, first: 'Barbara', last: `Number-${n}` }))
}

/** @param {string | undefined} given */
async function main(given, users = '20', version = '3') {
  const dir = given ?? (await mkdtemp(path.join(os.tmpdir(), 'forelog-example-')))
  if (given === undefined) {
    await addAs(dir, 5, '1')
    await addAs(dir, 10, '2')
  }
  await addAs(dir, Number(users), version)
  const wal = await openUsers(dir)
  const refused = (/** @type {number} */ position, /** @type {string} */ stored, /** @type {string} */ why) =>
    console.log(`refused ${position} ${stored}: ${why}`)
  for await (const { position, value } of readUsers(wal, refused)) console.log(`user ${position} ${JSON.stringify(value)}`)
  await wal.close()
  if (given === undefined) await rm(dir, { recursive: true })
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [dir, users, version] = process.argv.slice(2)
  await main(dir, users, version)
}
