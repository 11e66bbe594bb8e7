//! What the page hears while it is open: server-sent events.
//!
//! First `hello`, then `events` (lists of events, as they come) and `status`. The id of a list is this run of the server and
//! the number of the last event in it: whoever comes again with it goes on after that event, or starts afresh if the
//! server did.

use crate::pulse::{PACE, Pulse};
use crate::routes::find;
use crate::{House, front_page};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use packet_mutex::{Entry, Events};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

/// How often a snapshot is sent while somebody holds or waits.
const LOOK: Duration = Duration::from_millis(250);
/// Something is sent at least so often, so that both ends know of each other.
const SIGN: Duration = Duration::from_secs(4);
/// The most events in one message.
const LIST_MAX: usize = 256;
/// How many events, and how many bytes of snapshots, a page is sent in a second at most: it has to draw them, too. What a
/// very busy mutex does beyond that is counted as missed.
const EVENTS_A_SECOND: f64 = 5_000.0;
const BYTES_A_SECOND: f64 = 500_000.0;

struct Stream {
    house: Arc<House>,
    name: Option<String>,
    events: Events,
    /// Changes when there are new ones.
    pulse: watch::Receiver<()>,
    /// Events up to this number are known at the other end.
    seen: u64,
    /// To be sent before anything else.
    queued: VecDeque<Event>,
    events_not_before: Instant,
    snapshot_not_before: Instant,
    look: Interval,
    last_sign: Instant,
    /// Has the last snapshot shown a mutex in which time alone changes something?
    moving: bool,
    _place: OwnedSemaphorePermit,
}

pub(crate) fn open(
    house: Arc<House>,
    name: Option<String>,
    after: Option<&str>,
    place: OwnedSemaphorePermit,
) -> Response {
    let shown = match find(&house, name.as_deref()) {
        Ok(shown) => shown,
        Err(refused) => return refused,
    };
    // An id of another run of the server says nothing here.
    let after = after.and_then(|id| id.split_once('-'));
    let seen = after.filter(|(boot, _)| *boot == house.boot).and_then(|(_, seq)| seq.parse().ok());
    let hello = front_page::facts(&house, shown, seen.is_some()).to_string();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pulse = Pulse::listen(shown);
    // For what is there already.
    pulse.mark_changed();
    let stream = Stream {
        pulse,
        events: shown.mutex.events_so_far(),
        seen: seen.unwrap_or(0),
        queued: VecDeque::from([Event::default().event("hello").data(hello)]),
        events_not_before: Instant::now(),
        snapshot_not_before: Instant::now(),
        look,
        last_sign: Instant::now(),
        moving: true,
        _place: place,
        name,
        house,
    };
    Sse::new(unfold(stream, |mut stream| async move {
        let message = stream.next().await?;
        Some((Ok::<_, Infallible>(message), stream))
    }))
    .into_response()
}

impl Stream {
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(message) = self.queued.pop_front() {
                return Some(message);
            }
            let (pulse, not_before) = (&mut self.pulse, self.events_not_before);
            let come = async {
                sleep_until(not_before).await;
                pulse.changed().await
            };
            tokio::select! {
                changed = come => {
                    changed.ok()?;
                    let entries = self.events.take();
                    let rest = Duration::from_secs_f64(entries.len() as f64 / EVENTS_A_SECOND);
                    self.events_not_before = Instant::now() + rest.max(PACE);
                    self.tell(&entries);
                    self.moving = true;
                    self.snapshot(LOOK)?;
                }
                _ = self.look.tick() => {
                    if self.moving || self.last_sign.elapsed() >= SIGN {
                        self.snapshot(LOOK / 2)?;
                    }
                }
            }
        }
    }

    /// Queues what the other end does not know yet.
    fn tell(&mut self, entries: &[Entry]) {
        let news: Vec<(u64, String)> =
            entries.iter().filter_map(|entry| self.news(entry)).collect();
        for list in news.chunks(LIST_MAX) {
            let lines: Vec<&str> = list.iter().map(|(_, line)| line.as_str()).collect();
            let newest = list.iter().map(|(seq, _)| *seq).max().unwrap_or(0);
            self.seen = self.seen.max(newest);
            let message = Event::default().event("events").data(format!("[{}]", lines.join(",")));
            self.queued.push_back(message.id(format!("{}-{}", self.house.boot, self.seen)));
        }
    }

    fn news(&self, entry: &Entry) -> Option<(u64, String)> {
        match entry {
            Entry::Event(named) if named.event.seq <= self.seen => None,
            Entry::Event(named) => Some((named.event.seq, named.to_string())),
            Entry::Dropped { seq, .. } if *seq <= self.seen => None,
            Entry::Dropped { mutex, seq, at, count } => {
                // Of what is gone, the other end may know a part.
                let count = (*count).min(seq - self.seen);
                let entry = Entry::Dropped { mutex: mutex.clone(), seq: *seq, at: *at, count };
                Some((*seq, entry.to_string()))
            }
            // Of a mutex elsewhere, whose numbers are its server's.
            Entry::Told { line, .. } => Some((self.seen, line.clone())),
        }
    }

    /// Queues a snapshot, unless it is too soon after the last. `None`: the mutex is gone.
    fn snapshot(&mut self, longest: Duration) -> Option<()> {
        if Instant::now() < self.snapshot_not_before {
            return Some(());
        }
        let snapshot = self.house.shown(self.name.as_deref())?.snapshot(self.seen, longest);
        let status = &snapshot.status;
        // A delay that nobody waits for is not told: the page cannot know when it ends, and need not.
        self.moving = status.holder.is_some()
            || !status.waiters.is_empty()
            || status.paused.iter().any(|pause| pause.left.is_some());
        self.last_sign = Instant::now();
        let rest = Duration::from_secs_f64(snapshot.json.len() as f64 / BYTES_A_SECOND);
        self.snapshot_not_before = self.last_sign + rest;
        self.queued.push_back(Event::default().event("status").data(&*snapshot.json));
        Some(())
    }
}
