//! Both drivers on the real disk, through the same tests. A driver that the system does not allow is named and left out.

#![allow(clippy::unwrap_used)]

use super::{write_queue_by, Disk};
use crate::storage::write_queue::{Outcome, Refusal, SubmittedWrite, WriteQueue};
use crate::storage::{FileRef, Storage};
use crate::util::page_buffer::PageBuffer;
use std::sync::Arc;
use std::thread;

const PAGE: usize = 4096;
const PAGES: usize = 80;

struct Fixture {
    queue: Arc<dyn WriteQueue>,
    file: FileRef,
    direct: FileRef,
    _dir: tempfile::TempDir,
}

fn page(byte: u8) -> PageBuffer {
    let mut page = PageBuffer::default();
    page.resize(PAGE);
    page.fill(byte);
    page
}

/// Calls `test` with each driver.
fn with_drivers(test: impl Fn(Fixture)) {
    for driver in ["aio", "uring"] {
        let Some(queue) = write_queue_by(driver) else {
            println!("left out: this system does not allow {driver}");
            continue;
        };
        let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let disk = Disk::new(dir.path(), false).unwrap();
        let file = disk.create("file", (PAGES * PAGE) as u64).unwrap();
        file.write_at(&vec![0; PAGES * PAGE], 0).map_err(|short| short.fault).unwrap();
        file.sync().unwrap();
        // A write that has to remove pages from the cache may have to block.
        file.drop_cache(0, (PAGES * PAGE) as u64);
        let Some(direct) = disk.open_direct("file") else {
            println!("left out: the sources are on a file system without direct writes");
            return;
        };
        test(Fixture { queue, file, direct, _dir: dir });
    }
}

impl Fixture {
    fn submit(&self, byte: u8, at: usize, token: u64) -> Result<Box<dyn SubmittedWrite>, Refusal> {
        self.direct.submit(&self.queue, page(byte), 0..PAGE, (at * PAGE) as u64, token).map_err(|(_, refusal)| refusal)
    }

    /// Whether a page of the file has this byte.
    fn holds(&self, byte: u8, at: usize) -> bool {
        let mut read = vec![0; PAGE];
        let found = self.file.read_at(&mut read, (at * PAGE) as u64);
        self.file.drop_cache(0, (PAGES * PAGE) as u64);
        found.is_ok() && read == vec![byte; PAGE]
    }

    /// Waits until the descriptor is readable, and returns the tokens.
    fn tokens(&self, count: usize) -> Vec<u64> {
        let mut tokens = Vec::new();
        while tokens.len() < count {
            let mut event = libc::pollfd { fd: self.queue.descriptor(), events: libc::POLLIN, revents: 0 };
            // SAFETY: the kernel reads and writes one structure.
            unsafe { libc::poll(&raw mut event, 1, -1) };
            self.queue.acknowledge();
            self.queue.take_tokens(&mut tokens);
        }
        tokens
    }
}

#[test]
fn each_write_is_told_by_its_token_and_returns_its_memory() {
    with_drivers(|fixture| {
        let mut writes = [fixture.submit(1, 0, 11).unwrap(), fixture.submit(2, 1, 12).unwrap()];
        let mut tokens = fixture.tokens(2);
        tokens.sort_unstable();
        assert_eq!(tokens, [11, 12], "{}", fixture.queue.name());
        for (byte, write) in (1..).zip(&mut writes) {
            let done = write.poll().unwrap();
            assert!(matches!(done.outcome, Outcome::Written), "{:?}", done.outcome);
            assert_eq!(done.bytes[..], [byte; PAGE]);
            assert!(write.poll().is_none() && write.wait().is_none(), "a completed write is returned once");
            assert!(fixture.holds(byte, usize::from(byte) - 1));
        }
    });
}

#[test]
fn any_thread_waits_for_a_write_even_if_the_one_that_submitted_it_has_ended() {
    with_drivers(|fixture| {
        for byte in 1..=20 {
            let submitted = thread::scope(|scope| scope.spawn(|| fixture.submit(byte, 3, 1)).join());
            let done = submitted.unwrap().unwrap().wait().unwrap();
            assert!(matches!(done.outcome, Outcome::Written), "{:?}", done.outcome);
            assert!(fixture.holds(byte, 3));
        }
    });
}

#[test]
fn threads_that_wait_at_the_same_time_each_get_their_own_completion() {
    with_drivers(|fixture| {
        thread::scope(|scope| {
            for at in 0..8 {
                let fixture = &fixture;
                scope.spawn(move || {
                    for byte in 1..=100 {
                        let done = fixture.submit(byte, at, at as u64).unwrap().wait().unwrap();
                        assert!(matches!(done.outcome, Outcome::Written) && done.bytes[0] == byte);
                    }
                });
            }
        });
        assert!((0..8).all(|at| fixture.holds(100, at)));
    });
}

#[test]
fn a_write_that_is_dropped_is_waited_for_and_one_too_many_is_refused() {
    with_drivers(|fixture| {
        let mut writes: Vec<_> = (0..PAGES).map(|at| fixture.submit(7, at, 1)).collect();
        assert_eq!(writes.iter().filter(|write| write.is_ok()).count(), 64);
        assert!(writes.iter().all(|write| !matches!(write, Err(Refusal::Unsupported))));
        writes.clear();
        assert!((0..64).all(|at| fixture.holds(7, at)));
        // Their numbers are free again.
        assert!(fixture.submit(8, 70, 1).is_ok());
    });
}

#[test]
fn a_write_that_would_have_to_block_is_unfinished_and_never_failed() {
    with_drivers(|fixture| {
        // Past the end of the file, where blocks have to be allocated.
        match fixture.submit(9, PAGES + 5, 1).map(|mut write| write.wait().unwrap().outcome) {
            Err(refusal) => assert_eq!(refusal, Refusal::Busy),
            Ok(outcome) => assert!(matches!(outcome, Outcome::Unfinished | Outcome::Written), "{outcome:?}"),
        }
    });
}

#[test]
fn the_driver_is_chosen_by_name_and_none_if_it_is_off() {
    assert!(write_queue_by("off").is_none());
    let name = |choice| write_queue_by(choice).map(|queue| queue.name());
    assert!(name("aio").is_none_or(|name| name == "Linux AIO"));
    assert!(name("uring").is_none_or(|name| name == "io_uring"));
    assert_eq!(name(""), name("aio").or(name("uring")));
}
