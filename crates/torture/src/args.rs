//! The command line.

use lexopt::prelude::*;
use std::time::Duration;

pub const USAGE: &str = "\
npm run torture -- [--seed N] [--images N | --seeds N] [--minutes M] [--damage P] [--driver D] [--threads N] [--trace]

  --seed N      first seed; each seed is one history, cut at many of its moments   (1)
  --images N    stops once this many distinct disk images were opened               (1000000)
  --seeds N     stops after this many seeds instead
  --minutes M   stops after this time at the latest
  --damage P    share of the images that are damaged as well, 0 to 1               (0.05)
  --driver D    submitted: only histories whose client submits its commits itself,
                threads: only those in which a commit thread writes                 (both)
  --threads N                                                                      (all cores)
  --trace       traces every seed, so that the first failure is printed without a second run";

pub struct Args {
    pub seed: u64,
    pub images: u64,
    pub seeds: Option<u64>,
    pub time: Option<Duration>,
    pub damage: f64,
    pub threads: usize,
    /// Whether the client of a history submits its commits itself; both kinds without it.
    pub submits: Option<bool>,
    pub trace: bool,
}

/// What was asked for; `None` when it was how to ask.
pub fn parse() -> Result<Option<Args>, lexopt::Error> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut args = Args { seed: 1, images: 1_000_000, seeds: None, time: None, damage: 0.05, threads, submits: None, trace: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("seed") => args.seed = parser.value()?.parse()?,
            Long("images") => args.images = parser.value()?.parse()?,
            Long("seeds") => args.seeds = Some(parser.value()?.parse()?),
            Long("minutes") => {
                let minutes: f64 = parser.value()?.parse()?;
                args.time = Some(Duration::try_from_secs_f64(minutes * 60.0).map_err(|e| e.to_string())?);
            }
            Long("damage") => args.damage = parser.value()?.parse()?,
            Long("threads") => args.threads = parser.value()?.parse::<usize>()?.max(1),
            Long("driver") => {
                args.submits = match parser.value()?.string()?.as_str() {
                    "submitted" => Some(true),
                    "threads" => Some(false),
                    other => return Err(format!("--driver is submitted or threads, not {other}").into()),
                }
            }
            Long("trace") => args.trace = true,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    Ok(Some(args))
}
