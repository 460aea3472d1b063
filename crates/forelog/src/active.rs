//! The segment being written.

use crate::ahead::Ahead;
use crate::catalog::Segment;
use crate::scan::Joint;
use crate::seal::Seal;
use crate::segment::Header;
use crate::storage::FileRef;
use std::sync::Arc;

/// The segment being written.
pub struct Active {
    pub file: FileRef,
    pub header: Header,
    pub capacity: u64,
    /// Where the next frame goes, and what it continues.
    pub end: Joint,
    /// How much of it is proven durable.
    pub synced: Joint,
    pub entry: Arc<Segment>,
    pub filling: Filling,
    /// Bytes up to here may be other than zero although they are no frames: they stay.
    pub debris_end: u64,
}

/// Whether a segment's blocks are written ahead of its frames.
pub enum Filling {
    /// They all are, or it would gain nothing here.
    Done,
    /// They may not be: filling begins once this many more syncs show that it would pay.
    After(u32),
    Running(Arc<Ahead>),
}

impl Filling {
    /// A log that is synced now and then is not worth the writing.
    pub const WORTHWHILE: Filling = Filling::After(64);
}

/// A dead segment gives back zeroes at its end if they are at least this many.
const WORTH_GIVING_BACK: u64 = 64 << 10;

impl Active {
    /// Nothing but zeroes stands from here on.
    fn used(&self) -> u64 {
        self.end.offset.max(self.debris_end)
    }

    /// To be given a footer, now that its successor has its name and says that it ends at `end`.
    pub fn sealed(self, end: Joint) -> Seal {
        Seal { seed: self.header.seed(), used: self.used(), file: self.file, entry: self.entry, end }
    }

    /// A segment that is left for dead would hold its unused blocks for as long as it lives.
    pub fn give_back(&self) {
        let used = self.used();
        if used + WORTH_GIVING_BACK <= self.capacity {
            self.file.shrink(used);
        }
    }
}
