//! Sizes and limits that every room shares.

/// One page: the size of a segment header and of a CONTROL slot, and the unit of alignment.
pub const PAGE: u64 = 4096;

/// The highest position. Positions are numbers in JavaScript, so none is above 2^53 - 1.
pub const MAX_POSITION: u64 = (1 << 53) - 1;
