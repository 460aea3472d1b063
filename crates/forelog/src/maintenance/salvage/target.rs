//! The new log while it is made: segments in order, each of them durable before the next one begins.

use crate::error::{Error, Result};
use crate::format::file_names::file_name;
use crate::format::footer::Index;
use crate::format::frame::{self, Frame, HEADER};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::{Header, Predecessor};
use crate::options::Compression;
use crate::segments::catalog;
use crate::segments::footer_writer::PendingFooter;
use crate::storage::{FileRef, ShortWrite, Storage};
use crate::util::limits::PAGE;
use std::sync::Arc;

/// Number of bytes that are gathered for one write.
const GATHERED: usize = 1 << 20;
/// Room in bytes with which a segment's file begins. The file doubles each time that it is full.
const ROOM: u64 = 64 << 10;

/// A segment whose frames are still being written, or the last one so far.
struct NewSegment {
    file: FileRef,
    header: Header,
    /// Boundary at which the next frame goes.
    end: FrameBoundary,
    index: Index,
    /// Frames that end at `end`, and are not in the file yet.
    gathered: Vec<u8>,
    len: u64,
    /// No more frames are added.
    complete: bool,
}

pub struct Target {
    to: Arc<dyn Storage>,
    uuid: Option<[u8; 16]>,
    /// The newest segment.
    last: Option<NewSegment>,
    first: Option<u64>,
    segments: u64,
    /// Names in the directory that are removed unless the log is finished.
    made: Vec<String>,
}

fn short(short: ShortWrite) -> Error {
    short.fault.into()
}

impl Target {
    pub fn new(to: Arc<dyn Storage>) -> Target {
        Target { to, uuid: None, last: None, first: None, segments: 0, made: Vec::new() }
    }

    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.to
    }

    /// Returns the new log's uuid.
    pub fn uuid(&mut self) -> Result<[u8; 16]> {
        if let Some(uuid) = self.uuid {
            return Ok(uuid);
        }
        let mut uuid = [0; 16];
        self.to.random(&mut uuid)?;
        Ok(*self.uuid.insert(uuid))
    }

    /// Returns the first position of the first segment.
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    pub fn segments(&self) -> u64 {
        self.segments
    }

    /// Adds a frame that was checked, after a hole if its position is not the next one.
    pub fn put(&mut self, frame: &Frame, body: &[u8], created_ms: u64) -> Result<()> {
        let continues = self.last.as_ref().is_some_and(|last| !last.complete && last.end.next == frame.first);
        if !continues {
            self.begin(frame.first, created_ms)?;
        }
        let Some(last) = &mut self.last else { return Ok(()) };
        last.header.compressed |= frame.codec != Compression::None;
        // All of the segment is durable before it counts, so its frames have nothing more to claim.
        let moved = Frame { synced: PAGE, prev: last.end.crc, ..frame.stamped() };
        let mut head = [0; HEADER];
        let crc = frame::encode(&mut head, &moved, last.header.seed(), last.end.offset);
        let padded = last.gathered.len() + moved.span() as usize;
        last.gathered.extend_from_slice(&head);
        last.gathered.extend_from_slice(body);
        last.gathered.resize(padded, 0);
        last.end = last.end.after(&Frame { crc, ..moved });
        last.index.note_frame(&moved, last.end);
        if last.gathered.len() >= GATHERED {
            last.write()?;
        }
        Ok(())
    }

    /// Ends the segment, so that the next frame begins another one.
    pub fn end_segment(&mut self) -> Result<()> {
        match self.last.as_mut().filter(|last| !last.complete) {
            Some(last) => last.complete(),
            None => Ok(()),
        }
    }

    /// Ends the log before position `next`, after a hole if that is not the next one. Returns the id of the active segment and its end.
    pub fn finish(&mut self, next: u64) -> Result<(u64, FrameBoundary)> {
        if self.last.as_ref().is_none_or(|last| last.end.next != next) {
            let now = self.to.wall_clock();
            self.begin(next, now)?;
        }
        self.end_segment()?;
        let Some(last) = &self.last else { return Ok((0, FrameBoundary { offset: PAGE, next, crc: 0 })) };
        last.file.shrink(last.end.offset.next_multiple_of(PAGE));
        last.file.sync()?;
        Ok((last.header.id, last.end))
    }

    /// Begins a segment whose first frame has the position `start`, and seals the one before it.
    fn begin(&mut self, start: u64, created_ms: u64) -> Result<()> {
        self.end_segment()?;
        let uuid = self.uuid()?;
        let mut salt = [0; 8];
        self.to.random(&mut salt)?;
        let (mut id, mut first, mut predecessor, mut greatest_before) = (1, start, None, 0);
        if let Some(last) = self.last.take() {
            (first, predecessor) = (last.end.next, Some(last.as_predecessor()));
            greatest_before = last.header.greatest_before.max(last.index.times.greatest);
            // Opening reads a header where an id is skipped, and finds the hole there.
            id = last.header.id + if first < start { 2 } else { 1 };
            last.seal()?;
        }
        let header = Header {
            uuid,
            id,
            first,
            salt: u64::from_le_bytes(salt),
            predecessor,
            carried_end: PAGE,
            recycled: false,
            compressed: false,
            stamped: true,
            created_ms,
            hole: start - first,
            greatest_before,
        };
        let name = file_name(first, id);
        let len = PAGE + ROOM;
        self.made.push(name.clone());
        let file = self.to.create(&name, len)?;
        let end = FrameBoundary::start(&header);
        self.first.get_or_insert(start);
        self.segments += 1;
        self.last = Some(NewSegment { file, header, end, index: Index::default(), gathered: Vec::new(), len, complete: false });
        Ok(())
    }

    /// Adds a file that is not a segment.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.made.push(name.to_owned());
        let file = self.to.create(name, bytes.len() as u64)?;
        file.write_at(bytes, 0).map_err(short)?;
        Ok(file.sync()?)
    }

    /// Registers names that are about to be made.
    pub fn name(&mut self, names: &[&str]) {
        self.made.extend(names.iter().map(|name| (*name).to_owned()));
    }

    /// Keeps the files of a log that is finished.
    pub fn keep(&mut self) {
        self.made.clear();
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.last = None;
        // CONTROL first: without it the remaining files are no log.
        for name in self.made.iter().rev() {
            let _ = self.to.remove(name);
        }
    }
}

impl NewSegment {
    fn as_predecessor(&self) -> Predecessor {
        Predecessor { id: self.header.id, salt: self.header.salt, end: self.end.offset, crc: self.end.crc }
    }

    /// Writes the gathered frames.
    fn write(&mut self) -> Result<()> {
        if self.end.offset > self.len {
            let len = self.end.offset.max(2 * self.len).next_multiple_of(PAGE);
            self.file.grow(self.len, len)?;
            self.len = len;
        }
        let at = self.end.offset - self.gathered.len() as u64;
        self.file.write_at(&self.gathered, at).map_err(short)?;
        self.gathered.clear();
        Ok(())
    }

    /// Writes the header, which says that all frames were durable from the start, and makes the segment durable.
    fn complete(&mut self) -> Result<()> {
        self.write()?;
        self.header.carried_end = self.end.offset;
        self.file.write_at(&self.header.encode(), 0).map_err(short)?;
        self.complete = true;
        Ok(self.file.sync()?)
    }

    /// Ends the file with a footer, or without one if the disk is full.
    fn seal(self) -> Result<()> {
        let entry = Arc::new(catalog::CatalogSegment::of_header(&self.header));
        entry.set_index(self.index);
        let seed = self.header.seed();
        let seal = PendingFooter { file: self.file, seed, entry, end: self.end, used: self.end.offset };
        Ok(seal.write()?)
    }
}
