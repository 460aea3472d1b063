//! Exhaustive damage to a small log: every length to which it can be cut and every flipped bit must cause an error or be harmless.

use super::history::{broken, Broken};
use super::named::Log;
use super::oracle::{read, Read};
use super::places::{self, places, Place};
use super::rot::{proven_without, Damage};
use crate::error::Code;
use crate::format::file_names::CONTROL;
use crate::log::open::open;
use crate::log::read_only;
use crate::storage::Storage;
use crate::testing::sim::SimDisk;
use crate::util::limits::PAGE;
use std::sync::Arc;

/// Header pages are swept bit by bit only in long runs. Their checksum has a test of its own.
fn page_step() -> usize {
    if std::env::var_os("FORELOG_SEEDS").is_some() {
        1
    } else {
        23
    }
}

/// Returns a log of batches and singles, durable and not. The last ones are not synced when the process dies, unless the log is closed in
/// order.
fn small_log(closed: bool, through: bool) -> Log {
    let mut log = if through { Log::through(512, 32 << 10) } else { Log::new(512, 16 << 10) };
    log.commit(&[&[20]], true);
    log.commit(&[&[40, 3], &[90]], false);
    log.commit(&[&[5]], true);
    log.commit(&[&[300]], true);
    log.commit(&[&[17, 60]], false);
    if closed {
        log.opened.writer.close().unwrap();
        log.expected.durable = log.expected.end;
    }
    log.disk.power_cut_keeping(&mut |_, _, _, versions| versions, &mut |_| true);
    log.disk.restart();
    log
}

/// Whether the log is closed in order, and whether durable commits go past the page cache and so have padding.
const EVERY: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// Damages a copy of the log, in one `bit` if there is one. Checks the result of opening it, and what can be salvaged.
fn try_damage(log: &Log, frames: &[Place], damage: &Damage, bit: Option<u8>, inflict: impl FnOnce(&SimDisk)) -> bool {
    let least = proven_without(&log.disk, damage);
    let disk = log.disk.fork();
    inflict(&disk);
    let storage: Arc<dyn Storage> = Arc::new(disk.clone());
    // Salvaged after one bit of each byte and one length in five; in long runs, always.
    let skipped = page_step() > 1 && bit.map_or(!damage.bytes.start.is_multiple_of(5), |bit| u64::from(bit) != damage.bytes.start % 8);
    let salvages = || match read_only::open(&storage, || 0) {
        Ok(view) => places::check(&log.disk, frames, damage, bit, &disk, &view, &log.expected),
        Err(error) => broken(format!("readOnly: {error:?}")),
    };
    let salvaged = if skipped { Ok(()) } else { salvages() };
    match salvaged.and_then(|()| log.check(&disk, least)) {
        Ok(told) => told,
        Err(Broken(text)) => panic!("{} at {:?}: {text}", damage.file, damage.bytes),
    }
}

#[test]
fn an_active_segment_shortened_to_any_length_is_detected_or_harmless() {
    for (closed, through) in EVERY {
        let log = small_log(closed, through);
        let (file, end, frames) = (log.segment(), log.end(), places(&log.disk));
        let whole = log.disk.bytes(&file);
        for len in (0..PAGE).step_by(page_step()).chain((PAGE..end + 20).step_by(if through { 3 * page_step() } else { 1 })) {
            let damage = Damage { file: file.clone(), bytes: len..whole.len() as u64 };
            let zeroed = try_damage(&log, &frames, &damage, None, |disk| disk.damage(&file, len, &vec![0; whole.len() - len as usize]));
            let cut = try_damage(&log, &frames, &damage, None, |disk| disk.truncate(&file, len));
            // A mark vouches for a log that was closed: no part of it goes missing unnoticed, except zeroes.
            let missing = whole[len as usize..].iter().any(|b| *b != 0);
            assert!(!(closed && missing) || zeroed && cut, "the first {len} bytes of {end} open in silence");
            assert!(len < end || !zeroed, "zeroes past the end at {end} are damage from {len} on");
        }
    }
}

#[test]
fn every_flipped_bit_is_detected_or_harmless() {
    for (closed, through) in EVERY {
        let log = small_log(closed, through);
        let (file, end, frames) = (log.segment(), log.end(), places(&log.disk));
        // Padding is long.
        let step = if through { page_step() * 16 + 1 } else { 1 };
        let bits = (PAGE as usize * 8..end as usize * 8 + 512).step_by(step).map(|bit| (file.as_str(), bit));
        let header = (0..PAGE as usize * 8).step_by(page_step()).map(|bit| (file.as_str(), bit));
        let control = (0..3 * PAGE as usize * 8).step_by(page_step()).map(|bit| (CONTROL, bit));
        for (name, bit) in bits.chain(header).chain(control) {
            let at = bit as u64 / 8;
            let damage = Damage { file: name.to_owned(), bytes: at..at + 1 };
            let byte = log.disk.bytes(name)[at as usize] ^ 1 << (bit % 8);
            let told = try_damage(&log, &frames, &damage, Some(bit as u8 % 8), |disk| disk.damage(name, at, &[byte]));
            assert!(!closed || name == CONTROL || at >= end || told || padding(&log, at), "{name}, bit {bit} flips in silence");
        }
    }
}

#[test]
fn a_sealed_segment_shortened_to_any_length_is_reported_when_it_is_read() {
    let mut log = Log::new(512, 16 << 10);
    let file = log.segment();
    log.commit(&[&[20], &[700, 30], &[300]], true);
    log.commit(&[&[500]], true);
    let end = log.end();
    log.commit(&[&[14_000]], true);
    log.commit(&[&[10]], true);
    log.opened.writer.close().unwrap();
    log.disk.restart();
    let last = log.expected.end;
    let read_from = |disk: &SimDisk, from: u64| {
        let opened = open(Arc::new(disk.clone()), &log.options, || 0)?;
        Ok(read(Arc::new(disk.clone()), &opened.catalog, &log.expected, from, last, 512))
    };
    for len in (0..PAGE).step_by(97).chain((PAGE..end).step_by(page_step())) {
        let disk = log.disk.fork();
        disk.truncate(&file, len);
        for from in 1..=last {
            let outcome: crate::error::Result<Read> = read_from(&disk, from);
            let told = match outcome {
                Ok(Read::All) => false,
                Ok(Read::Stopped(error)) | Err(error) => error.code == Code::Corrupt && error.segment.as_deref() == Some(file.as_str()),
                Ok(Read::Wrong(text)) => panic!("reading from {from} with {len} bytes: {text}"),
            };
            assert_eq!(told, from < last - 1, "reading from {from} with {len} of {end} bytes");
        }
    }
}

/// Whether the byte at `at` pads a frame to its boundary, so that nothing reads it or depends on it.
fn padding(log: &Log, at: u64) -> bool {
    let bytes = log.disk.bytes(&log.segment());
    let mut offset = PAGE;
    while offset < log.end() {
        let body = u64::from(crate::util::bytes::get_u32(&bytes, offset as usize + 4));
        let used = offset + crate::format::frame::HEADER as u64 + body;
        offset += crate::format::frame::span(body as usize);
        if at < offset {
            return at >= used;
        }
    }
    false
}
