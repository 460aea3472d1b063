//! How many threads many logs take: in a process of its own, which does nothing else.

#![allow(clippy::unwrap_used)]

mod common;

use common::{append, open, options, settle, value};
use forelog::Fsync;

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "threads are counted in /proc")]
fn hundreds_of_logs_in_use_share_a_few_threads() {
    let count = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let before = count();
    let dir = tempfile::tempdir().unwrap();
    let logs: Vec<_> = (0..300).map(|n| open(&dir.path().join(n.to_string()), options(Fsync::Always)).unwrap()).collect();
    let mut most = count();
    for n in 1..=3 {
        for (wal, _) in &logs {
            assert_eq!(append(wal, &value(n)), n);
            wal.kick();
        }
        for (wal, waiter) in &logs {
            settle(wal, waiter, n);
            most = most.max(count());
        }
    }
    assert!(logs.iter().all(|(wal, _)| wal.positions().durable == 3));
    assert!(most - before <= 100, "{} threads for {} logs", most - before, logs.len());
    logs.iter().for_each(|(wal, _)| wal.close().unwrap());
}
