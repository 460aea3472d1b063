//! The effects of a failing disk on waiting clients: the commit thread over the simulated disk.

use super::*;
use crate::options::Fsync;
use crate::testing::log::{code, TestLog as Log};
use crate::testing::sim::{Faults, SimDisk};

fn failing_syncs() -> Faults {
    Faults { sync: 1.0, ..Faults::default() }
}

#[test]
fn a_failed_fsync_rejects_pending_and_later_operations_and_closing_writes_nothing() -> Result<()> {
    let log = Log::open(SimDisk::new(1, 4096), Fsync::Always)?;
    log.append(b"durable")?;
    log.settled(1)?;
    log.await_background();
    log.disk.set_faults(failing_syncs());
    for _ in 0..3 {
        log.append(b"lost or not")?;
    }
    let error = log.settled(4).err().map(|e| (e.code, e.cause.as_ref().map(|f| f.syscall)));
    assert_eq!(error, Some((Code::Poisoned, Some("fdatasync"))));
    log.disk.set_faults(Faults::default());
    let changes = log.disk.changes();
    assert_eq!(code(log.append(b"refused")), Some(Code::Poisoned));
    assert_eq!(code(log.wal.sync()), Some(Code::Poisoned));
    assert_eq!(log.last_readable()?, 1, "records up to the durable position can be read");
    assert_eq!(code(log.wal.close()), Some(Code::Poisoned));
    assert_eq!(code(log.wal.close()), Some(Code::Poisoned), "closing again returns the same error");
    assert_eq!(log.disk.changes(), changes, "a poisoned log writes nothing");
    Ok(())
}

#[test]
fn records_acknowledged_without_an_fsync_are_not_read_after_an_fsync_has_failed() -> Result<()> {
    let log = Log::open(SimDisk::new(2, 4096), Fsync::Os)?;
    log.append(b"durable")?;
    log.wal.sync()?;
    log.settled(2)?;
    log.append(b"written")?;
    log.settled(3)?;
    assert_eq!(log.last_readable()?, 2);
    log.disk.set_faults(failing_syncs());
    log.wal.sync()?;
    assert_eq!(code(log.settled(4)), Some(Code::Poisoned));
    assert_eq!(log.last_readable()?, 1);
    Ok(())
}

#[test]
fn a_write_of_unknown_outcome_poisons_the_log_like_a_failed_fsync() -> Result<()> {
    let log = Log::open(SimDisk::new(3, 4096), Fsync::Always)?;
    log.append(b"durable")?;
    log.settled(1)?;
    log.await_background();
    log.disk.set_faults(Faults { write: 1.0, ..Faults::default() });
    log.append(b"unknown")?;
    let error = log.settled(2).err().map(|e| (e.code, e.cause.as_ref().and_then(|f| f.errno)));
    assert_eq!(error, Some((Code::Poisoned, Some(5))));
    log.disk.set_faults(Faults::default());
    assert_eq!(code(log.append(b"refused")), Some(Code::Poisoned));
    let changes = log.disk.changes();
    assert_eq!(code(log.wal.close()), Some(Code::Poisoned));
    assert_eq!(log.disk.changes(), changes);
    Ok(())
}

#[test]
fn a_poisoned_log_opens_again_with_all_that_was_durable() -> Result<()> {
    let log = Log::open(SimDisk::new(4, 4096), Fsync::Always)?;
    log.append(b"durable")?;
    log.settled(1)?;
    log.disk.set_faults(failing_syncs());
    log.append(b"unknown")?;
    assert_eq!(code(log.settled(2)), Some(Code::Poisoned));
    log.disk.set_faults(Faults::default());
    let disk = log.disk.clone();
    drop(log);
    disk.restart();
    let again = Log::open(disk, Fsync::Always)?;
    assert!(!again.wal.recovery().clean);
    assert!(again.last_readable()? >= 1);
    again.append(b"goes on")?;
    again.settled(1)
}

#[test]
fn on_a_full_disk_appends_are_rejected_until_there_is_space_and_nothing_is_lost() -> Result<()> {
    let log = Log::open(SimDisk::new(5, 4096), Fsync::Always)?;
    log.append(b"durable")?;
    log.settled(1)?;
    log.disk.set_faults(Faults { full: true, short: 1.0, ..Faults::default() });
    let rejected = log.append(b"no room")?;
    assert_eq!(code(log.settled(2)), Some(Code::NoSpace));
    assert_eq!(log.last_readable()?, 1);
    log.disk.set_faults(Faults::default());
    assert_eq!(code(log.append(b"too early")), Some(Code::NoSpace), "there may be more rejections to collect");
    assert!(matches!(log.wal.settled(), Settled::Done(2)));
    assert_eq!(log.append(b"room again")?, rejected, "the position is free again");
    log.settled(3)?;
    assert_eq!(log.last_readable()?, rejected);
    log.wal.close()
}

#[test]
fn on_a_full_disk_the_log_is_truncated_even_while_appends_are_rejected() -> Result<()> {
    let log = Log::open(SimDisk::new(5, 4096), Fsync::Always)?;
    for _ in 0..3 {
        log.append(&[1; 40 << 10])?;
    }
    log.settled(3)?;
    let segments = |log: &Log| log.disk.names().iter().filter(|name| name.ends_with(".wal")).count();
    let before = segments(&log);
    log.disk.set_faults(Faults { full: true, short: 1.0, ..Faults::default() });
    log.append(b"no room")?;
    log.wal.truncate_before(3)?;
    log.append(b"no room either")?;
    let mut told = Vec::new();
    log.wal.kick();
    log.waiter.wait_for(|| loop {
        let news = match log.wal.settled() {
            Settled::Done(upto) => (true, upto),
            Settled::Failed(upto, error) => (error.code != Code::NoSpace, upto),
        };
        if told.last().is_some_and(|(_, upto)| *upto == news.1) {
            return (news.1 == 6).then_some(());
        }
        told.push(news);
    });
    told.retain(|(_, upto)| *upto > 3);
    assert_eq!(told, [(false, 4), (true, 5), (false, 6)]);
    assert!(before == 3 && segments(&log) == 1);
    assert_eq!((log.wal.positions().first, log.wal.positions().next), (3, 4));
    Ok(())
}
