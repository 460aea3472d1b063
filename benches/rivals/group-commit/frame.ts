import zlib from 'node:zlib'

/**
 * The bytes of the JavaScript rival, little-endian, everything 4-byte aligned so that a `Uint32Array` writes them:
 *
 *   frame   checksum of what follows · body length · record count · first position (two words) · records
 *   record  key length · value length · key · value · padding to 4
 *
 * One group, or one atomic batch, is one frame with one checksum: either all of it is valid or none.
 */
export const FRAME_HEADER = 20
export const RECORD_HEADER = 8
/** Direct I/O writes whole pages: the rest of the last one is zeroes, which the reader skips. */
export const PAGE = 4096

export const align4 = (bytes: number): number => (bytes + 3) & ~3
export const alignPage = (bytes: number): number => (bytes + PAGE - 1) & ~(PAGE - 1)

type Checksum = (bytes: Buffer) => number

/** Node's own (20.15 and later) runs on vector instructions; a table does a tenth of that. */
export const checksum: Checksum = typeof zlib.crc32 === 'function' ? (bytes) => zlib.crc32(bytes) : tableCrc32c()

function tableCrc32c(): Checksum {
  const table = new Int32Array(256)
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1
    table[byte] = crc
  }
  return (bytes) => {
    let crc = -1
    for (let index = 0; index < bytes.length; index++) crc = table[(crc ^ bytes[index]) & 255] ^ (crc >>> 8)
    return ~crc >>> 0
  }
}
