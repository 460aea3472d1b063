//! Memory for write-through that is physically contiguous.
//!
//! If the memory is scattered, the disk is given each page separately. A write of half a megabyte then takes twice as long,
//! and longer than through the page cache, whose pages are contiguous.

#[cfg(target_os = "linux")]
pub use linux::together;

/// Calls `write` with `bytes`. On this system nothing bypasses the page cache, so nothing is copied.
#[cfg(not(target_os = "linux"))]
pub fn together<T>(bytes: &[u8], write: impl FnOnce(&[u8]) -> T) -> T {
    write(bytes)
}

#[cfg(target_os = "linux")]
mod linux {
    use memmap2::{Advice, MmapMut};
    use std::cell::RefCell;
    use std::ops::Range;

    /// Size of a huge page. A larger write is not copied.
    const BYTES: usize = 2 << 20;

    /// One huge page of memory.
    struct Piece {
        map: MmapMut,
        whole: Range<usize>,
    }

    impl Piece {
        /// Allocates a huge page. Returns `None` if the system has none: a copy would then gain nothing.
        fn new() -> Option<Piece> {
            // Twice the size always contains one whole, aligned huge page.
            let map = MmapMut::map_anon(2 * BYTES).ok()?;
            map.advise(Advice::HugePage).ok()?;
            let start = (map.as_ptr() as usize).wrapping_neg() % BYTES;
            Some(Piece { map, whole: start..start + BYTES })
        }
    }

    thread_local! {
        static PIECE: RefCell<Option<Option<Piece>>> = const { RefCell::new(None) };
    }

    /// Calls `write` with `bytes`, copied into contiguous memory if that helps.
    pub fn together<T>(bytes: &[u8], write: impl FnOnce(&[u8]) -> T) -> T {
        PIECE.with_borrow_mut(|piece| match piece.get_or_insert_with(Piece::new) {
            Some(Piece { map, whole }) if bytes.len() <= BYTES => {
                let copy = &mut map[whole.clone()][..bytes.len()];
                copy.copy_from_slice(bytes);
                write(copy)
            }
            _ => write(bytes),
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_direct_buffer_holds_the_given_bytes_and_is_aligned_to_a_page() {
            for len in [1, 4096, 61_440, BYTES, BYTES + 4096, 4096] {
                let given: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
                let (same, moved, at) =
                    together(&given, |bytes| (bytes == given, bytes.as_ptr() != given.as_ptr(), bytes.as_ptr() as usize));
                assert!(same, "{len} bytes");
                // Without such pages nothing is moved, and what is too long never is.
                assert!(if moved { at % BYTES == 0 && len <= BYTES } else { len > BYTES || Piece::new().is_none() }, "{len} bytes");
            }
        }
    }
}
