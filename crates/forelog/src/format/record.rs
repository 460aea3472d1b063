//! The record codec: the bytes of one record in the body of a frame. Pure functions; no read goes past the body.

use crate::error::{Code, Error, Result};
use crate::util::page_buffer::PageBuffer;

pub const HAS_KEY: u8 = 1;
pub const HAS_VALUE: u8 = 2;
pub const TOMBSTONE: u8 = 4;
pub const HAS_EXPIRY: u8 = 8;
pub const HAS_VERSION: u8 = 16;
const KNOWN: u8 = HAS_KEY | HAS_VALUE | TOMBSTONE | HAS_EXPIRY | HAS_VERSION;

/// A record with borrowed fields. `append` copies them before it returns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Key of the record.
    pub key: Option<&'a [u8]>,
    /// Value of the record.
    pub value: Option<&'a [u8]>,
    /// Whether the record is a tombstone, which has no value: its key has been deleted.
    pub tombstone: bool,
    /// Absolute expiry in milliseconds since the epoch, computed when the record was made.
    pub expires_at: Option<u64>,
    /// The Raft term and index of the record.
    pub version: Option<(u64, u64)>,
}

fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7f => 1,
        0x80..=0x3fff => 2,
        0x4000..=0x1f_ffff => 3,
        0x20_0000..=0x0fff_ffff => 4,
        _ => 5,
    }
}

/// Length of the smallest record in bytes: the flags and two varints.
pub const SMALLEST: usize = 3;

/// Largest head: the flags, two varints and three numbers.
const HEAD: usize = 1 + 2 * 5 + 3 * 8;

/// The part of a record before key and value. It is assembled here and copied in one piece, so that room in the output is
/// checked only once.
struct Head {
    bytes: [u8; HEAD],
    len: usize,
}

impl Head {
    #[inline]
    fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.bytes[self.len..self.len + N].copy_from_slice(&bytes);
        self.len += N;
    }

    #[inline]
    fn put_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.put([value as u8 | 0x80]);
            value >>= 7;
        }
        self.put([value as u8]);
    }
}

fn get_varint(body: &[u8], at: &mut usize) -> Option<u32> {
    let mut value = 0u32;
    for shift in [0, 7, 14, 21, 28] {
        let byte = *body.get(*at)?;
        *at += 1;
        if shift == 28 && byte > 0x0f {
            return None;
        }
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

impl<'a> From<&'a [u8]> for RecordRef<'a> {
    /// Creates a record with this value and nothing else.
    fn from(value: &'a [u8]) -> RecordRef<'a> {
        RecordRef { value: Some(value), ..RecordRef::default() }
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for RecordRef<'a> {
    fn from(value: &'a [u8; N]) -> RecordRef<'a> {
        value.as_slice().into()
    }
}

impl<'a> From<&'a Vec<u8>> for RecordRef<'a> {
    fn from(value: &'a Vec<u8>) -> RecordRef<'a> {
        value.as_slice().into()
    }
}

impl<'a> From<&'a str> for RecordRef<'a> {
    fn from(value: &'a str) -> RecordRef<'a> {
        value.as_bytes().into()
    }
}

impl<'a> From<&'a String> for RecordRef<'a> {
    fn from(value: &'a String) -> RecordRef<'a> {
        value.as_bytes().into()
    }
}

impl<'a> RecordRef<'a> {
    /// Creates a record with this value and nothing else.
    pub fn new(value: &'a (impl AsRef<[u8]> + ?Sized)) -> RecordRef<'a> {
        value.as_ref().into()
    }

    /// Creates a tombstone: the record that deletes a key.
    pub fn deletion(key: &'a (impl AsRef<[u8]> + ?Sized)) -> RecordRef<'a> {
        RecordRef { key: Some(key.as_ref()), tombstone: true, ..RecordRef::default() }
    }

    /// Sets the key.
    pub fn with_key(self, key: &'a (impl AsRef<[u8]> + ?Sized)) -> RecordRef<'a> {
        RecordRef { key: Some(key.as_ref()), ..self }
    }

    /// Sets when the record expires, in milliseconds since 1970.
    pub fn with_expiry(self, expires_at: u64) -> RecordRef<'a> {
        RecordRef { expires_at: Some(expires_at), ..self }
    }

    /// Sets the Raft term and index of the record.
    pub fn with_version(self, term: u64, index: u64) -> RecordRef<'a> {
        RecordRef { version: Some((term, index)), ..self }
    }

    /// Checks a record before it gets a position, and returns its encoded length in bytes.
    ///
    /// # Errors
    /// `InvalidArg` if the record has neither key, value nor tombstone, or if a tombstone has a value. `TooLarge` if the
    /// encoding is longer than `max_record_bytes`.
    pub fn check(&self, max_record_bytes: u64) -> Result<usize> {
        if self.key.is_none() && self.value.is_none() && !self.tombstone {
            return Err(Error::new(Code::InvalidArg, "a record needs a key, a value or a tombstone").during("append"));
        }
        if self.tombstone && self.value.is_some() {
            return Err(Error::new(Code::InvalidArg, "a tombstone cannot have a value").during("append"));
        }
        let (key, value) = (self.key.map_or(0, <[u8]>::len), self.value.map_or(0, <[u8]>::len));
        // Check before the lengths are narrowed to 32 bits. `max_record_bytes` is at most 1 GiB.
        if (key as u64).saturating_add(value as u64) > max_record_bytes {
            return Err(self.too_large(key as u64 + value as u64, max_record_bytes));
        }
        let len = self.encoded_len();
        if len as u64 > max_record_bytes {
            return Err(self.too_large(len as u64, max_record_bytes));
        }
        Ok(len)
    }

    /// Returns the encoded length in bytes of a record that `check` has accepted.
    pub fn encoded_len(&self) -> usize {
        let (key, value) = (self.key.map_or(0, <[u8]>::len), self.value.map_or(0, <[u8]>::len));
        let mut len = 1 + varint_len(key as u32) + varint_len(value as u32) + key + value;
        len += if self.expires_at.is_some() { 8 } else { 0 };
        len += if self.version.is_some() { 16 } else { 0 };
        len
    }

    fn too_large(&self, len: u64, max: u64) -> Error {
        Error::new(Code::TooLarge, format!("the record has {len} bytes, but maxRecordBytes is {max}")).during("append")
    }

    /// Appends the encoding of a record that `check` has accepted.
    #[inline]
    pub fn encode(&self, out: &mut impl Output) {
        let (key, value) = (self.key.unwrap_or(&[]), self.value.unwrap_or(&[]));
        let mut flags = 0;
        flags |= if self.key.is_some() { HAS_KEY } else { 0 };
        flags |= if self.value.is_some() { HAS_VALUE } else { 0 };
        flags |= if self.tombstone { TOMBSTONE } else { 0 };
        flags |= if self.expires_at.is_some() { HAS_EXPIRY } else { 0 };
        flags |= if self.version.is_some() { HAS_VERSION } else { 0 };
        let mut head = Head { bytes: [0; HEAD], len: 0 };
        head.put([flags]);
        head.put_varint(key.len() as u32);
        head.put_varint(value.len() as u32);
        if let Some(expiry) = self.expires_at {
            head.put(expiry.to_le_bytes());
        }
        if let Some((term, index)) = self.version {
            head.put(term.to_le_bytes());
            head.put(index.to_le_bytes());
        }
        out.append(&head.bytes[..head.len]);
        out.append(key);
        out.append(value);
    }
}

/// Where encoded records go.
pub trait Output {
    fn append(&mut self, bytes: &[u8]);
}

impl Output for Vec<u8> {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

impl Output for PageBuffer {
    #[inline]
    fn append(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// The parts of one encoded record, as offsets into the body that it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The flags of the encoded record.
    pub flags: u8,
    /// Start of the key.
    pub key: usize,
    /// Start of the value, which is the end of the key.
    pub value: usize,
    /// End of the value, which is the end of the record.
    pub end: usize,
    /// Expiry in milliseconds since the epoch.
    pub expires_at: Option<u64>,
    /// The Raft term and index.
    pub version: Option<(u64, u64)>,
}

impl Parts {
    /// Parses the record that starts at `at`. Returns `None` if the bytes are not a record, or if it would reach past the
    /// body.
    #[inline]
    pub fn parse(body: &[u8], at: usize) -> Option<Parts> {
        // Most records have a small key, a small value, and nothing else.
        if let Some(&[flags, key_len, value_len]) = body.get(at..)?.first_chunk::<SMALLEST>() {
            let present = |len: u8, flag: u8| len < 0x80 && (len == 0 || flags & flag != 0);
            if flags & !(HAS_KEY | HAS_VALUE) == 0 && present(key_len, HAS_KEY) && present(value_len, HAS_VALUE) {
                let key = at + SMALLEST;
                let value = key + usize::from(key_len);
                let end = value + usize::from(value_len);
                return (end <= body.len()).then_some(Parts { flags, key, value, end, expires_at: None, version: None });
            }
        }
        Parts::parse_any(body, at)
    }

    fn parse_any(body: &[u8], mut at: usize) -> Option<Parts> {
        let flags = *body.get(at)?;
        at += 1;
        if flags & !KNOWN != 0 {
            return None;
        }
        let key_len = get_varint(body, &mut at)? as usize;
        let value_len = get_varint(body, &mut at)? as usize;
        if (flags & HAS_KEY == 0 && key_len != 0) || (flags & HAS_VALUE == 0 && value_len != 0) {
            return None;
        }
        let mut fixed = |has: bool| -> Option<Option<u64>> {
            if !has {
                return Some(None);
            }
            let field: [u8; 8] = body.get(at..at + 8)?.try_into().ok()?;
            at += 8;
            Some(Some(u64::from_le_bytes(field)))
        };
        let expires_at = fixed(flags & HAS_EXPIRY != 0)?;
        let term = fixed(flags & HAS_VERSION != 0)?;
        let index = fixed(flags & HAS_VERSION != 0)?;
        let value = at.checked_add(key_len)?;
        let end = value.checked_add(value_len)?;
        if end > body.len() {
            return None;
        }
        Some(Parts { flags, key: at, value, end, expires_at, version: term.zip(index) })
    }

    /// Whether a record with these flags has an expiry.
    pub fn has_expiry(flags: u8) -> bool {
        flags & HAS_EXPIRY != 0
    }

    /// Whether a record with these flags has a version.
    pub fn has_version(flags: u8) -> bool {
        flags & HAS_VERSION != 0
    }

    /// Returns the record in `body`, the bytes that it was parsed from.
    pub fn record<'a>(&self, body: &'a [u8]) -> RecordRef<'a> {
        RecordRef {
            key: (self.flags & HAS_KEY != 0).then(|| &body[self.key..self.value]),
            value: (self.flags & HAS_VALUE != 0).then(|| &body[self.value..self.end]),
            tombstone: self.flags & TOMBSTONE != 0,
            expires_at: self.expires_at,
            version: self.version,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_record_decodes_to_itself(
            key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
            value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20_000)),
            expires_at in proptest::option::of(any::<u64>()),
            version in proptest::option::of(any::<(u64, u64)>()),
        ) {
            let record = RecordRef { key: key.as_deref(), value: value.as_deref(), tombstone: value.is_none(), expires_at, version };
            let len = record.check(1 << 20).map_err(|e| TestCaseError::fail(e.to_string()))?;
            let mut body = vec![0xee; 3];
            record.encode(&mut body);
            prop_assert_eq!(body.len(), 3 + len);
            let parts = Parts::parse(&body, 3);
            prop_assert_eq!(parts.map(|p| (p.record(&body), p.end)), Some((record, body.len())));
        }

        #[test]
        fn hostile_bytes_are_never_read_past_the_end_of_the_body(body in proptest::collection::vec(any::<u8>(), 0..64), at in 0usize..70) {
            prop_assert_eq!(Parts::parse(&body, at), if at < body.len() { Parts::parse_any(&body, at) } else { None });
            if let Some(parts) = Parts::parse(&body, at) {
                prop_assert!(parts.key <= parts.value && parts.value <= parts.end && parts.end <= body.len());
            }
        }
    }

    #[test]
    fn a_truncated_record_is_refused_at_every_length() {
        let mut body = Vec::new();
        RecordRef { key: Some(b"key"), value: Some(&[7; 200]), expires_at: Some(1), version: Some((2, 3)), ..Default::default() }
            .encode(&mut body);
        for len in 0..body.len() {
            assert_eq!(Parts::parse(&body[..len], 0), None, "cut at {len}");
        }
    }

    #[test]
    fn a_record_above_the_limit_or_without_meaning_is_refused() {
        let refused = |record: RecordRef| record.check(64).map_err(|e| e.code);
        assert_eq!(refused(RecordRef { value: Some(&[0; 64]), ..Default::default() }), Err(Code::TooLarge));
        assert_eq!(refused(RecordRef { value: Some(&[0; 61]), ..Default::default() }), Ok(64));
        assert_eq!(refused(RecordRef::default()), Err(Code::InvalidArg));
        assert_eq!(refused(RecordRef { value: Some(b"v"), tombstone: true, ..Default::default() }), Err(Code::InvalidArg));
    }
}
