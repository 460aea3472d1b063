//! The names of the files in a log's directory.

use crate::util::limits::MAX_POSITION;

pub const CONTROL: &str = "CONTROL";
pub const CURSORS: &str = "CURSORS";
pub const LOCK: &str = "LOCK";
pub const RESERVE: &str = "reserve";
pub const SPARE: &str = "spare-";

/// The highest segment id. No log reaches it, so that an id can always be followed by another one.
pub const MAX_ID: u64 = u64::MAX >> 1;

/// The name of a segment's file, with the first position and the id that it contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub first: u64,
    pub id: u64,
    pub file: String,
}

/// Returns the file name of the segment with this first position and id.
pub fn file_name(first: u64, id: u64) -> String {
    format!("{first:020}-{id:016x}.wal")
}

/// The kind of file that a name in the directory of a log belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileKind {
    Segment(Name),
    Control,
    Spare(String),
    Reserve,
    Lock,
    Cursors,
    /// Not a file of the log.
    Foreign,
}

/// Determines the kind of file from its name.
pub fn classify(name: &str) -> FileKind {
    match name {
        LOCK => return FileKind::Lock,
        CONTROL => return FileKind::Control,
        CURSORS => return FileKind::Cursors,
        RESERVE => return FileKind::Reserve,
        _ => {}
    }
    if name.starts_with(SPARE) {
        return FileKind::Spare(name.to_owned());
    }
    let parsed = name.strip_suffix(".wal").and_then(|stem| stem.split_once('-')).and_then(|(first, id)| {
        let (first, id) = (first.parse().ok()?, u64::from_str_radix(id, 16).ok()?);
        // Only the canonical spelling counts: `+1` or `1` would parse as well.
        (file_name(first, id) == name && (1..=MAX_POSITION + 1).contains(&first) && (1..=MAX_ID).contains(&id)).then(|| Name {
            first,
            id,
            file: name.to_owned(),
        })
    });
    parsed.map_or(FileKind::Foreign, FileKind::Segment)
}
