//! Little-endian fields of fixed-size pages and headers, and the checksum that all pages share.

/// Returns the index of the first byte that is not zero. It tests whole blocks, in which the compiler compares many bytes
/// at a time.
pub fn first_non_zero(bytes: &[u8]) -> Option<usize> {
    const BLOCK: usize = 1024;
    let dirty = |block: &&[u8]| block.iter().fold(0, |all, byte| all | byte) != 0;
    let clean = bytes.chunks(BLOCK).take_while(|block| !dirty(block)).count() * BLOCK;
    let at = bytes.get(clean..)?.iter().position(|byte| *byte != 0)?;
    Some(clean + at)
}

pub fn get_u16(page: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([page[at], page[at + 1]])
}

pub fn get_u32(page: &[u8], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&page[at..at + 4]);
    u32::from_le_bytes(field)
}

pub fn get_u64(page: &[u8], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&page[at..at + 8]);
    u64::from_le_bytes(field)
}

pub fn put_u16(page: &mut [u8], at: usize, value: u16) {
    page[at..at + 2].copy_from_slice(&value.to_le_bytes());
}

pub fn put_u32(page: &mut [u8], at: usize, value: u32) {
    page[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

pub fn put_u64(page: &mut [u8], at: usize, value: u64) {
    page[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Masks a CRC for storage. The mask keeps a checksum useful if it is taken over bytes that contain checksums.
pub fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Undoes [`mask`].
pub fn unmask(stored: u32) -> u32 {
    stored.wrapping_sub(0xa282_ead8).rotate_left(15)
}

/// Offset of the checksum of a 4 KiB page. It is in the last four bytes and covers everything before them.
const PAGE_CRC: usize = crate::util::limits::PAGE as usize - 4;

/// Writes the checksum of a page.
pub fn seal_page(page: &mut [u8]) {
    let crc = mask(crc32c::crc32c(&page[..PAGE_CRC]));
    put_u32(page, PAGE_CRC, crc);
}

/// Whether the checksum of a page matches.
pub fn page_is_sealed(page: &[u8]) -> bool {
    get_u32(page, PAGE_CRC) == mask(crc32c::crc32c(&page[..PAGE_CRC]))
}

/// Returns each bit's number with a copy of the bytes in which that bit is flipped.
#[cfg(test)]
pub fn flips(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> + '_ {
    (0..bytes.len() * 8).map(|bit| {
        let mut damaged = bytes.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        (bit, damaged)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_byte_that_is_not_zero_is_found_wherever_it_is() {
        for len in [0, 1, 1023, 1024, 1025, 5000] {
            let mut bytes = vec![0; len];
            assert_eq!(first_non_zero(&bytes), None);
            for at in (0..len).rev() {
                bytes[at] = 1 << (at % 8);
                assert_eq!(first_non_zero(&bytes), Some(at));
            }
        }
    }
}
