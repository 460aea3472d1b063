//! Conversion of reports to JavaScript.

use crate::cursor::CursorData;
use forelog::{Damage, Flipped, Histogram, Hole, Recovery, Standing, Stats};
use napi_derive::napi;

#[napi(object, object_from_js = false)]
pub struct HistogramData {
    pub count: f64,
    pub sum: f64,
    pub min: f64,
    pub mean: f64,
    pub max: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
}

impl From<Histogram> for HistogramData {
    fn from(h: Histogram) -> Self {
        let Histogram { count, sum, min, mean, max, p50, p90, p99, p999 } = h;
        HistogramData { count: count as f64, sum, min, mean, max, p50, p90, p99, p999 }
    }
}

#[napi(object, object_from_js = false)]
pub struct StatsData {
    pub appends: f64,
    pub batches: f64,
    pub bytes: f64,
    pub commits: f64,
    pub fsyncs: f64,
    pub rolls: f64,
    pub removed_segments: f64,
    pub written_bytes: f64,
    pub pending_bytes: f64,
    pub segments: f64,
    pub disk_bytes: f64,
    pub allocated_bytes: f64,
    pub used_bytes: f64,
    pub active_bytes: f64,
    pub active_capacity: f64,
    pub readers: f64,
    pub followers: f64,
    pub poisoned: bool,
    pub detached: bool,
    pub events: f64,
    pub dropped_events: f64,
    pub future_segments: f64,
    pub group: HistogramData,
    pub commit_us: HistogramData,
    pub fsync_us: HistogramData,
    pub wait_us: HistogramData,
    pub scrub: ScrubsData,
    pub recovery: RecoveredData,
}

/// Totals of completed scrubs.
#[napi(object, object_from_js = false)]
pub struct ScrubsData {
    pub runs: f64,
    pub segments: f64,
    pub bytes: f64,
    pub problems: f64,
    pub finished_at: Option<f64>,
}

/// Summary of what opening did.
#[napi(object, object_from_js = false)]
pub struct RecoveredData {
    pub verdict: String,
    pub records: f64,
    pub carried: f64,
    pub duration_ms: f64,
}

impl StatsData {
    pub fn new(stats: Stats, recovery: &Recovery) -> Self {
        StatsData {
            appends: stats.appends as f64,
            batches: stats.batches as f64,
            bytes: stats.bytes as f64,
            commits: stats.commits as f64,
            fsyncs: stats.fsyncs as f64,
            rolls: stats.rolls as f64,
            removed_segments: stats.removed_segments as f64,
            written_bytes: stats.written_bytes as f64,
            pending_bytes: stats.pending_bytes as f64,
            segments: stats.segments as f64,
            disk_bytes: stats.disk_bytes as f64,
            allocated_bytes: stats.allocated_bytes as f64,
            used_bytes: stats.used_bytes as f64,
            active_bytes: stats.active_bytes as f64,
            active_capacity: stats.active_capacity as f64,
            readers: stats.readers as f64,
            followers: stats.followers as f64,
            poisoned: stats.poisoned,
            detached: stats.detached,
            events: stats.events as f64,
            dropped_events: stats.dropped_events as f64,
            future_segments: stats.ahead as f64,
            group: stats.group.into(),
            commit_us: stats.commit_us.into(),
            fsync_us: stats.fsync_us.into(),
            wait_us: stats.wait_us.into(),
            scrub: ScrubsData {
                runs: stats.scrub.runs as f64,
                segments: stats.scrub.segments as f64,
                bytes: stats.scrub.bytes as f64,
                problems: stats.scrub.problems as f64,
                finished_at: stats.scrub.finished_at.map(|ms| ms as f64),
            },
            recovery: RecoveredData {
                verdict: recovery.verdict.to_owned(),
                records: recovery.records as f64,
                carried: recovery.carried as f64,
                duration_ms: recovery.duration_ms,
            },
        }
    }
}

#[napi(object, object_from_js = false)]
pub struct FencedData {
    pub segment: String,
    pub offset: f64,
    pub bytes: f64,
    pub first_position: Option<f64>,
    pub last_position: Option<f64>,
    pub recycled: bool,
}

/// A flipped bit of a file.
#[napi(object, object_from_js = false)]
pub struct FlippedData {
    pub offset: f64,
    pub bit: u8,
}

impl From<Flipped> for FlippedData {
    fn from(Flipped { offset, bit }: Flipped) -> Self {
        FlippedData { offset: offset as f64, bit }
    }
}

/// A range of positions, both inclusive.
#[napi(object, object_from_js = false)]
pub struct PositionRange {
    pub first: f64,
    pub last: f64,
}

impl From<(u64, u64)> for PositionRange {
    fn from((first, last): (u64, u64)) -> Self {
        PositionRange { first: first as f64, last: last as f64 }
    }
}

#[napi(object, object_from_js = false)]
pub struct DamageData {
    pub message: String,
    pub segment: String,
    pub offset: f64,
    pub first_lost: Option<f64>,
    pub last_lost: Option<f64>,
    pub flipped: Option<FlippedData>,
}

impl From<Damage> for DamageData {
    fn from(damage: Damage) -> Self {
        DamageData {
            message: damage.text,
            segment: damage.segment,
            offset: damage.offset as f64,
            first_lost: damage.lost.map(|(first, _)| first as f64),
            last_lost: damage.lost.map(|(_, last)| last as f64),
            flipped: damage.flipped.map(Into::into),
        }
    }
}

#[napi(object, object_from_js = false)]
pub struct RecoveryData {
    pub verdict: String,
    pub clean: bool,
    pub created: bool,
    pub first_position: f64,
    pub next_position: f64,
    pub records: f64,
    pub carried: f64,
    pub fenced: Option<FencedData>,
    pub damage: Option<DamageData>,
    pub holes: Vec<PositionRange>,
    pub left_out: Vec<String>,
    pub volatile: bool,
    pub scanned_bytes: f64,
    pub duration_ms: f64,
}

impl From<&Recovery> for RecoveryData {
    fn from(recovery: &Recovery) -> Self {
        RecoveryData {
            verdict: recovery.verdict.to_owned(),
            clean: recovery.clean,
            created: recovery.created,
            first_position: recovery.first_position as f64,
            next_position: recovery.next_position as f64,
            records: recovery.records as f64,
            carried: recovery.carried as f64,
            fenced: recovery.fenced.as_ref().map(|fenced| FencedData {
                segment: fenced.segment.clone(),
                offset: fenced.offset as f64,
                bytes: fenced.bytes as f64,
                first_position: fenced.positions.map(|(first, _)| first as f64),
                last_position: fenced.positions.map(|(_, last)| last as f64),
                recycled: fenced.recycled,
            }),
            damage: recovery.damage.clone().map(Into::into),
            holes: recovery.holes.iter().copied().map(Into::into).collect(),
            left_out: recovery.left_out.clone(),
            volatile: recovery.volatile,
            scanned_bytes: recovery.scanned_bytes as f64,
            duration_ms: recovery.duration_ms,
        }
    }
}

/// State of a log and its disk usage.
#[napi(object, object_from_js = false)]
pub struct StandingData {
    pub uuid: String,
    pub verdict: String,
    pub clean: bool,
    pub damage: Option<DamageData>,
    pub locked: bool,
    pub first_position: f64,
    pub next_position: f64,
    pub segments: f64,
    pub cursors: Option<Vec<CursorData>>,
    pub spares: f64,
    pub spare_bytes: f64,
    pub reserve_bytes: f64,
    pub allocated_bytes: f64,
    pub used_bytes: f64,
}

/// Formats a UUID in its usual groups.
fn uuid(bytes: [u8; 16]) -> String {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

impl From<Standing> for StandingData {
    fn from(at: Standing) -> Self {
        let cursor = |(name, position): (std::sync::Arc<str>, u64)| CursorData { name: name.to_string(), position: position as f64 };
        StandingData {
            uuid: uuid(at.uuid),
            verdict: at.verdict.to_owned(),
            clean: at.clean,
            damage: at.damage.map(Into::into),
            locked: at.locked,
            first_position: at.first as f64,
            next_position: at.next as f64,
            segments: at.segments as f64,
            cursors: at.cursors.map(|all| all.into_iter().map(cursor).collect()),
            spares: at.spares as f64,
            spare_bytes: at.spare_bytes as f64,
            reserve_bytes: at.reserve_bytes as f64,
            allocated_bytes: at.allocated as f64,
            used_bytes: at.used as f64,
        }
    }
}

/// Positions that no readable frame holds.
#[napi(object, object_from_js = false)]
pub struct HoleData {
    pub first: f64,
    pub last: f64,
    pub segment: String,
    pub offset: f64,
    pub bytes: f64,
    pub flipped: Option<FlippedData>,
    /// Present if the log itself records the loss; nothing is damaged then.
    pub recorded: Option<bool>,
}

impl From<Hole> for HoleData {
    fn from(hole: Hole) -> Self {
        HoleData {
            first: hole.first as f64,
            last: hole.last as f64,
            segment: hole.segment,
            offset: hole.offset as f64,
            bytes: hole.bytes as f64,
            flipped: hole.flipped.map(Into::into),
            recorded: hole.recorded.then_some(true),
        }
    }
}
