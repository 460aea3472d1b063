//! Random histories, each run once.

use super::history::{Broken, History};
use super::rot;
use super::{seeds, torture, Report};
use crate::testing::sim::Rng;
use std::ops::Range;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};

type Life = fn(&mut History, u64) -> Result<(), Broken>;

fn one(seed: u64, life: Life, traced: bool) -> (Option<String>, u64, Vec<String>) {
    let mut history = History::new(seed);
    if traced {
        history.disk.start_trace();
    }
    let outcome = catch_unwind(AssertUnwindSafe(|| life(&mut history, seed)));
    let failure = match outcome {
        Ok(Ok(())) => None,
        Ok(Err(Broken(text))) => Some(text),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
            Some(format!("panicked: {}", text.unwrap_or_default()))
        }
    };
    (failure, history.recoveries, history.disk.trace())
}

/// Runs a history for each seed. Prints the shortest trace of those that broke a promise.
fn campaign(what: &str, default: Range<u64>, life: Life) {
    let range = seeds(default);
    let (next, recoveries) = (AtomicU64::new(range.start), AtomicU64::new(0));
    let failed = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from).min(8) {
            scope.spawn(|| loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                // A few are enough to find a short one among them.
                if seed >= range.end || failed.lock().unwrap().len() >= 20 {
                    break;
                }
                let (failure, opened, _) = one(seed, life, false);
                recoveries.fetch_add(opened, Ordering::Relaxed);
                if let Some(text) = failure {
                    failed.lock().unwrap().push((seed, text));
                }
            });
        }
    });
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    println!("{what}: {} histories, {} recoveries, {} broken", range.end - range.start, recoveries.into_inner(), failed.len());
    let traces = failed.iter().take(20).map(|(seed, text)| (*seed, text, one(*seed, life, true).2));
    if let Some((seed, text, trace)) = traces.min_by_key(|(_, _, trace)| trace.len()) {
        for (seed, text) in failed.iter().take(20) {
            println!("  seed {seed}: {text}");
        }
        panic!("{what}, seed {seed}: {text}\n{}\n=> {text}", trace.join("\n"));
    }
}

#[test]
fn every_crash_and_fault_leaves_a_prefix_with_everything_durable() {
    campaign("crashes and faults", 0..1500, |history, _| history.run(false));
}

#[test]
fn damage_is_detected_or_harmless() {
    campaign("rot", 0..1500, |history, seed| {
        history.run(true)?;
        let Some((_, least)) = rot::inflict(&history.disk, &mut Rng::new(!seed)) else { return Ok(()) };
        history.survives(&history.disk, least)
    });
}

#[test]
fn a_seed_gives_the_same_trace_and_the_same_images_twice() {
    let life = |seed| torture(seed, 0.1, false);
    let mut images = 0;
    for seed in 0..4 {
        let (once, again) = (life(seed), life(seed));
        let hashes = |report: &Report| report.images.iter().map(|image| image.hash).collect::<Vec<_>>();
        assert_eq!((once.trace, hashes(&once)), (again.trace, hashes(&again)));
        assert_ne!(once.trace, life(seed + 1).trace);
        images += once.images.len();
    }
    assert!(images > 100, "{images}");
}
