//! Records that a client has written in their final form, checked before they get positions.

use crate::error::{Code, Error, Result};
use crate::format::frame::{ALIGN, HEADER, MERGED_BYTES};
use crate::format::record::Parts;
use crate::util::page_buffer::PageBuffer;
use crate::write::group::FRAMES;
use std::ops::Range;

/// How the memory of records in their final form is laid out.
pub struct BodyLayout;

impl BodyLayout {
    /// Offset of the first body.
    pub const FIRST: usize = FRAMES + HEADER;
    /// Room for a frame's header before each body.
    pub const HEADER: usize = HEADER;
    /// Each header begins at a multiple of this.
    pub const ALIGN: usize = ALIGN as usize;
    /// Size of the largest body of several single records.
    pub const MOST_BYTES: usize = MERGED_BYTES - HEADER;
    /// The most bodies that are passed on together.
    pub const MOST_BODIES: usize = 16;
}

const MOST_BODIES: usize = BodyLayout::MOST_BODIES;

/// The records of one frame.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// Their place in the memory.
    pub bytes: Range<usize>,
    /// Their number.
    pub count: u32,
}

/// Records in their final form, as the bodies of frames without headers. The memory is laid out as that of a group, which can take it as it
/// is: the first frame begins on the second page, and each frame at a multiple of eight.
pub struct EncodedRecords<'a> {
    /// The memory. It is empty once it was taken.
    pub memory: &'a mut PageBuffer,
    /// Whether the memory may be kept until the records are on the disk.
    pub may_keep: bool,
    bodies: [Body; MOST_BODIES],
    len: usize,
    count: u64,
    bytes: u64,
}

impl<'a> EncodedRecords<'a> {
    /// Checks the records in `memory`, whose bodies are the ranges in `bodies`; an empty one is left out.
    ///
    /// # Errors
    /// `InvalidArg` for a record without meaning, `TooLarge` for one above `max_record_bytes`.
    pub fn check(
        memory: &'a mut PageBuffer,
        bodies: impl Iterator<Item = Range<usize>>,
        may_keep: bool,
        max_record_bytes: u64,
    ) -> Result<EncodedRecords<'a>> {
        let mut records = EncodedRecords { memory, may_keep, bodies: std::array::from_fn(|_| Body::default()), len: 0, count: 0, bytes: 0 };
        let mut start = FRAMES;
        for bytes in bodies.filter(|bytes| bytes.start != bytes.end) {
            let is_in_place = bytes.start == start + HEADER && bytes.start < bytes.end;
            if !is_in_place || bytes.end > records.memory.len() || records.len == MOST_BODIES {
                return Err(records.malformed());
            }
            let (body, mut at, mut count) = (&records.memory[..bytes.end], bytes.start, 0);
            while at < bytes.end {
                let parts = Parts::parse(body, at).ok_or_else(|| records.malformed())?;
                if parts.record(body).check(max_record_bytes)? != parts.end - at {
                    return Err(records.malformed());
                }
                at = parts.end;
                count += 1;
            }
            start = bytes.end.next_multiple_of(ALIGN as usize);
            records.count += u64::from(count);
            records.bytes += bytes.len() as u64;
            records.bodies[records.len] = Body { bytes, count };
            records.len += 1;
        }
        Ok(records)
    }

    /// Returns the bodies, in the order of their records' positions.
    pub fn bodies(&self) -> &[Body] {
        &self.bodies[..self.len]
    }

    /// Returns the number of records.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the encoded size of the records in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Returns the error for memory that no client writes.
    pub fn malformed(&self) -> Error {
        Error::new(Code::InvalidArg, "internal error: the record buffer is malformed").during("append")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::record::RecordRef;

    const BODY: usize = FRAMES + HEADER;

    fn memory(records: &[RecordRef]) -> PageBuffer {
        let mut memory = PageBuffer::default();
        memory.extend(BODY);
        records.iter().for_each(|record| record.encode(&mut memory));
        memory
    }

    #[test]
    fn records_in_their_final_form_are_counted_and_refused_like_any_others() -> Result<()> {
        let (large, small) = ([7; 200], RecordRef::new("b").with_key("k"));
        let mut bytes = memory(&[RecordRef::from(&large), small, RecordRef::deletion("k")]);
        let body = BODY..bytes.len();
        let len = body.len() as u64;
        let records = EncodedRecords::check(&mut bytes, [body.clone(), 0..0].into_iter(), true, 1000)?;
        assert_eq!((records.bodies(), records.count(), records.bytes()), (&[Body { bytes: body.clone(), count: 3 }][..], 3, len));
        let refused = |bytes: &mut PageBuffer, body: Range<usize>, most| {
            EncodedRecords::check(bytes, std::iter::once(body), true, most).err().map(|e| (e.code, e.message.contains("malformed")))
        };
        assert_eq!(refused(&mut bytes, body.clone(), 202), Some((Code::TooLarge, false)));
        assert_eq!(refused(&mut memory(&[RecordRef::default()]), BODY..BODY + 3, 1000), Some((Code::InvalidArg, false)));
        for malformed in [body.start..body.end - 1, body.start..body.end + 1, body.start + 8..body.end, 0..body.end] {
            assert_eq!(refused(&mut bytes, malformed, 1000), Some((Code::InvalidArg, true)));
        }
        // A length in more bytes than it needs.
        bytes.truncate(BODY);
        bytes.extend_from_slice(&[2, 0, 0x81, 0, 9]);
        assert_eq!(refused(&mut bytes, BODY..BODY + 5, 1000), Some((Code::InvalidArg, true)));
        Ok(())
    }
}
