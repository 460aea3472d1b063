//! Exhaustive damage to a log of several segments, opened in every mode: every length that can remain of a file, and
//! every bit of it flipped. Told or harmless, never wrong, never silent about what is proven.
//! `FORELOG_SEEDS=0..1 cargo test --release -p forelog campaign::modes` takes them all; without it, every few bytes.
//!
//! Silence is right where nothing undamaged proves that the lost records were durable: damage that reaches the last
//! frames of a log that was not closed. `proven_without` says how much that is, from the bytes alone.

use super::appends::push;
use super::history::{broken, Broken, Held};
use super::named::Log;
use super::oracle::{read, Made, Read, Tag};
use super::places::{self, places, Place};
use super::rot::{check, proven_without, Damage};
use crate::compress::Packer;
use crate::error::Code;
use crate::frame::{ALIGN, HEADER};
use crate::group::{Batch, Group};
use crate::open::{open, Opened};
use crate::options::{Compression, Mode, Options, PAGE};
use crate::read_only;
use crate::segment::CONTROL;
use crate::storage::sim::SimDisk;
use crate::storage::Storage;
use std::sync::Arc;

struct Swept {
    log: Log,
    frames: Vec<Place>,
    closed: bool,
}

/// Whether all of it is asked for.
fn thorough() -> bool {
    std::env::var_os("FORELOG_SEEDS").is_some()
}

impl Swept {
    /// Three segments; singles, merged and alone, and batches; raw, LZ4 and zstd; every kind of record.
    fn new(closed: bool) -> Swept {
        let options = Options { segment_bytes: 8 << 10, compression: Compression::Lz4, ..Options::default() };
        let mut swept = Swept { log: Log::with(512, options), frames: Vec::new(), closed };
        let first = swept.log.segment();
        while swept.log.segment() == first {
            swept.commit(true, &[20, 300], true);
            swept.commit(false, &[40, 3, 0, 9], false);
            // In the first segment, the rest of the room in one go.
            swept.commit(false, &[2900], true);
        }
        swept.log.opened.writer.packer = Packer::new(Compression::Zstd).unwrap();
        let second = swept.log.segment();
        while swept.log.segment() == second {
            swept.commit(true, &[700, 50, 1], true);
            swept.commit(false, &[2600], true);
        }
        swept.log.opened.writer.packer = None;
        swept.commit(true, &[30], true);
        swept.commit(false, &[25, 90], false);
        swept.commit(true, &[11, 300], true);
        swept.commit(false, &[17], false);
        swept.commit(true, &[5, 60], false);
        if closed {
            swept.log.opened.writer.close().unwrap();
            swept.log.expected.durable = swept.log.expected.end;
        }
        swept.log.disk.power_cut_keeping(&mut |_, _, _, versions| versions, &mut |_| true);
        swept.log.disk.restart();
        swept
    }

    /// Commits one frame: a batch, or singles merged.
    fn commit(&mut self, batch: bool, lens: &[u32], durable: bool) {
        let (log, mut group, mut gathered) = (&mut self.log, Group::default(), Batch::new());
        let (before, start, first) = (log.segment(), log.end(), log.expected.end + 1);
        for (i, len) in lens.iter().enumerate() {
            let (position, tag) = (first + i as u64, Tag { attempt: 0, len: *len });
            if batch {
                gathered.push(Made::new(position, tag).record(), 1 << 30).unwrap();
            } else {
                push(&mut group, position, tag);
            }
            log.expected.push(tag, !batch || i + 1 == lens.len());
        }
        if batch {
            group.push_batch(0, first, &gathered);
        }
        assert!(log.opened.writer.commit(&mut group, durable).failure.is_none());
        log.expected.written = log.expected.end;
        if durable {
            log.expected.durable = log.expected.end;
        }
        let file = log.segment();
        let start = if file == before { start } else { PAGE };
        let end = start + HEADER as u64 + group.frames[0].body_len as u64;
        self.frames.push(Place { file, bytes: start..end, end: end.next_multiple_of(ALIGN), first, last: log.expected.end });
    }

    fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.frames.iter().map(|place| place.file.clone()).collect();
        files.dedup();
        files
    }

    /// End of the last frame of a file.
    fn end(&self, file: &str) -> u64 {
        self.frames.iter().filter(|place| place.file == file).map(|place| place.bytes.end).max().unwrap_or(0)
    }

    /// The last position in front of the damage.
    fn intact(&self, damage: &Damage) -> u64 {
        if damage.file == CONTROL {
            return self.log.expected.end;
        }
        let untouched = |place: &&Place| {
            place.file < damage.file || place.file == damage.file && damage.bytes.start >= PAGE && place.end <= damage.bytes.start
        };
        self.frames.iter().filter(untouched).map(|place| place.last).max().unwrap_or(0)
    }

    /// Whether the damage changes a byte that something rests on.
    fn matters(&self, damage: &Damage) -> bool {
        damage.bytes.start < PAGE || self.frames.iter().any(|place| place.is_hit(damage))
    }

    /// Damages a copy of the log, by one `bit` if there is one, and opens it in every mode.
    fn try_damage(&self, damage: &Damage, bit: Option<u8>, inflict: impl Fn(&SimDisk)) {
        let damaged = || {
            let disk = self.log.disk.fork();
            inflict(&disk);
            disk
        };
        let outcome = || -> Held<()> {
            let least = proven_without(&self.log.disk, damage).min(self.log.expected.durable);
            let told = [
                self.strict(damaged(), damage, least)?,
                self.prefix(damaged(), damage, least)?,
                self.read_only(damaged(), damage, bit, least)?,
            ];
            // A mark vouches for a log that was closed, and its successor's header for a sealed segment.
            let vouched = damage.file != CONTROL && (self.closed || damage.file != self.log.segment());
            if vouched && self.matters(damage) && told.contains(&false) {
                return broken(format!("silence in a mode: told {told:?}"));
            }
            Ok(())
        };
        if let Err(Broken(text)) = outcome() {
            panic!("{} at {:?}, {}: {text}", damage.file, damage.bytes, if self.closed { "closed" } else { "not closed" });
        }
    }

    /// `strict` refuses a damaged active segment at once; a sealed one when it is read.
    fn strict(&self, disk: SimDisk, damage: &Damage, least: u64) -> Held<bool> {
        let proven = self.frames.iter().any(|place| place.last <= least && place.is_hit(damage));
        if damage.file == self.log.segment() && proven && self.open(&disk.fork(), Mode::Strict).is_ok() {
            return broken("strict opens although durable records are damaged");
        }
        check(&disk, &self.log.options, &self.log.expected, least)
    }

    fn open(&self, disk: &SimDisk, mode: Mode) -> crate::error::Result<Opened> {
        let options = Options { mode, ..self.log.options.clone() };
        open(Arc::new(disk.clone()), &options, || 0)
    }

    /// `prefix` goes on in front of the damage, with everything that stands before it.
    fn prefix(&self, disk: SimDisk, damage: &Damage, least: u64) -> Held<bool> {
        let changes = disk.changes();
        let mut opened = match self.open(&disk, Mode::Prefix) {
            Ok(opened) => opened,
            Err(error) if matches!(error.code, Code::Corrupt | Code::Format) && disk.changes() == changes => return Ok(true),
            Err(error) => return broken(format!("prefix: {error:?}, {} changes", disk.changes() - changes)),
        };
        let end = opened.writer.next_position() - 1;
        let told = opened.recovery.damage.as_ref().map(|told| told.lost);
        match told {
            Some(lost) if lost.is_some_and(|(first, _)| first != end + 1) => {
                return broken(format!("prefix goes on at {}, and tells of {lost:?}", end + 1))
            }
            None if end < least => return broken(format!("prefix: silence, the log ends at {end}, {least} is proven")),
            _ => {}
        }
        if end < self.intact(damage) || end > self.log.expected.end {
            return broken(format!("prefix ends at {end}, {} is in front of the damage", self.intact(damage)));
        }
        // What is left is a log like any other.
        let mut expected = self.log.expected.clone();
        expected.cut(end);
        let tag = Tag { attempt: 1, len: 33 };
        expected.push(tag, true);
        let mut group = Group::default();
        push(&mut group, end + 1, tag);
        if opened.writer.commit(&mut group, true).failure.is_some() || opened.writer.close().is_err() {
            return broken("prefix: the log does not go on");
        }
        drop(opened);
        let reopened = match self.open(&disk, Mode::Strict) {
            Ok(reopened) if reopened.recovery.clean => reopened,
            Ok(reopened) => return broken(format!("after prefix, strict says {}", reopened.recovery.verdict)),
            Err(error) => return broken(format!("after prefix, strict says {error}")),
        };
        match read(Arc::new(disk.clone()), &reopened.catalog, &expected, 1, end + 1, 1 << 16) {
            Read::All => Ok(told.is_some()),
            Read::Stopped(error) => broken(format!("after prefix, reading 1 to {}: {error}", end + 1)),
            Read::Wrong(text) => broken(text),
        }
    }

    /// `readOnly` opens whatever is damaged, changes nothing, reads up to the damage, and salvages what is behind it.
    fn read_only(&self, disk: SimDisk, damage: &Damage, bit: Option<u8>, least: u64) -> Held<bool> {
        let (changes, storage) = (disk.changes(), Arc::new(disk.clone()) as Arc<dyn Storage>);
        let view = match read_only::open(&storage, || 0) {
            Ok(view) => view,
            Err(error) => return broken(format!("readOnly: {error:?}")),
        };
        let last = view.positions.written;
        let intact = self.intact(damage).min(last);
        if !matches!(read(storage.clone(), &view.catalog, &self.log.expected, 1, intact, 1 << 12), Read::All) {
            return broken(format!("readOnly: 1 to {intact}, in front of the damage, cannot be read"));
        }
        let told = match read(storage, &view.catalog, &self.log.expected, 1, last, 1 << 12) {
            Read::All => view.recovery.damage.is_some(),
            Read::Stopped(error) if error.code == Code::Corrupt => true,
            Read::Stopped(error) => return broken(format!("readOnly: {error:?}")),
            Read::Wrong(text) => return broken(format!("readOnly: {text}")),
        };
        if !told && last < least {
            return broken(format!("readOnly: silence, the log ends at {last}, {least} is proven"));
        }
        places::check(&self.log.disk, &self.frames, damage, bit, &disk, &view, &self.log.expected)?;
        if disk.changes() != changes {
            return broken("readOnly changes the disk");
        }
        Ok(told)
    }
}

#[test]
fn the_swept_log_has_what_it_is_to_have() {
    let swept = Swept::new(true);
    assert_eq!(swept.files().len(), 3);
    let codecs = |file: &str| {
        let bytes = swept.log.disk.bytes(file);
        let frames = swept.frames.iter().filter(|place| place.file == file);
        let mut codecs: Vec<u8> = frames.map(|place| bytes[place.bytes.start as usize + 21]).collect();
        codecs.sort();
        codecs.dedup();
        codecs
    };
    assert_eq!(swept.files().iter().map(|file| codecs(file)).collect::<Vec<_>>(), [vec![0, 1], vec![0, 1, 2], vec![0, 2]]);
    assert_eq!(places(&swept.log.disk), swept.frames);
    swept.try_damage(&Damage { file: CONTROL.into(), bytes: 0..0 }, None, |_| {});
}

#[test]
fn every_length_that_remains_of_any_file_is_told_or_harmless_in_every_mode() {
    for closed in [false, true] {
        let swept = Swept::new(closed);
        for file in swept.files().into_iter().chain([CONTROL.to_owned()]) {
            let whole = swept.log.disk.bytes(&file).len() as u64;
            let end = if file == CONTROL { whole } else { swept.end(&file) };
            let (page, frames) = if thorough() { (7, 1) } else { (1021, 23) };
            let frames_from = if file == CONTROL { end } else { PAGE };
            for len in (0..frames_from).step_by(page).chain((frames_from..end + 9).step_by(frames)).filter(|len| *len < whole) {
                // CONTROL never shrinks by itself: what is missing of it is somebody's doing, and reads as another's file.
                let damage = Damage { file: file.clone(), bytes: len..whole };
                if file != CONTROL {
                    swept.try_damage(&damage, None, |disk| disk.truncate(&file, len));
                }
                swept.try_damage(&damage, None, |disk| disk.damage(&file, len, &vec![0; (whole - len) as usize]));
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_any_file_is_told_or_harmless_in_every_mode() {
    for closed in [false, true] {
        let swept = Swept::new(closed);
        for file in swept.files().into_iter().chain([CONTROL.to_owned()]) {
            let bytes = swept.log.disk.bytes(&file);
            let end = if file == CONTROL { PAGE } else { swept.end(&file) + 64 };
            let step = |at: u64| match (thorough(), at < PAGE) {
                (true, _) => 1,
                (false, true) => 127,
                (false, false) => 5,
            };
            let mut at = 0;
            while at < end.min(bytes.len() as u64) {
                let bits = if thorough() { 0..8 } else { at % 8..at % 8 + 1 };
                for bit in bits {
                    let damage = Damage { file: file.clone(), bytes: at..at + 1 };
                    swept.try_damage(&damage, Some(bit as u8), |disk| disk.damage(&file, at, &[bytes[at as usize] ^ 1 << bit]));
                }
                at += step(at);
            }
        }
    }
}
