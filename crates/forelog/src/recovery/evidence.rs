//! Surveys a log before anything is done about it: reads names, CONTROL and segments, and gathers the evidence for recovery's verdict.
//! Nothing here writes.

use crate::error::{Code, Error, Fault, Flipped};
use crate::format::control::{self, ControlState};
use crate::format::file_names::{Name, CONTROL};
use crate::format::footer::Index;
use crate::format::frame::Frame;
use crate::format::frame_boundary::FrameBoundary;
use crate::format::page::BadPage;
use crate::options::Mode;
use crate::recovery::directory::{Listing, Slots};
use crate::recovery::survey::{Damage, GoodEnd, Survey, SurveyedActive, SurveyedSegment};
use crate::recovery::verdict::{self, Answer, Evidence, Verdict};
use crate::segments::frame_scan::{self, WalkEnd};
use crate::segments::segment_file::SegmentFile;
use crate::storage::window::Window;
use crate::storage::Storage;
use crate::util::limits::PAGE;

mod chain;

/// Inspects names and CONTROL only, which is enough to refuse a foreign directory before anything in it is touched.
pub fn inspect_directory(storage: &dyn Storage, write: bool) -> Result<Survey, Fault> {
    let listing = Listing::read(storage)?;
    let control = if listing.control { Some(Slots::read(storage, write)?) } else { None };
    let state = match &control {
        Some(Slots { chosen: Ok((state, _)), .. }) => state.clone(),
        _ => ControlState { uuid: [0; 16], sequence: 0, active: 0, low_mark: 1, mark: None, fence: None },
    };
    let mut survey = Survey {
        low_mark: state.low_mark,
        listing,
        control,
        state,
        evidence: Evidence::default(),
        verdict: Verdict::Absent,
        live: Vec::new(),
        holes: Vec::new(),
        active: None,
        good_end: None,
        damages: Vec::new(),
    };
    survey.inspect_names();
    survey.verdict = verdict::judge(&survey.evidence);
    Ok(survey)
}

/// Inspects everything that `mode` has to know. In `prefix` mode that is the whole log.
pub fn inspect_log(storage: &dyn Storage, mode: Mode) -> Result<Survey, Fault> {
    let write = mode != Mode::ReadOnly;
    let mut survey = inspect_directory(storage, write)?;
    survey.inspect_segments(storage, write)?;
    let answer = verdict::answer(verdict::judge(&survey.evidence), mode);
    if mode == Mode::Prefix && !matches!(answer, Answer::Refuse(_) | Answer::Create) {
        survey.inspect_sealed(storage)?;
    }
    survey.verdict = verdict::judge(&survey.evidence);
    Ok(survey)
}

/// Refuses a foreign directory, a log of a newer version, or a directory without the log that should be there, before anything is created
/// or locked.
pub fn refuse_unknown(storage: &dyn Storage, create: bool) -> Result<(), Error> {
    let found = inspect_directory(storage, false).map_err(unread)?;
    match found.verdict {
        Verdict::Absent if !create => Err(found.refusal(Code::NotFound)),
        Verdict::Foreign | Verdict::Newer => Err(found.refusal(Code::Format)),
        _ => Ok(()),
    }
}

/// Returns the error for a failure to read, which is never taken for damage.
pub fn unread(fault: Fault) -> Error {
    Error::from(fault).judged(Verdict::Unreadable.label()).during("open")
}

impl Survey {
    /// Returns the verdict as the error of a refusal.
    pub fn refusal(&self, code: Code) -> Error {
        let text = match (self.verdict, self.damage()) {
            (_, Some(damage)) => damage.text.clone(),
            (Verdict::Foreign, _) => match &self.listing.foreign {
                Some(name) => format!("the directory is not a log and is not empty: it contains {name}"),
                None => "CONTROL was not written by forelog: its magic number is another one".into(),
            },
            (Verdict::Absent, _) => "there is no log".into(),
            (verdict, _) => verdict.label().into(),
        };
        let mut error = Error::new(code, text).judged(self.verdict.label());
        let at = self.damage().map(|damage| (damage.segment.clone(), damage.offset));
        if let Some((segment, offset)) = at.or_else(|| self.control.is_some().then(|| (CONTROL.into(), 0))) {
            error = error.at(segment, offset);
        }
        error.lost = self.damage().and_then(|damage| damage.lost);
        error.flipped = self.damage().and_then(|damage| damage.flipped);
        error
    }

    fn record_damage(&mut self, verdict: Verdict, text: String, at: (&str, u64), lost: Option<(u64, u64)>, flipped: Option<Flipped>) {
        let damage = Damage { text, segment: at.0.into(), offset: at.1, lost: lost.filter(|(first, last)| first <= last), flipped };
        self.damages.push((verdict, damage));
    }

    fn inspect_names(&mut self) {
        let segments = !self.listing.segments.is_empty();
        let strange = match &self.control {
            None => self.listing.foreign.is_some(),
            Some(slots) => match slots.chosen {
                Err(BadPage::Foreign) => true,
                // A creation that was cut off leaves a whole file. That file never named a segment, so nothing was acknowledged.
                Err(BadPage::Damaged) => slots.len != control::FILE_BYTES,
                _ => false,
            },
        };
        let chosen = self.control.as_ref().map(|slots| slots.chosen.clone());
        let lost = matches!(&chosen, Some(Ok((state, _))) if state.active != 0 && !self.listing.segments.contains_key(&state.active));
        self.evidence = Evidence {
            foreign: strange && !segments,
            newer: matches!(chosen, Some(Err(BadPage::Newer(_)))),
            segments,
            control: matches!(chosen, Some(Ok(_))),
            lost,
            duplicate_id: self.listing.duplicate.is_some(),
            ..self.evidence
        };
        if let Some(Err(BadPage::Newer(version))) = chosen {
            self.record_damage(Verdict::Newer, newer_text(CONTROL, version), (CONTROL, 0), None, None);
        }
        if segments && !self.evidence.control {
            let text = if self.control.is_some() {
                "CONTROL is damaged: neither of its slots is intact"
            } else {
                "CONTROL is missing, although there are segments"
            };
            self.record_damage(Verdict::NoControl, text.into(), (CONTROL, 0), None, None);
        }
        if let Some(duplicate) = self.listing.duplicate.clone() {
            let other = self.listing.segments.get(&duplicate.id).map_or(String::new(), |name| name.file.clone());
            self.record_damage(
                Verdict::DuplicateId,
                format!("the segments {other} and {} have the same id", duplicate.file),
                (&duplicate.file, 0),
                None,
                None,
            );
        }
    }

    fn inspect_segments(&mut self, storage: &dyn Storage, write: bool) -> Result<(), Fault> {
        let Some(newest) = self.listing.segments.values().next_back().cloned() else {
            if self.evidence.lost {
                self.record_lost_active(storage, None);
            }
            return Ok(());
        };
        if !self.evidence.control {
            self.infer_control(storage, newest.id)?;
        }
        let segment = self.open_segment(storage, &newest, write)?;
        self.apply_unnamed_reset(storage, segment.as_ref())?;
        self.follow_chain(storage)?;
        self.inspect_oldest(storage, segment.as_ref());
        self.clip_holes();
        if let Some(segment) = segment {
            self.scan_active(segment)?;
        }
        if self.evidence.lost {
            self.record_lost_active(storage, Some(&newest));
        }
        Ok(())
    }

    /// Applies resets that CONTROL does not name yet. A header without a predecessor (an empty log, a reset) moves the low mark until
    /// CONTROL names its segment or a later one. If the newer slot of CONTROL has rotted, it may name neither the newest segment nor others
    /// before it.
    fn apply_unnamed_reset(&mut self, storage: &dyn Storage, newest: Option<&SurveyedSegment>) -> Result<(), Fault> {
        let named = self.state.active;
        let unnamed: Vec<Name> = self.listing.segments.values().rev().take_while(|name| name.id > named).cloned().collect();
        for name in unnamed {
            let found = newest.filter(|newest| newest.name.id == name.id).map(|newest| newest.header.clone());
            let header = match found {
                Some(header) => Some(header),
                None if self.evidence.bad_header => None,
                None => self.open_segment(storage, &name, false)?.map(|segment| segment.header),
            };
            match header {
                Some(header) if header.predecessor.is_none() => {
                    self.low_mark = header.first;
                    break;
                }
                Some(_) => {}
                None => break,
            }
        }
        Ok(())
    }

    /// Without CONTROL, takes the log's identity from the headers of its segments.
    fn infer_control(&mut self, storage: &dyn Storage, newest: u64) -> Result<(), Fault> {
        self.state.active = newest;
        for name in self.listing.segments.values().rev() {
            if let Ok(header) = SegmentFile::open(storage, &name.file, false)?.header {
                self.state.uuid = header.uuid;
                break;
            }
        }
        Ok(())
    }

    /// Opens a segment and reads its header. A bad header is recorded as evidence, and a writer gets no segment then.
    fn open_segment(&mut self, storage: &dyn Storage, name: &Name, write: bool) -> Result<Option<SurveyedSegment>, Fault> {
        let found = SegmentFile::open(storage, &name.file, write)?;
        // A segment gets its name only after its header is durable, so a bad header is damage, whatever it looks like.
        let text = match &found.header {
            Ok(header) if header.is_of(name.id, name.first) && header.uuid == self.state.uuid => {
                return Ok(Some(SurveyedSegment { name: name.clone(), header: header.clone(), file: found.file }));
            }
            Ok(_) => format!("the header of {} belongs to another segment", name.file),
            Err(BadPage::Newer(version)) => {
                self.evidence.newer = true;
                self.record_damage(Verdict::Newer, newer_text(&name.file, *version), (&name.file, 0), None, None);
                return Ok(None);
            }
            Err(_) => format!("the header of {} is damaged: its checksum does not match", name.file),
        };
        let repaired = found.repaired_header().filter(|(header, _)| header.is_of(name.id, name.first));
        self.evidence.bad_header = true;
        let above = self.listing.segments.values().find(|above| above.id > name.id && above.first > name.first);
        let last = match above {
            Some(above) => above.first - 1,
            // Everything in the segment was rejected.
            None if self.state.fence.is_some_and(|fence| fence.segment == name.id && fence.offset <= PAGE) => name.first - 1,
            None => self.marked(name.id).unwrap_or(0).max(name.first),
        };
        let flipped = repaired.as_ref().map(|(_, flipped)| *flipped);
        self.record_damage(Verdict::BadHeader, text, (&name.file, 0), Some((name.first, last)), flipped);
        // Read-only opening uses the repaired header; a writer never does.
        Ok(repaired.filter(|_| !write).map(|(header, _)| SurveyedSegment { name: name.clone(), file: found.file, header }))
    }

    /// Returns the last durable position in segment `id`, according to CONTROL's mark.
    fn marked(&self, id: u64) -> Option<u64> {
        self.state.mark.filter(|mark| mark.segment == id).map(|mark| mark.position)
    }

    fn scan_active(&mut self, segment: SurveyedSegment) -> Result<(), Fault> {
        let (state, header) = (&self.state, &segment.header);
        let len = segment.file.len()?;
        let fence = state.fence.filter(|f| f.segment == header.id).map_or(len, |f| f.offset.min(len));
        let mut window = Window::new(&*segment.file, fence);
        let scan = frame_scan::scan(&mut window, header)?;
        let proven = verdict::proven(header, state, &scan);
        // Frame headers alone would lead past a damaged body.
        let proven_end = proven.min(scan.end.offset);
        let near = scan.index.before(proven_end).unwrap_or_else(|| FrameBoundary::start(header));
        let boundary = frame_scan::boundary_before(&mut window, header, near, proven_end)?;
        self.evidence.scanned(header, state, &scan, boundary);
        if self.evidence.short {
            let file = segment.name.file.clone();
            let first = scan.end.next;
            let last = self.marked(header.id).unwrap_or(0).max(scan.stray.map_or(0, |(_, last)| last));
            // A mark that proves as much as anything else also gives the last position. Only padding can come after it.
            let is_marked = state.mark.is_some_and(|mark| mark.segment == header.id && mark.offset >= proven);
            let last = if is_marked { last } else { last.max(first) };
            let at = scan.end.offset;
            let lost = if first <= last { format!("positions {first} to {last} are affected") } else { "no position is affected".into() };
            let text = format!("{file} is damaged at offset {at}: bytes up to offset {proven} were durable; {lost}");
            let flipped = frame_scan::flipped_bit(&mut window, header, at)?;
            self.record_damage(Verdict::DamagedActive, text, (&file, at), Some((first, last)), flipped);
        }
        self.active = Some(SurveyedActive { segment, len, fence, scan, proven: boundary });
        Ok(())
    }

    /// Reads every sealed segment, oldest first, up to the first damage, and records where the good part ends.
    fn inspect_sealed(&mut self, storage: &dyn Storage) -> Result<(), Fault> {
        let live = self.live.clone();
        for pair in live.windows(2) {
            let [name, above] = pair else { break };
            let known = self.damages.len();
            let Some(segment) = self.open_segment(storage, name, true)? else {
                // The damage that comes first in the log is the one that counts.
                self.damages[..=known].rotate_right(1);
                return Ok(());
            };
            let len = segment.file.len()?;
            let mut window = Window::new(&*segment.file, len);
            let mut index = Index::default();
            let mut note = |frame: &Frame, boundary| index.note_frame(frame, boundary);
            let mut walk =
                frame_scan::check_frames(&mut window, &segment.header, FrameBoundary::start(&segment.header), above.first, &mut note)?;
            while let WalkEnd::Broken(at) = walk {
                // Damage to records below the low mark is not damage to the log.
                let next = frame_scan::resync(&mut window, &segment.header, at.offset + 1, at.next..above.first)?;
                let Some(next) = next.filter(|next| next.next <= self.low_mark) else { break };
                walk = frame_scan::check_frames(&mut window, &segment.header, next, above.first, &mut note)?;
            }
            let (WalkEnd::Whole(end) | WalkEnd::Broken(end)) = walk;
            let flipped =
                if let WalkEnd::Broken(at) = walk { frame_scan::flipped_bit(&mut window, &segment.header, at.offset)? } else { None };
            self.good_end = Some(GoodEnd { segment, len, end, index });
            if let WalkEnd::Broken(at) = walk {
                self.evidence.sealed_short = true;
                let lost = (at.next, above.first - 1);
                let text = format!("{} is damaged at offset {}: positions {} to {} are affected", name.file, at.offset, lost.0, lost.1);
                self.record_damage(Verdict::DamagedSealed, text, (&name.file, at.offset), Some(lost), flipped);
                return Ok(());
            }
        }
        Ok(())
    }
}

fn newer_text(what: &str, version: u32) -> String {
    format!("{what} has format version {version} or features that this version of forelog does not know")
}
