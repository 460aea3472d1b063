//! Alone in its process: the working directory is everybody's.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{append, open, options, read_all, settle};
use forelog::Fsync;
use std::path::Path;

#[test]
fn a_log_opened_by_a_relative_path_keeps_its_directory_when_the_working_directory_changes() {
    let base = tempfile::tempdir().unwrap();
    std::fs::create_dir(base.path().join("elsewhere")).unwrap();
    std::env::set_current_dir(base.path()).unwrap();
    let (wal, waiter) = open(Path::new("log"), options(Fsync::Always)).unwrap();
    append(&wal, b"before");
    settle(&wal, &waiter, 1);
    std::env::set_current_dir("elsewhere").unwrap();
    for ops in 2..=5 {
        append(&wal, &[7; 30 << 10]);
        settle(&wal, &waiter, ops);
    }
    assert!(wal.stats().rolls >= 3);
    assert_eq!(read_all(&wal).len(), 5);
    wal.close().unwrap();
    assert_eq!(std::fs::read_dir(".").unwrap().count(), 0);
    assert_eq!(read_all(&open(&base.path().join("log"), options(Fsync::Always)).unwrap().0).len(), 5);
}
