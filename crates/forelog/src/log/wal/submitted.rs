//! Writes on the real disk that one thread submits and another one completes.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::log::commit_threads::CommitThreads;
use crate::options::Fsync;
use crate::storage::disk::{write_queue, Disk};
use crate::storage::write_queue::{RawWrite, Refusal, WriteQueue};
use crate::storage::Storage;
use crate::testing::log::options;
use crate::util::notify::Waiter;
use std::collections::BTreeMap;
use std::thread::{self, ThreadId};

/// A commit of this size goes past the page cache into any blocks that are allocated.
const VALUE: usize = 33 << 10;
const ROUNDS: u64 = 12;

/// A queue that notes which thread submits a write, and whether the same one takes its completion.
struct Watched {
    below: Arc<dyn WriteQueue>,
    submitted: Mutex<BTreeMap<u32, ThreadId>>,
    /// For each completion, whether it was taken by the thread that had submitted the write.
    taken: Mutex<Vec<bool>>,
}

impl Watched {
    fn note(&self, number: u32) {
        // A completion is taken once.
        let by = locked(&self.submitted).remove(&number).unwrap();
        locked(&self.taken).push(by == thread::current().id());
    }
}

impl WriteQueue for Watched {
    unsafe fn submit(&self, write: RawWrite, token: u64) -> std::result::Result<u32, Refusal> {
        // SAFETY: the caller keeps the memory as this function asks for.
        let number = unsafe { self.below.submit(write, token) }?;
        locked(&self.submitted).insert(number, thread::current().id());
        Ok(number)
    }

    fn poll(&self, number: u32) -> Option<i64> {
        self.below.poll(number).inspect(|_| self.note(number))
    }

    fn wait(&self, number: u32) -> i64 {
        let result = self.below.wait(number);
        self.note(number);
        result
    }

    fn take_tokens(&self, tokens: &mut Vec<u64>) {
        self.below.take_tokens(tokens);
    }

    fn descriptor(&self) -> i32 {
        self.below.descriptor()
    }

    fn acknowledge(&self) {
        self.below.acknowledge();
    }

    fn name(&self) -> &'static str {
        self.below.name()
    }
}

/// The thread that takes the completion of a write.
#[derive(Clone, Copy, Debug)]
enum Taker {
    Submitter,
    Another,
    /// The submitter is busy elsewhere, and the write becomes overdue.
    CommitThread,
    /// A second client appends on another thread, so the submitter no longer commits for the log.
    Joiner,
}

struct Handle {
    wal: Wal,
    waiter: Arc<Waiter>,
    operations: u64,
}

impl Handle {
    fn open(disk: &Arc<Disk>, dir: &Path, threads: &'static CommitThreads) -> Handle {
        let waiter = Arc::new(Waiter::default());
        let options = Options { segment_bytes: 1 << 20, ..options(Fsync::Always) };
        Handle { wal: Wal::open_on(disk.clone(), dir, options, waiter.clone(), threads).unwrap(), waiter, operations: 0 }
    }

    fn append(&mut self) -> u64 {
        let value = vec![(self.wal.positions().next % 251) as u8; VALUE];
        let position = self.wal.append(RecordRef { value: Some(&value), ..RecordRef::default() }, false).unwrap();
        self.operations += 1;
        self.wal.kick();
        position
    }

    fn is_settled(&self) -> bool {
        match self.wal.settled() {
            Settled::Done(done) => done >= self.operations,
            Settled::Failed(_, error) => panic!("{error}"),
        }
    }

    fn await_settled(&self) {
        self.waiter.wait_for(|| self.is_settled().then_some(()));
    }

    fn complete(&self) {
        while !self.is_settled() {
            self.wal.complete();
            thread::yield_now();
        }
    }
}

#[test]
fn a_write_settles_once_and_in_order_whichever_thread_takes_its_completion() {
    let Some(below) = write_queue() else {
        println!("SKIP a_write_settles_once_and_in_order_whichever_thread_takes_its_completion: needs writes that complete later");
        return;
    };
    let queue = Arc::new(Watched { below, submitted: Mutex::default(), taken: Mutex::default() });
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
    let disk = Arc::new(Disk::new(dir.path(), false).unwrap());
    let threads: &'static CommitThreads = Box::leak(Box::new(CommitThreads::new(2)));
    let mut log = Handle::open(&disk, dir.path(), threads);
    log.wal.route_writes(queue.clone(), 7);
    let (mut last, mut others) = (0, [0; 4]);
    for taker in [Taker::Submitter, Taker::Another, Taker::CommitThread, Taker::Joiner].repeat(ROUNDS as usize) {
        // Two writes under way: the thread that takes the completion of one may find that of the other.
        assert_eq!((log.append(), log.append()), (last + 1, last + 2));
        last += 2;
        match taker {
            Taker::Submitter => log.complete(),
            Taker::Another => thread::scope(|scope| scope.spawn(|| log.complete()).join().unwrap()),
            Taker::CommitThread => {}
            Taker::Joiner => {
                let joined = last + 1;
                let join = || {
                    let mut other = Handle::open(&disk, dir.path(), threads);
                    assert_eq!(other.append(), joined);
                    other.await_settled();
                    other.wal.close().unwrap();
                };
                thread::scope(|scope| scope.spawn(join).join().unwrap());
                last = joined;
            }
        }
        log.await_settled();
        assert!(log.wal.positions().durable >= last, "{taker:?}");
        let taken = std::mem::take(&mut *locked(&queue.taken));
        others[taker as usize] += taken.into_iter().filter(|own| !own).count();
    }
    log.wal.close().unwrap();
    assert!(locked(&queue.submitted).is_empty(), "a write is under way although the log is closed");
    let mut log = Handle::open(&disk, dir.path(), threads);
    let mut reader = log.wal.reader(1, u64::MAX).unwrap();
    let mut next = 1;
    while let Some(block) = reader.next_block(1 << 16).unwrap() {
        for record in &block {
            assert!(record.value.is_some_and(|value| *value == vec![(next % 251) as u8; VALUE]), "position {next}");
            next += 1;
        }
    }
    assert_eq!((next, log.append()), (last + 1, last + 1));
    let segment = disk.list().unwrap().into_iter().find(|name| name.ends_with(".wal")).unwrap();
    if disk.open_direct(&segment).is_none() {
        println!("SKIP a_write_settles_once_and_in_order_whichever_thread_takes_its_completion: needs direct writes");
        return;
    }
    assert!(others.iter().sum::<usize>() > 0, "no completion was taken by another thread");
}
