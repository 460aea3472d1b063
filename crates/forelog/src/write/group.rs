//! The group being gathered for the next commit: encoded records, blank frame headers that the commit fills in, and the clients to settle.
//! In memory only.

use crate::error::{Code, Error, Result};
use crate::format::compression::Packer;
use crate::format::frame::{span, Kind, ALIGN, HEADER, MERGED_BYTES};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::record::RecordRef;
use crate::options::Compression;
use crate::util::limits::PAGE;
use crate::util::runtime::clock;
use crate::write::encoded_records::{Body, EncodedRecords};
use crate::write::frame_bytes::FrameBytes;

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
    pub bytes: FrameBytes,
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

/// Room that a frame takes beside its body.
const FRAME_ROOM: usize = HEADER + ALIGN as usize;

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
        let (len, capacity) = (self.bytes.len(), self.bytes.own_capacity());
        self.small = if len > LARGE / 8 { 0 } else { self.small + u32::from(len > 0) };
        let is_spare = capacity > KEPT_BYTES && len <= KEPT_BYTES || capacity >= LARGE && self.small >= SMALL_GROUPS;
        // A group that is clear says nothing of the next one.
        if len > 0 && is_spare {
            self.bytes = FrameBytes::default();
            self.small = 0;
        }
        self.bytes.clear();
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
        self.bytes.make_room(len + FRAME_ROOM);
        if !self.has_room(len) {
            self.open_frame(position, Kind::Singles);
        }
        record.encode(&mut *self.bytes);
        self.add(client, len, 1, 1);
    }

    /// Whether single records of `len` bytes fit into the last frame.
    fn has_room(&self, len: usize) -> bool {
        self.frames.last().is_some_and(|f| f.kind == Kind::Singles && HEADER + f.body_len + len <= MERGED_BYTES)
    }

    /// Adds records that have their final form, in frames of their own where the last frame has no room. Takes their memory if it can, and
    /// copies them otherwise.
    pub fn push_encoded(&mut self, client: usize, first: u64, records: &mut EncodedRecords<'_>) {
        if self.frames.is_empty() && records.may_keep && records.count() > 0 {
            self.since = clock();
            self.bytes.take(std::mem::take(records.memory));
            let mut position = first;
            for Body { bytes, count } in records.bodies() {
                let start = bytes.start - HEADER;
                // Alignment between frames is zeroes.
                let gap = self.frames.last().map_or(start, |last| last.start + HEADER + last.body_len);
                self.bytes[gap..start].fill(0);
                self.add_frame(start, position, Kind::Singles);
                self.add(client, bytes.len(), *count, u64::from(*count));
                position += u64::from(*count);
            }
            let end = self.frames.last().map_or(0, |last| last.start + HEADER + last.body_len);
            self.bytes.truncate(end);
        } else {
            let mut position = first;
            self.bytes.make_room(records.bytes() as usize + records.bodies().len() * FRAME_ROOM);
            for Body { bytes, count } in records.bodies() {
                if !self.has_room(bytes.len()) {
                    self.open_frame(position, Kind::Singles);
                }
                self.bytes.extend_from_slice(&records.memory[bytes.clone()]);
                self.add(client, bytes.len(), *count, u64::from(*count));
                position += u64::from(*count);
            }
        }
    }

    /// Adds a batch as a frame of its own. Takes its memory if it can.
    pub fn push_batch(&mut self, client: usize, first: u64, batch: &mut Batch) {
        let len = batch.body().len();
        if self.frames.is_empty() {
            self.since = clock();
            std::mem::swap(&mut self.bytes, &mut batch.bytes);
            self.add_frame(FRAMES, first, Kind::Batch);
        } else {
            self.bytes.make_room(len + FRAME_ROOM);
            self.open_frame(first, Kind::Batch);
            self.bytes.extend_from_slice(batch.body());
        }
        self.add(client, len, batch.count, 1);
    }

    /// Adds an operation without records. It settles with everything accepted before it.
    pub fn push_sync(&mut self, client: usize) {
        self.durable = true;
        self.count(client, 1);
    }

    /// Returns the runs that wait for frames `from..to`. If `from` is 0, they include runs before the first frame, which wait for no frame.
    pub fn runs_of_frames(&self, from: usize, to: usize) -> &[OperationRun] {
        let at = |frame: usize| self.frames.get(frame).map_or(self.runs.len(), |f| f.first_run);
        let start = if from == 0 { 0 } else { at(from) };
        &self.runs[start..at(to).max(start)]
    }

    /// Pads the arena with zeroes to the alignment of frames, so that the bytes from the first frame on are exactly what is written.
    pub fn pad(&mut self) {
        let padded = self.bytes.len().next_multiple_of(ALIGN as usize);
        self.bytes.resize(padded);
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
        self.add_frame(start, first, kind);
    }

    fn add_frame(&mut self, start: usize, first: u64, kind: Kind) {
        self.frames.push(PendingFrame { start, body_len: 0, first, count: 0, kind, codec: Compression::None, first_run: self.runs.len() });
    }

    /// Counts records that the last frame has got, and the operations that they are.
    fn add(&mut self, client: usize, bytes: usize, records: u32, ops: u64) {
        if let Some(frame) = self.frames.last_mut() {
            frame.body_len += bytes;
            frame.count += records;
        }
        self.records += u64::from(records);
        self.record_bytes += bytes as u64;
        self.count(client, ops);
    }

    fn count(&mut self, client: usize, ops: u64) {
        let floor = self.frames.last().map_or(0, |f| f.first_run);
        match self.runs[floor..].last_mut() {
            Some(run) if run.client == client => run.ops += ops,
            _ => self.runs.push(OperationRun { client, ops }),
        }
    }
}

/// Records to be appended as one atomic unit, encoded as they are pushed.
#[derive(Default)]
pub struct Batch {
    /// As a group of one frame has them: see [`Group::bytes`].
    bytes: FrameBytes,
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
        self.make_room(len, 1)?;
        record.encode(&mut *self.bytes);
        self.count += 1;
        Ok(())
    }

    /// Adds records that have their final form. Takes their memory if it can, and copies them otherwise.
    ///
    /// # Errors
    /// As for [`Batch::push`].
    pub fn push_encoded(&mut self, records: &mut EncodedRecords<'_>) -> Result<()> {
        let (count, len) = (records.count(), records.bytes() as usize);
        let [Body { bytes, .. }] = records.bodies() else {
            return records.bodies().is_empty().then_some(()).ok_or_else(|| records.malformed());
        };
        let count = u32::try_from(count).map_err(|_| records.malformed())?;
        if self.is_empty() && records.may_keep && bytes.start == FRAMES + HEADER {
            let end = bytes.end;
            self.bytes.take(std::mem::take(records.memory));
            self.bytes.truncate(end);
        } else {
            let bytes = bytes.clone();
            self.make_room(len, count)?;
            self.bytes.extend_from_slice(&records.memory[bytes]);
        }
        self.count += count;
        Ok(())
    }

    fn make_room(&mut self, len: usize, count: u32) -> Result<()> {
        // Lengths in a frame are 32 bits wide. `maxBatchBytes` is far below that and is checked when the batch is appended.
        if self.body().len() + len > u32::MAX as usize - HEADER || self.count.checked_add(count).is_none() {
            return Err(Error::new(Code::TooLarge, "a batch can have at most 4 GiB").during("appendBatch"));
        }
        if self.is_empty() {
            self.bytes.truncate(0);
            self.bytes.extend(FRAMES + HEADER);
        }
        Ok(())
    }

    /// Removes all records.
    pub fn clear(&mut self) {
        if self.bytes.own_capacity() > KEPT_BYTES {
            self.bytes = FrameBytes::default();
        }
        self.bytes.clear();
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

    fn body(&self) -> &[u8] {
        self.bytes.get(FRAMES + HEADER..).unwrap_or(&[])
    }

    /// Returns the number of encoded bytes so far.
    pub fn bytes(&self) -> u64 {
        self.body().len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::arena::Arena;
    use crate::util::page_buffer::PageBuffer;
    use std::ops::Range;
    use std::sync::Arc;

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

    /// Memory with these records in their final form, in bodies of two records each, and the places of the bodies.
    fn encoded(arena: &Arc<Arena>, values: &[Vec<u8>]) -> (PageBuffer, Vec<Range<usize>>) {
        // SAFETY: nothing else accesses the memory.
        let mut memory = unsafe { arena.lend(arena.capacity()) }.unwrap_or_default();
        memory.fill(0xee);
        memory.truncate(FRAMES + HEADER);
        let mut bodies = Vec::new();
        for pair in values.chunks(2) {
            let start = memory.len();
            pair.iter().for_each(|value| RecordRef::from(value).encode(&mut memory));
            bodies.push(start..memory.len());
            let next = memory.len().next_multiple_of(ALIGN as usize) + HEADER;
            memory.extend(next - memory.len());
        }
        (memory, bodies)
    }

    #[test]
    fn records_whose_memory_a_group_takes_are_the_frames_that_copies_of_them_would_be() -> Result<()> {
        let arenas = Arena::region(2, 1 << 20);
        let values: Vec<_> = (1..=5).map(|n| vec![n; 30_000 + usize::from(n)]).collect();
        let (mut taken, mut copied) = (Group::default(), Group::default());
        for round in 0..3 {
            for (group, may_keep) in [(&mut taken, true), (&mut copied, false)] {
                group.push_sync(7);
                let (mut memory, bodies) = encoded(&arenas[usize::from(may_keep)], &values);
                let mut records = EncodedRecords::check(&mut memory, bodies.into_iter(), may_keep, 1 << 20)?;
                group.push_encoded(1, 1, &mut records);
                assert_eq!((memory.is_empty(), group.bytes.is_lent()), (may_keep, may_keep));
                group.pad();
                let at = |frame: &PendingFrame| (frame.start, frame.body_len, frame.first, frame.count, frame.first_run);
                let (len, bytes) = (round % 2 * 30_000, group.bytes.len());
                assert_eq!(
                    group.frames.iter().map(at).collect::<Vec<_>>(),
                    [(4096, 60_013, 1, 2, 1), (4096 + 60_064, 60_017, 3, 2, 2), (4096 + 60_064 + 60_072, 30_010, 5, 1, 3),]
                );
                assert_eq!(group.runs.iter().map(|run| (run.client, run.ops)).collect::<Vec<_>>(), [(7, 1), (1, 2), (1, 2), (1, 1)]);
                assert_eq!((group.records, group.record_bytes, bytes), (5, 150_040, 4096 + 60_064 + 60_072 + 30_064));
                // More than the memory has room for moves all of it.
                (0..len).for_each(|n| push(group, 1, 6 + n as u64, &[9; 40]));
                assert_eq!(group.bytes.is_lent(), may_keep && len == 0);
            }
            let body = |group: &Group| {
                let body = |frame: &PendingFrame| group.bytes[frame.start + HEADER..frame.start + frame.span() as usize].to_vec();
                group.frames[..3].iter().map(body).collect::<Vec<_>>()
            };
            assert_eq!(body(&taken), body(&copied), "with the zeroes between them");
            taken.clear();
            copied.clear();
            assert!(arenas.iter().all(|arena| !arena.is_lent()));
        }
        Ok(())
    }

    #[test]
    fn a_group_gives_the_memory_of_a_burst_back_once_small_groups_follow() {
        let mut group = Group::default();
        push(&mut group, 0, 1, &vec![1; 5 << 20]);
        group.clear();
        // After its commit, and when it is taken again.
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
    fn memory_of_a_burst_is_given_back_although_only_groups_with_lent_memory_follow() -> Result<()> {
        let arenas = Arena::region(1, 640 << 10);
        let mut group = Group::default();
        push(&mut group, 0, 1, &vec![1; 3 << 20]);
        group.clear();
        for position in 2..1 + u64::from(SMALL_GROUPS) {
            assert!(group.bytes.own_capacity() > 3 << 20);
            let (mut memory, bodies) = encoded(&arenas[0], &[vec![1; 10]]);
            let mut records = EncodedRecords::check(&mut memory, bodies.into_iter(), true, 1 << 20)?;
            group.push_encoded(1, position, &mut records);
            group.clear();
        }
        push(&mut group, 0, 1000, b"small");
        group.clear();
        assert_eq!(group.bytes.own_capacity(), 0);
        Ok(())
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
        group.push_batch(1, 4, &mut batch);
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
