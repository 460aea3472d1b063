//! Exhaustive damage to a log of several segments, opened in every mode: every length to which a file can be cut, and every flipped bit.
//! The result must be an error or harmless, never wrong, and never silent about records that are proven durable. `FORELOG_SEEDS=0..1 cargo
//! test --release -p forelog --lib campaign::modes -- --nocapture` takes all cases, on all cores. Without it, the test takes every few
//! bytes.
//!
//! Silence is right if nothing undamaged proves that the lost records were durable: damage that reaches the last frames of a log that was
//! not closed. `proven_without` computes how much is proven, from the bytes alone.

use super::appends::push;
use super::history::{broken, Broken, Held};
use super::named::Log;
use super::oracle::{read, Expected, Made, Read, Tag};
use super::places::{self, places, Place};
use super::rot::{check, proven_without, Damage};
use super::salvaged;
use crate::error::Code;
use crate::format::compression::Packer;
use crate::format::file_names::CONTROL;
use crate::format::frame::{ALIGN, HEADER};
use crate::log::open::{open, Opened};
use crate::log::read_only;
use crate::options::{Compression, Mode, Options};
use crate::storage::Storage;
use crate::testing::sim::SimDisk;
use crate::util::limits::PAGE;
use crate::write::group::{Batch, Group};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// The log that is damaged, as its last process left it.
struct Swept {
    disk: SimDisk,
    options: Options,
    expected: Expected,
    frames: Vec<Place>,
    /// Name of the active segment.
    active: String,
    closed: bool,
}

/// The change to the damaged bytes.
enum Harm {
    /// The file ends before them.
    Cut,
    Zeroed,
    Flipped(u8),
}

struct Case {
    damage: Damage,
    harm: Harm,
}

impl Case {
    fn inflict(&self, disk: &SimDisk) {
        let Damage { file, bytes } = &self.damage;
        match self.harm {
            Harm::Cut => disk.truncate(file, bytes.start),
            Harm::Zeroed => disk.damage(file, bytes.start, &vec![0; (bytes.end - bytes.start) as usize]),
            Harm::Flipped(bit) => disk.damage(file, bytes.start, &[disk.bytes(file)[bytes.start as usize] ^ 1 << bit]),
        }
    }
}

/// Whether all cases are asked for.
fn thorough() -> bool {
    std::env::var_os("FORELOG_SEEDS").is_some()
}

/// The log while it is written.
struct Building {
    log: Log,
    frames: Vec<Place>,
}

impl Building {
    /// Commits one frame: a batch, or merged singles.
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
            group.push_batch(0, first, &mut gathered);
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
}

impl Swept {
    /// Returns a log of three segments, with singles, merged and alone, and batches; raw, LZ4 and zstd; every kind of record.
    fn new(closed: bool) -> Swept {
        let options = Options { segment_bytes: 8 << 10, compression: Compression::Lz4, ..Options::default() };
        let mut at = Building { log: Log::with(512, options), frames: Vec::new() };
        let first = at.log.segment();
        while at.log.segment() == first {
            at.commit(true, &[20, 300], true);
            at.commit(false, &[40, 3, 0, 9], false);
            // In the first segment, this takes the rest of the room at once.
            at.commit(false, &[2900], true);
        }
        at.log.opened.writer.packer = Packer::new(Compression::Zstd).unwrap();
        let second = at.log.segment();
        while at.log.segment() == second {
            at.commit(true, &[700, 50, 1], true);
            at.commit(false, &[2600], true);
        }
        at.log.opened.writer.packer = None;
        at.commit(true, &[30], true);
        at.commit(false, &[25, 90], false);
        at.commit(true, &[11, 300], true);
        at.commit(false, &[17], false);
        at.commit(true, &[5, 60], false);
        let Building { mut log, frames } = at;
        if closed {
            log.opened.writer.close().unwrap();
            log.expected.durable = log.expected.end;
        }
        log.disk.power_cut_keeping(&mut |_, _, _, versions| versions, &mut |_| true);
        log.disk.restart();
        Swept { active: log.segment(), disk: log.disk, options: log.options, expected: log.expected, frames, closed }
    }

    fn files(&self) -> Vec<String> {
        let mut files: Vec<String> = self.frames.iter().map(|place| place.file.clone()).collect();
        files.dedup();
        files
    }

    /// Returns the end of the last frame of a file.
    fn end(&self, file: &str) -> u64 {
        self.frames.iter().filter(|place| place.file == file).map(|place| place.bytes.end).max().unwrap_or(0)
    }

    /// Returns the last position before the damage.
    fn intact(&self, damage: &Damage) -> u64 {
        if damage.file == CONTROL {
            return self.expected.end;
        }
        let untouched = |place: &&Place| {
            place.file < damage.file || place.file == damage.file && damage.bytes.start >= PAGE && place.end <= damage.bytes.start
        };
        self.frames.iter().filter(untouched).map(|place| place.last).max().unwrap_or(0)
    }

    /// Whether the damage changes a byte that matters.
    fn matters(&self, damage: &Damage) -> bool {
        damage.bytes.start < PAGE || self.frames.iter().any(|place| place.is_hit(damage))
    }

    /// Tries all of these cases, on all cores. With all cases there are, this takes minutes and reports its progress.
    fn try_all(&self, cases: &[Case]) {
        let (next, began, state) = (AtomicUsize::new(0), Instant::now(), if self.closed { "closed" } else { "not closed" });
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(8) {
                scope.spawn(|| {
                    while let Some((n, case)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, cases.get(n)?))) {
                        if let Err(Broken(text)) = self.try_case(case) {
                            // The other threads need not go on.
                            next.store(cases.len(), Ordering::Relaxed);
                            panic!("{} at {:?}, {state}: {text}", case.damage.file, case.damage.bytes);
                        }
                        if thorough() && (n + 1) % 20_000 == 0 {
                            eprintln!("{} of {} images, {state}, {} s", n + 1, cases.len(), began.elapsed().as_secs());
                        }
                    }
                });
            }
        });
        println!("{} images, {state}", cases.len());
    }

    /// Damages copies of the log and opens one in every mode.
    fn try_case(&self, case: &Case) -> Held<()> {
        let damage = &case.damage;
        let damaged = || {
            let disk = self.disk.fork();
            case.inflict(&disk);
            disk
        };
        let least = proven_without(&self.disk, damage).min(self.expected.durable);
        let told =
            [self.strict(damaged(), damage, least)?, self.prefix(damaged(), damage, least)?, self.read_only(damaged(), case, least)?];
        // A mark vouches for a log that was closed, and its successor's header for a sealed segment.
        let vouched = damage.file != CONTROL && (self.closed || damage.file != self.active);
        if vouched && self.matters(damage) && told.contains(&false) {
            return broken(format!("silence in a mode: reported {told:?}"));
        }
        Ok(())
    }

    /// Checks that `strict` refuses a damaged active segment at once, and a sealed one when it is read.
    fn strict(&self, disk: SimDisk, damage: &Damage, least: u64) -> Held<bool> {
        let proven = self.frames.iter().any(|place| place.last <= least && place.is_hit(damage));
        if damage.file == self.active && proven && self.open(&disk.fork(), Mode::Strict).is_ok() {
            return broken("strict opens although durable records are damaged");
        }
        check(&disk, &self.options, &self.expected, least)
    }

    fn open(&self, disk: &SimDisk, mode: Mode) -> crate::error::Result<Opened> {
        let options = Options { mode, ..self.options.clone() };
        open(Arc::new(disk.clone()), &options, || 0)
    }

    /// Checks that `prefix` goes on before the damage, with everything that precedes it.
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
                return broken(format!("prefix continues at {}, and reports {lost:?}", end + 1))
            }
            None if end < least => return broken(format!("prefix: silence, the log ends at {end}, {least} is proven")),
            _ => {}
        }
        if end < self.intact(damage) || end > self.expected.end {
            return broken(format!("prefix ends at {end}, but records up to {} are before the damage", self.intact(damage)));
        }
        // What is left is a log like any other.
        let mut expected = self.expected.clone();
        expected.cut(end);
        let tag = Tag { attempt: 1, len: 33 };
        expected.push(tag, true);
        let mut group = Group::default();
        push(&mut group, end + 1, tag);
        if opened.writer.commit(&mut group, true).failure.is_some() || opened.writer.close().is_err() {
            return broken("prefix: the log accepts no appends");
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

    /// Checks that `readOnly` opens whatever is damaged, changes nothing, reads up to the damage, and salvages what comes after it.
    fn read_only(&self, disk: SimDisk, case: &Case, least: u64) -> Held<bool> {
        let damage = &case.damage;
        let (changes, storage) = (disk.changes(), Arc::new(disk.clone()) as Arc<dyn Storage>);
        let view = match read_only::open(&storage, || 0) {
            Ok(view) => view,
            Err(error) => return broken(format!("readOnly: {error:?}")),
        };
        let last = view.positions.written;
        let intact = self.intact(damage).min(last);
        if !matches!(read(storage.clone(), &view.catalog, &self.expected, 1, intact, 1 << 12), Read::All) {
            return broken(format!("readOnly: 1 to {intact}, which are before the damage, cannot be read"));
        }
        let told = match read(storage, &view.catalog, &self.expected, 1, last, 1 << 12) {
            Read::All => view.recovery.damage.is_some(),
            Read::Stopped(error) if error.code == Code::Corrupt => true,
            Read::Stopped(error) => return broken(format!("readOnly: {error:?}")),
            Read::Wrong(text) => return broken(format!("readOnly: {text}")),
        };
        if !told && last < least {
            return broken(format!("readOnly: silence, the log ends at {last}, {least} is proven"));
        }
        let bit = if let Harm::Flipped(bit) = case.harm { Some(bit) } else { None };
        places::check(&self.disk, &self.frames, damage, bit, &disk, &view, &self.expected)?;
        salvaged::check(&disk)?;
        if disk.changes() != changes {
            return broken("readOnly changes the disk");
        }
        Ok(told)
    }
}

#[test]
fn the_log_that_the_sweeps_damage_has_every_feature() {
    let swept = Swept::new(true);
    assert_eq!(swept.files().len(), 3);
    let codecs = |file: &str| {
        let bytes = swept.disk.bytes(file);
        let frames = swept.frames.iter().filter(|place| place.file == file);
        let mut codecs: Vec<u8> = frames.map(|place| bytes[place.bytes.start as usize + 21]).collect();
        codecs.sort();
        codecs.dedup();
        codecs
    };
    assert_eq!(swept.files().iter().map(|file| codecs(file)).collect::<Vec<_>>(), [vec![0, 1], vec![0, 1, 2], vec![0, 2]]);
    assert_eq!(places(&swept.disk), swept.frames);
    let untouched = Case { damage: Damage { file: CONTROL.into(), bytes: 0..0 }, harm: Harm::Zeroed };
    swept.try_case(&untouched).unwrap();
}

#[test]
fn any_file_shortened_to_any_length_is_detected_or_harmless_in_every_mode() {
    for closed in [false, true] {
        let (swept, mut cases) = (Swept::new(closed), Vec::new());
        for file in swept.files().into_iter().chain([CONTROL.to_owned()]) {
            let whole = swept.disk.bytes(&file).len() as u64;
            let end = if file == CONTROL { whole } else { swept.end(&file) };
            let (page, frames) = if thorough() { (7, 1) } else { (1021, 23) };
            let frames_from = if file == CONTROL { end } else { PAGE };
            for len in (0..frames_from).step_by(page).chain((frames_from..end + 9).step_by(frames)).filter(|len| *len < whole) {
                let damage = || Damage { file: file.clone(), bytes: len..whole };
                // CONTROL never shrinks by itself. Another program must have shortened it, and it reads as a foreign file.
                if file != CONTROL {
                    cases.push(Case { damage: damage(), harm: Harm::Cut });
                }
                cases.push(Case { damage: damage(), harm: Harm::Zeroed });
            }
        }
        swept.try_all(&cases);
    }
}

#[test]
fn every_flipped_bit_of_any_file_is_detected_or_harmless_in_every_mode() {
    for closed in [false, true] {
        let (swept, mut cases) = (Swept::new(closed), Vec::new());
        for file in swept.files().into_iter().chain([CONTROL.to_owned()]) {
            let len = swept.disk.bytes(&file).len() as u64;
            let end = if file == CONTROL { len } else { len.min(swept.end(&file) + 64) };
            let step = |at: u64| match (thorough(), at < PAGE || file == CONTROL) {
                (true, _) => 1,
                (false, true) => 127,
                (false, false) => 5,
            };
            let mut at = 0;
            while at < end {
                let bits = if thorough() { 0..8 } else { at as u8 % 8..at as u8 % 8 + 1 };
                let damage = || Damage { file: file.clone(), bytes: at..at + 1 };
                cases.extend(bits.map(|bit| Case { damage: damage(), harm: Harm::Flipped(bit) }));
                at += step(at);
            }
        }
        swept.try_all(&cases);
    }
}
