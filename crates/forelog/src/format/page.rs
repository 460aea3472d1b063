//! The fields that every page of the format begins with: magic, version, features and the log's uuid.

use crate::util::bytes::*;
use crate::util::limits::PAGE;

// Offsets. Every future version keeps the magic, the version and the page's CRC where they are.
pub const VERSION_AT: usize = 8; // u32
pub const INCOMPATIBLE: usize = 16; // u64: a reader that does not know a bit must refuse the file
pub const COMPATIBLE: usize = 24; // u64
pub const UUID: usize = 32; // 16 bytes

pub const VERSION: u32 = 1;

/// Why a page is not a header that this version reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPage {
    /// The magic is another's.
    Foreign,
    /// Intact, but of a newer version or with features unknown to this one.
    Newer(u32),
    /// The checksum does not hold, or a field contradicts it.
    Damaged,
}

/// Tells apart whose page this is, before its fields are read. The magic differs between segments and CONTROL, and so do
/// the incompatible features that this version knows.
pub fn identify(page: &[u8], magic: &[u8; 8], known: u64) -> Result<(), BadPage> {
    if page[..8] != *magic {
        return Err(BadPage::Foreign);
    }
    if !page_is_sealed(page) {
        return Err(BadPage::Damaged);
    }
    let version = get_u32(page, VERSION_AT);
    if version != VERSION || get_u64(page, INCOMPATIBLE) & !known != 0 {
        return Err(BadPage::Newer(version));
    }
    Ok(())
}

/// The fields that both kinds of page share.
pub fn begin_page(magic: &[u8; 8], uuid: &[u8; 16]) -> Vec<u8> {
    let mut page = vec![0; PAGE as usize];
    page[..8].copy_from_slice(magic);
    put_u32(&mut page, VERSION_AT, VERSION);
    page[UUID..UUID + 16].copy_from_slice(uuid);
    page
}

pub fn page_uuid(page: &[u8]) -> [u8; 16] {
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&page[UUID..UUID + 16]);
    uuid
}
