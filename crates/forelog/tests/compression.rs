//! Compressed logs: everything comes back, nothing is stored larger, and any setting opens what another wrote.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use forelog::{Batch, Block, Compression, Fsync, Options, ReadOptions, RecordRef, Settled, Waiter, Wal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const BOTH: [Compression; 2] = [Compression::Lz4, Compression::Zstd];

type Kept = (Option<Vec<u8>>, Option<Vec<u8>>, Option<u64>, Option<(u64, u64)>);

struct Log {
    wal: Wal,
    waiter: Arc<Waiter>,
    ops: u64,
}

fn options(compression: Compression) -> Options {
    Options { compression, segment_bytes: 256 << 10, ..Options::default() }
}

fn borrowed((key, value, expires_at, version): &Kept) -> RecordRef<'_> {
    RecordRef { key: key.as_deref(), value: value.as_deref(), tombstone: value.is_none(), expires_at: *expires_at, version: *version }
}

impl Log {
    fn open(dir: &Path, options: Options) -> Log {
        let waiter = Arc::new(Waiter::default());
        Log { wal: Wal::open(dir, options, waiter.clone()).unwrap(), waiter, ops: 0 }
    }

    fn append(&mut self, record: &Kept) {
        self.wal.append(borrowed(record), false).unwrap();
        self.ops += 1;
    }

    fn append_batch(&mut self, records: &[Kept]) {
        let mut batch = Batch::new();
        records.iter().for_each(|record| batch.push(borrowed(record), 1 << 30).unwrap());
        self.wal.append_batch(&mut batch, false).unwrap();
        self.ops += 1;
    }

    fn wait(&self) {
        self.wal.kick();
        self.waiter.wait_for(|| match self.wal.settled() {
            Settled::Done(done) => (done == self.ops).then_some(()),
            Settled::Failed(_, error) => panic!("{error}"),
        });
    }

    fn blocks(&self, from: u64, max_bytes: usize) -> Vec<Block> {
        let mut reader = self.wal.reader(from, u64::MAX).unwrap();
        std::iter::from_fn(|| reader.next_block(max_bytes).unwrap()).collect()
    }

    fn read(&self, from: u64) -> Vec<Kept> {
        self.blocks(from, 64 << 10).iter().flat_map(records).collect()
    }
}

fn records(block: &Block) -> Vec<Kept> {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    block.iter().map(|record| (owned(record.key), owned(record.value), record.expires_at, record.version)).collect()
}

/// Text that repeats, as records of services do.
fn line(n: u64) -> Vec<u8> {
    format!("{{\"level\":\"info\",\"service\":\"checkout\",\"request\":{n},\"message\":\"order accepted\"}}").into_bytes()
}

fn noise(len: usize, mut seed: u64) -> Vec<u8> {
    let byte = |_| {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (seed >> 56) as u8
    };
    (0..len).map(byte).collect()
}

/// Every kind of record, in every size that matters to frames.
fn sample(n: u64) -> Kept {
    let key = Some(format!("user:{n}").into_bytes());
    match n % 8 {
        0 => (None, Some(line(n)), None, None),
        1 => (key, Some(line(n).repeat(20)), None, None),
        2 => (key, None, None, None),
        3 => (key, Some(line(n)), Some(1_800_000_000_000 + n), None),
        4 => (None, Some(line(n).repeat(3)), None, Some((n / 10, n))),
        5 => (key, Some(Vec::new()), Some(n), Some((n, n))),
        6 => (key, Some(noise(700, n)), None, None),
        _ => (Some(Vec::new()), Some(vec![7; 900]), None, None),
    }
}

fn samples(range: std::ops::RangeInclusive<u64>) -> Vec<Kept> {
    range.map(sample).collect()
}

/// Appends `from..=to`, singles and batches by turns.
fn fill(log: &mut Log, from: u64, to: u64) {
    for n in (from..=to).step_by(50) {
        let last = to.min(n + 49);
        let half = (n + last) / 2;
        (n..=half).for_each(|n| log.append(&sample(n)));
        if half < last {
            log.append_batch(&samples(half + 1..=last));
        }
        log.wait();
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "wal"));
    files.sort();
    files
}

/// What a killed process leaves.
fn killed_copy(dir: &Path) -> tempfile::TempDir {
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

#[test]
fn every_kind_of_record_is_read_back_from_a_compressed_log_also_after_a_crash() {
    for (compression, fsync) in BOTH.into_iter().flat_map(|c| [(c, Fsync::Always), (c, Fsync::Os)]) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { fsync, ..options(compression) };
        let mut log = Log::open(dir.path(), options.clone());
        fill(&mut log, 1, 3000);
        assert_eq!(log.read(1), samples(1..=3000));
        assert!(files(dir.path()).len() > 1);
        for from in [1, 26, 27, 1500, 2999, 3000] {
            assert_eq!(log.read(from), samples(from..=3000), "from {from}");
        }
        let copy = killed_copy(dir.path());
        let mut crashed = Log::open(copy.path(), options.clone());
        // Under `os` nothing was proven durable, so that all of the last segment is carried.
        assert!(fsync == Fsync::Always || crashed.wal.recovery().carried > 0);
        assert_eq!(crashed.read(1), samples(1..=3000));
        fill(&mut crashed, 3001, 3200);
        assert_eq!(crashed.read(1), samples(1..=3200));
        log.wal.close().unwrap();
        let log = Log::open(dir.path(), options);
        assert!(log.wal.recovery().clean);
        assert_eq!(log.read(1), samples(1..=3000));
    }
}

#[test]
fn a_raft_version_survives_a_crash_in_singles_and_batches() {
    for compression in [Compression::None, Compression::Lz4] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), Options { fsync: Fsync::Os, ..options(compression) });
        let entry = |n: u64| -> Kept { (None, Some(line(n)), None, Some((n / 7, n))) };
        (1..=20).for_each(|n| log.append(&entry(n)));
        log.append_batch(&(21..=40).map(entry).collect::<Vec<_>>());
        // The largest that a number of JavaScript's holds.
        let last: Kept = (Some(b"vote".to_vec()), None, None, Some(((1 << 53) - 1, (1 << 53) - 1)));
        log.append(&last);
        log.wait();
        let copy = killed_copy(dir.path());
        let log = Log::open(copy.path(), options(compression));
        assert!(!log.wal.recovery().clean);
        assert_eq!(log.read(1), (1..=40).map(entry).chain([last]).collect::<Vec<_>>());
    }
}

#[test]
fn incompressible_records_are_stored_raw_and_nothing_is_stored_larger_than_it_is() {
    let written = |compression: Compression, record: &dyn Fn(u64) -> Kept| {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), Options { fsync: Fsync::Os, ..options(compression) });
        for n in 1..=60 {
            log.append(&record(n));
            log.wait();
        }
        assert_eq!(log.read(1), (1..=60).map(record).collect::<Vec<_>>());
        // What the last commit wrote is counted after it has settled.
        log.wal.close().unwrap();
        log.wal.stats().written_bytes
    };
    let random = |n: u64| -> Kept { (None, Some(noise(3000, n)), None, None) };
    let small = |n: u64| -> Kept { (None, Some(vec![n as u8; 60]), None, None) };
    let text = |n: u64| -> Kept { (None, Some(line(n).repeat(30)), None, None) };
    for compression in BOTH {
        assert_eq!(written(compression, &random), written(Compression::None, &random), "{compression:?}");
        assert_eq!(written(compression, &small), written(Compression::None, &small), "{compression:?}");
        assert!(written(compression, &text) * 8 < written(Compression::None, &text), "{compression:?}");
    }
}

#[test]
fn a_log_written_with_one_setting_opens_with_every_other() {
    let settings = [Compression::None, Compression::Lz4, Compression::Zstd];
    let dir = tempfile::tempdir().unwrap();
    let mut end = 0;
    for round in 0..9 {
        // Each setting follows each other one, after a close and after a crash.
        let compression = settings[[0, 1, 2, 0, 2, 1, 0, 0, 1][round]];
        let copy = killed_copy(dir.path());
        if round > 0 {
            assert_eq!(Log::open(copy.path(), options(compression)).read(1), samples(1..=end));
        }
        let mut log = Log::open(dir.path(), options(compression));
        fill(&mut log, end + 1, end + 120);
        end += 120;
        assert_eq!(log.read(1), samples(1..=end));
        let crashed = killed_copy(dir.path());
        assert_eq!(Log::open(crashed.path(), options(settings[round % 3])).read(1), samples(1..=end));
        log.wal.close().unwrap();
    }
}

#[test]
fn only_a_segment_that_may_hold_compressed_frames_is_refused_by_versions_that_cannot_read_them() {
    let dir = tempfile::tempdir().unwrap();
    let is_compressed = |path: &Path| std::fs::read(path).unwrap()[16] & 1 == 1;
    let mut log = Log::open(dir.path(), options(Compression::None));
    fill(&mut log, 1, 50);
    log.wal.close().unwrap();
    let mut log = Log::open(dir.path(), Options { fsync: Fsync::Os, ..options(Compression::Zstd) });
    assert!(log.wal.recovery().clean);
    // Too small to be compressed: goes on in the segment that is there.
    log.append(&(None, Some(vec![1; 20]), None, None));
    log.wait();
    assert_eq!(files(dir.path()).len(), 1);
    log.append(&(None, Some(vec![1; 2000]), None, None));
    log.wait();
    let segments = files(dir.path());
    assert_eq!(segments.iter().map(|path| is_compressed(path)).collect::<Vec<_>>(), [false, true]);
    // Carried as they are stored, frames need a reader that unpacks, whatever the setting.
    let crashed = killed_copy(dir.path());
    let log = Log::open(crashed.path(), options(Compression::None));
    assert!(log.wal.recovery().carried > 0);
    assert!(files(crashed.path()).last().is_some_and(|path| is_compressed(path)));
    assert_eq!(log.read(52), [(None, Some(vec![1; 2000]), None, None)]);
}

#[test]
fn the_size_of_a_block_is_limited_by_its_unpacked_records() {
    for compression in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), options(compression));
        let record = |n: u64| -> Kept { (None, Some(vec![n as u8; 3000]), None, None) };
        for n in 1..=2000 {
            log.append(&record(n));
        }
        log.wait();
        for max_bytes in [1, 4096, 100_000, 1 << 20] {
            let blocks = log.blocks(1, max_bytes);
            // One frame at least, and merged ones hold 64 KiB raw.
            assert!(blocks.iter().all(|block| block.bytes().len() <= max_bytes.max(64 << 10)), "{max_bytes}");
            assert_eq!(blocks.iter().flat_map(records).collect::<Vec<_>>(), (1..=2000).map(record).collect::<Vec<_>>());
        }
        // Blocks are as large as asked for although the file is a hundredth of it.
        assert!(log.blocks(1, 1 << 20).len() < 20);
    }
}

#[test]
fn a_large_record_is_compressed_as_a_whole_and_fits_if_its_compressed_form_fits() {
    for compression in BOTH {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::open(dir.path(), options(compression));
        let large: Kept = (Some(b"blob".to_vec()), Some(line(1).repeat(100_000)), None, None);
        let random: Kept = (None, Some(noise(2 << 20, 9)), None, None);
        for record in [&large, &random, &large] {
            log.append(record);
        }
        log.wait();
        assert_eq!(log.read(1), [large.clone(), random.clone(), large.clone()]);
        log.wal.close().unwrap();
        assert!(log.wal.stats().written_bytes < 4 << 20);
        assert!(Log::open(dir.path(), options(Compression::None)).read(1) == [large.clone(), random, large]);
    }
}

#[test]
fn only_a_detailed_reader_reports_batches() {
    let dir = tempfile::tempdir().unwrap();
    for compression in [Compression::None, Compression::Lz4] {
        let mut log = Log::open(&dir.path().join(format!("{compression:?}")), options(compression));
        let record = |n: u64| (None, Some(vec![b'x'; 40]), Some(u64::MAX - n), Some((u64::MAX - n, (1 << 53) + 1)));
        log.append(&record(1));
        log.append_batch(&[record(2), record(3), record(4)]);
        log.append(&record(5));
        log.append_batch(&[record(6)]);
        log.wait();
        for (from, batches) in [(1, vec![(1, 3), (5, 1)]), (3, vec![(0, 2), (3, 1)]), (6, vec![(0, 1)])] {
            let block = log
                .wal
                .read(ReadOptions { detailed: true, ..ReadOptions::range(from, u64::MAX) })
                .unwrap()
                .next_block(1 << 20)
                .unwrap()
                .unwrap();
            assert_eq!((block.first_position, block.len() as u64, &block.batches), (from, 7 - from, &batches));
            let expected = (from..=6).flat_map(|n| [u64::MAX - n, u64::MAX - n, (1 << 53) + 1]);
            assert_eq!(block.numbers(), expected.collect::<Vec<_>>());
        }
        let plain = log.wal.reader(1, u64::MAX).unwrap().next_block(1 << 20).unwrap().unwrap();
        assert!(plain.batches.is_empty() && !plain.is_detailed());
    }
}
