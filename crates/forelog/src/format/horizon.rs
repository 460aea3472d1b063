//! CONTROL's third page: how far the log is acknowledged, for readers in other processes.
//!
//! Recovery never looks at it. It is written and not synced: only who shares the machine with a living writer reads
//! it, and a stale page is a lower bound. A reader that meets a torn one tries again.

use crate::error::Fault;
use crate::format::file_names::MAX_ID;
use crate::format::page::{begin_page, identify, page_uuid};
use crate::storage::File;
use crate::util::bytes::*;
use crate::util::limits::{MAX_POSITION, PAGE};

pub const MAGIC: [u8; 8] = *b"\x89FHZN\r\n\x1a";
/// Where the page stands in CONTROL: after its two slots.
pub const OFFSET: u64 = 2 * PAGE;

// Offsets of its fields after those that every page shares.
const SEQUENCE: usize = 48; // u64
const ACTIVE: usize = 56; // u64: id of the active segment
const LOW: usize = 64; // u64: first position that can be read
const ACKNOWLEDGED_OFFSET: usize = 72; // u64: end of the acknowledged frames of the active segment
const ACKNOWLEDGED: usize = 80; // u64: last acknowledged position, 0 when none
const DURABLE_OFFSET: usize = 88; // u64: end of the durable frames of the active segment
const DURABLE: usize = 96; // u64: last durable position, 0 when none
const GENERATION: usize = 104; // u64: another one whenever positions were taken back
const KEPT: usize = 112; // u64: last position that the latest generation took over from the one before

/// A reading may meet the page while it is being written; a write of one page takes far less than this many readings.
const READINGS: usize = 16;

/// How far something is: a joint between frames of the active segment, and the last position before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    pub offset: u64,
    /// 0 when none.
    pub position: u64,
}

/// One moment of the log. Segments above `active` are none of its business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    pub uuid: [u8; 16],
    pub sequence: u64,
    pub active: u64,
    pub low: u64,
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
            (LOW, self.low),
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

    /// `None` for a page that is torn, damaged, not written yet, or of another version: it tells nothing.
    pub fn decode(page: &[u8]) -> Option<Horizon> {
        if page.len() < PAGE as usize || identify(page, &MAGIC, 0).is_err() {
            return None;
        }
        let at = |field| get_u64(page, field);
        let horizon = Horizon {
            uuid: page_uuid(page),
            sequence: at(SEQUENCE),
            active: at(ACTIVE),
            low: at(LOW),
            acknowledged: LogEnd { offset: at(ACKNOWLEDGED_OFFSET), position: at(ACKNOWLEDGED) },
            durable: LogEnd { offset: at(DURABLE_OFFSET), position: at(DURABLE) },
            generation: at(GENERATION),
            kept: at(KEPT),
        };
        // As in CONTROL's slots: whoever counts on from a number here must not run over.
        let sound = (1..=MAX_ID).contains(&horizon.active)
            && horizon.sequence.max(horizon.generation) < 1 << 62
            && horizon.acknowledged.offset < 1 << 62
            && (1..=MAX_POSITION + 1).contains(&horizon.low)
            && horizon.durable.offset >= PAGE
            && horizon.acknowledged.offset >= horizon.durable.offset
            && horizon.acknowledged.position <= MAX_POSITION
            && horizon.durable.position <= horizon.acknowledged.position;
        sound.then_some(horizon)
    }

    /// The page as it stands in `control`; `None` when it tells nothing.
    pub fn read(control: &dyn File) -> Result<Option<Horizon>, Fault> {
        let mut page = vec![0; PAGE as usize];
        for _ in 0..READINGS {
            let n = control.read_at(&mut page, OFFSET)?;
            match Horizon::decode(&page[..n]) {
                Some(horizon) => return Ok(Some(horizon)),
                None if page[..n].iter().all(|b| *b == 0) => return Ok(None),
                None => std::thread::yield_now(),
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Horizon {
        Horizon {
            uuid: [7; 16],
            sequence: 12,
            active: 3,
            low: 5,
            acknowledged: LogEnd { offset: 9000, position: 40 },
            durable: LogEnd { offset: 8192, position: 33 },
            generation: 2,
            kept: 30,
        }
    }

    #[test]
    fn a_horizon_decodes_to_what_was_encoded() {
        assert_eq!(Horizon::decode(&sample().encode()), Some(sample()));
    }

    #[test]
    fn a_torn_horizon_page_tells_nothing() {
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
    fn a_page_whose_numbers_cannot_be_counted_on_from_tells_nothing() {
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
