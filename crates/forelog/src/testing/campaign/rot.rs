//! Damage to bytes that were durable. Any typed error is right. Without an error, only records may be missing that nothing undamaged
//! proves.

use super::history::{broken, Held};
use super::oracle::{read, Expected, Read};
use super::salvaged;
use crate::error::Code;
use crate::format::control::choose;
use crate::format::file_names::{classify, FileKind, Name, CONTROL};
use crate::format::frame;
use crate::format::header::Header;
use crate::log::open::open;
use crate::maintenance::verify::verify_storage;
use crate::options::Options;
use crate::testing::sim::{Faults, Rng, SimDisk};
use crate::util::limits::PAGE;
use std::ops::Range;
use std::sync::Arc;

/// Share of the damaged disks that are salvaged.
const SALVAGED: f64 = 0.2;

/// A range of damaged bytes.
pub struct Damage {
    pub file: String,
    pub bytes: Range<u64>,
}

impl Damage {
    pub fn hits(&self, file: &str, bytes: Range<u64>) -> bool {
        self.file == file && self.bytes.start < bytes.end && bytes.start < self.bytes.end
    }
}

pub fn newest(disk: &SimDisk) -> Option<Name> {
    let segments = disk.names().into_iter().filter_map(|name| match classify(&name) {
        FileKind::Segment(name) => Some(name),
        _ => None,
    });
    segments.max_by_key(|name| name.id)
}

/// Returns the last position that something outside the damage proves durable. Reads the bytes itself, because recovery is what is tested.
pub fn proven_without(disk: &SimDisk, damage: &Damage) -> u64 {
    let Some(name) = newest(disk) else { return 0 };
    let bytes = disk.bytes(&name.file);
    let Ok(header) = Header::decode(&bytes[..PAGE as usize]) else { return 0 };
    let control = choose(&disk.bytes(CONTROL)).ok().map(|(state, _)| state);
    let fence = control.as_ref().and_then(|c| c.fence).filter(|f| f.segment == header.id).map_or(u64::MAX, |f| f.offset);
    let mut proven = PAGE;
    if !damage.hits(&name.file, 0..PAGE) {
        proven = proven.max(header.carried_end);
    }
    if damage.file != CONTROL {
        let mark = control.and_then(|c| c.mark).filter(|m| m.segment == header.id);
        proven = proven.max(mark.map_or(0, |m| m.offset));
    }
    let (mut at, mut next, mut ends) = (PAGE, header.first, Vec::new());
    while at < fence && at < bytes.len() as u64 {
        let whole = |f: &frame::Frame| {
            let body = bytes.get(at as usize + f.head()..at as usize + f.head() + f.body_len as usize);
            f.first == next && body.is_some_and(|body| frame::stored(frame::body_crc(0, body)) == f.body_crc)
        };
        let Some(frame) = frame::decode(&bytes[at as usize..], header.seed(), at).filter(whole) else { break };
        if !damage.hits(&name.file, at..at + frame.span()) {
            proven = proven.max(frame.synced);
        }
        at += frame.span();
        next = frame.next_position();
        ends.push((at, next - 1));
    }
    ends.iter().rev().find(|(end, _)| *end <= proven).map_or(header.first - 1, |(_, last)| *last)
}

/// Damages one to three sectors of a file that matters, in one of the ways disks do.
pub fn inflict(disk: &SimDisk, rng: &mut Rng) -> Option<(Damage, u64)> {
    let files: Vec<String> =
        disk.names().into_iter().filter(|n| matches!(classify(n), FileKind::Segment(_)) || n == CONTROL && rng.chance(0.3)).collect();
    let file = files.get(rng.below(files.len() as u64) as usize)?.clone();
    let bytes = disk.bytes(&file);
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |i| i as u64 + 1);
    let size = if rng.chance(0.5) { 512 } else { 4096 };
    let first = rng.below(used.div_ceil(size).max(1)) * size;
    let end = (first + size * (1 + rng.below(3))).min(bytes.len() as u64);
    let old = &bytes[first as usize..end as usize];
    let new: Vec<u8> = match rng.below(4) {
        0 => old.iter().map(|_| rng.next() as u8).collect(),
        1 => vec![0; old.len()],
        2 => {
            // Another sector of the same file, written to the wrong place.
            let from = rng.below(bytes.len() as u64 - old.len() as u64 + 1) / size * size;
            bytes[from as usize..from as usize + old.len()].to_vec()
        }
        _ => {
            let mut flipped = old.to_vec();
            flipped[rng.below(old.len() as u64) as usize] ^= 1 << rng.below(8);
            flipped
        }
    };
    let fence = || choose(&disk.bytes(CONTROL)).ok().map(|(state, _)| state.fence);
    let (damage, before) = (Damage { bytes: first..end, file }, fence());
    let proven = proven_without(disk, &damage);
    disk.say(|| format!("rot in {}@{first}..{end}, {proven} stays proven", damage.file));
    disk.damage(&damage.file, first, &new);
    // A fence that the disk refused to write to the second slot is in one alone, and rot there lifts it: docs/reliability.md, limits.
    if fence().is_some_and(|after| before.flatten().is_some_and(|before| after != Some(before))) {
        disk.say(|| "no rot: the fence is in that slot alone".into());
        disk.damage(&damage.file, first, old);
        return None;
    }
    Some((damage, proven))
}

/// Opens a damaged log. The result must be a typed error that changed nothing, or a prefix that holds `least`. Returns whether there was an
/// error.
pub fn check(disk: &SimDisk, options: &Options, expected: &Expected, least: u64) -> Held<bool> {
    disk.set_faults(Faults::default());
    // Drawn from the disk, so that the choice changes nothing of the history.
    if Rng::new(disk.digest()).chance(SALVAGED) {
        salvaged::check(disk)?;
    }
    let changes = disk.changes();
    let verified = verify_storage(Arc::new(disk.clone()), &Arc::default());
    if disk.changes() != changes {
        return broken("verifying changes the disk");
    }
    // Verification must have found whatever opening or reading meets.
    let unseen = match &verified {
        Ok(report) => report.problems.is_empty(),
        Err(error) => !matches!(error.code, Code::NotFound | Code::Format),
    };
    let told = |what: String| if unseen { broken(format!("verifying does not detect: {what}")) } else { Ok(true) };
    let opened = match open(Arc::new(disk.clone()), options, || 0) {
        Ok(opened) => opened,
        Err(error) => {
            disk.say(|| format!("-- reported: {error}"));
            let typed = matches!(error.code, Code::Corrupt | Code::Format) && error.segment.is_some() && error.offset.is_some();
            return match (typed, disk.changes() == changes) {
                (true, true) => told(error.to_string()),
                (false, _) => broken(format!("damage is reported as {error:?}")),
                (_, false) => broken(format!("damage is reported, but the disk was changed: {error}")),
            };
        }
    };
    let (low, end) = (opened.recovery.first_position, opened.writer.next_position() - 1);
    disk.say(|| format!("-- opened, {}: {low}..={end}", opened.recovery.verdict));
    if low > expected.low {
        return broken(format!("silence: the log starts at {low}, but only positions below {} were truncated", expected.low));
    }
    if end > expected.end {
        return broken(format!("the damaged log opens with the end {end}, but only {} were appended", expected.end));
    }
    match read(Arc::new(disk.clone()), &opened.catalog, expected, expected.low, end, 1 << 16) {
        Read::Wrong(text) => broken(format!("damage: {text}")),
        Read::Stopped(error) if error.code == Code::Corrupt && error.segment.is_some() && error.lost.is_some() => told(error.to_string()),
        Read::Stopped(error) => broken(format!("damage is reported as {error:?}")),
        Read::All if end < least.min(expected.durable) => {
            broken(format!("silence: the log ends at {end}, {least} is proven, {} durable", expected.durable))
        }
        Read::All => Ok(false),
    }
}
