//! The cost of the engine without Node.js. The difference to the same work in `npm run bench` is the cost of the boundary to
//! JavaScript. Run by `cargo bench -p forelog-bench`; a name after `--` selects.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use criterion::{criterion_group, criterion_main, Criterion, Throughput};
use forelog::{Fsync, Mode, Options, RecordRef, Retention, Settled, Waiter, Wal};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

const RECORDS: u64 = 1000;
/// As many as one log of the reading benches has, all in its unsealed segment.
const READ_RECORDS: u64 = 100_000;
const SIZES: [(&str, usize); 2] = [("100 B", 100), ("1 KiB", 1024)];
/// Where files are memory, on Linux: what is left is what the engine does itself.
const MEMORY: &str = "/dev/shm";

struct Log {
    wal: Wal,
    waiter: Arc<Waiter>,
    operations: u64,
}

impl Log {
    fn open(dir: &Path, options: Options) -> Log {
        let waiter = Arc::new(Waiter::default());
        Log { wal: Wal::open(dir, options, waiter.clone()).unwrap(), waiter, operations: 0 }
    }

    /// Appends them one by one and waits until the last is acknowledged.
    fn append(&mut self, value: &[u8], records: u64) {
        for _ in 0..records {
            self.wal.append(RecordRef { value: Some(value), ..Default::default() }, false).unwrap();
        }
        self.operations += records;
        self.wal.kick();
        self.waiter.wait_for(|| match self.wal.settled() {
            Settled::Done(done) => (done >= self.operations).then_some(()),
            Settled::Failed(_, error) => panic!("an append failed: {error}"),
        });
    }
}

/// On the disk that the sources are built on.
fn real() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// Bounds what a bench of some seconds leaves on the disk while it runs.
fn bounded(fsync: Fsync) -> Options {
    Options { fsync, retention: Retention { max_bytes: Some(256 << 20), ..Default::default() }, ..Default::default() }
}

fn appending(c: &mut Criterion) {
    let mut places = vec![("disk, always", real(), Fsync::Always), ("disk, os", real(), Fsync::Os)];
    if Path::new(MEMORY).is_dir() {
        places.push(("memory, always", tempfile::tempdir_in(MEMORY).unwrap(), Fsync::Always));
    }
    for (place, dir, fsync) in &places {
        let mut group = c.benchmark_group(format!("append and commit 1,000, {place}"));
        group.throughput(Throughput::Elements(RECORDS));
        for (name, bytes) in SIZES {
            let mut log = Log::open(&dir.path().join(name), bounded(*fsync));
            let value = vec![b'v'; bytes];
            group.bench_function(name, |b| b.iter(|| log.append(&value, RECORDS)));
            log.wal.close().unwrap();
        }
    }
}

/// A log of one segment that was never sealed, and whose page cache is warm.
fn filled(bytes: usize) -> (TempDir, u64) {
    let (dir, total) = (real(), READ_RECORDS * bytes as u64);
    let mut log = Log::open(dir.path(), Options { fsync: Fsync::Os, segment_bytes: total * 5 / 4, ..Default::default() });
    let value = vec![b'v'; bytes];
    for _ in 0..READ_RECORDS / RECORDS {
        log.append(&value, RECORDS);
    }
    log.wal.close().unwrap();
    (dir, total)
}

fn reading(c: &mut Criterion) {
    for (name, bytes) in SIZES {
        let (dir, total) = filled(bytes);
        let read_only = || Log::open(dir.path(), Options { mode: Mode::ReadOnly, ..Default::default() });

        let mut group = c.benchmark_group("read all, in blocks");
        group.throughput(Throughput::Bytes(total));
        group.bench_function(name, |b| {
            let log = read_only();
            b.iter(|| {
                let mut reader = log.wal.reader(1, READ_RECORDS).unwrap();
                let mut records = 0;
                while let Some(block) = reader.next_block(256 << 10).unwrap() {
                    records += black_box(&block).len() as u64;
                }
                assert_eq!(records, READ_RECORDS);
            })
        });
        group.finish();

        let mut group = c.benchmark_group("open, scanning the unsealed segment");
        group.throughput(Throughput::Bytes(read_only().wal.recovery().scanned_bytes));
        group.bench_function(name, |b| b.iter(|| black_box(read_only().wal.recovery().scanned_bytes)));
        group.finish();
    }
}

criterion_group! {
    name = engine;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3)).without_plots();
    targets = appending, reading
}
criterion_main!(engine);
