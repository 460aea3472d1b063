//! What a log reports about itself: events for its listeners, and counters.

pub mod events;
pub mod stats;
