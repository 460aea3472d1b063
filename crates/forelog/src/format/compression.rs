//! Compression of frame bodies. The commit thread compresses them and readers decompress them. For all other code they are
//! opaque bytes.
//!
//! A compressed body is its raw length as a u32, followed by one LZ4 block or one zstd frame. The length is only a claim
//! until the decoder has confirmed it: memory grows with what is really decoded, and never past the claim.

use crate::error::{Code, Error, Result};
use crate::options::Compression;
use crate::util::bytes::*;
use lz4_flex::block::{compress_into_with_table, decompress_into, get_maximum_output_size, CompressTable};
use std::io::Read;
use zstd::bulk::Compressor;
use zstd::stream::read::Decoder;
use zstd::zstd_safe::{DCtx, DParameter};

/// Size of the raw length that precedes the compressed bytes.
const LENGTH: usize = 4;
/// Smaller bodies are not compressed: there is nothing to gain, and a commit may have thousands of them.
const WORTHWHILE: usize = 128;
/// Largest raw length of a body. No record and no batch is larger.
pub const MAX_RAW: usize = 1 << 30;
/// Largest ratio of an LZ4 block: one byte of it stands for at most 255 raw ones.
const LZ4_MOST: usize = 255;
/// Bytes allocated before a zstd frame is decoded. Beyond that, memory grows with the decoded bytes.
const ZSTD_FIRST: usize = 1 << 20;
/// Limit of the decoder's window: 8 MiB. At level 3 the encoder's window is at most 2 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;
const ZSTD_LEVEL: i32 = 3;

/// A larger output buffer is released once bodies are small again.
const KEPT_BYTES: usize = 4 << 20;

enum Encoder {
    Lz4(CompressTable),
    Zstd(Compressor<'static>),
}

/// Compresses bodies, one after another.
pub struct Packer {
    encoder: Encoder,
    out: Vec<u8>,
}

impl Packer {
    /// Creates a packer. Returns `None` for [`Compression::None`].
    pub fn new(compression: Compression) -> Result<Option<Packer>> {
        let encoder = match compression {
            Compression::None => return Ok(None),
            Compression::Lz4 => Encoder::Lz4(CompressTable::default()),
            Compression::Zstd => {
                let refused = |e: std::io::Error| Error::new(Code::Io, format!("the zstd compressor cannot be created: {e}"));
                Encoder::Zstd(Compressor::new(ZSTD_LEVEL).map_err(refused)?)
            }
        };
        Ok(Some(Packer { encoder, out: Vec::new() }))
    }

    pub fn compression(&self) -> Compression {
        match self.encoder {
            Encoder::Lz4(_) => Compression::Lz4,
            Encoder::Zstd(_) => Compression::Zstd,
        }
    }

    /// Returns the compressed form of `body`, or `None` if it would not be smaller.
    pub fn pack(&mut self, body: &[u8]) -> Option<&[u8]> {
        if body.len() < WORTHWHILE || body.len() > MAX_RAW {
            return None;
        }
        if self.out.capacity() > KEPT_BYTES && body.len() <= KEPT_BYTES / 2 {
            self.out = Vec::new();
        }
        // zstd fails if its output would not be smaller. LZ4 needs room for the worst case.
        let room = match self.encoder {
            Encoder::Lz4(_) => LENGTH + get_maximum_output_size(body.len()),
            Encoder::Zstd(_) => body.len() - 1,
        };
        if self.out.len() < room {
            self.out.resize(room, 0);
        }
        put_u32(&mut self.out, 0, body.len() as u32);
        let packed = &mut self.out[LENGTH..room];
        let len = match &mut self.encoder {
            Encoder::Lz4(table) => compress_into_with_table(body, packed, table).ok(),
            Encoder::Zstd(encoder) => encoder.compress_to_buffer(body, packed).ok(),
        };
        len.map(|len| LENGTH + len).filter(|len| *len < body.len()).map(|len| &self.out[..len])
    }
}

/// Decompresses bodies, one after another.
#[derive(Default)]
pub struct Unpacker {
    zstd: Option<DCtx<'static>>,
}

/// Returns the raw length that a stored body claims to have, or `None` if no frame could hold that much.
pub fn raw_len(compression: Compression, stored: &[u8]) -> Option<usize> {
    match compression {
        Compression::None => Some(stored.len()),
        _ if stored.len() < LENGTH => None,
        _ => Some(get_u32(stored, 0) as usize).filter(|len| *len <= MAX_RAW),
    }
}

impl Unpacker {
    /// Appends the raw form of a stored body to `out`. If the bytes are not a valid body, returns `None` and leaves `out`
    /// as it was.
    pub fn unpack(&mut self, compression: Compression, stored: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let before = out.len();
        let raw = raw_len(compression, stored)?;
        let whole = match compression {
            Compression::None => {
                out.extend_from_slice(stored);
                Some(())
            }
            Compression::Lz4 => lz4(&stored[LENGTH..], raw, out),
            Compression::Zstd => self.zstd(&stored[LENGTH..], raw, out),
        };
        if whole.is_none() {
            out.truncate(before);
        }
        whole
    }

    fn zstd(&mut self, packed: &[u8], raw: usize, out: &mut Vec<u8>) -> Option<()> {
        let context = match &mut self.zstd {
            Some(context) => context,
            none => {
                let mut context = DCtx::try_create()?;
                context.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).ok()?;
                none.insert(context)
            }
        };
        let before = out.len();
        // Read one byte more than claimed, so that a body that continues past the claim is detected.
        let most = raw as u64 + 1;
        out.reserve(raw.min(ZSTD_FIRST) + 1);
        let mut decoder = Decoder::with_context(packed, context).single_frame();
        decoder.by_ref().take(most).read_to_end(out).ok()?;
        (out.len() - before == raw && decoder.finish().is_empty()).then_some(())
    }
}

fn lz4(packed: &[u8], raw: usize, out: &mut Vec<u8>) -> Option<()> {
    if raw > packed.len().saturating_mul(LZ4_MOST) {
        return None;
    }
    let before = out.len();
    out.resize(before + raw, 0);
    decompress_into(packed, &mut out[before..]).ok().filter(|len| *len == raw).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOTH: [Compression; 2] = [Compression::Lz4, Compression::Zstd];

    fn pack(compression: Compression, body: &[u8]) -> Option<Vec<u8>> {
        let mut packer = Packer::new(compression).ok().flatten()?;
        packer.pack(body).map(<[u8]>::to_vec)
    }

    fn unpack(compression: Compression, stored: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        Unpacker::default().unpack(compression, stored, &mut out).map(|()| out)
    }

    proptest! {
        #[test]
        fn every_body_is_restored_and_never_stored_larger_than_it_is(
            pieces in proptest::collection::vec((any::<[u8; 9]>(), 1usize..200), 0..60),
            which in 0usize..2,
        ) {
            // Some parts repeat and some do not, so that some bodies compress and others do not.
            let body: Vec<u8> = pieces.iter().flat_map(|(bytes, times)| bytes.repeat(*times)).collect();
            if let Some(packed) = pack(BOTH[which], &body) {
                prop_assert!(packed.len() < body.len());
                prop_assert_eq!(unpack(BOTH[which], &packed), Some(body));
            }
        }

        #[test]
        fn hostile_bytes_never_unpack_to_more_than_their_declared_length(
            length in any::<u32>(), bytes in proptest::collection::vec(any::<u8>(), 0..300), which in 0usize..2,
        ) {
            let stored = [&length.to_le_bytes()[..], &bytes].concat();
            if let Some(out) = unpack(BOTH[which], &stored) {
                prop_assert_eq!(out.len(), length as usize);
            }
        }

        #[test]
        fn a_damaged_body_unpacks_to_its_length_or_not_at_all(at in 0usize..400, bit in 0u8..8, cut in 0usize..400, which in 0usize..2) {
            let body: Vec<u8> = (0..5000u32).flat_map(|n| (n / 9).to_le_bytes()).collect();
            let mut packed = pack(BOTH[which], &body).ok_or_else(|| TestCaseError::fail("does not pack"))?;
            let at = at % packed.len();
            packed[at] ^= 1 << bit;
            let said = get_u32(&packed, 0) as usize;
            if let Some(out) = unpack(BOTH[which], &packed) {
                prop_assert_eq!(out.len(), said);
            }
            packed.truncate(cut % packed.len());
            if let Some(out) = unpack(BOTH[which], &packed) {
                prop_assert_eq!(out.len(), said);
            }
        }
    }

    #[test]
    fn repetitive_bodies_are_packed_and_small_or_random_ones_are_not() {
        for compression in BOTH {
            let lines = b"GET /index.html 200\n".repeat(500);
            let packed = pack(compression, &lines).map(|packed| packed.len());
            assert!(packed.is_some_and(|len| len < lines.len() / 10), "{compression:?}: {packed:?}");
            let mut rng = crate::testing::sim::Rng::new(1);
            let noise: Vec<u8> = (0..10_000).map(|_| rng.next() as u8).collect();
            assert_eq!(pack(compression, &noise), None, "{compression:?}");
            assert_eq!(pack(compression, &lines[..WORTHWHILE - 1]), None, "{compression:?}");
        }
        assert!(Packer::new(Compression::None).is_ok_and(|packer| packer.is_none()));
    }

    #[test]
    fn one_packer_and_one_unpacker_handle_bodies_of_every_size_in_turn() {
        for compression in BOTH {
            let Ok(Some(mut packer)) = Packer::new(compression) else { panic!() };
            let mut unpacker = Unpacker::default();
            for len in [200, 70_000, 5_000_000, 300, 1_000_000, 65_536, 128] {
                let body: Vec<u8> = (0..len).map(|i| (i / 100) as u8).collect();
                let Some(packed) = packer.pack(&body) else { panic!("{len}") };
                let mut out = vec![1, 2, 3];
                assert_eq!(unpacker.unpack(compression, &packed[..packed.len() - 1], &mut out), None, "{len}");
                assert_eq!(out, [1, 2, 3], "a body that cannot be unpacked adds nothing to the output");
                assert_eq!(unpacker.unpack(compression, packed, &mut out), Some(()), "{len}");
                assert!(out[3..] == body, "{len}");
            }
            assert!(packer.out.capacity() <= KEPT_BYTES, "one large body does not hold memory for ever");
        }
    }

    #[test]
    fn a_hostile_raw_length_causes_no_large_allocation() {
        for compression in BOTH {
            assert_eq!(raw_len(compression, &[0, 0, 0, 0x40]), Some(MAX_RAW));
            assert_eq!(raw_len(compression, &[1, 0, 0, 0x40]), None, "no frame holds more");
            let body = b"abcdefgh".repeat(100);
            let Some(packed) = pack(compression, &body) else { panic!("does not pack") };
            for claim in [0, 1, 799, 801, 1 << 20, 1 << 29, MAX_RAW as u32, MAX_RAW as u32 + 1, u32::MAX] {
                let mut stored = packed.clone();
                put_u32(&mut stored, 0, claim);
                let mut out = Vec::new();
                assert_eq!(Unpacker::default().unpack(compression, &stored, &mut out), None, "{compression:?}, {claim}");
                assert!(out.capacity() <= 2 * ZSTD_FIRST, "{compression:?}: {} bytes for a claim of {claim}", out.capacity());
            }
            // A body of two units, or one with bytes after it, is invalid.
            let twice = [&(body.len() as u32 * 2).to_le_bytes()[..], &packed[LENGTH..], &packed[LENGTH..]].concat();
            assert!(compression == Compression::Lz4 || unpack(compression, &twice).is_none());
            assert_eq!(unpack(compression, &[&packed[..], &[0]].concat()), None, "{compression:?}");
        }
    }
}
