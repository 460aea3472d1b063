//! Opening: reads the directory, takes recovery's verdict, and carries it out in an order in which a crash at any step leaves the same
//! verdict to the next opening.

use crate::cursors::Cursors;
use crate::error::{Code, Error, Result};
use crate::format::compression::Packer;
use crate::format::control::ControlState;
use crate::format::footer::Index;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::header::{Header, Predecessor};
use crate::maintenance::progress::{JobProgress, Opening};
use crate::options::Options;
use crate::recovery::directory::{Listing, Slots};
use crate::recovery::evidence::{inspect_log, unread};
use crate::recovery::report::Recovery;
use crate::recovery::survey::{GoodEnd, Survey, SurveyedActive, SurveyedSegment};
use crate::recovery::verdict::{self, Answer, Verdict};
use crate::segments::catalog::{self, Catalog};
use crate::segments::control_file::{create_control, Control, CREATING};
use crate::segments::footer_writer::UnindexedSegment;
use crate::segments::placement::{Filling, Placement};
use crate::segments::spare_files::SpareFiles;
use crate::storage::Storage;
use crate::util::limits::PAGE;
use crate::write::roll::{CarriedFrames, Carry, RollPlan};
use crate::write::segment_writer::SegmentWriter;
use crate::write::writer::{Writer, WriterInit};
use std::sync::Arc;

/// An opened log: the writer, the catalog for readers, the report of recovery, and the cursors.
pub struct Opened {
    pub writer: Writer,
    pub catalog: Arc<Catalog>,
    pub recovery: Recovery,
    pub cursors: Cursors,
}

/// Opens the log in `storage`. The caller holds its lock.
///
/// Without space to roll, the log opens all the same: reading works, and appends try to roll again. Stopping `job` ends the opening with
/// `Closed` while it reads. Once it writes, nothing ends it.
pub fn open_with_progress(storage: Arc<dyn Storage>, options: &Options, job: &Arc<JobProgress>, clock: fn() -> u64) -> Result<Opened> {
    let began = clock();
    let opening = Opening::of(storage.clone(), job);
    let surveyed = inspect_log(&opening, options.mode).and_then(|found| opening.layer.finish().map(|()| found));
    let found = surveyed.map_err(|fault| stopped(job, unread(fault)))?;
    let volatile = storage.is_volatile();
    let mut opened = match verdict::answer(found.verdict, options.mode) {
        Answer::Refuse(code) => return Err(found.refusal(code)),
        Answer::Create => create(storage, options, &found.listing, clock)?,
        answer => recover(storage, options, found, answer, clock)?,
    };
    opened.recovery.volatile = volatile;
    opened.recovery.duration_ms = clock().saturating_sub(began) as f64 / 1e6;
    Ok(opened)
}

/// Opens the log in `storage` without a way to stop the opening.
#[cfg(any(test, feature = "sim"))]
pub fn open(storage: Arc<dyn Storage>, options: &Options, clock: fn() -> u64) -> Result<Opened> {
    open_with_progress(storage, options, &Arc::default(), clock)
}

/// Returns the error of an opening, which is `Closed` if its job was stopped.
pub fn stopped(job: &JobProgress, error: Error) -> Error {
    if job.is_stopped() {
        return Error::new(Code::Closed, "the opening was stopped").during("open");
    }
    error
}

fn writer(
    storage: Arc<dyn Storage>,
    options: &Options,
    control: Control,
    listing: &Listing,
    low_mark: u64,
    clock: fn() -> u64,
) -> Result<WriterInit> {
    let start = WriterInit {
        spares: Arc::new(SpareFiles::new(storage.clone(), options.segment_bytes)),
        storage,
        control,
        catalog: Arc::default(),
        names: listing.segments.values().cloned().collect(),
        active: None,
        plan: None,
        packer: Packer::new(options.compression)?,
        bare: None,
        clock,
    };
    // Set the low mark before anything else, also for a log without live segments.
    start.catalog.replace(Vec::new(), low_mark);
    Ok(start)
}

/// Creates a log. CONTROL comes first, under a temporary name and naming no segment; a roll then makes the first segment.
fn create(storage: Arc<dyn Storage>, options: &Options, listing: &Listing, clock: fn() -> u64) -> Result<Opened> {
    let mut uuid = [0; 16];
    storage.random(&mut uuid)?;
    let state = ControlState { uuid, sequence: 1, active: 0, low_mark: 1, mark: None, fence: None };
    match storage.remove(CREATING) {
        Err(fault) if !fault.is_not_found() => return Err(fault.into()),
        _ => {}
    }
    let control = Control::new(create_control(&*storage, &state)?, state, 0);
    drop_spares(&*storage, listing);
    let mut start = writer(storage.clone(), options, control, listing, 1, clock)?;
    start.plan = Some(RollPlan { predecessor: None, first: 1, hole: 0, greatest_before: 0, carry: Carry::Nothing, truncate_to: None });
    let catalog = start.catalog.clone();
    let mut writer = Writer::new(start);
    writer.finish_plan(0).and_then(|()| writer.finish_naming()).map_err(unopened)?;
    let recovery = Recovery {
        verdict: Verdict::Absent.label(),
        clean: true,
        created: true,
        first_position: 1,
        next_position: 1,
        ..Recovery::default()
    };
    let cursors = cursors(storage, &writer)?;
    Ok(Opened { writer, catalog, recovery, cursors })
}

/// Replaces `Poisoned` by its cause. A log that never opened is not poisoned: the next opening starts over from what the disk then shows.
fn unopened(error: Error) -> Error {
    match &error.cause {
        Some(fault) if error.code == Code::Poisoned => Error::from(fault.clone()).during("open"),
        _ => error,
    }
}

/// Removes the spares of an earlier process. Their contents are not known, and making new ones costs nothing that matters.
fn drop_spares(storage: &dyn Storage, listing: &Listing) {
    for name in &listing.spares {
        let _ = storage.remove(name);
    }
}

/// The segment from which the log goes on: the active one, or if damage is cut off, the one with the damage.
struct Base {
    segment: SurveyedSegment,
    len: u64,
    /// Boundary at which the good frames end.
    end: FrameBoundary,
    /// Boundary at which the frames end that are proven durable.
    proven: FrameBoundary,
    /// Whether CONTROL vouches for the segment's name.
    named: bool,
    debris_end: u64,
    /// Index of the good frames.
    index: Index,
}

/// Returns the segment from which the log goes on; `None` if nothing good comes before the damage.
fn base(found: &mut Survey, answer: Answer) -> Option<Base> {
    let good_end = found.good_end.take();
    if answer == Answer::Cut && found.verdict != Verdict::DamagedActive {
        // A sealed segment was named long ago, and all of it was durable.
        return good_end.map(|GoodEnd { segment, len, end, index }| Base {
            segment,
            len,
            end,
            proven: end,
            named: true,
            debris_end: len,
            index,
        });
    }
    let SurveyedActive { segment, len, fence, scan, proven } = found.active.take()?;
    // Bytes past a fence were not inspected, and damage hides what comes after it.
    let unknown = fence < len || segment.header.recycled || answer == Answer::Cut;
    let debris_end = if unknown { len } else { scan.garbage.map_or(0, |(_, last)| last + 1) };
    Some(Base { segment, len, end: scan.end, proven, named: found.evidence.named, debris_end, index: scan.index })
}

fn recover(storage: Arc<dyn Storage>, options: &Options, mut found: Survey, answer: Answer, clock: fn() -> u64) -> Result<Opened> {
    let mut report = Recovery::of(&found, answer);
    let (low_mark, base) = (found.low_mark, base(&mut found, answer));
    let empty = base.as_ref().is_none_or(|base| base.end.next < low_mark);
    report.clean &= !empty;
    let plan = (!report.clean).then(|| plan(base.as_ref(), empty.then_some(low_mark)));
    // If the log went on at the low mark, the damaged segment would be below that mark and be removed.
    let buried =
        plan.as_ref().is_some_and(|plan| plan.first <= low_mark) && found.live.first().is_some_and(|oldest| oldest.first < low_mark);
    if answer == Answer::Cut && buried {
        return Err(found.refusal(Code::Corrupt));
    }
    let Some(Slots { file, chosen: Ok((state, slot)), .. }) = found.control.take() else { return Err(found.refusal(Code::Corrupt)) };
    let mut control = Control::new(file, state, slot);

    // The verdict is final. From here on the disk changes, beginning with the page of CONTROL.
    control.confirm()?;
    if found.evidence.fenced {
        // The fence may be in one slot only. Rot in that slot must not bring back what this opening leaves out.
        control.update(|_| {}).map_err(|short| short.fault)?;
    }
    drop_spares(&*storage, &found.listing);
    let mut start = writer(storage.clone(), options, control, &found.listing, low_mark, clock)?;
    if let Some(plan) = plan {
        report.carried = base.as_ref().filter(|_| !empty).map_or(0, |base| base.end.next - plan.first - plan.hole);
        start.plan = Some(plan);
    }
    if let Some(Base { segment: SurveyedSegment { name, file, header }, len, end, proven, named, debris_end, index }) = base {
        let live = found.live.iter().filter(|live| live.id <= name.id);
        start.catalog.replace(live.map(|name| Arc::new(catalog::CatalogSegment::of_name(name))).collect(), low_mark);
        let entry = start.catalog.segment_containing(u64::MAX).unwrap_or_else(|| Arc::new(catalog::CatalogSegment::of_header(&header)));
        entry.set_index(index);
        entry.set_len(len);
        entry.lend_file(&file);
        start.bare = bare(&start.catalog, &header);
        // Whatever the header proves, nothing is durable in a segment whose name may not be.
        let synced = match (report.clean, named) {
            (true, _) => end,
            (false, true) => proven,
            (false, false) => FrameBoundary::start(&header),
        };
        let filling = match header.recycled {
            _ if !storage.overwrites_in_place() => Filling::Never,
            // Its blocks were written before, and the bytes in them stay.
            true if len > end.offset.next_multiple_of(PAGE) => Filling::Done,
            _ => Filling::WORTHWHILE,
        };
        let may_be_torn = header.recycled;
        // Possible debris stays as it is. Otherwise the file, which a clean close has cut to its frames, grows again at the next append,
        // and its holes are filled then.
        let has_holes = debris_end <= end.offset && file.allocated().is_ok_and(|allocated| allocated < len);
        let allocated = if has_holes { end.offset.next_multiple_of(PAGE).min(len) } else { len };
        let capacity = options.segment_bytes.max(end.offset);
        let direct = storage.open_direct(&name.file);
        let placement = Placement::new(file, direct, capacity, allocated, end.offset, filling);
        let mut active = SegmentWriter::new(header, entry, placement, end, synced);
        (active.debris_end, active.may_be_torn) = (debris_end, may_be_torn);
        start.active = Some(active);
    }
    let catalog = start.catalog.clone();
    let mut writer = Writer::new(start);
    match writer.finish_plan(0).and_then(|()| writer.finish_naming()) {
        Err(error) if error.code != Code::NoSpace => return Err(unopened(error)),
        _ => {}
    }
    match writer.remove_below() {
        // Files that cannot be removed now only take up space, and the next truncation tries again.
        Err(error) if error.code == Code::Poisoned => return Err(unopened(error)),
        _ => {}
    }
    report.next_position = writer.next_position();
    let cursors = cursors(storage, &writer)?;
    Ok(Opened { writer, catalog, recovery: report, cursors })
}

/// Opens the cursors, before anything is appended. A cursor that a truncation has left past the end goes back now; later it would skip new
/// records.
fn cursors(storage: Arc<dyn Storage>, writer: &Writer) -> Result<Cursors> {
    Cursors::open(storage, writer.uuid, writer.low_mark(), writer.next_position() - 1)
}

/// Returns the segment before this one, so that a background job checks whether it has its footer.
fn bare(catalog: &Catalog, header: &Header) -> Option<UnindexedSegment> {
    let sealed = header.predecessor?;
    let entry = catalog.segment_containing(header.first - 1).filter(|entry| entry.id == sealed.id)?;
    Some(UnindexedSegment { entry, uuid: header.uuid, sealed, next: header.first })
}

/// Plans how the log goes on if it does not go on in place. If everything that was found is below the low mark, `low_mark` is that mark,
/// and the log goes on empty there.
fn plan(base: Option<&Base>, low_mark: Option<u64>) -> RollPlan {
    let (Some(Base { segment: SurveyedSegment { file, header, .. }, end, proven, named, index, .. }), None) = (base, low_mark) else {
        let first = low_mark.unwrap_or(1);
        return RollPlan { predecessor: None, first, hole: 0, greatest_before: 0, carry: Carry::Nothing, truncate_to: None };
    };
    let from = if *named { *proven } else { FrameBoundary::start(header) };
    let (predecessor, first, hole) = if *named {
        (Some(Predecessor { id: header.id, salt: header.salt, end: from.offset, crc: from.crc }), from.next, 0)
    } else {
        // Nothing vouches for this segment's name. The next segment replaces it, with the hole that it may begin with.
        (header.predecessor, header.first, header.hole)
    };
    let greatest_before = if *named { header.greatest_before.max(index.times.greatest) } else { header.greatest_before };
    let frames = CarriedFrames { file: file.clone(), header: header.clone(), from, to: end.offset };
    let carry = if frames.to > from.offset { Carry::Frames(frames) } else { Carry::Nothing };
    RollPlan { predecessor, first, hole, greatest_before, carry, truncate_to: None }
}
