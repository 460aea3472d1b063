// Directories are strings, bytes or file: URLs, wherever one is taken.

import { existsSync } from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { salvage, stat, verify, Wal } from '../index.js'
import { temporaryDirectory } from './helpers/directory.js'

const forms: { [name: string]: (dir: string) => string | Buffer | URL } = {
  'a string': (dir) => dir,
  'a Buffer': (dir) => Buffer.from(dir),
  'a URL': (dir) => pathToFileURL(dir),
}

for (const [name, form] of Object.entries(forms)) {
  test(`open, backup, verify, stat and salvage take ${name} as a directory, with any characters in it`, async (t) => {
    const around = temporaryDirectory(t)
    const [dir, copy, salvaged] = ['log é %41 #?', 'copy 漢', 'good 🦉'].map((each) => path.join(around, each))
    const wal = await Wal.open(form(dir))
    await wal.append('value')
    t.is(wal.dir, dir)
    t.is((await wal.backup(form(copy))).lastPosition, 1)
    await wal.close()
    t.is((await stat(form(dir))).nextPosition, 2)
    t.deepEqual((await verify(form(copy))).problems, [])
    t.is((await salvage(form(dir), form(salvaged))).records, 1)
    t.true([dir, copy, salvaged].every((each) => existsSync(each)))
  })
}

test('bytes that are passed as a directory may change after the call', async (t) => {
  const dir = path.join(temporaryDirectory(t), 'log')
  const bytes = Buffer.from(dir)
  const opening = Wal.open(bytes)
  bytes.fill('x')
  const wal = await opening
  t.is(wal.dir, dir)
  await wal.close()
})

const detached = (): Uint8Array => {
  const bytes = new Uint8Array(8)
  structuredClone(bytes, { transfer: [bytes.buffer] })
  return bytes
}

const bad: { [name: string]: [unknown, RegExp] } = {
  'a URL that is no file': [new URL('https://example.org/log'), /dir, a URL, cannot be read: .*file/],
  'a URL with an encoded slash': [new URL('file:///tmp/a%2Fb'), /dir, a URL, cannot be read/],
  'a URL with a NUL': [new URL('file:///tmp/a%00b'), /dir/],
  'a Proxy of a URL': [new Proxy(new URL('file:///tmp/log'), {}), /dir must be the path of a directory, not a Proxy/],
  'an object that inherits from a URL': [Object.create(new URL('file:///tmp/log')), /dir must be the path of a directory, not an object/],
  'an object that only looks like a URL': [{ href: 'file:///tmp/log', protocol: 'file:' }, /dir must be the path of a directory/],
  'bytes that are not UTF-8': [Buffer.from([0x2f, 0xff]), /dir must be UTF-8/],
  'bytes with a NUL': [Buffer.from('a\0b'), /without NUL/],
  'no bytes': [Buffer.alloc(0), /dir must be the path of a directory/],
  'bytes whose memory was transferred away': [detached(), /dir must still have its bytes/],
  'bytes of another kind': [new Uint16Array(4), /dir must be the path of a directory, not a Uint16Array/],
}

for (const [name, [dir, message]] of Object.entries(bad)) {
  test(`${name} is refused as a directory everywhere, by name`, async (t) => {
    const wal = await Wal.open(temporaryDirectory(t))
    t.teardown(() => wal.close())
    const calls = [Wal.open, verify, stat, (given: never) => salvage(given, temporaryDirectory(t)), wal.backup.bind(wal)]
    for (const call of calls) await t.throwsAsync(async () => call(dir as never), { code: 'ERR_WAL_INVALID_ARG', message })
    const dest = new RegExp(message.source.replace('dir', 'dest'))
    await t.throwsAsync(salvage(wal.dir, dir as never), { code: 'ERR_WAL_INVALID_ARG', message: dest })
  })
}

test('own properties of a URL and of bytes are not looked at', async (t) => {
  const thrower = () => {
    throw new Error('looked at')
  }
  const dir = path.join(temporaryDirectory(t), 'log')
  const properties = { href: { get: thrower }, length: { get: thrower }, toString: { get: thrower }, protocol: { get: thrower } }
  for (const given of [pathToFileURL(dir), new Uint8Array(Buffer.from(dir))]) {
    const wal = await Wal.open(Object.defineProperties(given, properties) as URL)
    t.is(wal.dir, dir)
    await wal.close()
  }
})
