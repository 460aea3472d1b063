//! Readers beside a writer that is stepped. Between any two of their steps the writer may have changed the log without having published
//! that.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::error::Fault;
use crate::format::file_names::{classify, FileKind};
use crate::log::commit_loop::CommitLoop;
use crate::log::open::open;
use crate::log::read_only;
use crate::maintenance::verify::verify_storage;
use crate::options::Mode;
use crate::read::block::Block;
use crate::read::reader::Reader;
use crate::segments::reader_positions::StartPosition;
use crate::storage::layer::{Layer, Layered};
use crate::storage::Storage;
use crate::storage::{File, FileRef};
use crate::testing::campaign::seeds;
use crate::testing::sim::{Rng, SimDisk};
use crate::util::notify::Waiter;
use crate::util::runtime::{Job, Runtime};
use crate::write::submission_queue::Client;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

mod jobs;
mod opening;

const SEGMENT: u64 = 64 << 10;
/// Four of these fill a segment.
const VALUE: usize = 15_000;
const BLOCK: usize = 4096;

/// A clock that stands still until it is set, so that the horizon page in CONTROL falls behind.
#[derive(Default)]
struct Clock(Mutex<Duration>);

impl Runtime for Clock {
    fn now(&self) -> Duration {
        *locked(&self.0)
    }

    fn spawn(&self, job: Job) {
        job();
    }
}

/// A log whose writer does only what a test says.
struct Writer {
    shared: Arc<LogState>,
    thread: CommitLoop,
    clock: Arc<Clock>,
    client: usize,
}

impl Writer {
    fn new(storage: Arc<dyn Storage>) -> Writer {
        let options = Options { segment_bytes: SEGMENT, ..Options::default() };
        let opened = open(storage.clone(), &options, || 0).unwrap();
        let (shared, writer) = LogState::writable(storage, options, opened);
        let client = locked(&shared.submissions).join(Client::new(Arc::new(Waiter::default())));
        let clock = Arc::new(Clock::default());
        let thread = CommitLoop::new(shared.clone(), writer, clock.clone());
        Writer { shared, thread, clock, client }
    }

    fn step(&mut self) {
        self.shared.rouse(locked(&self.shared.submissions));
        self.thread.step();
    }

    fn append(&mut self, count: u64) {
        for _ in 0..count {
            let record = RecordRef { value: Some(&[7; VALUE]), ..RecordRef::default() };
            let mut submissions = locked(&self.shared.submissions);
            assert!(submissions.append(self.client, &record, record.encoded_len(), true, &self.shared.options).is_ok());
            drop(submissions);
            self.step();
        }
    }

    fn enter(&mut self, command: Command) {
        locked(&self.shared.submissions).command(self.client, command, &self.shared.options).unwrap();
    }

    fn execute(&mut self, command: Command) {
        self.enter(command);
        self.step();
    }

    fn next(&self) -> u64 {
        locked(&self.shared.submissions).next
    }

    /// Lets enough time pass for the horizon page to be published.
    fn tell(&mut self) {
        *locked(&self.clock.0) += Duration::from_millis(10);
        self.step();
    }
}

type Deed = Box<dyn FnMut(&mut Writer) + Send>;

/// Lets the writer act whenever the view is about to open a segment. If the second field is set, the writer acts before each read as well.
#[derive(Default)]
struct Race(Mutex<Option<(Writer, Deed)>>, AtomicBool);

impl Race {
    fn run(&self) {
        // Not while the writer is acting already.
        let taken = locked(&self.0).take();
        if let Some((mut writer, mut deed)) = taken {
            deed(&mut writer);
            *locked(&self.0) = Some((writer, deed));
        }
    }
}

impl Layer for Race {
    fn open(&self, below: &dyn Storage, name: &str, write: bool) -> std::result::Result<FileRef, Fault> {
        if matches!(classify(name), FileKind::Segment(_)) {
            self.run();
        }
        below.open(name, write)
    }

    fn read_at(&self, file: &dyn File, buffer: &mut [u8], offset: u64) -> std::result::Result<usize, Fault> {
        if self.1.load(Relaxed) {
            self.run();
        }
        file.read_at(buffer, offset)
    }
}

/// A log and a read-only handle on it, over one disk. The writer may act before anything that the handle opens.
struct Beside {
    writer: Writer,
    view: Wal,
    race: Arc<Race>,
    storage: Arc<dyn Storage>,
}

fn handle(shared: Arc<LogState>) -> Wal {
    let place = Arc::new(DirectorySlot::default());
    place.open_log().handles = 1;
    Wal::handle(shared, place, Arc::new(Waiter::default()))
}

fn view(storage: &Arc<dyn Storage>) -> Wal {
    let found = read_only::open_beside_writer(storage, &Arc::default(), || Ok(true), || 0).unwrap();
    let options = Options { mode: Mode::ReadOnly, ..Options::default() };
    handle(LogState::read_only(storage.clone(), options, found))
}

impl Beside {
    /// Creates a log of `count` records that the view knows of.
    fn new(count: u64) -> Beside {
        let disk = Arc::new(SimDisk::new(1, 512));
        disk.set_recycles(true);
        let mut writer = Writer::new(disk.clone());
        writer.append(count);
        writer.tell();
        let layered = Layered::over(disk, Race::default());
        let (race, storage) = (layered.layer.clone(), Arc::new(layered) as Arc<dyn Storage>);
        Beside { writer, view: view(&storage), race, storage }
    }

    /// Makes the writer do this before each segment that is opened from now on.
    fn race(self, deed: impl FnMut(&mut Writer) + Send + 'static) -> (Wal, Arc<Race>, Arc<dyn Storage>) {
        *locked(&self.race.0) = Some((self.writer, Box::new(deed)));
        (self.view, self.race, self.storage)
    }
}

/// Appends and truncates so much that the segment being opened is gone, `times` times. The page does not show it.
fn outrun(times: usize) -> impl FnMut(&mut Writer) + Send {
    let mut left = times;
    move |writer| {
        if left > 0 {
            left -= 1;
            writer.append(9);
            let first = writer.next() - 2;
            writer.execute(Command::TruncateBefore(first));
        }
    }
}

fn positions(block: Option<Block>) -> Vec<u64> {
    block.map_or(Vec::new(), |block| (block.first_position..).take(block.len()).collect())
}

fn read(reader: &mut Reader) -> Result<Vec<u64>> {
    let mut all = Vec::new();
    loop {
        match positions(reader.next_block(BLOCK)?) {
            block if block.is_empty() => return Ok(all),
            block => all.extend(block),
        }
    }
}

fn code<T>(outcome: Result<T>) -> Option<Code> {
    outcome.err().map(|error| error.code)
}

#[test]
fn a_view_begins_at_the_log_s_low_mark_before_the_horizon_page_shows_the_truncation() {
    let Beside { mut writer, view, .. } = Beside::new(30);
    writer.execute(Command::TruncateBefore(22));
    assert_eq!(read(&mut view.reader(StartPosition::First, u64::MAX).unwrap()).unwrap(), (22..=30).collect::<Vec<_>>());
    assert_eq!((view.positions().first, view.positions().next), (22, 31));
    let error = read(&mut view.reader(5, u64::MAX).unwrap()).unwrap_err();
    assert_eq!((error.code, error.first_position), (Code::Truncated, Some(22)));
}

#[test]
fn a_view_of_a_log_truncated_past_the_end_in_the_horizon_page_is_empty_until_the_page_is_published() {
    let Beside { mut writer, view: early, storage, .. } = Beside::new(10);
    writer.append(20);
    writer.execute(Command::TruncateBefore(21));
    // One view that was opened before, and one that is opened now.
    let views = [early, view(&storage)];
    for view in &views {
        assert_eq!(read(&mut view.reader(StartPosition::First, u64::MAX).unwrap()).unwrap(), []);
        let at = view.positions();
        assert_eq!((at.first, at.next, at.acknowledged, at.durable), (21, 21, 20, 20));
    }
    writer.tell();
    for view in &views {
        for _ in 0..2 {
            assert_eq!(read(&mut view.reader(StartPosition::First, u64::MAX).unwrap()).unwrap(), (21..=30).collect::<Vec<_>>());
        }
        assert_eq!((view.positions().first, view.positions().next), (21, 31));
    }
}

#[test]
fn the_positions_of_an_unread_view_follow_the_horizon_page_after_a_look() {
    let Beside { mut writer, view, .. } = Beside::new(10);
    writer.append(5);
    writer.execute(Command::TruncateBefore(8));
    writer.tell();
    assert!(view.shared.check_page());
    let at = view.positions();
    assert_eq!((at.first, at.next, at.written, at.acknowledged, at.durable), (8, 16, 15, 15, 15));
    assert!(!view.shared.check_page(), "there is nothing new");
}

#[test]
fn a_view_s_reader_from_start_never_fails_as_truncated_before_its_first_record() {
    for follows in [false, true] {
        let (view, race, _) = Beside::new(12).race(outrun(40));
        let mut reader = view.read(ReadOptions { follow: follows, ..ReadOptions::range(StartPosition::First, u64::MAX) }).unwrap();
        let first = positions(reader.next_block(BLOCK).unwrap());
        let low = locked(&race.0).as_ref().map(|(writer, _)| writer.thread.writer.low_mark()).unwrap();
        // Records that the page does not show yet are not returned.
        assert!(first.is_empty() || first[0] == low, "{first:?}, the log begins at {low}");
        locked(&race.0).as_mut().unwrap().0.tell();
        locked(&race.0).as_mut().unwrap().1 = Box::new(outrun(0));
        let mut reader = view.read(ReadOptions { follow: follows, ..ReadOptions::range(StartPosition::First, u64::MAX) }).unwrap();
        assert_eq!(positions(reader.next_block(BLOCK).unwrap())[0], low);
        // From here on the reader has returned records that truncation can remove.
        locked(&race.0).as_mut().unwrap().1 = Box::new(outrun(1));
        let (mut writer, mut deed) = locked(&race.0).take().unwrap();
        deed(&mut writer);
        assert_eq!(code(read(&mut reader)), Some(Code::Truncated));
    }
}

#[test]
fn a_reader_from_start_in_the_writer_s_process_never_fails_as_truncated_before_its_first_record() {
    for deed in [
        |writer: &mut Writer| writer.execute(Command::TruncateBefore(9)),
        |writer: &mut Writer| {
            writer.execute(Command::Reset(3));
            writer.append(5);
        },
    ] {
        for follows in [false, true] {
            let mut writer = Writer::new(Arc::new(SimDisk::new(1, 512)));
            writer.append(12);
            let wal = handle(writer.shared.clone());
            let (mut first, mut last) = (
                wal.read(ReadOptions { follow: follows, ..ReadOptions::range(StartPosition::First, u64::MAX) }).unwrap(),
                wal.read(ReadOptions::range(StartPosition::End, u64::MAX).follow()).unwrap(),
            );
            let mut numbered = wal.read(ReadOptions { follow: follows, ..ReadOptions::range(StartPosition::At(2), u64::MAX) }).unwrap();
            deed(&mut writer);
            let low = writer.thread.writer.low_mark();
            assert_eq!(positions(first.next_block(BLOCK).unwrap())[0], low);
            assert_eq!(code(numbered.next_block(BLOCK)), Some(Code::Truncated));
            // The call fixed where the reader at the end begins.
            let reset = low == 3;
            assert_eq!(code(last.next_block(BLOCK)), reset.then_some(Code::Truncated));
            // A reader that has returned a record cannot begin elsewhere.
            writer.execute(Command::Reset(700));
            assert_eq!(code(first.next_block(BLOCK)), Some(Code::Truncated));
        }
    }
}

#[test]
fn a_pending_reset_does_not_fail_a_follower_that_begins_at_start() {
    for first in [2, 500] {
        let mut writer = Writer::new(Arc::new(SimDisk::new(1, 512)));
        writer.append(12);
        writer.execute(Command::TruncateBefore(7));
        let wal = handle(writer.shared.clone());
        writer.enter(Command::Reset(first));
        let (mut early, mut late) = (
            wal.read(ReadOptions::range(StartPosition::First, u64::MAX).follow()).unwrap(),
            wal.read(ReadOptions::range(StartPosition::First, u64::MAX).follow()).unwrap(),
        );
        assert_eq!(positions(early.next_block(BLOCK).unwrap())[0], 7);
        writer.step();
        writer.append(1);
        assert_eq!(code(early.next_block(BLOCK)), Some(Code::Truncated));
        assert_eq!(positions(late.next_block(BLOCK).unwrap()), [first]);
    }
}

#[test]
fn a_view_s_reader_from_end_returns_no_record_and_a_follower_from_end_returns_every_later_one() {
    let Beside { mut writer, view, .. } = Beside::new(10);
    let mut follower = view.read(ReadOptions::range(StartPosition::End, u64::MAX).follow()).unwrap();
    let mut truncated = view.read(ReadOptions::range(StartPosition::End, u64::MAX).follow()).unwrap();
    writer.append(4);
    assert_eq!(read(&mut view.reader(StartPosition::End, u64::MAX).unwrap()).unwrap(), []);
    writer.tell();
    assert_eq!(positions(follower.next_block(BLOCK).unwrap())[0], 11);
    assert_eq!(read(&mut view.reader(StartPosition::End, u64::MAX).unwrap()).unwrap(), []);
    // Records that are gone at the reader's first look could not have been returned to it.
    writer.append(4);
    writer.execute(Command::TruncateBefore(17));
    writer.tell();
    assert_eq!(positions(truncated.next_block(BLOCK).unwrap())[0], 17);
    let mut cut = view.read(ReadOptions::range(StartPosition::End, u64::MAX).follow()).unwrap();
    writer.execute(Command::TruncateAfter(17));
    writer.append(2);
    writer.tell();
    assert_eq!(positions(cut.next_block(BLOCK).unwrap())[0], 18);
    assert_eq!(read(&mut view.reader(StartPosition::End, u64::MAX).unwrap()).unwrap(), []);
}

#[test]
fn a_position_that_the_writer_is_about_to_publish_is_not_out_of_range() {
    let Beside { mut writer, view, .. } = Beside::new(3);
    writer.append(2);
    let mut reader = view.reader(5, u64::MAX).unwrap();
    std::thread::scope(|scope| {
        let read = scope.spawn(|| read(&mut reader));
        writer.tell();
        assert_eq!(read.join().unwrap().unwrap(), [5]);
    });
    assert_eq!(code(read(&mut view.reader(9, u64::MAX).unwrap())), Some(Code::OutOfRange));
}

#[test]
fn a_follower_past_two_truncations_fails_as_truncated_whether_the_second_one_is_done_or_pending() {
    let cuts = [Command::TruncateAfter(20), Command::TruncateAfter(15), Command::Reset(3), Command::Reset(900)];
    for second in cuts {
        for executed in [false, true] {
            let mut writer = Writer::new(Arc::new(SimDisk::new(1, 512)));
            writer.append(30);
            let wal = handle(writer.shared.clone());
            let mut follower = wal.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
            while follower.next_position() < 25 {
                follower.next_block(BLOCK).unwrap();
            }
            writer.execute(Command::TruncateAfter(27));
            writer.append(3);
            // The facade goes on with another reader, from the record after the last one that this reader has returned.
            let place = follower.position().clone();
            writer.enter(second);
            if executed {
                writer.step();
            }
            let resumed = wal.resume(&place, Some(25), ReadOptions::range(1, u64::MAX).follow());
            if executed {
                assert_eq!(code(resumed), Some(Code::Truncated), "{second:?}");
                continue;
            }
            let (kept, mut resumed) = resumed.unwrap();
            assert_eq!(kept, 27);
            writer.step();
            writer.append(30);
            assert_eq!(code(resumed.next_block(BLOCK)), Some(Code::Truncated), "{second:?}");
        }
    }
}

#[test]
fn a_view_s_follower_past_two_truncations_between_two_looks_fails_as_truncated() {
    for cuts in [
        [Command::TruncateAfter(20), Command::TruncateAfter(10)],
        [Command::Reset(5), Command::Reset(400)],
        [Command::TruncateAfter(20), Command::Reset(7)],
    ] {
        for tells in [false, true] {
            let Beside { mut writer, view, .. } = Beside::new(30);
            let mut follower = view.read(ReadOptions::range(1, u64::MAX).follow()).unwrap();
            while follower.next_position() < 25 {
                follower.next_block(BLOCK).unwrap();
            }
            for cut in cuts {
                writer.execute(cut);
                if tells {
                    writer.tell();
                }
                writer.append(40);
            }
            writer.tell();
            let place = follower.position().clone();
            assert_eq!(code(follower.next_block(BLOCK)), Some(Code::Truncated), "{cuts:?}");
            assert_eq!(code(view.resume(&place, Some(25), ReadOptions::range(1, u64::MAX).follow())), Some(Code::Truncated), "{cuts:?}");
        }
    }
}

#[test]
fn a_reset_that_the_writer_has_not_published_is_not_damage_to_a_view() {
    for first in [3, 800] {
        let Beside { mut writer, view, .. } = Beside::new(30);
        let mut follower = view.read(ReadOptions::range(StartPosition::First, u64::MAX).follow()).unwrap();
        assert_eq!(positions(follower.next_block(1).unwrap())[0], 1);
        writer.execute(Command::Reset(first));
        assert_eq!(code(read(&mut follower)), Some(Code::Truncated));
        assert_eq!(read(&mut view.reader(StartPosition::First, u64::MAX).unwrap()).unwrap(), []);
        assert_eq!((view.positions().first, view.positions().next), (first, first));
        writer.append(2);
        writer.tell();
        assert_eq!(read(&mut view.reader(StartPosition::First, u64::MAX).unwrap()).unwrap(), [first, first + 1]);
    }
}

#[test]
fn records_truncated_from_under_a_salvaging_reader_are_not_a_hole() {
    for times in [1, 7] {
        let (view, race, _) = Beside::new(30).race(outrun(times));
        let mut reader = view.read(ReadOptions { salvage: true, ..ReadOptions::range(StartPosition::First, u64::MAX) }).unwrap();
        let block = reader.next_block(BLOCK).unwrap();
        assert!(block.as_ref().is_none_or(|block| block.holes.is_empty()), "{block:?}");
        let mut numbered = view.read(ReadOptions { salvage: true, ..ReadOptions::range(view.positions().first, u64::MAX) }).unwrap();
        locked(&race.0).as_mut().unwrap().0.tell();
        locked(&race.0).as_mut().unwrap().1 = Box::new(outrun(times));
        assert_eq!(code(read(&mut numbered)), Some(Code::Truncated));
    }
}
