//! Regressions: one test for each failure of the log that this one descends from, named after the promise that it broke.

use super::*;
use crate::error::Fault;
use crate::format::frame::HEADER;
use crate::log::commit_threads::COMMON;
use crate::log::open::{open, Opened};
use crate::options::Fsync;
use crate::read::reader::Reader;
use crate::segments::catalog::Catalog;
use crate::storage::layer::{Layer, Layered};
use crate::storage::{File, Storage};
use crate::testing::log::{options, TestLog};
use crate::testing::sim::{Faults, Rng, SimDisk};
use crate::util::limits::PAGE;
use crate::util::notify::Waiter;
use std::ops::Deref;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

/// A log that counts its operations.
struct Log {
    log: TestLog,
    ops: u64,
}

impl Deref for Log {
    type Target = TestLog;

    fn deref(&self) -> &TestLog {
        &self.log
    }
}

fn value(n: u64) -> Vec<u8> {
    format!("record {n} ").repeat(8).into_bytes()
}

impl Log {
    fn open(disk: SimDisk, fsync: Fsync) -> Result<Log> {
        Ok(Log { log: TestLog::open(disk, fsync)?, ops: 0 })
    }

    fn append(&mut self, value: &[u8]) -> Result<u64> {
        self.ops += 1;
        self.log.append(value)
    }

    fn sync(&mut self) -> Result<()> {
        self.ops += 1;
        self.wal.sync()
    }

    /// Waits for all operations. Returns the error of the first one that failed.
    fn settled(&self) -> Result<()> {
        self.log.settled(self.ops)
    }

    /// Appends numbered records, several of them in each commit.
    fn fill(&mut self, from: u64, to: u64) -> Result<()> {
        for n in from..=to {
            assert_eq!(self.append(&value(n))?, n);
            if n % 10 == 0 {
                self.settled()?;
            }
        }
        self.settled()
    }

    fn read(&self, from: u64, to: u64) -> Result<Vec<Vec<u8>>> {
        drain(self.wal.reader(from, to)?)
    }

    fn segments(&self) -> Vec<String> {
        let mut names = self.disk.names();
        names.retain(|name| name.ends_with(".wal"));
        names
    }
}

fn drain(mut reader: Reader) -> Result<Vec<Vec<u8>>> {
    let mut values = Vec::new();
    while let Some(block) = reader.next_block(1 << 14)? {
        values.extend(block.iter().filter_map(|record| record.value.map(<[u8]>::to_vec)));
    }
    Ok(values)
}

fn numbered(from: u64, to: u64) -> Vec<Vec<u8>> {
    (from..=to).map(value).collect()
}

fn read(disk: &SimDisk, catalog: &Arc<Catalog>, from: u64, to: u64) -> Result<Vec<Vec<u8>>> {
    drain(Reader::new(Arc::new(disk.clone()), catalog.clone(), from..=to))
}

/// Cuts the power and opens what is left. Of each sector that is not durable nothing is left, or with `all` the newest version.
fn power_cut(disk: &SimDisk, all: bool) -> Result<(SimDisk, Opened)> {
    let disk = disk.fork();
    disk.power_cut_keeping(&mut |_, _, _, versions| if all { versions } else { 0 }, &mut |_| false);
    disk.restart();
    let opened = open(Arc::new(disk.clone()), &options(Fsync::Always), || 0)?;
    Ok((disk, opened))
}

#[test]
fn a_reader_continues_through_all_segments() -> Result<()> {
    let mut log = Log::open(SimDisk::new(1, 4096), Fsync::Os)?;
    log.fill(1, 3000)?;
    assert!(log.segments().len() >= 4);
    assert_eq!(log.read(1, 3000)?, numbered(1, 3000));
    Ok(())
}

#[test]
fn synced_records_survive_a_power_cut_while_other_clients_append_and_the_log_rolls() -> Result<()> {
    let mut log = Log::open(SimDisk::new(2, 4096), Fsync::Os)?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Acquire) {
                    let _ = log.log.wal.append(RecordRef { value: Some(&[9; 400]), ..RecordRef::default() }, false);
                    log.wal.kick();
                    std::thread::yield_now();
                }
            });
        }
        let checked = (|| -> Result<()> {
            for _ in 0..20 {
                // A client of its own, because the threads above count the operations of the other one.
                let vouched = log.wal.positions().next - 1;
                log.wal.shared.flush()?;
                let (_, opened) = power_cut(&log.disk, false)?;
                assert!(opened.writer.next_position() > vouched, "{vouched} were synced");
            }
            Ok(())
        })();
        stop.store(true, Ordering::Release);
        checked
    })?;
    log.ops = 0;
    Ok(())
}

#[test]
fn nothing_is_appended_after_the_torn_bytes_of_a_short_write() -> Result<()> {
    for seed in 0..10 {
        let mut log = loop {
            let mut log = Log::open(SimDisk::new(seed, 512), Fsync::Always)?;
            log.fill(1, 5)?;
            log.disk.set_trip(0);
            log.append(&[7; 3000])?;
            // A background job may meet the error instead.
            if log.settled().is_err_and(|error| error.code == Code::NoSpace) {
                break log;
            }
        };
        assert!(matches!(log.wal.settled(), Settled::Done(_)), "nothing more is to be collected");
        log.fill(6, 20)?;
        for all in [false, true] {
            let (disk, opened) = power_cut(&log.disk, all)?;
            assert_eq!(read(&disk, &opened.catalog, 1, 20)?, numbered(1, 20), "seed {seed}");
        }
    }
    Ok(())
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_reported_and_costs_only_its_frame() -> Result<()> {
    let mut log = Log::open(SimDisk::new(3, 4096), Fsync::Os)?;
    log.fill(1, 2000)?;
    let sealed = log.segments()[1].clone();
    // Within a record. If a header is damaged, finding the other frames of the segment is left to salvage.
    let bytes = log.disk.bytes(&sealed);
    let at = 24_000 + bytes[24_000..].windows(6).position(|w| w == b"record").unwrap_or_default();
    log.disk.damage(&sealed, at as u64, &[bytes[at] ^ 4]);
    let error = log.read(1, 2000).err();
    let told = error.and_then(|e| (e.code == Code::Corrupt && e.segment.as_deref() == Some(&sealed)).then_some(e.lost?));
    let Some((first, last)) = told else { panic!("the damage is not reported") };
    let lost: Vec<u64> = (1..=2000).filter(|n| log.read(*n, *n).is_err()).collect();
    assert!(!lost.is_empty() && lost.len() <= 10, "a commit held ten records: {lost:?}");
    assert!(lost.iter().all(|n| (first..=last).contains(n)));
    assert_eq!((log.read(1, first - 1)?, log.read(last + 1, 2000)?), (numbered(1, first - 1), numbered(last + 1, 2000)));
    Ok(())
}

#[test]
fn a_log_that_another_process_writes_is_refused_unchanged() -> Result<()> {
    let failed = |e: std::io::Error| Error::new(Code::Io, e.to_string());
    let dir = tempfile::tempdir().map_err(failed)?;
    let waiter: Arc<Waiter> = Arc::default();
    Wal::open(dir.path(), options(Fsync::Always), waiter.clone())?.close()?;
    // The operating system does not know which process a second open file belongs to.
    let other = std::fs::File::open(dir.path().join("LOCK")).map_err(failed)?;
    other.lock().map_err(failed)?;
    let control = || std::fs::read(dir.path().join("CONTROL")).map_err(failed);
    let before = control()?;
    assert_eq!(Wal::open(dir.path(), options(Fsync::Always), waiter.clone()).err().map(|e| e.code), Some(Code::Locked));
    assert_eq!(control()?, before);
    other.unlock().map_err(failed)?;
    Wal::open(dir.path(), options(Fsync::Always), waiter)?.close()
}

#[test]
fn a_missing_segment_in_the_middle_of_the_log_is_detected() -> Result<()> {
    let mut log = Log::open(SimDisk::new(4, 4096), Fsync::Os)?;
    log.fill(1, 2500)?;
    log.wal.close()?;
    let segments = log.segments();
    for missing in &segments[1..segments.len() - 1] {
        let disk = log.disk.fork();
        disk.remove(missing)?;
        let opened = open(Arc::new(disk), &options(Fsync::Os), || 0);
        assert_eq!(opened.err().map(|e| e.code), Some(Code::Corrupt), "{missing}");
    }
    Ok(())
}

#[test]
fn a_failed_fsync_is_final_although_the_next_one_would_succeed() -> Result<()> {
    let mut log = Log::open(SimDisk::new(5, 4096), Fsync::Os)?;
    log.fill(1, 3)?;
    log.disk.set_faults(Faults { sync: 1.0, ..Faults::default() });
    log.sync()?;
    assert_eq!(log.settled().err().map(|e| e.code), Some(Code::Poisoned));
    log.disk.set_faults(Faults::default());
    let poisoned = |result: Result<()>| assert_eq!(result.err().map(|e| e.code), Some(Code::Poisoned));
    poisoned(log.wal.sync());
    poisoned(log.append(b"later").map(|_| ()));
    poisoned(log.wal.close());
    Ok(())
}

#[test]
fn the_last_records_of_an_idle_log_are_synced_in_time_without_a_call() -> Result<()> {
    let mut log = Log::open(SimDisk::new(6, 4096), Fsync::Every(Duration::from_millis(1)))?;
    log.fill(1, 7)?;
    // Nothing else is appended, so without a timer this would not end.
    while log.wal.positions().durable < 7 {
        std::thread::yield_now();
    }
    let (disk, opened) = power_cut(&log.disk, false)?;
    assert_eq!(read(&disk, &opened.catalog, 1, 7)?, numbered(1, 7));
    Ok(())
}

#[test]
fn the_names_of_files_with_acknowledged_records_survive_a_power_cut() -> Result<()> {
    let mut log = Log::open(SimDisk::new(7, 4096), Fsync::Always)?;
    for n in 1..=60 {
        log.append(&[n as u8; 5000])?;
        log.settled()?;
        // Only names that a sync of the directory covered are durable.
        let (_, opened) = power_cut(&log.disk, true)?;
        assert_eq!(opened.writer.next_position(), n + 1);
    }
    assert!(log.segments().len() >= 4);
    Ok(())
}

#[test]
fn space_allocated_in_advance_is_not_reported_as_damage_after_a_crash() -> Result<()> {
    let mut log = Log::open(SimDisk::new(8, 4096), Fsync::Os)?;
    log.fill(1, 9)?;
    // Happens in the background, which nothing else here waits for.
    while log.disk.bytes(&log.segments()[0]).len() < 64 << 10 {
        std::thread::yield_now();
    }
    log.disk.restart();
    let disk = log.disk.fork();
    let opened = open(Arc::new(disk.clone()), &options(Fsync::Os), || 0)?;
    assert_eq!((opened.recovery.verdict, opened.recovery.fenced.clone()), ("unproven", None));
    assert_eq!(read(&disk, &opened.catalog, 1, 9)?, numbered(1, 9));
    Ok(())
}

#[test]
fn a_record_of_any_accepted_size_can_be_read() -> Result<()> {
    let mut log = Log::open(SimDisk::new(9, 4096), Fsync::Os)?;
    let sizes = [128 << 10, (128 << 10) + 1, 1 << 20, (16 << 20) - 64, 1];
    let record = |len: usize| (0..len).map(|i| (i / 5) as u8).collect::<Vec<_>>();
    for len in sizes {
        log.append(&record(len))?;
        log.settled()?;
    }
    for (i, len) in sizes.into_iter().enumerate() {
        assert!(log.read(i as u64 + 1, i as u64 + 1)? == [record(len)], "{len} bytes");
    }
    assert_eq!(log.read(1, 5)?.len(), 5);
    Ok(())
}

/// Records the largest read and the sum of all reads.
#[derive(Default)]
struct Metered {
    largest: AtomicUsize,
    sum: AtomicUsize,
}

impl Layer for Metered {
    fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> std::result::Result<usize, Fault> {
        self.largest.fetch_max(buffer.len(), Ordering::Relaxed);
        self.sum.fetch_add(buffer.len(), Ordering::Relaxed);
        file.read_at(buffer, offset)
    }
}

#[test]
fn recovery_reads_in_steps_however_large_the_segment_and_its_records_are() -> Result<()> {
    let mut log = Log::open(SimDisk::new(10, 4096), Fsync::Os)?;
    log.append(&vec![5; 12 << 20])?;
    log.fill(2, 50)?;
    log.disk.restart();
    let metered = Arc::new(Layered::over(Arc::new(log.disk.fork()), Metered::default()));
    let opened = open(metered.clone(), &options(Fsync::Os), || 0)?;
    assert_eq!(opened.writer.next_position(), 51);
    let largest = metered.layer.largest.load(Ordering::Relaxed);
    assert!(largest > 0 && largest <= 1 << 20, "{largest} bytes at once");
    Ok(())
}

#[test]
fn opening_reads_every_byte_of_the_active_segment_once_and_no_hole() -> Result<()> {
    let options = Options { segment_bytes: 4 << 20, ..options(Fsync::Os) };
    let (disk, dir) = (SimDisk::new(16, 4096), tempfile::tempdir().map_err(|e| Error::new(Code::Io, e.to_string()))?);
    let wal = Wal::open_on(Arc::new(disk.clone()), dir.path(), options.clone(), Arc::new(Waiter::default()), &COMMON)?;
    for n in 0..300 {
        wal.append(RecordRef { value: Some(&vec![7; n * 40]), ..RecordRef::default() }, false)?;
    }
    wal.close()?;
    disk.restart();
    let metered = Arc::new(Layered::over(Arc::new(disk), Metered::default()));
    let opened = open(metered.clone(), &options, || 0)?;
    assert!(opened.recovery.clean && opened.recovery.records == 300);
    let end = opened.writer.fill_level().0 as usize;
    assert!(end > 1 << 20);
    let (sum, pages) = (metered.layer.sum.load(Ordering::Relaxed), 512 << 10);
    assert!(sum >= end && sum <= end + pages, "{sum} bytes of {end}");
    Ok(())
}

#[test]
fn a_consumer_that_resumes_after_its_last_record_does_not_read_it_again() -> Result<()> {
    let mut log = Log::open(SimDisk::new(11, 4096), Fsync::Os)?;
    let mut position = 0;
    for round in 0..5 {
        log.fill(round * 10 + 1, round * 10 + 10)?;
        let new = log.read(position + 1, u64::MAX)?;
        assert_eq!(new, numbered(position + 1, position + 10));
        position += new.len() as u64;
        assert!(log.read(position + 1, u64::MAX)?.is_empty());
    }
    Ok(())
}

#[test]
fn truncating_before_the_next_position_removes_every_record_and_its_segment() -> Result<()> {
    let mut log = Log::open(SimDisk::new(15, 4096), Fsync::Os)?;
    log.fill(1, 2500)?;
    let before = log.segments();
    log.wal.truncate_before(2501)?;
    log.ops += 1;
    log.settled()?;
    assert_eq!((log.wal.positions().first, log.wal.positions().next), (2501, 2501));
    assert_eq!(log.read(2500, 2500).err().map(|e| e.code), Some(Code::Truncated));
    assert!(before.len() >= 4 && log.segments().len() <= 1, "{:?} of {before:?} are left", log.segments());
    assert_eq!(log.append(&value(2501))?, 2501);
    log.settled()?;
    assert_eq!(log.read(2501, 2501)?, numbered(2501, 2501));
    Ok(())
}

#[test]
fn reopening_a_log_does_not_change_when_a_record_expires() -> Result<()> {
    let mut log = Log::open(SimDisk::new(12, 4096), Fsync::Always)?;
    let expires_at = 1_767_229_200_000;
    log.wal.append(RecordRef { key: Some(b"session"), expires_at: Some(expires_at), ..RecordRef::default() }, false)?;
    log.ops += 1;
    log.settled()?;
    log.wal.close()?;
    log.disk.restart();
    let again = Log::open(log.disk.clone(), Fsync::Always)?;
    let block = again.wal.reader(1, 1)?.next_block(PAGE as usize)?;
    assert_eq!(block.and_then(|block| block.get(0)?.expires_at), Some(expires_at));
    Ok(())
}

#[test]
fn a_batch_is_whole_or_absent_after_any_power_cut() -> Result<()> {
    let mut log = Log::open(SimDisk::new(13, 512), Fsync::Os)?;
    log.fill(1, 1)?;
    let mut batch = Batch::new();
    for n in 2..=6u8 {
        batch.push(RecordRef { value: Some(&[n; 1500]), ..RecordRef::default() }, 1 << 20)?;
    }
    log.wal.append_batch(&mut batch, false)?;
    log.ops += 1;
    log.settled()?;
    let (mut rng, mut ends) = (Rng::new(13), Vec::new());
    for _ in 0..300 {
        let (disk, share) = (log.disk.fork(), rng.share());
        disk.power_cut_keeping(&mut |_, _, _, versions| if rng.chance(share) { versions } else { 0 }, &mut |_| true);
        disk.restart();
        ends.push(open(Arc::new(disk), &options(Fsync::Os), || 0)?.writer.next_position());
    }
    ends.sort();
    ends.dedup();
    assert!(ends.iter().all(|end| [1, 2, 7].contains(end)) && ends.contains(&7), "{ends:?}");
    Ok(())
}

#[test]
fn appends_that_wait_together_share_one_fsync() -> Result<()> {
    let mut log = Log::open(SimDisk::new(14, 4096), Fsync::Always)?;
    log.fill(1, 1)?;
    log.wal.shared.flush()?;
    for n in 2..=500 {
        log.append(&value(n))?;
    }
    log.settled()?;
    log.wal.close()?;
    // The first record took one fsync, creation's roll several, and the other 499 records one more.
    let stats = log.wal.stats();
    assert!(stats.appends == 500 && stats.commits == 2 && stats.fsyncs < 12, "{stats:?}");
    assert!(stats.written_bytes > 499 * HEADER as u64);
    Ok(())
}
