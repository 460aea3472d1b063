//! Lives through random histories of a log over a simulated disk, cuts each at many moments in many ways, opens every
//! disk image with the engine's own `open`, reads it whole and compares it with what had been promised.

mod args;
mod mix;

use args::{Args, USAGE};
use forelog::campaign::{submits_commits, torture, Report};
use indicatif::{ProgressBar, ProgressStyle};
use mix::Mix;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// In so many histories some commits are submitted and completed out of order.
const SEEDS_WITH_LATER: u64 = 1000;

fn main() -> ExitCode {
    match args::parse() {
        Ok(Some(args)) => run(&args),
        Ok(None) => {
            println!("{USAGE}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &Args) -> ExitCode {
    // A panic is a failure like any other, told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let (next, enough) = (AtomicU64::new(args.seed), AtomicBool::new(false));
    let end = args.seeds.map_or(u64::MAX, |seeds| args.seed.saturating_add(seeds));
    let began = Instant::now();
    let mut total = Total::default();
    let progress = Progress::new(args);
    std::thread::scope(|scope| {
        let (send, reports) = mpsc::sync_channel(64);
        for _ in 0..args.threads {
            let (send, next, enough) = (send.clone(), &next, &enough);
            scope.spawn(move || {
                while !enough.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if args.submits.is_some_and(|submits| seed < end && submits != submits_commits(seed)) {
                        continue;
                    }
                    if seed >= end || send.send((seed, torture(seed, args.damage, args.trace))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(send);
        for (seed, report) in reports {
            total.add(seed, report);
            progress.show(&total, began);
            let reached = args.seeds.is_none() && total.mix.distinct() >= args.images;
            if reached || total.failure.is_some() || args.time.is_some_and(|time| began.elapsed() >= time) {
                enough.store(true, Ordering::Relaxed);
            }
        }
    });
    progress.end();
    let seconds = began.elapsed().as_secs_f64();
    println!("{:34}{:>20}", "", "with a fault");
    print!("{}", total.mix);
    println!(
        "{} images opened, {} distinct, in {seconds:.1} s on {} threads: {:.0} states/s",
        total.mix.opened(),
        total.mix.distinct(),
        args.threads,
        total.mix.opened() as f64 / seconds
    );
    println!("{} of them continue in a recycled file", total.recycled);
    println!("{} commits of the histories were submitted and completed later, {} of them out of order", total.later, total.overtook);
    let last = args.seed + total.seeds - 1;
    match args.submits {
        None => println!("seeds {} to {last}, trace {:016x}", args.seed, total.trace),
        Some(_) => println!("{} seeds from {} on, trace {:016x}", total.seeds, args.seed, total.trace),
    }
    match total.failure {
        // Such a campaign would say nothing about commits that complete later.
        None if total.overtook == 0 && total.seeds >= SEEDS_WITH_LATER && args.submits != Some(false) => {
            println!("FAILED: no commits were submitted and completed out of order");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
        Some((seed, report)) => tell(args, seed, report),
    }
}

/// The failure with the shortest trace, and how to see it again.
fn tell(args: &Args, seed: u64, report: Report) -> ExitCode {
    let traced = if args.trace { report } else { torture(seed, args.damage, true) };
    let count = traced.failures.len();
    if let Some(failure) = traced.failures.into_iter().min_by_key(|failure| failure.trace.len()) {
        println!("{}\n=> {}", failure.trace.join("\n"), failure.text);
    }
    println!("FAILED: seed {seed}, {count} of its images");
    println!("replay: npm run torture -- --seed {seed} --seeds 1 --damage {}", args.damage);
    ExitCode::FAILURE
}

#[derive(Default)]
struct Total {
    mix: Mix,
    seeds: u64,
    /// Images whose active segment was in the file of a truncated one.
    recycled: u64,
    /// Commits that were submitted and completed later.
    later: u64,
    /// Those of them whose write was complete before that of an earlier one.
    overtook: u64,
    /// Sum over the seeds, so that their order does not matter.
    trace: u64,
    /// Of the lowest seed.
    failure: Option<(u64, Report)>,
}

impl Total {
    fn add(&mut self, seed: u64, report: Report) {
        report.images.iter().for_each(|image| self.mix.add(image));
        self.seeds += 1;
        self.recycled += report.recycled;
        self.later += report.later;
        self.overtook += report.overtook;
        self.trace = self.trace.wrapping_add(report.trace);
        if !report.failures.is_empty() && self.failure.as_ref().is_none_or(|(known, _)| seed < *known) {
            self.failure = Some((seed, report));
        }
    }
}

/// A bar on a terminal; elsewhere a line now and then.
struct Progress {
    bar: ProgressBar,
    /// Seeds are counted, not images.
    seeds: bool,
    every: Duration,
    told: std::cell::Cell<Instant>,
}

impl Progress {
    fn new(args: &Args) -> Progress {
        let bar = ProgressBar::new(args.seeds.unwrap_or(args.images));
        let unit = if args.seeds.is_some() { "seeds" } else { "images" };
        if let Ok(style) = ProgressStyle::with_template(&format!("{{bar:40}} {{pos}} of {{len}} {unit}, {{msg}}, {{eta}} left")) {
            bar.set_style(style);
        }
        Progress { bar, seeds: args.seeds.is_some(), every: Duration::from_secs(10), told: Instant::now().into() }
    }

    fn show(&self, total: &Total, began: Instant) {
        let rate = total.mix.opened() as f64 / began.elapsed().as_secs_f64();
        self.bar.set_position(if self.seeds { total.seeds } else { total.mix.distinct() });
        self.bar.set_message(format!("{rate:.0} states/s"));
        if self.bar.is_hidden() && self.told.get().elapsed() >= self.every {
            self.told.set(Instant::now());
            println!("{} distinct images, {} seeds, {rate:.0} states/s", total.mix.distinct(), total.seeds);
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
