//! Blocks that are read into memory of the caller have the same records as other blocks.
#![allow(clippy::unwrap_used)]

mod common;

use common::{append, options, settle, varied, BLOCK};
use forelog::{Compression, Fsync, Options, Reader};

/// Values with their positions.
type Values = Vec<(u64, Vec<u8>)>;

/// Reads everything in blocks of `BLOCK` into memory of `len` bytes. Returns the values, and how many of the blocks were put there.
fn read(reader: &mut Reader, len: usize) -> (Values, usize) {
    let (mut values, mut lent) = (Values::new(), 0);
    loop {
        let mut memory = vec![0xa5; len];
        let Some(mut block) = reader.next_block_in(BLOCK, Some(&mut memory)).unwrap() else { return (values, lent) };
        let before = values.len();
        let bytes = if block.lent() > 0 { &memory[..block.lent()] } else { block.bytes() };
        values.extend((block.first_position..).zip(block.fields().map(|f| bytes[f.value as usize..f.end as usize].to_vec())));
        lent += usize::from(block.lent() > 0);
        // A block that has taken its bytes out of the memory is like any other.
        block.copy_from(&memory);
        memory.fill(0);
        let taken: Values = block.iter().map(|record| (record.position, record.value.unwrap().to_vec())).collect();
        assert_eq!(values[before..], taken);
    }
}

#[test]
fn a_block_in_lent_memory_has_the_records_of_the_log_whatever_the_size_of_the_memory() {
    for compression in [Compression::None, Compression::Lz4] {
        let dir = tempfile::tempdir().unwrap();
        let (wal, waiter) = common::open(dir.path(), Options { compression, segment_bytes: 1 << 20, ..options(Fsync::Os) }).unwrap();
        let mut expected = Values::new();
        for n in 1..=600 {
            // Some frames are larger than a block.
            let value = if n % 100 == 0 { vec![n as u8; 3 * BLOCK] } else { varied(n) };
            assert_eq!(append(&wal, &value), n);
            if n % 7 == 0 {
                settle(&wal, &waiter, n);
            }
            expected.push((n, value));
        }
        settle(&wal, &waiter, 600);
        for len in [0, 100, BLOCK - 1, BLOCK, 2 * BLOCK, 4 * BLOCK] {
            let (values, lent) = read(&mut wal.reader(1, 600).unwrap(), len);
            assert!(values == expected, "{len} bytes were lent");
            assert_eq!(lent > 0, compression == Compression::None && len >= BLOCK, "{len} bytes were lent");
        }
    }
}
