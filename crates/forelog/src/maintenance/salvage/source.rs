//! A damaged log, read frame by frame: the good frames, and the holes between them.

use crate::error::{Fault, Result};
use crate::format::compression::Unpacker;
use crate::format::control::Fence;
use crate::format::file_names::CONTROL;
use crate::format::frame::{self, Frame, ALIGN};
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::Header;
use crate::format::record::Parts;
use crate::options::{Compression, Mode};
use crate::read::reader::gap::{self, Cause};
use crate::read::reader::{header_of, Hole};
use crate::recovery::live_evidence::survey_until_stable;
use crate::recovery::survey::Survey;
use crate::recovery::verdict::{self, Answer};
use crate::segments::catalog::{Catalog, CatalogSegment};
use crate::segments::control_file::read_horizon;
use crate::segments::footer_writer::{find_footer, FooterState};
use crate::segments::frame_scan::{flipped_bit, frame_header, resync};
use crate::storage::window::Window;
use crate::storage::zero_on_read_error::ZeroOnReadError;
use crate::storage::{FileRef, Storage};
use crate::util::limits::{MAX_POSITION, PAGE};
use std::sync::Arc;

/// Bodies up to this size are read without growing their memory.
const LARGE: usize = 16 << 20;

/// The next piece of a damaged log.
pub enum Piece {
    /// A good frame, its stored body, and the creation time of its segment.
    Frame { frame: Frame, body: Vec<u8>, created_ms: u64 },
    /// Positions that no good frame holds.
    Hole(Hole),
    /// The next frames are those of the following segment.
    SegmentEnd,
}

/// The segment that is being read.
struct Reading {
    segment: Arc<CatalogSegment>,
    file: FileRef,
    header: Header,
    at: FrameBoundary,
    /// Offset from which the bytes of the file are dead or do not exist.
    limit: u64,
    /// Position from which records are in the following segment.
    end: u64,
    /// A frame that extends past `end` is returned up to here: the first position of the next segment whose header is intact, or the
    /// position after the last one.
    reach: u64,
}

pub struct Source {
    /// Returns zeroes for what the disk fails to read.
    storage: Arc<dyn Storage>,
    catalog: Arc<Catalog>,
    fence: Option<Fence>,
    reading: Option<Reading>,
    /// Next position.
    next: u64,
    /// A frame has been returned.
    begun: bool,
    unpacker: Unpacker,
    pub uuid: [u8; 16],
    pub verdict: &'static str,
    /// First position of the log.
    pub low_mark: u64,
    /// Last position that is known to have been assigned; the one before the first if there is none.
    pub last: u64,
    pub done_bytes: u64,
    pub total_bytes: u64,
}

/// Returns the last position that is known to have been assigned.
///
/// If the end of the log is damaged, the horizon page may know of later positions than CONTROL's mark, which is written once a second.
fn last(storage: &dyn Storage, found: &Survey) -> u64 {
    let last = found.last().max(found.low_mark - 1).min(MAX_POSITION);
    let is_hurt = found.active.is_none() || found.evidence.lost || found.evidence.short;
    let page = storage.open(CONTROL, false).and_then(|control| read_horizon(&*control)).ok().flatten();
    page.filter(|page| is_hurt && page.uuid == found.state.uuid).map_or(last, |page| last.max(page.acknowledged.position).min(MAX_POSITION))
}

impl Source {
    /// Surveys the log in `storage`, which scans its active segment.
    pub fn open(storage: &Arc<dyn Storage>) -> Result<Source> {
        let found = survey_until_stable(storage)?;
        if let Answer::Refuse(code) = verdict::answer(found.verdict, Mode::ReadOnly) {
            return Err(found.refusal(code));
        }
        let catalog = Arc::new(Catalog::default());
        catalog.replace(found.live.iter().map(|name| Arc::new(CatalogSegment::of_name(name))).collect(), found.low_mark);
        let storage: Arc<dyn Storage> = Arc::new(ZeroOnReadError::new(storage.clone()));
        let len = |segment: &Arc<CatalogSegment>| storage.open(&segment.file, false).and_then(|file| file.len()).unwrap_or(0);
        Ok(Source {
            total_bytes: catalog.all().iter().map(len).sum(),
            fence: found.state.fence,
            reading: None,
            next: found.low_mark,
            begun: false,
            unpacker: Unpacker::default(),
            uuid: found.state.uuid,
            verdict: found.verdict.label(),
            low_mark: found.low_mark,
            last: last(&*storage, &found),
            done_bytes: 0,
            storage,
            catalog,
        })
    }

    /// Passes the next pieces to `give`, until that took about `budget` bytes. Returns false at the end.
    pub fn advance(&mut self, mut budget: u64, give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<bool> {
        while budget > 0 {
            let reading = match self.reading.take() {
                Some(reading) => Some(reading),
                None => self.enter(give)?,
            };
            match reading {
                Some(mut reading) => {
                    let done = self.read(&mut reading, &mut budget, give)?;
                    if !done {
                        self.reading = Some(reading);
                        continue;
                    }
                    give(Piece::SegmentEnd)?;
                }
                None if self.next > self.last => return Ok(false),
                // The segment has no frame that can be recognized.
                None => {}
            }
        }
        Ok(true)
    }

    fn hole(&self, to: u64, segment: &str, offset: u64, bytes: u64) -> Hole {
        Hole { first: self.next, last: to - 1, segment: segment.to_owned(), offset, bytes, flipped: None, recorded: false }
    }

    /// Passes a hole to `give` and goes on after it.
    fn leave_out(&mut self, hole: Hole, give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        self.next = hole.last + 1;
        give(Piece::Hole(hole))
    }

    /// Opens the segment that holds the next position; `None` if there is none, or nothing of it can be read.
    fn enter(&mut self, give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<Option<Reading>> {
        if self.next > self.last {
            return Ok(None);
        }
        let Some(segment) = self.catalog.segment_containing(self.next) else {
            let oldest = self.catalog.oldest();
            let to = oldest.as_ref().map_or(self.last + 1, |oldest| oldest.first.min(self.last + 1));
            let file = oldest.map_or(CONTROL.to_owned(), |oldest| gap::before(&*self.storage, &oldest, self.next));
            let hole = self.hole(to, &file, 0, 0);
            self.leave_out(hole, give)?;
            return Ok(None);
        };
        let following = self.catalog.segment_after(segment.id);
        let end = following.as_ref().map_or(u64::MAX, |following| following.first).min(self.last + 1);
        let read = header_of(&*self.storage, &self.catalog, &segment)?.filter(|(_, header)| header.uuid == self.uuid);
        let Some((file, header)) = read else {
            let len = self.storage.open(&segment.file, false)?.len()?;
            let hole = self.hole(end, &segment.file, 0, len);
            self.done_bytes += len;
            self.leave_out(hole, give)?;
            return Ok(None);
        };
        let limit = self.limit(&*file, &header, following.clone())?;
        let reach = self.reach(following)?.min(self.last + 1);
        Ok(Some(Reading { at: FrameBoundary::start(&header), segment, file, header, limit, end, reach }))
    }

    /// First position of the next segment whose header is intact, from `following` on; `u64::MAX` without one.
    fn reach(&self, mut following: Option<Arc<CatalogSegment>>) -> Result<u64> {
        while let Some(segment) = following {
            let read = header_of(&*self.storage, &self.catalog, &segment)?;
            if read.is_some_and(|(_, header)| header.uuid == self.uuid) {
                return Ok(segment.first);
            }
            following = self.catalog.segment_after(segment.id);
        }
        Ok(u64::MAX)
    }

    /// Returns the offset at which the frames of a segment end at the latest, according to its successor, its footer or the fence.
    fn limit(&self, file: &dyn crate::storage::File, header: &Header, following: Option<Arc<CatalogSegment>>) -> Result<u64> {
        let len = file.len()?;
        if let Some(fence) = self.fence.filter(|fence| fence.segment == header.id) {
            return Ok(len.min(fence.offset));
        }
        let Some(following) = following else { return Ok(len) };
        let next = header_of(&*self.storage, &self.catalog, &following)?.and_then(|(_, next)| next.predecessor);
        let by_successor = next.filter(|p| (p.id, p.salt) == (header.id, header.salt)).map(|p| p.end);
        let footer = || match find_footer(file, header.seed()) {
            Ok(FooterState::Footer(footer)) => Some(footer.end.offset),
            _ => None,
        };
        Ok(by_successor.or_else(footer).map_or(len, |end| end.clamp(PAGE, len.max(PAGE))))
    }

    /// Passes frames and holes of a segment to `give`. Returns true at its end.
    fn read(&mut self, reading: &mut Reading, budget: &mut u64, give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<bool> {
        let file = reading.file.clone();
        let mut window = Window::new(&*file, reading.limit);
        while self.next < reading.end {
            if *budget == 0 {
                return Ok(false);
            }
            let before = reading.at.offset;
            let Header { first, hole, .. } = reading.header;
            if hole > 0 && (first..reading.header.start()).contains(&self.next) && before == PAGE {
                let to = reading.header.start().min(reading.end);
                let hole = Hole { recorded: true, ..self.hole(to, &reading.segment.file, 0, 0) };
                self.leave_out(hole, give)?;
                continue;
            }
            match self.good(&mut window, &reading.header, before, reading.end)? {
                Some((frame, body)) if frame.first == reading.at.next && frame.prev == reading.at.crc => {
                    self.take(reading, frame, body, give)?;
                }
                _ => self.skip(reading, &mut window, give)?,
            }
            let passed = reading.at.offset - before;
            self.done_bytes += passed;
            *budget = budget.saturating_sub(passed.max(1));
        }
        self.done_bytes += file.len()?.saturating_sub(reading.at.offset);
        Ok(true)
    }

    fn take(&mut self, reading: &mut Reading, frame: Frame, body: Vec<u8>, give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        reading.at = reading.at.after(&frame);
        // Padding, and frames wholly below the next position, are passed by.
        if frame.next_position() <= self.next {
            return Ok(());
        }
        let (frame, body) = if frame.next_position() > reading.reach { self.clipped(frame, body, reading.reach) } else { (frame, body) };
        (self.next, self.begun) = (frame.next_position(), true);
        give(Piece::Frame { frame, body, created_ms: reading.header.created_ms })
    }

    /// The records of a frame that stand below position `to`.
    fn clipped(&mut self, frame: Frame, body: Vec<u8>, to: u64) -> (Frame, Vec<u8>) {
        let count = to.saturating_sub(frame.first).min(u64::from(frame.count)) as u32;
        let mut unpacked = Vec::new();
        let mut raw = match frame.codec {
            Compression::None => body,
            codec => self.unpacker.unpack(codec, &body, &mut unpacked).map_or(body, |_| unpacked),
        };
        let end = (0..count).try_fold(0, |at, _| Some(Parts::parse(&raw, at)?.end)).unwrap_or(raw.len());
        raw.truncate(end);
        let body_crc = frame::stored(frame::body_crc(0, &raw));
        (Frame { body_len: raw.len() as u32, count, codec: Compression::None, body_crc, ..frame }, raw)
    }

    /// Goes on after damage, at the next good frame or at the end of the segment.
    fn skip(&mut self, reading: &mut Reading, window: &mut Window, give: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()> {
        let met = reading.at.offset;
        let (mut from, mut found) = (met, None);
        while let Some(boundary) = resync(window, &reading.header, from, self.next..reading.end)? {
            found = self.good(window, &reading.header, boundary.offset, reading.end)?.map(|good| (boundary, good));
            if found.is_some() {
                break;
            }
            from = boundary.offset + ALIGN;
        }
        let (to, offset) = found.as_ref().map_or((reading.end, reading.limit), |(boundary, _)| (boundary.next, boundary.offset));
        let cause = if found.is_none() && to > self.next {
            gap::cause(&*self.storage, &self.catalog, &reading.segment, self.next)
        } else {
            Cause::Damage
        };
        if let Cause::Missing(missing, _) = cause {
            let hole = self.hole(to, &missing.file, 0, 0);
            self.leave_out(hole, give)?;
        } else if to > self.next {
            // The next call reports what is missing after this segment.
            let to = if let Cause::Both(own_end) = cause { own_end.min(to) } else { to };
            let flipped = flipped_bit(window, &reading.header, met)?;
            let hole = Hole { flipped, ..self.hole(to, &reading.segment.file, met, offset.saturating_sub(met)) };
            self.leave_out(hole, give)?;
        }
        match found {
            Some((boundary, (frame, body))) => {
                reading.at = boundary;
                self.take(reading, frame, body, give)
            }
            None => {
                reading.at.offset = reading.limit.max(met);
                Ok(())
            }
        }
    }

    /// The frame at `offset` and its body, if all of it holds and it begins between the next position and `end`.
    ///
    /// The body is checked in the memory that is returned, because a failing disk may return other bytes the next time.
    fn good(&mut self, window: &mut Window, header: &Header, offset: u64, end: u64) -> Result<Option<(Frame, Vec<u8>)>> {
        let Some(frame) = frame_header(window, header, offset)? else { return Ok(None) };
        let readable = header.compressed || frame.codec == Compression::None;
        // Only the very first frame may begin below the next position, so no record is returned twice.
        let is_new = frame.first >= self.next || !self.begun || frame.next_position() <= self.next;
        let fits = frame.span() <= window.len().saturating_sub(offset) && (frame.first < end || frame.next_position() <= end);
        if !readable || !is_new || !fits || frame.first < header.start() {
            return Ok(None);
        }
        let body = body(window, &frame, offset)?;
        if frame::stored(frame::body_crc(0, &body)) != frame.body_crc {
            return Ok(None);
        }
        Ok(self.is_readable(&frame, &body).then_some((frame, body)))
    }

    /// Whether a body can be unpacked, and has as many records as the frame says.
    fn is_readable(&mut self, frame: &Frame, body: &[u8]) -> bool {
        let mut unpacked = Vec::new();
        let raw = match frame.codec {
            Compression::None => body,
            codec if self.unpacker.unpack(codec, body, &mut unpacked).is_some() => &unpacked,
            _ => return false,
        };
        (0..frame.count).try_fold(0, |at, _| Some(Parts::parse(raw, at)?.end)).is_some()
    }
}

/// Reads the stored body of the frame at `offset`. It is shorter if the file ends.
fn body(window: &mut Window, frame: &Frame, offset: u64) -> std::result::Result<Vec<u8>, Fault> {
    let start = offset + frame.head() as u64;
    let (mut at, end) = (start, start + u64::from(frame.body_len));
    // The length is believed no further than bytes are found.
    let mut body = Vec::with_capacity((frame.body_len as usize).min(LARGE));
    while at < end {
        let piece = window.some(at, end - at)?;
        if piece.is_empty() {
            break;
        }
        body.extend_from_slice(piece);
        at += piece.len() as u64;
    }
    Ok(body)
}
