//! What the tests of the engine share: logs filled with numbered records, and copies as a killed process leaves them.
#![allow(dead_code)]

use forelog::{Error, Fsync, Options, Reader, RecordRef, Settled, Waiter, Wal};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::Arc;

pub fn options(fsync: Fsync) -> Options {
    Options { fsync, segment_bytes: 64 << 10, ..Options::default() }
}

pub fn open(dir: &Path, options: Options) -> forelog::Result<(Wal, Arc<Waiter>)> {
    let waiter = Arc::new(Waiter::default());
    Ok((Wal::open(dir, options, waiter.clone())?, waiter))
}

pub fn value(n: u64) -> Vec<u8> {
    format!("value of record number {n}").into_bytes()
}

/// Waits until so many of the handle's operations are done.
pub fn settle(wal: &Wal, waiter: &Waiter, ops: u64) {
    wal.kick();
    waiter.wait_for(|| match wal.settled() {
        Settled::Done(done) => (done >= ops).then_some(()),
        Settled::Failed(_, error) => panic!("{error}"),
    });
}

/// Appends `from..=to`, one commit each, and waits for all of them.
pub fn fill(wal: &Wal, waiter: &Waiter, from: u64, to: u64) {
    for (op, n) in (from..=to).enumerate() {
        assert_eq!(append(wal, &value(n)), n);
        settle(wal, waiter, op as u64 + 1);
    }
}

pub fn append(wal: &Wal, value: &[u8]) -> u64 {
    wal.append(RecordRef { value: Some(value), ..Default::default() }, false).unwrap()
}

/// Of many lengths, up to about a kilobyte.
pub fn varied(n: u64) -> Vec<u8> {
    let mut bytes = format!("record {n} ").into_bytes();
    bytes.resize(20 + (n as usize * 37) % 900, b'.');
    bytes
}

pub const BLOCK: usize = 32 << 10;

/// The next records with their positions, waiting for them; empty at the end.
pub fn next(reader: &mut Reader) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    next_of(reader, BLOCK)
}

/// The same in blocks of another size.
pub fn next_of(reader: &mut Reader, block: usize) -> Result<Vec<(u64, Vec<u8>)>, Error> {
    loop {
        if let Some(block) = reader.next_block(block)? {
            return Ok(block.iter().map(|record| (record.position, record.value.unwrap().to_vec())).collect());
        }
        let (woken, wake) = channel();
        let Some(lookout) = reader.follow_wait() else { return Ok(Vec::new()) };
        let _ticket = lookout.wait(Box::new(move || {
            let _ = woken.send(());
        }));
        wake.recv().unwrap();
    }
}

pub fn read_all(wal: &Wal) -> Vec<Vec<u8>> {
    let mut reader = wal.reader(wal.positions().first, u64::MAX).unwrap();
    let mut out = Vec::new();
    while let Some(block) = reader.next_block(64 << 10).unwrap() {
        out.extend(block.iter().map(|record| record.value.unwrap().to_vec()));
    }
    out
}

pub fn expected(to: u64) -> Vec<Vec<u8>> {
    (1..=to).map(value).collect()
}

/// What a killed process leaves: the files as they are, without whatever closing would have written.
pub fn killed_copy(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        let copied = std::fs::copy(entry.path(), copy.path().join(entry.file_name()));
        // A spare gets another name in the background, and holds nothing.
        if !entry.file_name().to_string_lossy().starts_with("spare-") {
            copied.unwrap();
        }
    }
    copy
}

pub fn newest(dir: &Path) -> PathBuf {
    let mut names: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "wal")).collect();
    names.sort();
    names.pop().unwrap()
}

pub fn snapshot(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    files.sort();
    files.into_iter().map(|p| (p.clone(), std::fs::read(&p).unwrap())).collect()
}

/// Overwrites a part of a file.
pub fn write_at(mut file: &File, bytes: &[u8], offset: u64) {
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.write_all(bytes).unwrap();
}

/// Reads a part of a file.
pub fn read_at(mut file: &File, bytes: &mut [u8], offset: u64) {
    file.seek(SeekFrom::Start(offset)).unwrap();
    file.read_exact(bytes).unwrap();
}
