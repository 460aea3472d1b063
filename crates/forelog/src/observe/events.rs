//! The events of a log, delivered to its listeners by kind.
//!
//! Without listeners nothing is recorded, and a commit pays for one relaxed load. Recording never waits for a listener: if
//! one does not take its events in time, the oldest are dropped for new ones.

use crate::error::{Code, Error};
use crate::util::notify::Notify;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An event: something that the log did, on its own or because of a call.
#[derive(Clone, Debug)]
pub enum Event {
    /// A group was committed: written, and made durable if that was requested. `waited` is the time from the acceptance of
    /// its oldest record to the end of the commit.
    Append {
        /// First position of the group.
        first: u64,
        /// Last position of the group.
        last: u64,
        /// Number of records.
        records: u64,
        /// Encoded bytes of the records.
        bytes: u64,
        /// Duration of the commit.
        took: Duration,
        /// Time from the acceptance of the oldest record to the end of the commit.
        waited: Duration,
    },
    /// Positions up to `durable` became durable, by this many fsyncs of segments.
    Sync {
        /// Last durable position.
        durable: u64,
        /// Number of fsyncs.
        fsyncs: u64,
        /// Duration of the fsyncs.
        took: Duration,
    },
    /// A new segment was started.
    Roll {
        /// File name of the new segment.
        segment: String,
        /// First position of the new segment.
        first: u64,
    },
    /// The positions below `first`, or those from `next` on, were removed from the log.
    Truncate {
        /// The call that removed the positions, or `retention`.
        operation: &'static str,
        /// First position that remains.
        first: u64,
        /// Position of the next record.
        next: u64,
        /// Number of segments that were removed.
        removed: u64,
    },
    /// Retention found a segment that was created in the future. The clock was wrong when the segment was created, or is
    /// wrong now.
    Clock(SegmentFromFuture),
    /// The log was poisoned. It accepts nothing more until it is reopened.
    Poisoned(Error),
    /// The log was detached. It accepts nothing more, because its directory is no longer at its path.
    Detached(Error),
}

/// A segment whose creation time lies in the future, so that a clock must have been wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFromFuture {
    /// File name of the segment.
    pub segment: String,
    /// The segment's creation time, in milliseconds since the epoch.
    pub created_ms: u64,
    /// The time at which the segment was found, in milliseconds since the epoch.
    pub now_ms: u64,
}

/// The kinds of events, as bits of the mask that a listener passes.
impl Event {
    /// [`Event::Append`].
    pub const APPEND: u32 = 1;
    /// [`Event::Sync`].
    pub const SYNC: u32 = 2;
    /// [`Event::Roll`].
    pub const ROLL: u32 = 4;
    /// [`Event::Truncate`].
    pub const TRUNCATE: u32 = 8;
    /// [`Event::Poisoned`].
    pub const POISONED: u32 = 16;
    /// [`Event::Detached`].
    pub const DETACHED: u32 = 32;
    /// [`Event::Clock`].
    pub const CLOCK: u32 = 64;

    fn kind(&self) -> u32 {
        match self {
            Event::Append { .. } => Event::APPEND,
            Event::Sync { .. } => Event::SYNC,
            Event::Roll { .. } => Event::ROLL,
            Event::Truncate { .. } => Event::TRUNCATE,
            Event::Clock(_) => Event::CLOCK,
            Event::Poisoned(_) => Event::POISONED,
            Event::Detached(_) => Event::DETACHED,
        }
    }
}

/// The events that one listener has not taken yet.
#[derive(Debug, Default)]
pub struct PendingEvents {
    /// The events, oldest first.
    pub events: VecDeque<Event>,
    /// Number of older events that were dropped since the last call.
    pub dropped: u64,
}

/// Maximum number of events that are kept for one listener. After that the oldest are dropped.
const QUEUE_LIMIT: usize = 1024;

struct Listener {
    client: usize,
    notify: Arc<dyn Notify>,
    kinds: u32,
    pending: PendingEvents,
    /// Whether the listener has got the event that ended the log. Each listener gets it once, also one that is added later.
    has_end: bool,
    /// How many of the `ahead` segments the listener has got.
    from_future_count: usize,
}

/// The state of [`Events`] under its lock.
#[derive(Default)]
struct EventsState {
    listeners: Vec<Listener>,
    /// The error that poisoned or detached the log.
    ended: Option<Error>,
    /// The segments from the future that were found. Most are found at opening, before there is a listener.
    ahead: Vec<SegmentFromFuture>,
}

/// The listeners of one log.
#[derive(Default)]
pub struct Events {
    /// The kinds that at least one listener wants.
    listened: AtomicU32,
    recorded: AtomicU64,
    dropped: AtomicU64,
    state: Mutex<EventsState>,
}

impl Events {
    fn state(&self) -> MutexGuard<'_, EventsState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a listener for any kind.
    pub fn has_listeners(&self) -> bool {
        self.listened.load(Ordering::Relaxed) != 0
    }

    /// Sets the kinds of events that `client` receives; 0 removes the listener. Pending events of other kinds are dropped.
    pub fn listen(&self, client: usize, kinds: u32, notify: Arc<dyn Notify>) {
        let mut state = self.state();
        let known = state.listeners.iter().position(|listener| listener.client == client);
        match known {
            Some(at) if kinds == 0 => drop(state.listeners.swap_remove(at)),
            Some(at) => {
                let listener = &mut state.listeners[at];
                listener.kinds = kinds;
                listener.pending.events.retain(|event| event.kind() & kinds != 0);
            }
            None if kinds == 0 => {}
            None => {
                let pending = PendingEvents::default();
                state.listeners.push(Listener { client, notify, kinds, pending, has_end: false, from_future_count: 0 });
            }
        }
        self.listened.store(state.listeners.iter().fold(0, |all, listener| all | listener.kinds), Ordering::Relaxed);
        self.push_end(&mut state);
        self.push_from_future(&mut state);
        let late = state.listeners.iter().find(|listener| listener.client == client && !listener.pending.events.is_empty());
        let late = late.map(|listener| listener.notify.clone());
        drop(state);
        if let Some(notify) = late {
            notify.wake();
        }
    }

    /// Removes the listener of a client that has ended.
    pub fn leave(&self, client: usize) {
        let mut state = self.state();
        state.listeners.retain(|listener| listener.client != client);
        self.listened.store(state.listeners.iter().fold(0, |all, listener| all | listener.kinds), Ordering::Relaxed);
    }

    /// Records an event for the listeners of its kind. `event` is called only if there is one.
    pub fn record(&self, kind: u32, event: impl FnOnce() -> Event) {
        if self.listened.load(Ordering::Relaxed) & kind != 0 {
            let event = event();
            self.state().listeners.iter_mut().for_each(|listener| self.push(listener, &event));
        }
    }

    fn push(&self, listener: &mut Listener, event: &Event) {
        if listener.kinds & event.kind() == 0 {
            return;
        }
        let PendingEvents { events, dropped } = &mut listener.pending;
        if events.len() == QUEUE_LIMIT {
            events.pop_front();
            *dropped += 1;
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        events.push_back(event.clone());
        self.recorded.fetch_add(1, Ordering::Relaxed);
    }

    /// Records the error that poisoned or detached the log. Each listener gets the event once, also one that is added
    /// later.
    pub fn end(&self, error: &Error) {
        let mut state = self.state();
        state.ended.get_or_insert_with(|| error.clone());
        self.push_end(&mut state);
    }

    /// Records segments that were created in the future. Each listener gets each of them once, also one that is added
    /// later.
    pub fn record_from_future(&self, met: &[SegmentFromFuture]) {
        let mut state = self.state();
        state.ahead.extend_from_slice(met);
        self.push_from_future(&mut state);
    }

    fn push_from_future(&self, state: &mut EventsState) {
        let EventsState { listeners, ahead, .. } = state;
        for listener in listeners.iter_mut().filter(|listener| listener.kinds & Event::CLOCK != 0) {
            for met in &ahead[listener.from_future_count..] {
                self.push(listener, &Event::Clock(met.clone()));
            }
            listener.from_future_count = ahead.len();
        }
    }

    fn push_end(&self, state: &mut EventsState) {
        let EventsState { listeners, ended: Some(error), .. } = state else { return };
        let event = if error.code == Code::Detached { Event::Detached(error.clone()) } else { Event::Poisoned(error.clone()) };
        for listener in listeners.iter_mut().filter(|l| l.kinds & event.kind() != 0 && !l.has_end) {
            listener.has_end = true;
            self.push(listener, &event);
        }
    }

    /// Adds the listeners that have pending events to `wake`.
    pub fn wake(&self, wake: &mut Vec<Arc<dyn Notify>>) {
        wake.extend(self.state().listeners.iter().filter(|l| !l.pending.events.is_empty()).map(|l| l.notify.clone()));
    }

    /// Takes the pending events of `client`.
    pub fn take(&self, client: usize) -> PendingEvents {
        let mut state = self.state();
        let listener = state.listeners.iter_mut().find(|listener| listener.client == client);
        listener.map(|listener| std::mem::take(&mut listener.pending)).unwrap_or_default()
    }

    /// Returns how many events were recorded, counted for each listener, and how many of them were dropped.
    pub fn counts(&self) -> (u64, u64) {
        (self.recorded.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::notify::Waiter;

    fn listen(events: &Events, client: usize, kinds: u32) {
        events.listen(client, kinds, Arc::new(Waiter::default()));
    }

    fn roll(events: &Events, first: u64) {
        events.record(Event::ROLL, || Event::Roll { segment: String::new(), first });
    }

    fn firsts(events: &Events, client: usize) -> (Vec<u64>, u64) {
        let PendingEvents { events, dropped } = events.take(client);
        let first = |event: &Event| if let Event::Roll { first, .. } = event { *first } else { 0 };
        (events.iter().map(first).collect(), dropped)
    }

    #[test]
    fn an_event_without_a_listener_is_never_built() {
        let events = Events::default();
        events.record(Event::ROLL, || unreachable!());
        listen(&events, 1, Event::SYNC);
        events.record(Event::ROLL, || unreachable!());
        listen(&events, 1, 0);
        events.record(Event::SYNC, || unreachable!());
        assert_eq!((events.has_listeners(), events.counts()), (false, (0, 0)));
    }

    #[test]
    fn each_listener_receives_its_own_events_in_order() {
        let events = Events::default();
        listen(&events, 1, Event::ROLL);
        roll(&events, 1);
        listen(&events, 2, Event::ROLL | Event::SYNC);
        roll(&events, 2);
        let mut wake = Vec::new();
        events.wake(&mut wake);
        assert_eq!(wake.len(), 2);
        assert_eq!(firsts(&events, 1), (vec![1, 2], 0));
        assert_eq!(firsts(&events, 2), (vec![2], 0));
        events.wake(&mut wake);
        assert_eq!(wake.len(), 2, "a listener without events is not woken");
        events.leave(1);
        roll(&events, 3);
        assert_eq!((firsts(&events, 1).0.len(), firsts(&events, 2).0, events.counts()), (0, vec![3], (4, 0)));
    }

    #[test]
    fn the_oldest_events_are_dropped_and_counted() {
        let events = Events::default();
        listen(&events, 1, Event::ROLL);
        (1..=QUEUE_LIMIT as u64 + 3).for_each(|first| roll(&events, first));
        assert_eq!(firsts(&events, 1), ((4..=QUEUE_LIMIT as u64 + 3).collect(), 3));
        assert_eq!((firsts(&events, 1), events.counts()), ((vec![], 0), (QUEUE_LIMIT as u64 + 3, 3)));
    }

    #[test]
    fn poisoning_is_reported_once_to_each_listener_also_to_a_later_one() {
        let events = Events::default();
        listen(&events, 1, Event::POISONED);
        (0..2).for_each(|_| events.end(&Error::new(Code::Poisoned, "an fsync failed")));
        listen(&events, 1, Event::POISONED | Event::ROLL);
        listen(&events, 2, Event::POISONED);
        assert_eq!([1, 2, 3].map(|client| events.take(client).events.len()), [1, 1, 0]);
    }
    #[test]
    fn a_segment_from_the_future_is_reported_once_to_each_listener_also_to_a_later_one() {
        let events = Events::default();
        let met = |id: u64| SegmentFromFuture { segment: id.to_string(), created_ms: 9, now_ms: 1 };
        listen(&events, 1, Event::CLOCK);
        events.record_from_future(&[met(1), met(2)]);
        listen(&events, 2, Event::CLOCK | Event::ROLL);
        events.record_from_future(&[met(3)]);
        listen(&events, 2, Event::CLOCK);
        listen(&events, 3, Event::ROLL);
        assert_eq!([1, 2, 3].map(|client| events.take(client).events.len()), [3, 3, 0]);
        listen(&events, 1, Event::CLOCK);
        assert_eq!(events.take(1).events.len(), 0);
    }
}
