//! Tests of the queue, without a log.

use super::*;
use crate::util::notify::Waiter;

fn submissions() -> (SubmissionQueue, Options) {
    let mut submissions = SubmissionQueue::new(1, 1);
    for client in 0..2 {
        assert_eq!((submissions.join(Client::new(Arc::new(Waiter::default()))), submissions.next), (client, 1));
    }
    (submissions, Options::default())
}

fn append_as(submissions: &mut SubmissionQueue, client: usize) -> Result<u64> {
    let record = RecordRef { value: Some(b"v"), ..Default::default() };
    submissions.append(client, &record, 4, false, &Options::default())
}

fn append(submissions: &mut SubmissionQueue) -> u64 {
    append_as(submissions, 0).unwrap_or(0)
}

fn news(submissions: &mut SubmissionQueue) -> Vec<(bool, u64)> {
    let client = submissions.clients[0].as_mut().map(|c| std::mem::take(&mut c.settlements)).unwrap_or_default();
    client.into_iter().map(told).collect()
}

fn told(news: Settled) -> (bool, u64) {
    match news {
        Settled::Done(upto) => (true, upto),
        Settled::Failed(upto, _) => (false, upto),
    }
}

fn collect(submissions: &mut SubmissionQueue) -> Option<(bool, u64)> {
    submissions.clients[0].as_mut().map(|client| told(client.collect()))
}

/// A queue in which the first append of client 0 has just been rejected.
fn rejecting(error: &Error) -> (SubmissionQueue, Options) {
    let (mut submissions, options) = submissions();
    let mut group = Group::default();
    append(&mut submissions);
    submissions.take(&mut group);
    submissions.fail_records(&group.runs, error, 1, &mut Vec::new());
    (submissions, options)
}

#[test]
fn until_a_client_has_collected_a_rejection_its_appends_are_refused_and_those_of_others_are_not() {
    let (mut submissions, options) = rejecting(&Error::new(Code::NoSpace, "full"));
    assert!(append_as(&mut submissions, 0).is_err_and(|error| error.code == Code::NoSpace));
    let mut batch = Batch::new();
    assert!(batch.push(RecordRef { key: Some(b"k"), ..Default::default() }, 100).is_ok());
    assert!(submissions.append_batch(0, &mut batch, false, &options).is_err_and(|error| error.code == Code::NoSpace));
    let one = [RecordRef { value: Some(b"v"), ..Default::default() }];
    assert!(submissions.append_all(0, one.into_iter(), (1, 4), false, &options).is_err_and(|error| error.code == Code::NoSpace));
    assert_eq!((submissions.next, submissions.pending_bytes), (1, 0));
    assert_eq!(append_as(&mut submissions, 1).ok(), Some(1), "a client without pending operations may append");
    assert_eq!(collect(&mut submissions), Some((false, 1)));
    assert!(append_as(&mut submissions, 0).is_err(), "there may be more rejections to collect");
    assert_eq!(collect(&mut submissions), Some((true, 1)));
    assert_eq!(append(&mut submissions), 2);
}

fn full_behind(entered: impl FnOnce(&mut SubmissionQueue, &Options)) -> (SubmissionQueue, Options) {
    let (mut submissions, options) = submissions();
    let (mut group, mut wake) = (Group::default(), Vec::new());
    append(&mut submissions);
    entered(&mut submissions, &options);
    let step = submissions.take(&mut group);
    submissions.queue.push_front(QueuedCommand { group: Group::default(), command: step.and_then(|s| s.command) });
    submissions.fail_records(&group.runs, &Error::new(Code::NoSpace, "full"), 1, &mut wake);
    (submissions, options)
}

#[test]
fn a_client_that_has_collected_its_rejections_may_append_while_a_truncation_is_pending() {
    let (mut submissions, _) =
        full_behind(|submissions, options| assert!(submissions.command(0, Command::TruncateBefore(1), options).is_ok()));
    assert_eq!((collect(&mut submissions), collect(&mut submissions)), (Some((false, 1)), Some((true, 1))));
    assert_eq!(append_as(&mut submissions, 0).map_err(|e| e.code).ok(), Some(1));
}

#[test]
fn a_client_with_only_a_pending_truncation_may_append_after_another_client_s_rejection() {
    let (mut submissions, _) =
        full_behind(|submissions, options| assert!(submissions.command(1, Command::TruncateBefore(1), options).is_ok()));
    assert_eq!(append_as(&mut submissions, 1).map_err(|e| e.code).ok(), Some(1));
}

#[test]
fn a_client_that_has_collected_its_rejection_may_append_although_other_operations_are_pending() {
    let (mut submissions, options) = rejecting(&Error::new(Code::NoSpace, "full"));
    let (mut group, mut wake) = (Group::default(), Vec::new());
    assert!(submissions.sync(0, &options).is_ok());
    submissions.take(&mut group);
    submissions.succeed(&group.runs, &mut wake);
    assert_eq!(collect(&mut submissions), Some((false, 1)));
    assert_eq!(collect(&mut submissions), Some((true, 2)));
    assert_eq!(append_as(&mut submissions, 0).map_err(|e| e.code).ok(), Some(1));
}

#[test]
fn an_append_that_expects_the_position_after_a_rejected_record_fails_with_the_rejection() {
    let (mut submissions, options) = rejecting(&Error::new(Code::NoSpace, "full").during("reset").at_position(7));
    let terms = AppendTerms { durable: false, expect: Some(2) };
    let record = RecordRef { value: Some(b"v"), ..Default::default() };
    let refused = submissions.append(0, &record, 4, terms, &options).err().map(|e| (e.code, e.operation, e.position));
    assert_eq!(refused, Some((Code::NoSpace, None, None)));
}

#[test]
fn a_client_with_rejections_around_a_truncation_may_append_once_it_has_collected_all_of_them() {
    let (mut submissions, options) = submissions();
    let (mut group, mut wake) = (Group::default(), Vec::new());
    let full = Error::new(Code::NoSpace, "full");
    append(&mut submissions);
    assert!(submissions.command(0, Command::TruncateBefore(1), &options).is_ok());
    append(&mut submissions);
    let step = submissions.take(&mut group);
    submissions.queue.push_front(QueuedCommand { group: Group::default(), command: step.and_then(|s| s.command) });
    submissions.fail_records(&group.runs, &full, 1, &mut wake);
    assert_eq!((collect(&mut submissions), collect(&mut submissions)), (Some((false, 1)), Some((true, 1))));
    assert!(append_as(&mut submissions, 0).is_err());
    submissions.take(&mut group);
    submissions.succeed(&[OperationRun { client: 0, ops: 1 }], &mut wake);
    submissions.take(&mut group);
    submissions.reject(&group.runs, &full, &mut wake);
    assert!(append_as(&mut submissions, 0).is_err());
    let all = [collect(&mut submissions), collect(&mut submissions), collect(&mut submissions)];
    assert_eq!(all, [Some((true, 2)), Some((false, 3)), Some((true, 3))]);
    assert_eq!(append(&mut submissions), 1);
}

#[test]
fn a_rejection_restores_the_first_position_together_with_the_next_one() {
    let (mut submissions, options) = submissions();
    let (mut group, mut wake) = (Group::default(), Vec::new());
    append(&mut submissions);
    for command in [Command::TruncateBefore(2), Command::Reset(100), Command::TruncateBefore(101)] {
        append(&mut submissions);
        assert!(submissions.command(0, command, &options).is_ok());
    }
    assert_eq!((submissions.low_mark, submissions.next), (101, 101));
    // The first group fails: its command returns to the front of the queue, and the reset is rejected with the records.
    let step = submissions.take(&mut group);
    submissions.queue.push_front(QueuedCommand { group: Group::default(), command: step.and_then(|s| s.command) });
    submissions.fail_records(&group.runs, &Error::new(Code::NoSpace, "full"), 1, &mut wake);
    submissions.recompute_low_mark(1);
    assert_eq!((submissions.low_mark, submissions.next), (1, 1));
    append(&mut submissions);
    assert!(submissions.command(0, Command::TruncateAfter(0), &options).is_ok());
}

#[test]
fn a_truncate_before_survives_the_rejection_of_the_records_around_it_and_all_settle_in_order() {
    let (mut submissions, options) = submissions();
    let (mut group, mut wake) = (Group::default(), Vec::new());
    let full = Error::new(Code::NoSpace, "full");
    append(&mut submissions);
    assert!(submissions.command(0, Command::TruncateBefore(1), &options).is_ok());
    append(&mut submissions);
    append(&mut submissions);
    // The first group fails, and its command returns to the front of the queue.
    let step = submissions.take(&mut group);
    assert!(submissions.kicked && group.records == 1);
    submissions.queue.push_front(QueuedCommand { group: Group::default(), command: step.and_then(|s| s.command) });
    submissions.fail_records(&group.runs, &full, 1, &mut wake);
    assert_eq!((submissions.next, submissions.pending_bytes, news(&mut submissions)), (1, 0, vec![(false, 1)]));
    assert_eq!(append_as(&mut submissions, 1).ok(), Some(1), "positions are used again");
    let step = submissions.take(&mut group);
    assert!(group.is_empty() && step.and_then(|s| s.command) == Some((0, Command::TruncateBefore(1))));
    submissions.succeed(&[OperationRun { client: 0, ops: 1 }], &mut wake);
    assert!(submissions.take(&mut group).is_some_and(|s| s.command.is_none()) && group.frames.is_empty());
    let rejected = group.rejected.take().map(|e| e.code);
    assert_eq!(rejected, Some(Code::NoSpace));
    submissions.reject(&group.runs, &full, &mut wake);
    assert!(submissions.take(&mut group).is_none() && group.records == 1 && !submissions.kicked);
    submissions.succeed(&group.runs, &mut wake);
    assert_eq!(news(&mut submissions), [(true, 2), (false, 4)]);
}

#[test]
fn a_truncation_of_the_end_counts_as_waiting_from_its_call_until_it_has_settled() {
    for (cut, command) in [(true, Command::TruncateAfter(1)), (true, Command::Reset(7)), (false, Command::TruncateBefore(2))] {
        let (mut submissions, options) = submissions();
        append(&mut submissions);
        append(&mut submissions);
        assert!(!submissions.has_cut());
        assert!(submissions.command(0, command, &options).is_ok());
        assert_eq!(submissions.has_cut(), cut);
        // A thread takes it, together with the group before it.
        let mut group = Group::default();
        assert!(submissions.take(&mut group).is_some());
        assert_eq!(submissions.has_cut(), cut, "it is still to be made");
        submissions.fail(&Error::new(Code::NoSpace, "full"), 1, &mut Vec::new());
        assert!(!submissions.has_cut());
    }
}
