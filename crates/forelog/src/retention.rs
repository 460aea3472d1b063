//! Retention: whole sealed segments whose time has come, oldest first, but nothing that a reader still has to read
//! or a cursor has not done.

use crate::catalog::Segment;
use crate::options::PAGE;
use crate::segment::Header;
use crate::storage::Fault;
use crate::writer::Writer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How much of a log is kept. Without a limit, all of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Segments go while their files take more than this many bytes, that of the active one included.
    pub max_bytes: Option<u64>,
    /// A segment goes once the one after it is older than this: all of its records are then. The one place where the
    /// wall clock decides something.
    pub max_age: Option<Duration>,
    /// Whether `max_bytes` lets go of what a cursor has not done.
    pub override_cursors: bool,
}

/// What is still needed starts at these positions.
#[derive(Clone, Copy, Debug)]
pub struct Floors {
    pub readers: u64,
    pub cursors: u64,
}

impl Retention {
    pub fn is_off(&self) -> bool {
        self.max_bytes.is_none() && self.max_age.is_none()
    }
}

/// What retention has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Position that becomes the first.
    pub first: Option<u64>,
    /// When it is worth looking again, if nothing else happens.
    pub again: Option<Duration>,
}

/// A reader or a cursor held something back: how soon it is looked at again.
const HELD: Duration = Duration::from_secs(1);

/// As many as there are, or as 64 bits hold.
pub fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What is known of segments, so that a look at a long log costs no more than one at a short one.
#[derive(Default)]
pub struct Known {
    /// Lengths of files that do not change any more, by id.
    lens: BTreeMap<u64, u64>,
    /// The last segment whose creation was asked for.
    created: Option<(u64, u64)>,
}

impl Writer {
    /// What may go now, of positions below the floors.
    pub fn due(&mut self, retention: &Retention, floors: Floors) -> Result<Due, Fault> {
        let segments = self.catalog.all();
        let mut bytes = match retention.max_bytes {
            Some(_) => self.bytes(&segments)?,
            None => 0,
        };
        let now = self.storage.wall_clock();
        let mut due = Due::default();
        for pair in segments.windows(2) {
            let [segment, following] = pair else { break };
            let large = retention.max_bytes.is_some_and(|most| bytes > most);
            let left = match retention.max_age {
                Some(age) => self.created(following)?.saturating_add(millis(age)).saturating_sub(now),
                None => u64::MAX,
            };
            if !large && left > 0 {
                due.again = retention.max_age.map(|_| Duration::from_millis(left));
                break;
            }
            let ignored = large && retention.override_cursors;
            if following.first > floors.readers || !ignored && following.first > floors.cursors {
                due.again = Some(HELD);
                break;
            }
            due.first = Some(following.first);
            bytes -= self.known.lens.get(&segment.id).copied().unwrap_or(0).min(bytes);
        }
        Ok(due)
    }

    /// Bytes of all the log's segment files.
    fn bytes(&mut self, segments: &[Arc<Segment>]) -> Result<u64, Fault> {
        let oldest = segments.first().map_or(0, |oldest| oldest.id);
        self.known.lens.retain(|id, _| *id >= oldest);
        let mut bytes = 0;
        for (i, segment) in segments.iter().enumerate() {
            // The last two may still be cut to size.
            let known = self.known.lens.get(&segment.id).filter(|_| i + 2 < segments.len());
            let len = match known {
                Some(len) => *len,
                None => self.storage.open(&segment.file, false)?.len()?,
            };
            self.known.lens.insert(segment.id, len);
            bytes += len;
        }
        Ok(bytes)
    }

    /// When a segment was created, in ms since the epoch; one whose header does not read was created just now.
    fn created(&mut self, segment: &Segment) -> Result<u64, Fault> {
        if let Some((_, created)) = self.known.created.filter(|(id, _)| *id == segment.id) {
            return Ok(created);
        }
        let mut page = vec![0; PAGE as usize];
        let n = self.storage.open(&segment.file, false)?.read_at(&mut page, 0)?;
        let created = Header::decode(&page[..n]).map_or_else(|_| self.storage.wall_clock(), |header| header.created_ms);
        self.known.created = Some((segment.id, created));
        Ok(created)
    }
}
