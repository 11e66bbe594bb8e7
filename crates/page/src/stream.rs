//! What the page receives while it is open: server-sent events.
//!
//! First `hello`, then `events` (lists of events, as they happen) and `status`. The id of a list names this run of the server
//! and the number of the last event in the list. A page that comes back with an id goes on after that event, or starts
//! afresh if the server has been restarted.

use crate::changes::PACE;
use crate::front_page;
use crate::refusal::find;
use crate::state::AppState;
use axum::response::sse::{Event as Message, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use packet_mutex::{Event, EventKind, Events};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

/// How often a snapshot is sent while somebody holds or waits.
const SNAPSHOT_EVERY: Duration = Duration::from_millis(250);
/// Something is sent at least this often, so that both ends know that the other is there.
const KEEP_ALIVE: Duration = Duration::from_secs(4);
/// The most events in one message.
const LIST_MAX: usize = 256;
/// The most events, and the most bytes of snapshots, that a page is sent in a second: it has to draw them, too. What a very
/// busy mutex does beyond that is counted as missed.
const EVENTS_A_SECOND: f64 = 5_000.0;
const BYTES_A_SECOND: f64 = 500_000.0;

struct Stream {
    state: Arc<AppState>,
    name: Option<String>,
    events: Events,
    /// Changes when there are new events.
    changes: watch::Receiver<()>,
    /// The page knows the events up to this number from an earlier connection; 0 once newer ones have come.
    known: u64,
    /// The number of the newest event that was sent.
    sent: u64,
    /// Messages to send before anything else.
    queued: VecDeque<Message>,
    events_not_before: Instant,
    snapshot_not_before: Instant,
    snapshot_timer: Interval,
    last_snapshot: Instant,
    /// Whether the last snapshot showed a mutex in which time alone changes something.
    moving: bool,
    _permit: OwnedSemaphorePermit,
}

pub(crate) fn open(
    state: Arc<AppState>,
    name: Option<String>,
    after: Option<&str>,
    permit: OwnedSemaphorePermit,
) -> Response {
    let shown = match find(&state, name.as_deref()) {
        Ok(shown) => shown,
        Err(refused) => return refused,
    };
    // An id of another run of the server has numbers that mean nothing here.
    let after = after.and_then(|id| id.split_once('-'));
    let known = after.filter(|(boot, _)| *boot == state.boot).and_then(|(_, seq)| seq.parse().ok());
    let hello = front_page::hello(&state, shown, known.is_some()).to_string();
    let mut snapshot_timer = interval(SNAPSHOT_EVERY);
    snapshot_timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut changes = shown.changes.subscribe(&shown.mutex);
    // The events that are there already are sent at once.
    changes.mark_changed();
    let stream = Stream {
        changes,
        events: shown.mutex.events_so_far(),
        known: known.unwrap_or(0),
        sent: known.unwrap_or(0),
        queued: VecDeque::from([Message::default().event("hello").data(hello)]),
        events_not_before: Instant::now(),
        snapshot_not_before: Instant::now(),
        snapshot_timer,
        last_snapshot: Instant::now(),
        moving: true,
        _permit: permit,
        name,
        state,
    };
    Sse::new(unfold(stream, |mut stream| async move {
        let message = stream.next().await?;
        Some((Ok::<_, Infallible>(message), stream))
    }))
    .into_response()
}

impl Stream {
    async fn next(&mut self) -> Option<Message> {
        loop {
            if let Some(message) = self.queued.pop_front() {
                return Some(message);
            }
            let (changes, not_before) = (&mut self.changes, self.events_not_before);
            let new_events = async {
                sleep_until(not_before).await;
                changes.changed().await
            };
            tokio::select! {
                changed = new_events => {
                    changed.ok()?;
                    let events = self.events.take();
                    let rest = Duration::from_secs_f64(events.len() as f64 / EVENTS_A_SECOND);
                    self.events_not_before = Instant::now() + rest.max(PACE);
                    self.queue_events(events);
                    self.moving = true;
                    self.queue_snapshot(SNAPSHOT_EVERY)?;
                }
                _ = self.snapshot_timer.tick() => {
                    if self.moving || self.last_snapshot.elapsed() >= KEEP_ALIVE {
                        self.queue_snapshot(SNAPSHOT_EVERY / 2)?;
                    }
                }
            }
        }
    }

    /// Queues the events that the page does not know yet.
    fn queue_events(&mut self, events: Vec<Event>) {
        let new: Vec<Event> =
            events.into_iter().filter_map(|event| self.unless_known(event)).collect();
        for list in new.chunks(LIST_MAX) {
            let lines: Vec<String> = list.iter().map(Event::to_string).collect();
            self.sent = list.last().map_or(self.sent, |event| event.seq);
            let message = Message::default().event("events").data(format!("[{}]", lines.join(",")));
            self.queued.push_back(message.id(format!("{}-{}", self.state.boot, self.sent)));
        }
    }

    /// Returns the event as far as the page does not know it from an earlier connection.
    fn unless_known(&mut self, mut event: Event) -> Option<Event> {
        if event.seq <= self.known {
            return None;
        }
        if let EventKind::Dropped { count } = &mut event.kind {
            // Of what is gone, the page may know a part.
            *count = (*count).min(event.seq - self.known);
        }
        // The server of a mutex elsewhere may be restarted and number its events anew. They must not count as known.
        self.known = 0;
        Some(event)
    }

    /// Queues a snapshot, unless it is too soon after the last. `None`: the mutex is gone.
    fn queue_snapshot(&mut self, longest: Duration) -> Option<()> {
        if Instant::now() < self.snapshot_not_before {
            return Some(());
        }
        let snapshot = self.state.find(self.name.as_deref())?.snapshot(self.sent, longest);
        let status = &snapshot.status;
        // A delay that nobody waits for is not sent: the page cannot know when it ends, and need not.
        self.moving = status.holder.is_some()
            || !status.waiters.is_empty()
            || status.paused.iter().any(|pause| pause.left.is_some());
        self.last_snapshot = Instant::now();
        let rest = Duration::from_secs_f64(snapshot.json.len() as f64 / BYTES_A_SECOND);
        self.snapshot_not_before = self.last_snapshot + rest;
        self.queued.push_back(Message::default().event("status").data(&*snapshot.json));
        Some(())
    }
}
