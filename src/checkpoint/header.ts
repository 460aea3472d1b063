// The header of a snapshot file. The state follows it, to the end of the file.
//
// Integers are little-endian. The magic, the version and the checksum of the header stay where they are in later versions.
//
//   0  magic    8     16  uuid of the log  16     64  SHA-256 of the state          32
//   8  version  4     32  position          8     96  SHA-256 of the bytes up to it  32
//  12  zero     4     40  length of the state  8   (48 to 63 are zero)

import { createHash } from 'node:crypto'

export const HEADER_BYTES = 128
const CHECKED_BYTES = 96
const MAGIC = Buffer.from('FORESNAP')
const VERSION = 1

/** What a snapshot file says about itself. */
export interface Header {
  /** UUID of the log. */
  uuid: string
  /** The state has the effect of all records up to this one. */
  position: number
  /** Bytes of the state. */
  length: number
  /** SHA-256 of the state. */
  digest: Buffer
}

const sha256 = (bytes: Uint8Array): Buffer => createHash('sha256').update(bytes).digest()

const uuidOf = (bytes: Buffer): string =>
  bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, (_, ...parts: string[]) => parts.slice(0, 5).join('-'))

export function encodeHeader({ uuid, position, length, digest }: Header): Buffer {
  const bytes = Buffer.alloc(HEADER_BYTES)
  MAGIC.copy(bytes)
  bytes.writeUInt32LE(VERSION, 8)
  bytes.write(uuid.replaceAll('-', ''), 16, 'hex')
  bytes.writeBigUInt64LE(BigInt(position), 32)
  bytes.writeBigUInt64LE(BigInt(length), 40)
  digest.copy(bytes, 64)
  sha256(bytes.subarray(0, CHECKED_BYTES)).copy(bytes, CHECKED_BYTES)
  return bytes
}

/** Decodes the first bytes of a file. `'damaged'` if they are no header; `'newer'` if they are one that this version does not know. */
export function decodeHeader(bytes: Buffer): Header | 'damaged' | 'newer' {
  if (bytes.length < HEADER_BYTES || !bytes.subarray(0, MAGIC.length).equals(MAGIC)) return 'damaged'
  if (!sha256(bytes.subarray(0, CHECKED_BYTES)).equals(bytes.subarray(CHECKED_BYTES, HEADER_BYTES))) return 'damaged'
  const [position, length] = [32, 40].map((at) => Number(bytes.readBigUInt64LE(at)))
  if (bytes.readUInt32LE(8) !== VERSION) return 'newer'
  return { uuid: uuidOf(bytes.subarray(16, 32)), position, length, digest: bytes.subarray(64, CHECKED_BYTES) }
}
