//! Writes that are submitted and complete later, on the real disk, and on a queue that does as it is told.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::aio::Aio;
use super::file::DiskFile;
use super::{open_past_cache, Disk};
use crate::storage::write_queue::{Completed, Outcome, RawWrite, Refusal, SubmittedWrite, WriteQueue};
use crate::storage::{File, FileRef, Storage};
use crate::util::limits::PAGE;
use crate::util::locks::locked;
use crate::util::page_buffer::PageBuffer;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};

fn pages(count: usize, byte: u8) -> PageBuffer {
    let mut memory = PageBuffer::default();
    memory.extend(count * PAGE as usize).fill(byte);
    memory
}

/// A queue whose writes complete when the test says so, and with the result that it says.
#[derive(Default)]
struct Told {
    results: Mutex<BTreeMap<u32, i64>>,
    calls: Mutex<Vec<String>>,
    refusal: Mutex<Option<Refusal>>,
}

impl WriteQueue for Told {
    unsafe fn submit(&self, write: RawWrite, token: u64) -> Result<u32, Refusal> {
        if let Some(refusal) = *locked(&self.refusal) {
            return Err(refusal);
        }
        // SAFETY: the caller keeps the memory of the write.
        let first = unsafe { *write.start };
        locked(&self.calls).push(format!("submit {}@{} of {first}s for {token}", write.len, write.offset));
        Ok(7)
    }

    fn poll(&self, number: u32) -> Option<i64> {
        locked(&self.results).remove(&number)
    }

    fn wait(&self, number: u32) -> i64 {
        locked(&self.calls).push(format!("wait {number}"));
        self.poll(number).unwrap_or(0)
    }

    fn take_tokens(&self, _tokens: &mut Vec<u64>) {}

    fn descriptor(&self) -> i32 {
        -1
    }

    fn acknowledge(&self) {}

    fn name(&self) -> &'static str {
        "told"
    }
}

/// A file that writes past the page cache, as far as it knows.
fn direct(dir: &tempfile::TempDir, direct: bool) -> DiskFile {
    let path = dir.path().join("file");
    DiskFile { file: fs::File::create(&path).unwrap(), path, direct }
}

fn submit(file: &DiskFile, queue: &Arc<Told>) -> Result<Box<dyn SubmittedWrite>, (PageBuffer, Refusal)> {
    let (page, queue) = (PAGE as usize, queue.clone() as Arc<dyn WriteQueue>);
    let mut memory = pages(1, 1);
    memory.extend(page).fill(2);
    file.submit(&queue, memory, page..2 * page, 3 * PAGE, 5)
}

#[test]
fn a_submitted_write_ends_as_its_result_says_and_gives_its_memory_back_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = direct(&dir, true);
    for (result, ends) in [
        (4096, "Written"),
        (0, "Unfinished"),
        (4095, "Unfinished"),
        (512, "Unfinished"),
        (-11, "Unfinished"),
        (-5, "Failed"),
        (-28, "Failed"),
        (-22, "Failed"),
    ] {
        for waits in [false, true] {
            let queue = Arc::new(Told::default());
            let mut write = submit(&file, &queue).ok().unwrap();
            assert!(waits || write.poll().is_none());
            locked(&queue.results).insert(7, result);
            let Completed { bytes, outcome } = if waits { write.wait() } else { write.poll() }.unwrap();
            assert!(format!("{outcome:?}").starts_with(ends), "{result}: {outcome:?}");
            if let Outcome::Failed(fault) = &outcome {
                assert_eq!(fault.errno, Some(-result as i32), "{result}: {fault:?}");
                assert!(fault.path.ends_with("file") && fault.syscall == "pwrite");
            }
            assert_eq!((bytes.len(), bytes[0], bytes[4096]), (8192, 1, 2));
            assert!(write.poll().is_none() && write.wait().is_none());
            drop(write);
            let mut calls = vec!["submit 4096@12288 of 2s for 5".to_owned()];
            calls.extend(waits.then(|| "wait 7".to_owned()));
            assert_eq!(*locked(&queue.calls), calls, "what is complete is not waited for");
        }
    }
}

#[test]
fn dropping_a_submitted_write_waits_for_its_completion() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Arc::new(Told::default());
    drop(submit(&direct(&dir, true), &queue).ok().unwrap());
    assert_eq!(locked(&queue.calls).last().unwrap(), "wait 7");
}

#[test]
fn a_refused_submission_gives_the_memory_back_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let queue = Arc::new(Told::default());
    for refusal in [Refusal::Busy, Refusal::Unsupported] {
        *locked(&queue.refusal) = Some(refusal);
        let (memory, why) = submit(&direct(&dir, true), &queue).err().unwrap();
        assert_eq!((memory.len(), memory[0], memory[4096], why), (8192, 1, 2, refusal));
    }
    *locked(&queue.refusal) = None;
    let cached = submit(&direct(&dir, false), &queue).err().map(|(_, why)| why);
    assert_eq!((cached, locked(&queue.calls).len()), (Some(Refusal::Unsupported), 0), "a write to the page cache could block");
}

/// A file of the real disk whose blocks were written before, and a queue of the kernel. `None` where there is no such disk or queue.
fn real(dir: &tempfile::TempDir, len: usize) -> Option<(FileRef, Arc<dyn WriteQueue>)> {
    fs::write(dir.path().join("file"), vec![0; len]).unwrap();
    let disk = Disk::new(dir.path(), false).unwrap();
    disk.open("file", true).unwrap().sync().unwrap();
    disk.open("file", true).unwrap().drop_cache(0, len as u64);
    match (disk.open_direct("file"), Aio::new()) {
        (Some(file), Ok(queue)) => Some((file, Arc::new(queue))),
        _ => {
            println!("SKIPPED: writes that complete later are not possible here");
            None
        }
    }
}

/// Waits until the descriptor of a queue is readable.
fn await_readable(queue: &dyn WriteQueue) {
    let mut polled = libc::pollfd { fd: queue.descriptor(), events: libc::POLLIN, revents: 0 };
    // SAFETY: the kernel writes to one `pollfd`.
    assert_eq!(unsafe { libc::poll(&raw mut polled, 1, 60_000) }, 1, "no completion in a minute");
}

/// Completes a write. One that would have had to block is performed here, as a commit thread does.
fn finish(file: &FileRef, completed: Completed, place: std::ops::Range<usize>, offset: u64) {
    match completed.outcome {
        Outcome::Written => {}
        Outcome::Unfinished => file.write_at(&completed.bytes[place], offset).unwrap(),
        Outcome::Failed(fault) => panic!("{fault:?}"),
    }
}

#[test]
fn submitted_writes_arrive_and_their_tokens_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let Some((file, queue)) = real(&dir, 64 << 10) else { return };
    let page = PAGE as usize;
    let mut tokens = Vec::new();
    for round in 0..4_u8 {
        let writes: Vec<_> = (0..4_u8)
            .map(|at| {
                let submitted =
                    file.submit(&queue, pages(3, 16 * round + at + 1), page..3 * page, u64::from(at) * 2 * PAGE, 100 + u64::from(at));
                (submitted.map_err(|(_, why)| why).unwrap(), u64::from(at) * 2 * PAGE)
            })
            .collect();
        let mut missing: BTreeSet<u64> = (100..104).collect();
        while !missing.is_empty() {
            await_readable(&*queue);
            queue.acknowledge();
            queue.take_tokens(&mut tokens);
            tokens.drain(..).for_each(|token| assert!(missing.remove(&token), "{token} is told twice"));
        }
        for (mut write, offset) in writes {
            let completed = write.poll().expect("its token was told");
            finish(&file, completed, page..3 * page, offset);
        }
        let found = fs::read(dir.path().join("file")).unwrap();
        for at in 0..4 {
            assert!(found[at * 2 * page..(at + 1) * 2 * page].iter().all(|byte| *byte == 16 * round + at as u8 + 1));
        }
    }
}

#[test]
fn the_file_of_submitted_writes_makes_each_of_them_durable() {
    let dir = tempfile::tempdir().unwrap();
    if real(&dir, 4096).is_none() {
        return;
    }
    let disk = Disk::new(dir.path(), false).unwrap();
    let flags = rustix::fs::fcntl_getfl(open_past_cache(&disk.home, "file").unwrap()).unwrap();
    assert!(flags.contains(rustix::fs::OFlags::DSYNC | rustix::fs::OFlags::from_bits_retain(libc::O_DIRECT as u32)), "{flags:?}");
}

#[test]
fn any_thread_waits_for_a_write_whoever_takes_its_completion_from_the_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let Some((file, queue)) = real(&dir, 64 << 10) else { return };
    let page = PAGE as usize;
    for round in 0..50_u8 {
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let write = file.submit(&queue, pages(1, round), 0..page, thread * PAGE, thread);
                let mut write = write.map_err(|(_, why)| why).unwrap();
                let (file, queue) = (&file, &queue);
                scope.spawn(move || {
                    // Takes the completions of the others as well.
                    queue.take_tokens(&mut Vec::new());
                    finish(file, write.wait().unwrap(), 0..page, thread * PAGE);
                });
            }
        });
        assert!(fs::read(dir.path().join("file")).unwrap()[..4 * page].iter().all(|byte| *byte == round));
    }
}

#[test]
fn a_full_queue_is_busy_and_takes_writes_again_when_one_is_complete() {
    let dir = tempfile::tempdir().unwrap();
    let Some((file, queue)) = real(&dir, 512 << 10) else { return };
    let page = PAGE as usize;
    let mut writes = Vec::new();
    let refused = loop {
        match file.submit(&queue, pages(1, 9), 0..page, writes.len() as u64 % 64 * PAGE, 1) {
            Ok(write) => writes.push(write),
            Err((memory, why)) => break (memory.len(), why),
        }
        assert!(writes.len() < 1000, "it takes any number");
    };
    assert_eq!(refused, (page, Refusal::Busy));
    assert!(writes.remove(0).wait().is_some());
    assert!(file.submit(&queue, pages(1, 9), 0..page, 100 * PAGE, 1).is_ok());
}
