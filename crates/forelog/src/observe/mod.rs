//! The reports of a log about itself: events for its listeners, and counters.

pub mod events;
pub mod stats;
