//! Describes missing segments: their positions, the files on both sides, and their own names as far as these follow from what is left. Only
//! the functions that take a storage do I/O: they read headers and footers.

use crate::error::Fault;
use crate::format::file_names::{file_name, Name, CONTROL};
use crate::recovery::directory::Listing;
use crate::segments::footer_writer::{find_footer, FooterState};
use crate::segments::segment_file::SegmentFile;
use crate::storage::Storage;

/// A gap in the chain of segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Name of the missing file if that is certain, otherwise of the file after the gap.
    pub file: String,
    /// Description of the gap for people.
    pub text: String,
}

/// Returns `position 5 is missing`, or `positions 5 to 9 are missing`.
fn positions(first: u64, last: u64) -> String {
    if first >= last {
        format!("position {first} is missing")
    } else {
        format!("positions {first} to {last} are missing")
    }
}

/// Describes missing segments with ids above `below.id` and up to `last_id`, which held the positions `lost`. `after` is the file that
/// follows.
///
/// `end` is the known end of `below`, see [`sealed_end`]. The next segment begins there, so its name is certain.
pub fn between(below: &Name, end: Option<u64>, lost: (u64, u64), last_id: Option<u64>, after: &str) -> Missing {
    let what = positions(lost.0, lost.1);
    let around = format!("between {} and {after}", below.file);
    match (last_id, end) {
        (Some(id), Some(end)) if id == below.id + 1 && end <= lost.0 => {
            let file = file_name(end, id);
            Missing { text: format!("{what}: the segment {file} {around} is missing"), file }
        }
        (Some(id), _) if id == below.id + 1 => {
            Missing { file: after.into(), text: format!("{what}: a segment {around} is missing, whose name ends with -{id:016x}.wal") }
        }
        (Some(id), _) => {
            let text =
                format!("{what}: one or more segments {around} are missing, the last of which has a name that ends with -{id:016x}.wal");
            Missing { file: after.into(), text }
        }
        (None, _) => {
            Missing { file: after.into(), text: format!("{what}: no segment continues {}, and the next one is {after}", below.file) }
        }
    }
}

/// Describes the missing segments before the oldest one that is left. `predecessor` is the id that the oldest one names as its predecessor.
pub fn before(oldest: &Name, lost: (u64, u64), predecessor: Option<u64>) -> Missing {
    let what = positions(lost.0, lost.1);
    match predecessor {
        // Nothing precedes id 1, so that segment held position 1.
        Some(1) if lost.0 == 1 => {
            let file = file_name(1, 1);
            Missing { text: format!("{what}: the segment {file} before {} is missing", oldest.file), file }
        }
        Some(id) => {
            let text = format!("{what}: the segments before {} are missing, the last of which has the id {id:016x}", oldest.file);
            Missing { file: oldest.file.clone(), text }
        }
        None => Missing { file: oldest.file.clone(), text: format!("{what}: the oldest segment left is {}", oldest.file) },
    }
}

/// Describes the missing active segment, which CONTROL names. `newest` is the last segment that is left, and `end` the known end of that
/// one.
pub fn last(newest: Option<&Name>, end: Option<u64>, first: u64, active: u64) -> Missing {
    let what = format!("position {first} and all later ones are missing");
    match (newest, end) {
        (Some(newest), Some(end)) if newest.id + 1 == active && end <= first => {
            let file = file_name(end, active);
            Missing { text: format!("{what}: the segment {file} after {} is missing", newest.file), file }
        }
        (Some(newest), _) => {
            let text = format!(
                "{what}: CONTROL names a segment that is missing, whose name ends with -{active:016x}.wal; the last segment left is {}",
                newest.file
            );
            Missing { file: CONTROL.into(), text }
        }
        (None, _) => Missing {
            file: CONTROL.into(),
            text: format!("{what}: CONTROL names a segment whose name ends with -{active:016x}.wal, and no segment is left"),
        },
    }
}

/// Returns the position after the last record of a sealed segment, from its footer. Its frames may go on after that; they are dead if a
/// later opening has written them again into the next segment.
pub fn sealed_end(storage: &dyn Storage, file: &str) -> Option<u64> {
    let SegmentFile { file, header, .. } = SegmentFile::open(storage, file, false).ok()?;
    match find_footer(&*file, header.ok()?.seed()) {
        Ok(FooterState::Footer(footer)) => Some(footer.end.next),
        _ => None,
    }
}

/// Follows predecessors from `above` down to `below`, through segments that no longer hold anything.
///
/// Returns `None` if the chain is whole or a header on the way is bad. `Some(Some(id))` is the predecessor that is absent, and `Some(None)`
/// a header that has no predecessor.
pub fn predecessor_gone(storage: &dyn Storage, listing: &Listing, below: u64, above: &str) -> Result<Option<Option<u64>>, Fault> {
    let mut file = above.to_owned();
    loop {
        let Ok(header) = SegmentFile::open(storage, &file, false)?.header else { return Ok(None) };
        let Some(predecessor) = header.predecessor else { return Ok(Some(None)) };
        if predecessor.id == below {
            return Ok(None);
        }
        // A header names a lower id than its own, so ids only fall and the loop ends.
        match listing.segments.get(&predecessor.id).filter(|_| predecessor.id > below) {
            Some(name) => file = name.file.clone(),
            None => return Ok(Some(Some(predecessor.id))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(first: u64, id: u64) -> Name {
        Name { first, id, file: file_name(first, id) }
    }

    #[test]
    fn one_missing_segment_is_named_by_its_file_and_several_by_their_ids() {
        let (below, after) = (name(1, 1), file_name(201, 3));
        let one = between(&below, Some(101), (101, 200), Some(2), &after);
        assert_eq!(one.file, file_name(101, 2));
        let text = format!("positions 101 to 200 are missing: the segment {} between {} and {after} is missing", one.file, below.file);
        assert_eq!(one.text, text);
        let two = between(&below, Some(101), (101, 300), Some(3), &after);
        assert_eq!(two.file, after);
        assert!(two.text.contains("the last of which has a name that ends with -0000000000000003.wal"), "{}", two.text);
        assert!(between(&below, None, (5, 5), None, &after).text.starts_with("position 5 is missing: no segment continues"));
    }

    #[test]
    fn a_missing_file_is_named_only_if_its_name_is_certain() {
        let (below, after) = (name(1, 1), file_name(201, 3));
        let one = between(&below, None, (101, 200), Some(2), &after);
        assert_eq!(one.file, after);
        assert!(one.text.contains("-0000000000000002.wal") && !one.text.contains(&file_name(101, 2)), "{}", one.text);
        assert_eq!(before(&name(50, 9), (40, 49), Some(8)).file, file_name(50, 9));
        assert_eq!(last(Some(&name(50, 2)), None, 90, 3).file, "CONTROL");
        assert_eq!(last(Some(&name(50, 2)), Some(90), 90, 5).file, "CONTROL");
        assert_eq!(last(None, None, 1, 5).file, "CONTROL");
    }

    #[test]
    fn the_first_and_the_last_segment_are_named_where_their_names_are_certain() {
        assert_eq!(before(&name(50, 2), (1, 49), Some(1)).file, file_name(1, 1));
        assert_eq!(last(Some(&name(50, 2)), Some(90), 90, 3).file, file_name(90, 3));
    }
}
