//! Events of a log, as data.

use crate::error::ErrorData;
use forelog::{Event, PendingEvents, SegmentFromFuture};
use napi_derive::napi;
use std::time::Duration;

/// The events recorded for this environment since the last call.
#[napi(object, object_from_js = false)]
pub struct EventsData {
    /// Oldest first.
    pub events: Vec<EventData>,
    /// Number of older events that were dropped.
    pub dropped: f64,
}

/// One event. Its kind determines which fields are present.
#[napi(object, object_from_js = false)]
#[derive(Default)]
pub struct EventData {
    #[napi(ts_type = "'append' | 'sync' | 'roll' | 'truncate' | 'poisoned' | 'detached' | 'clock'")]
    pub kind: String,
    pub first: Option<f64>,
    pub last: Option<f64>,
    pub first_position: Option<f64>,
    pub next_position: Option<f64>,
    pub durable_position: Option<f64>,
    pub records: Option<f64>,
    pub bytes: Option<f64>,
    pub fsyncs: Option<f64>,
    pub duration_us: Option<f64>,
    pub wait_us: Option<f64>,
    pub segment: Option<String>,
    pub operation: Option<String>,
    pub removed_segments: Option<f64>,
    pub created_at: Option<f64>,
    pub now: Option<f64>,
    pub error: Option<ErrorData>,
}

impl From<PendingEvents> for EventsData {
    fn from(PendingEvents { events, dropped }: PendingEvents) -> Self {
        EventsData { events: events.into_iter().map(Into::into).collect(), dropped: dropped as f64 }
    }
}

fn micros(took: Duration) -> Option<f64> {
    Some(took.as_nanos() as f64 / 1e3)
}

impl From<Event> for EventData {
    fn from(event: Event) -> Self {
        let some = |n: u64| Some(n as f64);
        let of = |kind: &str| EventData { kind: kind.to_owned(), ..EventData::default() };
        match event {
            Event::Append { first, last, records, bytes, took, waited } => EventData {
                first: some(first),
                last: some(last),
                records: some(records),
                bytes: some(bytes),
                duration_us: micros(took),
                wait_us: micros(waited),
                ..of("append")
            },
            Event::Sync { durable, fsyncs, took } => {
                EventData { durable_position: some(durable), fsyncs: some(fsyncs), duration_us: micros(took), ..of("sync") }
            }
            Event::Roll { segment, first } => EventData { segment: Some(segment), first_position: some(first), ..of("roll") },
            Event::Truncate { operation, first, next, removed } => EventData {
                operation: Some(operation.to_owned()),
                first_position: some(first),
                next_position: some(next),
                removed_segments: some(removed),
                ..of("truncate")
            },
            Event::Clock(SegmentFromFuture { segment, created_ms, now_ms }) => {
                EventData { segment: Some(segment), created_at: some(created_ms), now: some(now_ms), ..of("clock") }
            }
            Event::Poisoned(error) => EventData { error: Some(error.into()), ..of("poisoned") },
            Event::Detached(error) => EventData { error: Some(error.into()), ..of("detached") },
        }
    }
}
