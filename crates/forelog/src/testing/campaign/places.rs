//! The segments of a log, the places of the frames in an undamaged one, and which of them can still be salvaged.

use super::history::{broken, Held};
use super::oracle::Expected;
use super::rot::{newest, proven_without, Damage};
use super::salvage::salvage;
use crate::format::file_names::{classify, FileKind, Name};
use crate::format::frame;
use crate::format::header::Header;
use crate::log::read_only::ReadOnlyLog;
use crate::testing::sim::SimDisk;
use crate::util::limits::PAGE;
use std::ops::Range;

/// Returns the names of the segments, oldest first.
pub fn segments(disk: &SimDisk) -> Vec<Name> {
    let named = disk.names().into_iter().filter_map(|name| match classify(&name) {
        FileKind::Segment(name) => Some(name),
        _ => None,
    });
    let mut names: Vec<_> = named.collect();
    names.sort_by_key(|name| name.id);
    names
}

/// Returns the file names of the segments, oldest first.
pub fn segment_files(disk: &SimDisk) -> Vec<String> {
    segments(disk).into_iter().map(|name| name.file).collect()
}

/// Returns the header of a segment.
pub fn header(disk: &SimDisk, file: &str) -> Header {
    Header::decode(&disk.bytes(file)[..PAGE as usize]).unwrap()
}

/// A frame with header and body at `bytes`. The zeroes that pad it are between them and `end`.
#[derive(Debug, PartialEq)]
pub struct Place {
    pub file: String,
    pub bytes: Range<u64>,
    pub end: u64,
    /// First and last position.
    pub first: u64,
    pub last: u64,
}

impl Place {
    pub fn is_hit(&self, damage: &Damage) -> bool {
        damage.hits(&self.file, self.bytes.clone())
    }
}

/// Returns the frames of a log in which no segment's end was cut off, by their headers alone.
pub fn places(disk: &SimDisk) -> Vec<Place> {
    let mut places = Vec::new();
    for file in segment_files(disk) {
        let (bytes, header) = (disk.bytes(&file), header(disk, &file));
        let mut at = PAGE;
        while let Some(frame) = bytes.get(at as usize..).and_then(|rest| frame::decode(rest, header.seed(), at)) {
            let end = at + frame.head() as u64 + u64::from(frame.body_len);
            let (first, last) = (frame.first, frame.next_position() - 1);
            // Padding holds nothing to be salvaged.
            if first <= last {
                places.push(Place { file: file.clone(), bytes: at..end, end: at + frame.span(), first, last });
            }
            at += frame.span();
        }
    }
    places
}

/// Checks that a salvaging reader returns each record of each undamaged frame, and reports holes where the others were. `whole` is the log
/// before the damage. `bit` is the bit that was flipped, if that is all.
///
/// If nothing undamaged proves the damaged frames durable, they are a torn tail, and the log ends before them.
pub fn check(
    whole: &SimDisk,
    places: &[Place],
    damage: &Damage,
    bit: Option<u8>,
    damaged: &SimDisk,
    view: &ReadOnlyLog,
    expected: &Expected,
) -> Held<()> {
    let proven = proven_without(whole, damage);
    // In a file cut short, a frame that ends within its padding does not end within the file.
    let len = damaged.bytes(&damage.file).len() as u64;
    let is_hit = |place: &&Place| place.is_hit(damage) || place.file == damage.file && place.end > len;
    let hit: Vec<&Place> = places.iter().filter(is_hit).collect();
    let torn = hit.first().filter(|first| first.first > proven && newest(whole).is_some_and(|name| name.file == damage.file));
    let end = torn.filter(|_| damage.bytes.start >= PAGE).map_or(u64::MAX, |first| first.first - 1);
    let left: Vec<u64> =
        places.iter().filter(|place| !is_hit(place) && place.last <= end).flat_map(|place| place.first..=place.last).collect();
    let last = view.positions.written;
    let least = left.last().map_or(0, |last| *last).max(proven.min(expected.durable));
    if last < least || last > expected.end.min(end) {
        return broken(format!(
            "salvage: the log ends at {last}, at least {least} is intact, {} were appended, torn after {end}",
            expected.end
        ));
    }
    // From blocks smaller than a frame to blocks larger than the log.
    let block_bytes = 256 << (damage.bytes.start % 9);
    let (given, holes) = salvage(damaged, &view.catalog, expected, 1, last, block_bytes)?;
    if given != left {
        return broken(format!("salvaged {given:?} of {left:?}, holes {holes:?}"));
    }
    for hole in &holes {
        let lost: Vec<&&Place> = hit.iter().filter(|place| place.first <= hole.last && hole.first <= place.last).collect();
        let covers = |place: &&&Place| hole.offset <= place.bytes.start && hole.offset + hole.bytes >= place.bytes.end.min(len);
        // Frames lost from a file cut short have no bytes there.
        let gone = |place: &&&Place| place.bytes.start >= len;
        if hole.segment != damage.file || !lost.iter().all(|place| covers(place) || gone(place)) {
            return broken(format!("{hole:?} does not say where {lost:?} were"));
        }
        let named = hole.flipped.map(|flipped| (flipped.offset, flipped.bit));
        if bit.is_some_and(|bit| named != Some((damage.bytes.start, bit))) {
            return broken(format!("bit {bit:?} of {} is flipped, reported as {named:?}", damage.bytes.start));
        }
    }
    Ok(())
}
