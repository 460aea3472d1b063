//! The horizon page: the third page of CONTROL, which shows readers in other processes how far the log is acknowledged.
//!
//! Recovery never uses it. The page is written but not synced, because only processes on the same machine as a living
//! writer read it. A stale page is a lower bound. A reader that meets a torn page tries again.

use crate::format::file_names::MAX_ID;
use crate::format::page::{begin_page, identify, page_uuid};
use crate::util::bytes::*;
use crate::util::limits::{MAX_POSITION, PAGE};

pub const MAGIC: [u8; 8] = *b"\x89FHZN\r\n\x1a";
/// Offset of the page in CONTROL, after the two slots.
pub const OFFSET: u64 = 2 * PAGE;

// Offsets of the page's fields, after those that every page shares.
const SEQUENCE: usize = 48; // u64
const ACTIVE: usize = 56; // u64: id of the active segment
const LOW: usize = 64; // u64: first position that can be read
const ACKNOWLEDGED_OFFSET: usize = 72; // u64: end of the acknowledged frames of the active segment
const ACKNOWLEDGED: usize = 80; // u64: last acknowledged position, 0 when none
const DURABLE_OFFSET: usize = 88; // u64: end of the durable frames of the active segment
const DURABLE: usize = 96; // u64: last durable position, 0 when none
const GENERATION: usize = 104; // u64: another one whenever positions were taken back
const KEPT: usize = 112; // u64: last position that the latest generation took over from the one before

/// How far the log is, in one respect: a frame boundary in the active segment, and the last position before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    pub offset: u64,
    /// 0 if there is none.
    pub position: u64,
}

/// The contents of the page: the state of the log at one moment. It says nothing about segments with an id above `active`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    pub uuid: [u8; 16],
    pub sequence: u64,
    pub active: u64,
    pub low_mark: u64,
    pub acknowledged: LogEnd,
    pub durable: LogEnd,
    pub generation: u64,
    pub kept: u64,
}

impl Horizon {
    pub fn encode(&self) -> Vec<u8> {
        let mut page = begin_page(&MAGIC, &self.uuid);
        let fields = [
            (SEQUENCE, self.sequence),
            (ACTIVE, self.active),
            (LOW, self.low_mark),
            (ACKNOWLEDGED_OFFSET, self.acknowledged.offset),
            (ACKNOWLEDGED, self.acknowledged.position),
            (DURABLE_OFFSET, self.durable.offset),
            (DURABLE, self.durable.position),
            (GENERATION, self.generation),
            (KEPT, self.kept),
        ];
        for (at, value) in fields {
            put_u64(&mut page, at, value);
        }
        seal_page(&mut page);
        page
    }

    /// Decodes the page. Returns `None` if it is torn, damaged, not written yet, or of another version.
    pub fn decode(page: &[u8]) -> Option<Horizon> {
        if page.len() < PAGE as usize || identify(page, &MAGIC, 0).is_err() {
            return None;
        }
        let at = |field| get_u64(page, field);
        let horizon = Horizon {
            uuid: page_uuid(page),
            sequence: at(SEQUENCE),
            active: at(ACTIVE),
            low_mark: at(LOW),
            acknowledged: LogEnd { offset: at(ACKNOWLEDGED_OFFSET), position: at(ACKNOWLEDGED) },
            durable: LogEnd { offset: at(DURABLE_OFFSET), position: at(DURABLE) },
            generation: at(GENERATION),
            kept: at(KEPT),
        };
        // As in the slots of CONTROL, arithmetic on these numbers must not overflow.
        let sound = (1..=MAX_ID).contains(&horizon.active)
            && horizon.sequence.max(horizon.generation) < 1 << 62
            && horizon.acknowledged.offset < 1 << 62
            && (1..=MAX_POSITION + 1).contains(&horizon.low_mark)
            && horizon.durable.offset >= PAGE
            && horizon.acknowledged.offset >= horizon.durable.offset
            && horizon.acknowledged.position <= MAX_POSITION
            && horizon.durable.position <= horizon.acknowledged.position;
        sound.then_some(horizon)
    }
}

#[cfg(test)]
pub fn sample() -> Horizon {
    Horizon {
        uuid: [7; 16],
        sequence: 12,
        active: 3,
        low_mark: 5,
        acknowledged: LogEnd { offset: 9000, position: 40 },
        durable: LogEnd { offset: 8192, position: 33 },
        generation: 2,
        kept: 30,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_horizon_decodes_to_what_was_encoded() {
        assert_eq!(Horizon::decode(&sample().encode()), Some(sample()));
    }

    #[test]
    fn a_torn_horizon_page_is_ignored() {
        let (old, new) = (sample().encode(), Horizon { sequence: 13, active: 4, ..sample() }.encode());
        let newer = Horizon { sequence: 13, active: 4, ..sample() };
        for cut in 0..=old.len() {
            let torn = [&new[..cut], &old[cut..]].concat();
            let decoded = Horizon::decode(&torn);
            assert!(decoded.is_none() || decoded == Some(sample()) || decoded.as_ref() == Some(&newer), "cut at {cut}");
        }
        for (bit, damaged) in flips(&old) {
            assert_eq!(Horizon::decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(Horizon::decode(&[0; PAGE as usize]), None);
    }

    #[test]
    fn a_horizon_page_whose_numbers_would_overflow_is_ignored() {
        let (none, far) = (u64::MAX, LogEnd { offset: u64::MAX, position: 40 });
        for hostile in [
            Horizon { sequence: none, ..sample() },
            Horizon { active: none, ..sample() },
            Horizon { acknowledged: far, ..sample() },
            Horizon { acknowledged: far, durable: far, ..sample() },
            Horizon { generation: none, ..sample() },
        ] {
            assert_eq!(Horizon::decode(&hostile.encode()), None, "{hostile:?}");
        }
    }
}
