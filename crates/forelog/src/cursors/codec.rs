//! A slot of CURSORS: the named cursors of a log and their positions. Does no I/O.
//!
//! A slot's lengths are limited to the bytes that exist before its checksum is computed, and nothing else in it is believed before the
//! checksum matches.

use crate::format::page::{BadPage, COMPATIBLE, INCOMPATIBLE, UUID, VERSION, VERSION_AT};
use crate::util::bytes::*;
use crate::util::limits::{MAX_POSITION, PAGE};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const MAGIC: [u8; 8] = *b"\x89FCUR\r\n\x1a";

/// Maximum number of cursors of a log.
pub const MAX_CURSORS: usize = 4096;
/// Maximum length of a name in bytes of UTF-8. The minimum is 1.
pub const MAX_NAME: usize = 255;

// Offsets of a slot's fields.
const SEQUENCE: usize = 48; // u64
const SLOT_BYTES: usize = 56; // u64: the other slot starts or this one ends there
const COUNT: usize = 64; // u32
const LENGTH: usize = 68; // u32: bytes of the entries
const CRC: usize = 76; // u32, over everything before it, then the entries
const ENTRIES: usize = 80;

// Fields of an entry: position, u64; length of the name, u8; the name.
const NAME: usize = 9;

/// Maximum size of a slot in bytes, which has room for the maximum number of cursors.
pub const MAX_SLOT_BYTES: u64 = 2 << 20;

const _: () = assert!(COMPATIBLE + 8 == UUID && LENGTH + 8 == CRC && CRC + 4 == ENTRIES);
const _: () = assert!(ENTRIES + MAX_CURSORS * (NAME + MAX_NAME) <= MAX_SLOT_BYTES as usize);

/// Names with the last position done, ordered by their bytes.
pub type Table = BTreeMap<Arc<str>, u64>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub uuid: [u8; 16],
    /// Of two intact slots, the one with the higher sequence counts.
    pub sequence: u64,
    pub slot_bytes: u64,
    pub table: Table,
}

/// Returns the size of a slot that holds `table` and has room to grow: a power of two.
pub fn slot_bytes(table: &Table) -> u64 {
    let used = table.keys().map(|name| NAME + name.len()).sum::<usize>() + ENTRIES;
    (used as u64 * 3 / 2).next_power_of_two().clamp(PAGE, MAX_SLOT_BYTES)
}

/// Whether a slot of this size holds `table`.
pub fn fits(table: &Table, slot_bytes: u64) -> bool {
    table.keys().map(|name| NAME + name.len()).sum::<usize>() + ENTRIES <= slot_bytes as usize
}

fn checksum(slot: &[u8], end: usize) -> u32 {
    mask(crc32c::crc32c_append(crc32c::crc32c(&slot[..CRC]), &slot[ENTRIES..end]))
}

impl Slot {
    /// Encodes the bytes of the slot that count, padded to whole pages.
    pub fn encode(&self) -> Vec<u8> {
        let mut slot = vec![0; ENTRIES];
        slot[..8].copy_from_slice(&MAGIC);
        put_u32(&mut slot, VERSION_AT, VERSION);
        slot[UUID..UUID + 16].copy_from_slice(&self.uuid);
        put_u64(&mut slot, SEQUENCE, self.sequence);
        put_u64(&mut slot, SLOT_BYTES, self.slot_bytes);
        for (name, position) in &self.table {
            slot.extend(position.to_le_bytes());
            slot.push(name.len() as u8);
            slot.extend(name.as_bytes());
        }
        let end = slot.len();
        put_u32(&mut slot, COUNT, self.table.len() as u32);
        put_u32(&mut slot, LENGTH, (end - ENTRIES) as u32);
        let crc = checksum(&slot, end);
        put_u32(&mut slot, CRC, crc);
        slot.resize(end.next_multiple_of(PAGE as usize), 0);
        slot
    }

    /// Returns a file that has this slot twice.
    pub fn twice(&self) -> Vec<u8> {
        let mut bytes = self.encode();
        bytes.resize(self.slot_bytes as usize, 0);
        bytes.extend_from_within(..);
        bytes
    }

    /// Decodes the slot that fills `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<Slot, BadPage> {
        if bytes.len() < ENTRIES || bytes[..8] != MAGIC {
            return Err(BadPage::Foreign);
        }
        let end = ENTRIES + get_u32(bytes, LENGTH) as usize;
        if end > bytes.len() || get_u32(bytes, CRC) != checksum(bytes, end) {
            return Err(BadPage::Damaged);
        }
        let version = get_u32(bytes, VERSION_AT);
        if version != VERSION || get_u64(bytes, INCOMPATIBLE) != 0 {
            return Err(BadPage::Newer(version));
        }
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&bytes[UUID..UUID + 16]);
        let table = entries(&bytes[ENTRIES..end], get_u32(bytes, COUNT) as usize).ok_or(BadPage::Damaged)?;
        let slot = Slot { uuid, sequence: get_u64(bytes, SEQUENCE), slot_bytes: get_u64(bytes, SLOT_BYTES), table };
        // A good checksum only shows that a program wrote these bytes, not that this one did.
        if slot.sequence < 1 << 62 && slot.slot_bytes == bytes.len() as u64 {
            Ok(slot)
        } else {
            Err(BadPage::Damaged)
        }
    }
}

/// Corrects the checksum of a slot, whatever its contents.
#[cfg(any(test, feature = "sim"))]
pub fn reseal(slot: &mut [u8]) {
    let length = (get_u32(slot, LENGTH) as usize).min(slot.len() - ENTRIES);
    put_u32(slot, LENGTH, length as u32);
    let crc = checksum(slot, ENTRIES + length);
    put_u32(slot, CRC, crc);
}

/// Decodes exactly `count` entries, in strict order.
fn entries(mut bytes: &[u8], count: usize) -> Option<Table> {
    if count > MAX_CURSORS {
        return None;
    }
    let mut table = Table::new();
    for _ in 0..count {
        let len = usize::from(*bytes.get(NAME - 1)?);
        let position = get_u64(bytes, 0);
        let name = std::str::from_utf8(bytes.get(NAME..NAME + len)?).ok()?;
        let ordered = table.last_key_value().is_none_or(|(last, _)| &**last < name);
        if name.is_empty() || !ordered || position > MAX_POSITION {
            return None;
        }
        table.insert(name.into(), position);
        bytes = &bytes[NAME + len..];
    }
    bytes.is_empty().then_some(table)
}

/// Returns the newer of a file's good slots and its number, or why neither is good.
pub fn choose(file: &[u8]) -> Result<(Slot, u64), BadPage> {
    let (a, b) = file.split_at(file.len() / 2);
    match (Slot::decode(a), Slot::decode(b)) {
        // A slot of a newer version forbids the older one too, because the version that wrote it may have moved the cursors on.
        (Err(BadPage::Newer(version)), _) | (_, Err(BadPage::Newer(version))) => Err(BadPage::Newer(version)),
        (Ok(a), Ok(b)) if a.sequence >= b.sequence => Ok((a, 0)),
        (_, Ok(b)) => Ok((b, 1)),
        (Ok(a), _) => Ok((a, 0)),
        (Err(BadPage::Foreign), Err(BadPage::Foreign)) => Err(BadPage::Foreign),
        _ => Err(BadPage::Damaged),
    }
}

/// Whether nothing has been written to a file since it was made, so that both of its slots are the first one.
pub fn is_fresh(file: &[u8]) -> bool {
    let (a, b) = file.split_at(file.len() / 2);
    matches!((Slot::decode(a), Slot::decode(b)), (Ok(a), Ok(b)) if a.sequence == b.sequence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample(sequence: u64) -> Slot {
        let table = Table::from([("billing".into(), 17), ("mail".into(), 0), ("zürich".into(), MAX_POSITION)]);
        Slot { uuid: [1; 16], sequence, slot_bytes: PAGE, table }
    }

    fn file(a: &[u8], b: &[u8]) -> Vec<u8> {
        [a, b].concat()
    }

    /// Returns a slot as it is in a file.
    fn whole(slot: &Slot) -> Vec<u8> {
        let mut bytes = slot.encode();
        bytes.resize(slot.slot_bytes as usize, 0);
        bytes
    }

    proptest! {
        #[test]
        fn a_slot_decodes_to_what_was_encoded(
            names in proptest::collection::btree_map("\\PC{1,60}", 0..=MAX_POSITION, 0..80),
            uuid in any::<[u8; 16]>(),
            sequence in 0..1u64 << 62,
            stale in any::<u8>(),
        ) {
            let table: Table = names.into_iter().map(|(name, position)| (name.as_str().into(), position)).collect();
            let slot = Slot { uuid, sequence, slot_bytes: slot_bytes(&table), table };
            let encoded = slot.encode();
            prop_assert!(fits(&slot.table, slot.slot_bytes) && encoded.len() as u64 <= slot.slot_bytes);
            // Bytes that a larger table has left do not count.
            let mut bytes = vec![stale; slot.slot_bytes as usize];
            bytes[..encoded.len()].copy_from_slice(&encoded);
            prop_assert_eq!(Slot::decode(&bytes), Ok(slot));
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), sealed in any::<bool>()) {
            if sealed && bytes.len() >= ENTRIES {
                bytes[..8].copy_from_slice(&MAGIC);
                put_u32(&mut bytes, VERSION_AT, VERSION);
                put_u64(&mut bytes, INCOMPATIBLE, 0);
                reseal(&mut bytes);
            }
            if let Ok(slot) = Slot::decode(&bytes) {
                prop_assert_eq!(slot.slot_bytes, bytes.len() as u64);
            }
        }
    }

    #[test]
    fn every_flipped_bit_of_a_slot_is_detected_or_harmless() {
        let slot = sample(9);
        let used = ENTRIES + slot.table.keys().map(|name| NAME + name.len()).sum::<usize>();
        for (bit, damaged) in flips(&whole(&slot)) {
            let decoded = Slot::decode(&damaged);
            assert_eq!(decoded.is_err(), bit / 8 < used, "bit {bit}");
            assert!(decoded.is_err() || decoded == Ok(slot.clone()), "bit {bit}");
        }
    }

    #[test]
    fn every_wrong_length_of_a_cursors_file_is_detected() {
        let whole = file(&whole(&sample(1)), &whole(&sample(2)));
        for len in 0..whole.len() {
            assert!(choose(&whole[..len]).is_err(), "{len} bytes");
        }
        assert!(choose(&[&whole[..], &[0; 2]].concat()).is_err());
    }

    #[test]
    fn the_intact_slot_with_the_higher_sequence_number_is_chosen() {
        let (old, new) = (whole(&sample(5)), whole(&sample(6)));
        assert_eq!(choose(&file(&old, &new)), Ok((sample(6), 1)));
        assert_eq!(choose(&file(&new, &old)), Ok((sample(6), 0)));
        let mut damaged = new.clone();
        damaged[70] ^= 1;
        assert_eq!(choose(&file(&old, &damaged)), Ok((sample(5), 0)));
        assert_eq!(choose(&file(&damaged, &old)), Ok((sample(5), 1)));
        assert_eq!(choose(&file(&damaged, &damaged)), Err(BadPage::Damaged));
        assert_eq!(choose(&[b'x'; 8192]), Err(BadPage::Foreign));
        assert_eq!(choose(&[]), Err(BadPage::Foreign));
    }

    #[test]
    fn an_intact_slot_of_a_newer_format_version_is_an_error_even_if_the_other_slot_is_readable() {
        let mut newer = whole(&sample(6));
        put_u32(&mut newer, VERSION_AT, 2);
        reseal(&mut newer);
        assert_eq!(choose(&file(&whole(&sample(5)), &newer)), Err(BadPage::Newer(2)));
    }

    #[test]
    fn names_that_are_unordered_repeated_empty_or_not_utf_8_are_damage_even_under_a_valid_checksum() {
        let good = sample(3);
        let at =
            |name: &str| good.table.keys().take_while(|other| ***other != *name).map(|name| NAME + name.len()).sum::<usize>() + ENTRIES;
        let spoil = |at: usize, byte: u8| {
            let mut slot = whole(&good);
            slot[at] = byte;
            reseal(&mut slot);
            Slot::decode(&slot)
        };
        assert_eq!(spoil(at("mail") + NAME, b'm'), Ok(good.clone()));
        for (at, byte) in [
            (at("mail") + NAME, b'a'),
            (at("mail") + NAME, 0xff),
            (at("mail") + NAME - 1, 0),
            (at("mail") + NAME - 1, 200),
            (at("billing") + 7, 1),
            (COUNT, 2),
            (COUNT, 4),
            (SLOT_BYTES, 1),
            (SEQUENCE + 7, 0x40),
        ] {
            assert_eq!(spoil(at, byte), Err(BadPage::Damaged), "{byte} at {at}");
        }
    }
}
