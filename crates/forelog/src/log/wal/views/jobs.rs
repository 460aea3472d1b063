//! Backups, verification, scrubs and openings beside a writer in another process.

use super::*;

fn back_up(view: &Wal) -> (Result<()>, Arc<SimDisk>) {
    let to = Arc::new(SimDisk::new(2, 512));
    let mut backup = Backup::new(view.shared.clone(), to.clone());
    while !backup.is_done() {
        if let Err(error) = backup.step() {
            return (Err(error), to);
        }
    }
    (Ok(()), to)
}

fn problems(storage: Arc<dyn Storage>) -> Vec<verify::Problem> {
    verify_storage(storage, &Arc::default()).unwrap().problems
}

#[test]
fn a_segment_that_truncate_after_left_dead_is_not_read_before_the_next_truncation_is_published() {
    // Segments of records 1 to 4 and 5 to 8. The second one is dead once the log goes on at 4.
    let Beside { mut writer, view, .. } = Beside::new(8);
    writer.execute(Command::TruncateAfter(3));
    writer.append(5);
    writer.tell();
    // The segment that superseded the dead one goes, and the dead one begins at the low mark.
    writer.execute(Command::TruncateAfter(4));
    writer.execute(Command::TruncateBefore(5));
    assert_eq!(read(&mut view.reader(StartPosition::First, u64::MAX).unwrap()).unwrap(), []);
    writer.append(2);
    writer.tell();
    assert_eq!(read(&mut view.reader(StartPosition::First, u64::MAX).unwrap()).unwrap(), [5, 6]);
}

#[test]
fn a_backup_overtaken_by_truncation_is_whole_or_fails_as_truncated() {
    for (times, expected) in [(1, None), (12, None), (usize::MAX, Some(Code::Truncated))] {
        let mut outrun = outrun(times);
        let (view, ..) = Beside::new(30).race(move |writer| {
            outrun(writer);
            writer.tell();
        });
        let (outcome, to) = back_up(&view);
        assert_eq!(code(outcome), expected, "{times} times");
        if expected.is_none() {
            assert_eq!(problems(to), []);
        }
    }
}

#[test]
fn a_backup_whose_process_died_opens_for_no_writer_and_is_damaged_for_a_view() {
    let mut shorter = 0;
    for operations in 0.. {
        let Beside { view, .. } = Beside::new(30);
        let to = Arc::new(SimDisk::new(2, 512));
        to.set_budget(operations);
        let mut backup = Backup::new(view.shared.clone(), to.clone());
        while !backup.is_done() && backup.step().is_ok() {}
        let is_done = backup.is_done();
        // A dead process removes nothing.
        to.set_budget(0);
        drop(backup);
        to.restart();
        match read_only::open(&(to.clone() as Arc<dyn Storage>), || 0) {
            Err(error) => assert_eq!(error.code, Code::NotFound, "after {operations} operations"),
            Ok(seen) if seen.recovery.damage.is_none() => {
                let opened = open(to, &Options::default(), || 0).unwrap();
                assert_eq!((seen.positions.next, opened.writer.next_position()), (31, 31), "after {operations} operations");
            }
            Ok(seen) => {
                let refused = open(to, &Options::default(), || 0).err().unwrap();
                assert_eq!((refused.code, refused.verdict, seen.recovery.verdict), (Code::Corrupt, Some("no-control"), "no-control"));
                shorter += u64::from(seen.positions.next < 31);
            }
        }
        if is_done {
            break;
        }
    }
    assert!(shorter > 0, "a view shows what was copied");
}

#[test]
fn a_backup_during_an_unpublished_truncation_or_reset_reports_no_damage() {
    for command in [Command::TruncateBefore(29), Command::Reset(4), Command::Reset(900)] {
        let Beside { mut writer, view, .. } = Beside::new(30);
        writer.append(9);
        writer.execute(command);
        let (outcome, to) = back_up(&view);
        match outcome {
            Ok(()) => assert_eq!(problems(to), []),
            Err(error) => assert_eq!(error.code, Code::Truncated, "{error:?}"),
        }
        writer.tell();
        let (outcome, to) = back_up(&view);
        assert_eq!((code(outcome), problems(to)), (None, Vec::new()));
    }
}

#[test]
fn a_backup_of_an_idle_log_names_a_missing_segment() {
    let Beside { view, storage, writer, .. } = Beside::new(30);
    let second = writer.shared.catalog.names()[1].file.clone();
    storage.remove(&second).unwrap();
    let error = back_up(&view).0.unwrap_err();
    assert_eq!((error.code, error.message.contains(&second)), (Code::Corrupt, true), "{error:?}");
}

/// Truncates so that a segment that the log had at the first look is gone, and the one that replaced it begins after it.
fn replace(writer: &mut Writer) {
    writer.execute(Command::Reset(2));
    writer.append(30);
    let first = writer.next() - 20;
    writer.execute(Command::TruncateBefore(first));
}

#[test]
fn verifying_during_truncations_and_resets_finds_no_damage() {
    for which in 0..9 {
        let mut seen = 0;
        let (_view, _race, storage) = Beside::new(30).race(move |writer| {
            seen += 1;
            if seen == which + 1 {
                replace(writer);
            }
        });
        assert_eq!(problems(storage), [], "before segment {which} is opened");
    }
    for times in [1, 3, 40] {
        let (_view, _race, storage) = Beside::new(30).race(outrun(times));
        assert_eq!(problems(storage), [], "{times} times");
    }
    let (_view, _race, storage) = Beside::new(30).race(outrun(usize::MAX));
    assert_eq!(code(verify_storage(storage, &Arc::default())), Some(Code::Truncated));
}

#[test]
fn scrubbing_a_view_during_truncations_and_resets_finds_no_damage() {
    for deed in [replace as fn(&mut Writer), |writer| outrun(1)(writer)] {
        let Beside { mut writer, view, .. } = Beside::new(30);
        deed(&mut writer);
        assert_eq!(view.scrub(&Arc::default()).unwrap().problems, []);
    }
}

#[test]
fn opening_read_only_during_truncations_and_resets_finds_no_damage() {
    for deed in [replace as fn(&mut Writer), |writer| outrun(1)(writer)] {
        for which in 0..6 {
            let mut seen = 0;
            let (_view, _race, storage) = Beside::new(30).race(move |writer| {
                seen += 1;
                if seen > which && seen < which + 20 {
                    deed(writer);
                }
            });
            let opened = view(&storage);
            assert_eq!(opened.recovery().damage, None);
            opened.reader(StartPosition::First, u64::MAX).unwrap().next_block(BLOCK).unwrap();
        }
    }
}

/// Performs one of all the operations of a writer, at random.
fn anything(rng: &mut Rng, writer: &mut Writer) {
    let (low, next) = (writer.thread.writer.low_mark(), writer.next());
    match rng.below(10) {
        0..=3 => writer.append(1 + rng.below(9)),
        4 | 5 => writer.execute(Command::TruncateBefore(low + rng.below(next - low + 1))),
        6 => {
            let last = low - 1 + rng.below(next - low + 1);
            if last + 1 < next {
                writer.execute(Command::TruncateAfter(last));
            }
        }
        7 => writer.execute(Command::Reset(if rng.chance(0.5) { 1 + rng.below(next) } else { next + rng.below(50) })),
        _ => writer.tell(),
    }
}

/// Checks the outcome of a race: either a result, or an error because the records were truncated.
fn fair<T>(what: &str, seed: u64, outcome: Result<T>) -> Option<T> {
    match outcome {
        Ok(outcome) => Some(outcome),
        Err(error) if error.code == Code::Truncated => None,
        Err(error) => panic!("seed {seed}: {what}: {error:?}"),
    }
}

/// Seeds whose histories need one of the mechanisms each: without it they fail, and the first 40 seeds need not.
const TELLING: [u64; 3] = [110, 161, 1893];

#[test]
fn no_operation_of_the_writer_between_two_reads_of_a_view_is_reported_as_damage() {
    for seed in seeds(0..40).chain(TELLING) {
        beside_anything(seed);
    }
}

fn beside_anything(seed: u64) {
    let share = [0.02, 0.1, 0.3][Rng::new(seed).below(3) as usize];
    let mut rng = Rng::new(seed + 1_000_000);
    let (lasting, race, storage) = Beside::new(30).race(move |writer| {
        while rng.chance(share) {
            anything(&mut rng, writer);
        }
    });
    race.1.store(true, Relaxed);
    for _ in 0..6 {
        let opened = read_only::open_beside_writer(&storage, &Arc::default(), || Ok(true), || 0);
        let Some(found) = fair("opening", seed, opened) else { continue };
        assert_eq!(found.recovery.damage, None, "seed {seed}");
        let options = Options { mode: Mode::ReadOnly, ..Options::default() };
        let fresh = handle(LogState::read_only(storage.clone(), options, found));
        for view in [&fresh, &lasting] {
            look_around(view, seed);
        }
        if let Some(found) = fair("verifying", seed, verify_storage(storage.clone(), &Arc::default())) {
            assert_eq!(found.problems, [], "seed {seed}");
        }
    }
}

/// Uses a view in every way.
fn look_around(view: &Wal, seed: u64) {
    let mut reader = view.reader(StartPosition::First, u64::MAX).unwrap();
    let first = reader.next_block(BLOCK);
    assert!(first.is_ok(), "seed {seed}: the first record: {first:?}");
    fair("reading", seed, read(&mut reader));
    let end = read(&mut view.reader(StartPosition::End, u64::MAX).unwrap());
    assert_eq!(end.unwrap_or_else(|error| panic!("seed {seed}: the end: {error:?}")), []);
    let at = view.positions();
    assert!(at.first <= at.next && at.durable < at.next, "seed {seed}: {at:?}");
    let mut salvaging = view.read(ReadOptions { salvage: true, ..ReadOptions::range(StartPosition::First, u64::MAX) }).unwrap();
    while let Some(Some(block)) = fair("salvaging", seed, salvaging.next_block(BLOCK)) {
        assert_eq!(block.holes, [], "seed {seed}");
    }
    if let Some(found) = fair("scrubbing", seed, view.scrub(&Arc::default())) {
        assert_eq!(found.problems, [], "seed {seed}");
    }
    let (outcome, to) = back_up(view);
    // A writer that does nothing more publishes nothing, either.
    if code(outcome.clone()) != Some(Code::Locked) && fair("backing up", seed, outcome).is_some() {
        assert_eq!(problems(to), [], "seed {seed}");
    }
}
