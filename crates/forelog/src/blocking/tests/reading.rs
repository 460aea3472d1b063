//! Iterators, single records, cursors, and logs that are open for reading only.

use super::*;

#[test]
fn an_iterator_under_which_the_log_is_cut_ends_with_an_error_and_one_that_lost_nothing_does_not() -> Result<()> {
    let fixture = Fixture::open(small(Fsync::Os), WhenFull::Wait)?;
    let log = &fixture.log;
    let fill = || log.append_all((0..300).map(|_| &[7; 4000])).map(drop);
    fill()?;
    for make in [|log: &Log| log.iter(), |log: &Log| log.read_from(1), |log: &Log| log.range(..=300)] {
        let mut records = make(log);
        assert_eq!(records.next().and_then(Result::ok).map(|record| record.position()), Some(1));
        log.truncate_after(200)?;
        let (rest, end) = positions(&mut records);
        assert_eq!(end, Some(Code::Truncated), "{} records", rest.len());
        assert!(rest.iter().copied().eq(2..2 + rest.len() as u64) && rest.len() < 300);
        assert!(records.next().is_none());
        log.append_all((0..100).map(|_| &[7; 4000]))?;
    }
    // One that was to end before the cut is not concerned.
    let mut records = log.range(1..=150);
    assert!(records.next().is_some_and(|record| record.is_ok()));
    log.truncate_after(200)?;
    assert_eq!(positions(records), ((2..=150).collect(), None));
    // Neither is one that has returned everything.
    let mut records = log.iter();
    assert_eq!(records.by_ref().take(200).filter(|record| record.is_ok()).count(), 200);
    log.truncate_after(100)?;
    assert!(records.next().is_none());
    // One that has not begun and whose records are removed from the front or by a reset.
    let records = log.read_from(1);
    log.truncate_before(50)?;
    assert_eq!(positions(records), (vec![], Some(Code::Truncated)));
    let records = log.read_from(50);
    log.reset(1000)?;
    assert_eq!(positions(records), (vec![], Some(Code::Truncated)));
    assert_eq!((log.first_position(), log.last_position(), log.next_position()), (1000, None, 1000));
    assert_eq!(positions(log.iter()), (vec![], None));
    log.close()
}

#[test]
fn ranges_and_single_records_are_found_and_what_is_not_there_is_an_error_or_nothing() -> Result<()> {
    let fixture = Fixture::new()?;
    let log = &fixture.log;
    log.append_all(["one", "two", "three", "four", "five"])?;
    log.truncate_before(2)?;
    assert_eq!(positions(log.range(..)).0, [2, 3, 4, 5]);
    assert_eq!(positions(log.range(3..5)).0, [3, 4]);
    assert_eq!(positions(log.range(3..=4)).0, [3, 4]);
    assert_eq!(positions(log.range(..3)).0, [2]);
    assert_eq!(positions(log.range(4..)).0, [4, 5]);
    assert_eq!(positions(log.range(4..4)), (vec![], None));
    assert_eq!(positions(log.range(1..4)), (vec![], Some(Code::Truncated)));
    assert_eq!(positions(log.read_from(6)), (vec![], None));
    assert_eq!(positions(log.read_from(7)), (vec![], Some(Code::OutOfRange)));
    assert_eq!(log.get(4)?.as_ref().and_then(StoredRecord::value), Some(&b"four"[..]));
    assert_eq!((log.get(6)?, log.get(100)?, code(log.get(1))), (None, None, Some(Code::Truncated)));
    assert_eq!(code(log.append_with("x", AppendTerms::expecting(5))), Some(Code::Conflict));
    assert_eq!(code(log.append_all_with(["x"], AppendTerms::expecting(5))), Some(Code::Conflict));
    assert_eq!(code(log.append_batch_with(["x"], AppendTerms::expecting(5))), Some(Code::Conflict));
    assert_eq!(log.append_all_with(["x", "y"], AppendTerms::expecting(6))?, 6..=7);
    assert_eq!(code(log.append_all::<&str>([])), Some(Code::InvalidArg));
    assert_eq!(code(log.append_batch::<&str>([])), Some(Code::InvalidArg));
    assert_eq!(code(log.append(RecordRef::default())), Some(Code::InvalidArg));
    assert_eq!(log.append(RecordRef::deletion("key"))?, 8);
    log.close()
}

#[test]
fn a_follower_returns_what_is_appended_until_it_is_stopped_or_its_records_are_removed() -> Result<()> {
    let fixture = Fixture::open(small(Fsync::Os), WhenFull::Wait)?;
    let log = &fixture.log;
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let follower = log.follow(1);
        let stopper = follower.stopper();
        let reading = scope.spawn(|| {
            let found = positions(follower);
            assert!(stopped.load(Ordering::Acquire));
            found
        });
        (0..500).for_each(|_| assert!(log.append("x").is_ok()));
        while log.stats().followers == 0 {
            thread::yield_now();
        }
        stopped.store(true, Ordering::Release);
        stopper.stop();
        assert!(reading.join().is_ok_and(|(found, end)| found.iter().copied().eq(1..=500) && end.is_none()));
        while log.stats().followers > 0 {
            thread::yield_now();
        }
        let mut behind = log.follow(1);
        assert!(behind.next().is_some_and(|record| record.is_ok()));
        let mut ahead = log.follow(1);
        assert_eq!(ahead.by_ref().take(500).count(), 500);
        log.truncate_after(250)?;
        assert!(ahead.next().is_some_and(|record| code(record) == Some(Code::Truncated)) && ahead.next().is_none());
        Ok::<(), Error>(())
    })?;
    log.close()
}

#[test]
fn a_cursor_resumes_where_it_was_committed_and_follows_truncation() -> Result<()> {
    let fixture = Fixture::new()?;
    let log = &fixture.log;
    log.append_all((0..10).map(|_| "x"))?;
    let cursor = log.cursor("mailer", StartPosition::First)?;
    for record in cursor.records().take(4) {
        cursor.commit(record?.position())?;
    }
    assert_eq!((cursor.name(), cursor.position(), positions(cursor.records()).0), ("mailer", 4, vec![5, 6, 7, 8, 9, 10]));
    assert_eq!(code(cursor.commit(11)), Some(Code::OutOfRange));
    cursor.rewind(2)?;
    log.truncate_after(1)?;
    assert!(cursor.position() == 1 && cursor.moved().is_some_and(|moved| (moved.from, moved.to) == (2, 1)));
    log.append("anew")?;
    assert_eq!(code(cursor.commit(2)), Some(Code::Truncated), "the cursor has not begun to read again");
    assert_eq!(positions(cursor.records()).0, [2]);
    cursor.commit(2)?;
    assert_eq!(
        log.cursors()?.into_iter().map(|(name, position)| (name.to_string(), position)).collect::<Vec<_>>(),
        [("mailer".to_owned(), 2)]
    );
    cursor.delete()?;
    assert!(cursor.is_deleted() && code(cursor.commit(2)) == Some(Code::NotFound) && log.cursors()?.is_empty());
    log.close()
}

#[test]
fn messages_name_options_as_rust_does() -> Result<()> {
    let dir = tempfile::tempdir().map_err(|e| Error::new(Code::Io, e.to_string()))?;
    let text = |result: Result<Log>| result.err().map(|error| error.message.clone()).unwrap_or_default();
    assert!(text(Log::options().segment_bytes(1).open(dir.path())).starts_with("segment_bytes must be"));
    assert!(text(Log::options().max_pending_bytes(1).open(dir.path())).starts_with("max_pending_bytes must be"));
    assert!(text(Log::options().fsync(Fsync::Every(Duration::ZERO)).open(dir.path())).starts_with("fsync in ms must be"));
    let log = Log::options().max_record_bytes(10).max_batch_bytes(10).open(dir.path())?;
    let text = |error: Option<Error>| error.map(|error| error.message.clone()).unwrap_or_default();
    assert!(text(log.append(&[0; 20]).err()).ends_with("max_record_bytes is 10"));
    assert!(text(log.append_batch([&[0; 7], &[0; 7]]).err()).ends_with("max_batch_bytes is 10"));
    log.close()
}

#[test]
fn a_log_that_is_open_for_reading_only_reads_beside_its_writer_and_refuses_writes() -> Result<()> {
    let dir = tempfile::tempdir().map_err(|e| Error::new(Code::Io, e.to_string()))?;
    let log = Log::open(dir.path())?;
    log.append_all(["one", "two"])?;
    let view = Log::options().read_only(true).open(dir.path())?;
    assert_eq!(code(view.append("x")), Some(Code::ReadOnly));
    assert_eq!(code(view.truncate_after(1)), Some(Code::ReadOnly));
    let mut follower = view.follow(1);
    assert_eq!(follower.by_ref().take(2).count(), 2);
    assert_eq!(positions(view.iter()), (vec![1, 2], None));
    log.append("three")?;
    assert_eq!(follower.next().and_then(Result::ok).map(|record| record.position()), Some(3));
    view.close()?;
    let copy = dir.path().join("../").join(format!("{}-copy", dir.path().file_name().unwrap_or_default().to_string_lossy()));
    assert_eq!(log.backup(&copy)?.last_position, 3);
    assert!(log.verify()?.problems.is_empty());
    log.close()?;
    assert_eq!(positions(Log::open(&copy)?.iter()), (vec![1, 2, 3], None));
    std::fs::remove_dir_all(copy).map_err(|e| Error::new(Code::Io, e.to_string()))
}

#[test]
fn position_0_is_before_the_first_record_of_a_read_only_log_too() -> Result<()> {
    let dir = tempfile::tempdir().map_err(|e| Error::new(Code::Io, e.to_string()))?;
    let writer = Log::open(dir.path())?;
    writer.append("first")?;
    let view = Log::options().read_only(true).open(dir.path())?;
    assert_eq!(code(view.get(0)), Some(Code::Truncated));
    assert_eq!(positions(view.read_from(0)), (vec![], Some(Code::Truncated)));
    assert_eq!(positions(view.follow(0)), (vec![], Some(Code::Truncated)));
    view.close()?;
    writer.close()
}
