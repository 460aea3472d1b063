//! The group being gathered for the next commit: encoded records, blank frame headers that the commit fills in, and the clients to settle.
//! In memory only.

use crate::error::{Code, Error, Result};
use crate::format::compression::Packer;
use crate::format::frame::{span, Kind, ALIGN, HEADER, MERGED_BYTES};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::record::RecordRef;
use crate::options::Compression;
use crate::util::limits::PAGE;
use crate::util::page_buffer::PageBuffer;
use crate::util::runtime::clock;

/// A frame of a group: the place of its header in the arena, with the records after it.
#[derive(Clone, Debug)]
pub struct PendingFrame {
    pub start: usize,
    pub body_len: usize,
    pub first: u64,
    pub count: u32,
    pub kind: Kind,
    pub codec: Compression,
    /// Index of the first run that waits for this frame. Its runs end where those of the next frame begin.
    pub first_run: usize,
}

impl PendingFrame {
    pub fn span(&self) -> u64 {
        span(self.body_len)
    }
}

/// Consecutive operations of one client that settle together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationRun {
    pub client: usize,
    pub ops: u64,
}

/// Records that wait for their commit. The buffers are reused.
#[derive(Default)]
pub struct Group {
    /// Frames with blank headers, each at a multiple of eight bytes. The first is on the second page: a write past the page cache takes
    /// whole pages only, and the first page is where the start of the block goes that the first frame shares with earlier ones.
    pub bytes: PageBuffer,
    pub frames: Vec<PendingFrame>,
    /// The boundaries after each frame that is sealed.
    pub sealed: Vec<FrameBoundary>,
    pub runs: Vec<OperationRun>,
    pub records: u64,
    /// At least one operation in the group asked for durability.
    pub durable: bool,
    /// Encoded bytes of its records, as they count towards `max_pending_bytes`.
    pub record_bytes: u64,
    /// When its oldest record was accepted, in monotonic nanoseconds; for the statistics only.
    pub since: u64,
    /// If set, the group has no frames and its operations are rejected with this error.
    pub rejected: Option<Error>,
    /// Number of small groups in a row that this arena has held.
    small: u32,
}

/// Offset of the first frame in the bytes of a group.
pub const FRAMES: usize = PAGE as usize;

/// An arena larger than this is freed once a small group follows, so that one burst does not hold memory for ever.
const KEPT_BYTES: usize = 4 << 20;

/// An arena is large if it has huge pages. It is freed after this many groups in a row that would fit into an eighth of it.
const LARGE: usize = 2 << 20;
const SMALL_GROUPS: u32 = 256;

impl Group {
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty() && self.runs.is_empty()
    }

    pub fn clear(&mut self) {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        self.small = if len <= LARGE / 8 { self.small + 1 } else { 0 };
        if capacity > KEPT_BYTES && len <= KEPT_BYTES || capacity >= LARGE && self.small >= SMALL_GROUPS {
            self.bytes = PageBuffer::default();
            self.small = 0;
        }
        self.bytes.truncate(0);
        self.sealed.clear();
        self.frames.clear();
        self.runs.clear();
        self.records = 0;
        self.durable = false;
        self.record_bytes = 0;
        self.rejected = None;
    }

    /// Drops the records and keeps their operations, which are to be rejected with `error`, or with an earlier error if there is one.
    pub fn reject(&mut self, error: &Error) {
        let runs = std::mem::take(&mut self.runs);
        let rejected = self.rejected.take();
        self.clear();
        self.runs = runs;
        self.rejected = rejected.or_else(|| Some(error.clone()));
    }

    /// Adds one record of `len` encoded bytes at `position`, merged into the last frame if there is room.
    pub fn push(&mut self, client: usize, position: u64, record: &RecordRef, len: usize) {
        let room = |f: &PendingFrame| f.kind == Kind::Singles && HEADER + f.body_len + len <= MERGED_BYTES;
        if !self.frames.last().is_some_and(room) {
            self.open_frame(position, Kind::Singles);
        }
        record.encode(&mut self.bytes);
        self.grow(client, len, 1);
    }

    /// Adds a batch as a frame of its own.
    pub fn push_batch(&mut self, client: usize, first: u64, batch: &Batch) {
        self.open_frame(first, Kind::Batch);
        self.bytes.extend_from_slice(&batch.body);
        self.grow(client, batch.body.len(), batch.count);
    }

    /// Adds an operation without records. It settles with everything accepted before it.
    pub fn push_sync(&mut self, client: usize) {
        self.durable = true;
        self.count(client);
    }

    /// Returns the runs that wait for frames `from..to`. If `from` is 0, they include runs before the first frame, which wait for no frame.
    pub fn runs_of_frames(&self, from: usize, to: usize) -> &[OperationRun] {
        let at = |frame: usize| self.frames.get(frame).map_or(self.runs.len(), |f| f.first_run);
        let start = if from == 0 { 0 } else { at(from) };
        &self.runs[start..at(to).max(start)]
    }

    /// Pads the arena with zeroes to the alignment of frames, so that the bytes from the first frame on are exactly what is written.
    pub fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN as usize));
    }

    /// Compresses every body that takes less space that way, and closes the gaps. The sealed arena can only shrink.
    pub fn compress(&mut self, packer: &mut Packer) {
        let mut to = FRAMES.min(self.bytes.len());
        for frame in &mut self.frames {
            let (body, place) = (frame.start + HEADER..frame.start + HEADER + frame.body_len, to + HEADER);
            // A shorter body that takes as much space on the disk would only cost time.
            let smaller = packer.pack(&self.bytes[body.clone()]).filter(|packed| span(packed.len()) < frame.span());
            match smaller {
                Some(packed) => {
                    self.bytes[place..place + packed.len()].copy_from_slice(packed);
                    frame.body_len = packed.len();
                    frame.codec = packer.compression();
                }
                None => self.bytes.copy_within(body, place),
            }
            frame.start = to;
            to += frame.span() as usize;
            self.bytes[place + frame.body_len..to].fill(0);
        }
        self.bytes.truncate(to);
    }

    fn open_frame(&mut self, first: u64, kind: Kind) {
        if self.frames.is_empty() {
            self.since = clock();
            self.bytes.truncate(0);
            self.bytes.extend(FRAMES);
        }
        self.pad();
        let start = self.bytes.len();
        self.bytes.extend(HEADER);
        self.frames.push(PendingFrame { start, body_len: 0, first, count: 0, kind, codec: Compression::None, first_run: self.runs.len() });
    }

    fn grow(&mut self, client: usize, bytes: usize, records: u32) {
        if let Some(frame) = self.frames.last_mut() {
            frame.body_len += bytes;
            frame.count += records;
        }
        self.records += u64::from(records);
        self.record_bytes += bytes as u64;
        self.count(client);
    }

    fn count(&mut self, client: usize) {
        let floor = self.frames.last().map_or(0, |f| f.first_run);
        match self.runs[floor..].last_mut() {
            Some(run) if run.client == client => run.ops += 1,
            _ => self.runs.push(OperationRun { client, ops: 1 }),
        }
    }
}

/// Records to be appended as one atomic unit, encoded as they are pushed.
#[derive(Default)]
pub struct Batch {
    body: Vec<u8>,
    count: u32,
}

impl Batch {
    /// Creates an empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// Copies one more record into the batch.
    ///
    /// # Errors
    /// `InvalidArg` for a record without meaning, `TooLarge` for one above `max_record_bytes`.
    pub fn push(&mut self, record: RecordRef<'_>, max_record_bytes: u64) -> Result<()> {
        let len = record.check(max_record_bytes)?;
        // Lengths in a frame are 32 bits wide. `maxBatchBytes` is far below that and is checked when the batch is appended.
        if self.body.len() + len > u32::MAX as usize - HEADER || self.count == u32::MAX {
            return Err(Error::new(Code::TooLarge, "a batch can have at most 4 GiB").during("appendBatch"));
        }
        record.encode(&mut self.body);
        self.count += 1;
        Ok(())
    }

    /// Removes all records.
    pub fn clear(&mut self) {
        if self.body.capacity() > KEPT_BYTES {
            self.body = Vec::new();
        }
        self.body.clear();
        self.count = 0;
    }

    /// Returns the number of records.
    pub fn len(&self) -> u32 {
        self.count
    }

    /// Whether the batch has no record.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Returns the number of encoded bytes so far.
    pub fn bytes(&self) -> u64 {
        self.body.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(group: &mut Group, client: usize, position: u64, value: &[u8]) {
        let record = RecordRef { value: Some(value), ..Default::default() };
        let len = record.check(1 << 30).unwrap_or_default();
        group.push(client, position, &record, len);
    }

    #[test]
    fn single_appends_merge_into_frames_of_at_most_64_kib() {
        let mut group = Group::default();
        for position in 1..=100 {
            push(&mut group, 0, position, &[1; 2000]);
        }
        assert!(group.frames.len() > 1);
        let mut next = 1;
        for frame in &group.frames {
            assert!(HEADER + frame.body_len <= MERGED_BYTES && frame.start.is_multiple_of(ALIGN as usize));
            assert_eq!(frame.first, next);
            next += u64::from(frame.count);
        }
        assert_eq!(next, 101);
        push(&mut group, 0, 101, &[1; 200_000]);
        assert_eq!(group.frames.last().map(|f| f.count), Some(1), "a record above the limit has a frame of its own");
    }

    #[test]
    fn the_frames_of_a_group_follow_each_other_from_the_second_page_of_its_memory_on() {
        for records in [1, 40, 400, 9000] {
            let mut group = Group::default();
            for _ in 0..3 {
                (1..=records).for_each(|position| push(&mut group, 0, position, &position.to_le_bytes().repeat(40)));
                group.pad();
                assert!((group.bytes.as_ptr() as u64).is_multiple_of(PAGE));
                let mut next = FRAMES;
                for frame in &group.frames {
                    assert_eq!(frame.start, next);
                    next += frame.span() as usize;
                    let first_value = frame.start + HEADER + 4;
                    assert_eq!(group.bytes[first_value..first_value + 8], frame.first.to_le_bytes());
                }
                assert_eq!(next, group.bytes.len());
                group.clear();
            }
        }
    }

    #[test]
    fn a_group_gives_the_memory_of_a_burst_back_once_small_groups_follow() {
        let mut group = Group::default();
        push(&mut group, 0, 1, &vec![1; 5 << 20]);
        group.clear();
        assert!(group.bytes.capacity() > 5 << 20, "the next group may be as large");
        push(&mut group, 0, 2, b"small");
        group.clear();
        assert_eq!(group.bytes.capacity(), 0);
        push(&mut group, 0, 3, &vec![1; 1 << 20]);
        group.clear();
        for position in 4..4 + u64::from(SMALL_GROUPS) {
            assert_eq!(group.bytes.capacity(), LARGE);
            push(&mut group, 0, position, b"small");
            group.clear();
        }
        assert_eq!(group.bytes.capacity(), 0);
    }

    #[test]
    fn every_operation_waits_for_the_frame_that_holds_it() {
        let mut group = Group::default();
        group.push_sync(7);
        push(&mut group, 1, 1, b"a");
        push(&mut group, 1, 2, b"b");
        push(&mut group, 2, 3, b"c");
        group.push_sync(1);
        let mut batch = Batch::new();
        assert!(batch.push(RecordRef { key: Some(b"k"), ..Default::default() }, 100).is_ok());
        group.push_batch(1, 4, &batch);
        push(&mut group, 1, 5, b"d");
        let run = |client, ops| OperationRun { client, ops };
        assert_eq!(group.frames.len(), 3);
        assert_eq!(group.runs_of_frames(0, 1), [run(7, 1), run(1, 2), run(2, 1), run(1, 1)]);
        assert_eq!(group.runs_of_frames(1, 2), [run(1, 1)]);
        assert_eq!(group.runs_of_frames(2, 3), [run(1, 1)]);
        assert_eq!(group.runs_of_frames(0, 3).iter().map(|r| r.ops).sum::<u64>(), 7);
        assert_eq!(group.runs_of_frames(3, 3), []);
    }
}
