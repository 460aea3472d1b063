// Seals a changed CONTROL slot or segment header the way the format says, so that a test reaches
// the check behind the checksum.

const CHECKSUM_AT = 4092

function crc32c(bytes: Uint8Array): number {
  let crc = ~0
  for (const byte of bytes) {
    crc ^= byte
    for (let bit = 0; bit < 8; bit += 1) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0)
  }
  return ~crc >>> 0
}

/** A stored checksum is rotated and shifted by a constant. */
const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0

export function sealPage(page: Buffer): void {
  page.writeUInt32LE(masked(crc32c(page.subarray(0, CHECKSUM_AT))), CHECKSUM_AT)
}
