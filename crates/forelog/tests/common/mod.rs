//! What the tests of the engine share: logs filled with numbered records, and copies as a killed process leaves them.
#![allow(dead_code)]

use forelog::{Fsync, Options, RecordRef, Settled, Waiter, Wal};
use std::path::{Path, PathBuf};
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

/// Appends `from..=to`, one commit each, and waits for all of them.
pub fn fill(wal: &Wal, waiter: &Waiter, from: u64, to: u64) {
    for (op, n) in (from..=to).enumerate() {
        assert_eq!(wal.append(RecordRef { value: Some(&value(n)), ..Default::default() }, false).unwrap(), n);
        wal.kick();
        waiter.wait_for(|| match wal.settled() {
            Settled::Done(done) => (done > op as u64).then_some(()),
            Settled::Failed(_, error) => panic!("{error}"),
        });
    }
}

pub fn read_all(wal: &Wal) -> Vec<Vec<u8>> {
    let mut reader = wal.reader(wal.positions().first, u64::MAX).unwrap();
    let mut out = Vec::new();
    while let Some(block) = reader.next_block(64 << 10).unwrap() {
        for entry in block.index.chunks(4) {
            out.push(block.bytes[entry[1] as usize..entry[2] as usize].to_vec());
        }
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
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
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
