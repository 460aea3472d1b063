//! CONTROL: two slots, written in turn, that name the active segment and say how much of the log is known to be durable.
//!
//! A stale slot is a lower bound, never wrong. A slot is written at a roll, a truncation and a close, and once a second
//! while the durable horizon moves. It is never written between an append and its acknowledgement.

use crate::format::file_names::MAX_ID;
use crate::format::page::{begin_page, identify, page_uuid, BadPage};
use crate::util::bytes::*;
use crate::util::limits::{MAX_POSITION, PAGE};

pub const MAGIC: [u8; 8] = *b"\x89FCTL\r\n\x1a";
/// Size of the file: two slots, and the horizon page, which recovery does not use (see `horizon`).
pub const FILE_BYTES: u64 = 3 * PAGE;

// Offsets of the fields of a slot, after those that every page shares.
const SEQUENCE: usize = 48; // u64
const ACTIVE: usize = 56; // u64: id of the active segment, 0: none yet
const LOW: usize = 64; // u64: first position that counts
const MARK_SEGMENT: usize = 72; // u64, 0: no mark
const MARK_OFFSET: usize = 80; // u64
const MARK_POSITION: usize = 88; // u64
const FENCE_SEGMENT: usize = 96; // u64, 0: no fence
const FENCE_OFFSET: usize = 104; // u64

/// The durable mark: the end of the part of a segment that is known to be durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub segment: u64,
    pub offset: u64,
    /// The last durable position; 0 if there is none.
    pub position: u64,
}

/// The fence: nothing of `segment` past `offset` is ever read again, because a write there failed and its records were
/// rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    pub segment: u64,
    pub offset: u64,
}

/// The contents of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlState {
    pub uuid: [u8; 16],
    pub sequence: u64,
    pub active: u64,
    pub low_mark: u64,
    pub mark: Option<Mark>,
    pub fence: Option<Fence>,
}

impl ControlState {
    pub fn encode(&self) -> Vec<u8> {
        let mut page = begin_page(&MAGIC, &self.uuid);
        put_u64(&mut page, SEQUENCE, self.sequence);
        put_u64(&mut page, ACTIVE, self.active);
        put_u64(&mut page, LOW, self.low_mark);
        if let Some(mark) = self.mark {
            put_u64(&mut page, MARK_SEGMENT, mark.segment);
            put_u64(&mut page, MARK_OFFSET, mark.offset);
            put_u64(&mut page, MARK_POSITION, mark.position);
        }
        if let Some(fence) = self.fence {
            put_u64(&mut page, FENCE_SEGMENT, fence.segment);
            put_u64(&mut page, FENCE_OFFSET, fence.offset);
        }
        seal_page(&mut page);
        page
    }

    pub fn decode(page: &[u8]) -> Result<ControlState, BadPage> {
        identify(page, &MAGIC, 0)?;
        let at = |field| get_u64(page, field);
        let state = ControlState {
            uuid: page_uuid(page),
            sequence: at(SEQUENCE),
            active: at(ACTIVE),
            low_mark: at(LOW),
            mark: (at(MARK_SEGMENT) != 0).then(|| Mark { segment: at(MARK_SEGMENT), offset: at(MARK_OFFSET), position: at(MARK_POSITION) }),
            fence: (at(FENCE_SEGMENT) != 0).then(|| Fence { segment: at(FENCE_SEGMENT), offset: at(FENCE_OFFSET) }),
        };
        // A slot with a valid checksum was not necessarily written by this code. No sum of its fields may overflow.
        let sound = state.sequence < 1 << 62
            && state.active <= MAX_ID
            && (1..=MAX_POSITION + 1).contains(&state.low_mark)
            && state.mark.is_none_or(|mark| mark.segment <= MAX_ID && mark.position <= MAX_POSITION);
        if sound {
            Ok(state)
        } else {
            Err(BadPage::Damaged)
        }
    }
}

/// Returns the newer of the two slots that are intact, and its number. If neither is, returns the reason.
pub fn choose(slots: &[u8]) -> Result<(ControlState, u64), BadPage> {
    if (slots.len() as u64) < 2 * PAGE {
        return Err(BadPage::Foreign);
    }
    let (a, b) = slots[..2 * PAGE as usize].split_at(PAGE as usize);
    match (ControlState::decode(a), ControlState::decode(b)) {
        // If one slot is of a newer version, the older slot must not be used either: the program that wrote it may have
        // moved on.
        (Err(BadPage::Newer(version)), _) | (_, Err(BadPage::Newer(version))) => Err(BadPage::Newer(version)),
        (Ok(a), Ok(b)) if a.sequence >= b.sequence => Ok((a, 0)),
        (_, Ok(b)) => Ok((b, 1)),
        (Ok(a), _) => Ok((a, 0)),
        (Err(BadPage::Foreign), Err(BadPage::Foreign)) => Err(BadPage::Foreign),
        _ => Err(BadPage::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(sequence: u64) -> ControlState {
        ControlState {
            uuid: [1; 16],
            sequence,
            active: 4,
            low_mark: 17,
            mark: Some(Mark { segment: 4, offset: 8192, position: 30 }),
            fence: Some(Fence { segment: 3, offset: 4096 }),
        }
    }

    fn slots(a: &[u8], b: &[u8]) -> Vec<u8> {
        [a, b].concat()
    }

    #[test]
    fn a_slot_decodes_to_what_was_encoded() {
        assert_eq!(ControlState::decode(&sample(9).encode()), Ok(sample(9)));
        let bare = ControlState { mark: None, fence: None, ..sample(1) };
        assert_eq!(ControlState::decode(&bare.encode()), Ok(bare));
    }

    #[test]
    fn the_intact_slot_with_the_higher_sequence_number_is_chosen() {
        let (old, new) = (sample(5).encode(), sample(6).encode());
        assert_eq!(choose(&slots(&old, &new)), Ok((sample(6), 1)));
        assert_eq!(choose(&slots(&new, &old)), Ok((sample(6), 0)));
        let mut damaged = new.clone();
        damaged[70] ^= 1;
        assert_eq!(choose(&slots(&old, &damaged)), Ok((sample(5), 0)));
        assert_eq!(choose(&slots(&damaged, &damaged)), Err(BadPage::Damaged));
        assert_eq!(choose(&slots(&[0; 4096], &old)), Ok((sample(5), 1)));
        assert_eq!(choose(&[b'x'; 8192]), Err(BadPage::Foreign));
    }

    #[test]
    fn an_intact_slot_of_a_newer_format_version_is_an_error_even_if_the_other_slot_is_readable() {
        let mut newer = sample(6).encode();
        put_u32(&mut newer, 8, 2);
        seal_page(&mut newer);
        assert_eq!(choose(&slots(&sample(5).encode(), &newer)), Err(BadPage::Newer(2)));
    }
}
