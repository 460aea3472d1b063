//! The fields that every page of the format begins with: magic, version, features and the uuid of the log.

use crate::util::bytes::*;
use crate::util::limits::PAGE;

// Offsets. In every future version the magic, the version and the page's CRC stay where they are.
pub const VERSION_AT: usize = 8; // u32
pub const INCOMPATIBLE: usize = 16; // u64: a reader that does not know a bit must refuse the file
pub const COMPATIBLE: usize = 24; // u64
pub const UUID: usize = 32; // 16 bytes

pub const VERSION: u32 = 1;

/// The reason why a page is not one that this version can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadPage {
    /// The magic is not the expected one.
    Foreign,
    /// The page is intact, but of a newer version, or it has features that this version does not know. The number is the
    /// page's version.
    Newer(u32),
    /// The checksum does not match, or a field has an impossible value.
    Damaged,
}

/// Checks what kind of page this is, before its fields are read. `magic` and the incompatible features that are `known`
/// differ between segments and CONTROL.
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

/// Returns a new page with the fields that all kinds of pages share.
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
