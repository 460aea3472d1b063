//! Verifications: long jobs on threads of their own, which JavaScript follows and stops through a watcher.

use crate::reports::{FlippedData, PositionRange};
use crate::wire;
use forelog::{JobProgress, Verification};
use napi_derive::napi;
use std::sync::Arc;

/// Follows and stops one verification. The verification ends when the watcher is garbage collected, or its environment ends.
#[napi]
pub struct Watcher {
    pub(crate) watch: Arc<JobProgress>,
}

#[napi]
impl Watcher {
    /// Limits the verification to this rate; without one it reads as fast as the disk allows.
    #[napi(constructor, catch_unwind)]
    pub fn new(bytes_per_second: Option<f64>) -> Self {
        Watcher { watch: Arc::new(JobProgress::new(bytes_per_second.map(|rate| rate as u64))) }
    }

    /// Returns the bytes done and their total, which is 0 until it is known.
    #[napi(catch_unwind)]
    pub fn progress(&self) -> Vec<f64> {
        let (done, total) = self.watch.progress();
        let mut progress = vec![0.0; 2];
        progress[wire::PROGRESS_DONE] = done as f64;
        progress[wire::PROGRESS_TOTAL] = total as f64;
        progress
    }

    #[napi(catch_unwind)]
    pub fn stop(&self) {
        self.watch.stop();
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.watch.stop();
    }
}

#[napi(object, object_from_js = false)]
pub struct ProblemData {
    pub kind: String,
    pub message: String,
    pub segment: String,
    pub offset: f64,
    pub first_lost: Option<f64>,
    pub last_lost: Option<f64>,
    pub flipped: Option<FlippedData>,
}

#[napi(object, object_from_js = false)]
pub struct VerificationData {
    pub segments: f64,
    pub frames: f64,
    pub records: f64,
    pub bytes: f64,
    pub without_footer: f64,
    pub broken_footers: f64,
    pub holes: Vec<PositionRange>,
    pub problems: Vec<ProblemData>,
}

impl From<Verification> for VerificationData {
    fn from(found: Verification) -> Self {
        let problems = found.problems.into_iter().map(|problem| ProblemData {
            kind: problem.kind.to_owned(),
            message: problem.damage.text,
            segment: problem.damage.segment,
            offset: problem.damage.offset as f64,
            first_lost: problem.damage.lost.map(|(first, _)| first as f64),
            last_lost: problem.damage.lost.map(|(_, last)| last as f64),
            flipped: problem.damage.flipped.map(Into::into),
        });
        VerificationData {
            segments: found.segments as f64,
            frames: found.frames as f64,
            records: found.records as f64,
            bytes: found.bytes as f64,
            without_footer: found.without_footer as f64,
            broken_footers: found.broken_footers as f64,
            holes: found.holes.into_iter().map(Into::into).collect(),
            problems: problems.collect(),
        }
    }
}
