//! The place between two frames, at which reading and writing of a segment can go on.

use crate::format::frame::Frame;
use crate::format::header::Header;
use crate::util::limits::PAGE;

/// The place between two frames, with everything that a frame that starts there must continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBoundary {
    pub offset: u64,
    /// Position of the next record.
    pub next: u64,
    /// CRC field of the frame that ends here.
    pub crc: u32,
}

impl FrameBoundary {
    /// Returns the boundary before the first frame of a segment.
    pub fn start(header: &Header) -> FrameBoundary {
        FrameBoundary { offset: PAGE, next: header.start(), crc: header.first_prev() }
    }

    /// Returns the boundary after `frame`, which starts at this one.
    pub fn after(self, frame: &Frame) -> FrameBoundary {
        FrameBoundary { offset: self.offset + frame.span(), next: frame.next_position(), crc: frame.crc }
    }
}
