//! The plain reader: returns blocks of verified frames, and ends at damage.

use super::beginning::Beginning;
use super::segment_reader::SegmentReader;
use super::stored::Stored;
use super::time::Since;
use super::{Hole, ReadPlan, Space};
use crate::error::{out_of_range, truncated, Code, Error, Result};
use crate::format::compression::{raw_len, Unpacker};
use crate::format::frame::{self, Frame, Kind, HEADER, MERGED_BYTES};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::options::Compression;
use crate::read::block::Block;
use crate::read::follow::FollowedLog;
use crate::segments::attachment::explained;
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::segments::reader_positions::ReaderPosition;
use crate::storage::Storage;
use crate::util::bytes::mask;
use std::ops::Range;
use std::sync::Arc;

/// A follower this close to the end reads no more than `FEW_BYTES` at once.
const FEW: u64 = 64;
const FEW_BYTES: usize = 16 << 10;

/// How often a new reader looks for its first position in a log that another process writes. That writer publishes within some milliseconds
/// what it has acknowledged, so a look after the first one finds everything acknowledged before that.
const START_CHECKS: u32 = 3;

/// A reader that ends at damage. Its fields are what the other modules of the reader work on.
pub struct PlainReader {
    pub storage: Arc<dyn Storage>,
    pub catalog: Arc<Catalog>,
    /// Position of the next record to be returned.
    pub next: u64,
    /// Last position to be returned.
    pub to: u64,
    /// Last position that may be read now.
    pub limit: u64,
    /// The log that says how far the reader may read, if that can change.
    pub tail: Option<Arc<dyn FollowedLog>>,
    /// See [`Tail::follows`](super::Tail::follows).
    pub follows: bool,
    /// How often the reader may still look for its first position.
    start_checks: u32,
    pub cursor: Option<SegmentReader>,
    unpacker: Unpacker,
    /// Recent ratio of raw to stored bytes, which says how much of a compressed segment makes a block.
    growth: usize,
    /// The caller goes on after damage.
    past_damage: bool,
    /// Holes passed since the last block was returned.
    pub holes: Vec<Hole>,
    detailed: bool,
    /// Set for a reader that begins at a time.
    pub since: Option<Since>,
    /// Set while a reader that begins at an end of the log may still move.
    pub beginning: Option<Beginning>,
    pub position: Arc<ReaderPosition>,
    /// Number of truncations that the reader has acknowledged.
    pub truncations: u64,
    /// One of them removed a record that the reader has returned.
    pub cut_off: bool,
}

impl PlainReader {
    pub fn new(storage: Arc<dyn Storage>, catalog: Arc<Catalog>, plan: ReadPlan) -> PlainReader {
        let ReadPlan { next, to, tail, beginning, since, max_records, past_damage, detailed, position } = plan;
        // Where a reader that begins at a time begins is not known yet.
        let to = if since.is_some() { to } else { to.min(next.saturating_sub(1).saturating_add(max_records)) };
        let position = position.unwrap_or_else(|| catalog.reader_positions.enter(next));
        let (follows, start_checks) =
            tail.as_ref().map_or((false, 0), |tail| (tail.follows, if tail.check_start { START_CHECKS } else { 0 }));
        PlainReader {
            storage,
            catalog,
            next,
            to,
            limit: if tail.is_some() { 0 } else { to },
            tail: tail.map(|tail| tail.log),
            follows,
            start_checks,
            cursor: None,
            unpacker: Unpacker::default(),
            growth: 1,
            past_damage,
            holes: Vec::new(),
            detailed,
            since: since.map(|time| Since { time, max_records, is_located: false }),
            beginning: beginning.map(|(start, log, to)| Beginning::new(start, log, to, max_records)),
            position,
            truncations: 0,
            cut_off: false,
        }
    }

    /// Returns the next verified records, with the holes before them, see [`Reader::next_block`](super::Reader::next_block).
    pub fn next_block(&mut self, space: &mut Space<'_>) -> Result<Option<Block>> {
        let read = self.next_verified(space).map_err(|error| self.judged(error))?;
        Ok(self.with_holes(read))
    }

    /// Adds the holes that were passed to the block after them, or to an empty one.
    pub fn with_holes(&mut self, block: Option<Block>) -> Option<Block> {
        if block.is_none() && self.holes.is_empty() {
            return None;
        }
        let mut block = block.unwrap_or_else(|| Block::at(self.next, self.detailed));
        block.holes = std::mem::take(&mut self.holes);
        Some(block)
    }

    /// Whether everything that was asked for has been returned.
    pub fn is_done(&self) -> bool {
        self.next > self.to
    }

    /// Whether a follower has returned everything that it could at its last block.
    pub fn has_caught_up(&self) -> bool {
        self.next > self.limit
    }

    /// Returns the next verified records: about `max_bytes` of frames, unpacked, or one frame if that is larger. `None` at the end, and
    /// when a follower has caught up.
    ///
    /// # Errors
    /// `Truncated` if the next record was removed meanwhile, `Corrupt` if an acknowledged frame does not match its checksum, `Io` if the
    /// disk fails to read. A follower also ends with `Closed` or `Poisoned` after the last record that can be read.
    pub fn next_verified(&mut self, space: &mut Space<'_>) -> Result<Option<Block>> {
        loop {
            match self.try_next(space) {
                Ok(read) => {
                    self.note_begun(read.as_ref().map_or(self.next, |block| block.first_position), read.is_some());
                    return Ok(read);
                }
                Err(error) => self.begin_again(error)?,
            }
        }
    }

    /// Returns the next verified records from the reader's present position.
    fn try_next(&mut self, space: &mut Space<'_>) -> Result<Option<Block>> {
        loop {
            self.acknowledge_truncations()?;
            if self.is_done() {
                self.position.advance(u64::MAX);
                return Ok(None);
            }
            let max_bytes = match &self.tail {
                Some(tail) => {
                    let limit = tail.limit(self.next)?;
                    // `limit()` may have noticed a truncation. The limit then belongs to the new log, so start again.
                    if self.is_behind() {
                        continue;
                    }
                    if self.start_checks > 0 {
                        self.start_checks -= 1;
                        if self.next > limit + 1 {
                            if self.start_checks > 0 && tail.catch_up() {
                                continue;
                            }
                            return Err(out_of_range(self.next, limit + 1).during("read"));
                        }
                        self.start_checks = 0;
                        if !self.follows {
                            self.to = self.to.min(limit);
                        }
                    }
                    self.limit = limit.min(self.to);
                    // Close to the end a block would mostly be bytes that may not be read yet.
                    if self.follows && self.limit < self.next + FEW {
                        space.max_bytes.min(FEW_BYTES)
                    } else {
                        space.max_bytes
                    }
                }
                None => space.max_bytes,
            };
            if self.has_caught_up() && !self.has_to_locate() {
                return Ok(None);
            }
            let read = if self.has_to_locate() {
                self.locate().map(|()| Block::default())
            } else {
                self.try_block(max_bytes, space.memory.as_deref_mut())
            };
            match read {
                Ok(_) if space.only_locates && !self.has_to_locate() => return Ok(None),
                Ok(block) if block.is_empty() => {}
                Ok(block) => {
                    self.position.advance(self.next);
                    return Ok(Some(block));
                }
                // Records truncated meanwhile may be gone or dead: that is not damage.
                Err(_) if self.is_behind() => {}
                Err(error) => {
                    if let Some(tail) = self.tail.as_ref().filter(|_| !self.is_to_be_skipped(&error)) {
                        tail.refresh_for(self.next);
                    }
                    if !self.is_behind() {
                        return Err(self.believed(error));
                    }
                }
            }
        }
    }

    /// Whether damage can be skipped at once: bytes of a file change only after its name is gone.
    fn is_to_be_skipped(&self, error: &Error) -> bool {
        let file = error.segment.as_deref().filter(|_| self.past_damage && error.code == Code::Corrupt);
        file.is_some_and(|file| !self.storage.is_gone(file))
    }

    /// Turns `Corrupt` into the error of opening the file if the file is gone. Its bytes are no longer part of the log, so they are no
    /// damage.
    fn believed(&self, error: Error) -> Error {
        let damaged = error.segment.as_deref().filter(|_| error.code == Code::Corrupt);
        match damaged.and_then(|file| self.storage.open(file, false).err()) {
            Some(fault) if fault.is_not_found() => explained(&*self.storage, Error::from(fault).during("read")),
            _ if error.code == Code::Corrupt => error,
            _ => explained(&*self.storage, error).during("read"),
        }
    }

    fn try_block(&mut self, max_bytes: usize, memory: Option<&mut [u8]>) -> Result<Block> {
        let mut cursor = match self.cursor.take() {
            // The next position is still in the hole that the segment begins with.
            Some(cursor) if self.next < cursor.at.next => cursor,
            Some(cursor) => self.advance(cursor)?,
            None => self.seek()?,
        };
        if self.pass_hole(&cursor) {
            self.cursor = Some(cursor);
            return Ok(Block::default());
        }
        let block = self.read(&mut cursor, max_bytes, memory)?;
        self.cursor = Some(cursor);
        Ok(block)
    }

    /// Passes the hole that the segment begins with, as far as positions may be read. Returns true if the next position is in it.
    fn pass_hole(&mut self, cursor: &SegmentReader) -> bool {
        let Header { first, hole, .. } = cursor.header;
        if hole == 0 || !(first..cursor.header.start()).contains(&self.next) {
            return false;
        }
        let last = (cursor.header.start() - 1).min(self.limit);
        let segment = cursor.segment.file.clone();
        self.holes.push(Hole { first: self.next, last, segment, offset: 0, bytes: 0, flipped: None, recorded: true });
        self.next = last + 1;
        true
    }

    /// Whether the log was truncated since the reader last acknowledged a truncation.
    fn is_behind(&self) -> bool {
        self.next < self.catalog.low_mark() || self.truncations != self.position.truncation_count()
    }

    fn acknowledge_truncations(&mut self) -> Result<()> {
        let truncations = self.position.truncation_count();
        if truncations != self.truncations {
            if self.beginning.is_some() {
                return Err(truncated(self.next, self.catalog.low_mark()).during("read"));
            }
            self.truncations = truncations;
            let kept = self.position.acknowledge_truncations();
            self.cut_off |= self.next.saturating_sub(1) > kept;
            // The reader's segment may be dead. The records that were kept are found in the one that replaced it.
            self.cursor = None;
            if !self.follows {
                self.to = self.to.min(kept);
                self.limit = self.to;
            }
        }
        let first = self.catalog.low_mark();
        if self.cut_off || self.next < first && self.next <= self.to {
            return Err(truncated(self.next, first).during("read"));
        }
        Ok(())
    }

    fn read(&mut self, cursor: &mut SegmentReader, max_bytes: usize, memory: Option<&mut [u8]>) -> Result<Block> {
        let compressed = cursor.header.compressed;
        let want = if compressed { (max_bytes / self.growth).max(MERGED_BYTES).min(max_bytes) } else { max_bytes };
        // The bytes of a segment without compressed frames become the block as they are, so they are read to where they stay.
        let mut stored = Stored::new(want.max(HEADER), memory.filter(|_| !compressed));
        let n = cursor.file.read_at(stored.bytes_mut(), cursor.at.offset)?;
        stored.truncate(n);
        let mut block = Block::at(self.next, self.detailed);
        let start = cursor.at.offset;
        let mut used = 0;
        // Frames that are not acknowledged yet, or dead because the following segment starts before them, are not examined. The next
        // position decides that, never what the bytes seem to say.
        let last = self.catalog.segment_after(cursor.segment.id).map_or(self.limit, |s| self.limit.min(s.first - 1));
        while cursor.at.next <= last {
            let frame = frame::decode(&stored.bytes()[used..], cursor.header.seed(), cursor.at.offset);
            let Some(frame) = frame.filter(|f| f.first == cursor.at.next && f.prev == cursor.at.crc) else {
                // Return the good frames first. If this really is damage, the next block starts with it and reports it.
                if used > 0 {
                    break;
                }
                return Err(self.broken(&cursor.segment, cursor.at.offset));
            };
            let span = frame.span() as usize;
            if used + span > stored.bytes().len() {
                if used > 0 {
                    break;
                }
                self.read_whole(cursor, &mut stored, span, start)?;
            }
            let body = used + frame.head()..used + frame.head() + frame.body_len as usize;
            // Count unpacked bytes, because a block is bounded by the memory that it takes.
            let full = |raw: usize| !block.is_empty() && block.bytes.len() + raw > max_bytes;
            if compressed && raw_len(frame.codec, &stored.bytes()[body.clone()]).is_some_and(full) {
                break;
            }
            let before = block.len();
            let taken = self.take(cursor, &mut block, stored.bytes(), body, &frame);
            if self.detailed && frame.kind == Kind::Batch && block.len() > before {
                block.batches.push((before as u32, (block.len() - before) as u32));
            }
            match taken {
                Err(error) if block.is_empty() => return Err(error),
                // The frame may have added records before it broke. Its bytes stay in the block for them.
                Err(_) => {
                    used += span;
                    break;
                }
                Ok(()) => used += span,
            }
            cursor.at = FrameBoundary { offset: cursor.at.offset + span as u64, next: frame.next_position(), crc: frame.crc };
        }
        if compressed {
            self.growth = (block.bytes.len() / used.max(1)).max(1);
        } else {
            // Bytes that the reader may not see yet are not returned.
            stored.truncate(used);
            match stored {
                Stored::Own(bytes) => block.bytes = bytes,
                Stored::Lent(_, len) => block.lent = len,
            }
        }
        Ok(block)
    }

    /// Reads a frame that is larger than a block.
    fn read_whole(&self, cursor: &SegmentReader, stored: &mut Stored<'_>, span: usize, start: u64) -> Result<()> {
        let have = stored.bytes().len();
        // The header's checksum matched, but its length is believed no further than the file reaches.
        if span as u64 > cursor.file.len()?.saturating_sub(start) {
            return Err(self.broken(&cursor.segment, start));
        }
        stored.grow(span);
        let n = cursor.file.read_at(&mut stored.bytes_mut()[have..], start + have as u64)?;
        if have + n < span {
            return Err(self.broken(&cursor.segment, start));
        }
        Ok(())
    }

    /// Checks a frame's body and adds to `block` its records between the next position and the limit.
    fn take(&mut self, cursor: &SegmentReader, block: &mut Block, stored: &[u8], body: Range<usize>, frame: &Frame) -> Result<()> {
        let broken = |reader: &PlainReader| reader.broken(&cursor.segment, cursor.at.offset);
        if mask(crc32c::crc32c(&stored[body.clone()])) != frame.body_crc {
            return Err(broken(self));
        }
        if frame.count == 0 {
            return Ok(());
        }
        // Bytes of a segment without compressed frames become the block as they are. Others are unpacked into it.
        let whole = if cursor.header.compressed {
            let base = block.bytes.len();
            self.unpacker.unpack(frame.codec, &stored[body], &mut block.bytes).ok_or_else(|| broken(self))?;
            let unpacked = std::mem::take(&mut block.bytes);
            let whole = block.add(frame, &unpacked, base..unpacked.len(), &mut self.next, self.limit);
            block.bytes = unpacked;
            whole
        } else {
            frame.codec == Compression::None && block.add(frame, stored, body, &mut self.next, self.limit)
        };
        if whole {
            Ok(())
        } else {
            Err(broken(self))
        }
    }

    pub fn broken(&self, segment: &CatalogSegment, offset: u64) -> Error {
        let text = format!(
            "{} is damaged at offset {offset}: position {} and the later ones in the same frame cannot be read",
            segment.file, self.next
        );
        self.corrupt(segment, offset, text)
    }

    pub fn corrupt(&self, segment: &CatalogSegment, offset: u64, text: String) -> Error {
        let mut error = Error::new(Code::Corrupt, text).at(segment.file.clone(), offset).during("read");
        let last = self.catalog.segment_after(segment.id).map_or(self.limit, |s| s.first - 1);
        error.lost = Some((self.next, last.max(self.next)));
        error
    }
}
