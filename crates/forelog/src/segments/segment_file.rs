//! A segment's file and the header page that it begins with.

use crate::error::{Fault, Flipped};
use crate::format::bit_flip;
use crate::format::header::Header;
use crate::format::page::BadPage;
use crate::storage::{FileRef, Storage};
use crate::util::limits::PAGE;

/// An open segment file with its header, as read once.
pub struct SegmentFile {
    pub file: FileRef,
    /// The decoded header page, or the reason why it does not decode.
    pub header: Result<Header, BadPage>,
    page: Vec<u8>,
}

impl SegmentFile {
    /// Opens the segment file `name` and reads its header page. With `write` the file can be written as well.
    pub fn open(storage: &dyn Storage, name: &str, write: bool) -> Result<SegmentFile, Fault> {
        SegmentFile::of(storage.open(name, write)?)
    }

    /// Reads the header page of a file that is open already.
    pub fn of(file: FileRef) -> Result<SegmentFile, Fault> {
        let mut page = vec![0; PAGE as usize];
        let n = file.read_at(&mut page, 0)?;
        page.truncate(n);
        Ok(SegmentFile { file, header: Header::decode(&page), page })
    }

    /// Returns the header if it is good and belongs to the segment with this id and first position.
    pub fn header_of(&self, id: u64, first: u64) -> Option<&Header> {
        self.header.as_ref().ok().filter(|header| header.is_of(id, first))
    }

    /// Returns the header after its single flipped bit is turned back, and that bit. `None` if more than one bit is wrong.
    pub fn repaired_header(&self) -> Option<(Header, Flipped)> {
        bit_flip::mended(&self.page)
    }
}
