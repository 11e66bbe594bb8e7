//! What others did, as far as it concerns a connection.

use super::Connection;
use super::wire::Out;
use crate::local::tick;
use packet_mutex_arbiter::RequestId;
use serde_json::json;
use std::mem::take;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// Where other threads leave word for the connection's task.
#[derive(Default)]
pub(super) struct Mailbox {
    answered: Mutex<Vec<RequestId>>,
    /// There is word: an answer, or something may have become of a hold, or there are events.
    pub(super) signalled: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Mailbox {
    /// Is there word? If not, the task is woken when there is.
    pub(super) fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !task.as_ref().is_some_and(|task| task.will_wake(context.waker())) {
            *task = Some(context.waker().clone());
        }
        drop(task);
        if self.signalled.load(Ordering::SeqCst) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Wakes the connection because a request was answered.
pub(super) struct Answered(pub(super) Arc<Mailbox>, pub(super) RequestId);

impl Wake for Answered {
    fn wake(self: Arc<Self>) {
        let mut answered = self.0.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.push(self.1);
        drop(answered);
        self.0.wake_by_ref();
    }
}

impl Wake for Mailbox {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.signalled.store(true, Ordering::SeqCst);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        task.into_iter().for_each(Waker::wake);
    }
}

impl Connection {
    /// Collects what has become of requests and holds, and new events.
    pub(super) fn collect(&mut self, out: &mut Out) {
        self.mailbox.signalled.store(false, Ordering::SeqCst);
        let answered = {
            let mut answered = self.mailbox.answered.lock().unwrap_or_else(PoisonError::into_inner);
            take(&mut *answered)
        };
        for id in answered {
            let Some(ask) = self.asks.remove(&id) else { continue };
            let waker = Waker::noop().clone();
            let (answer, _) = self.shared.with(|state, _| state.answer_or_leave(id, waker));
            let Some(answer) = answer else {
                self.asks.insert(id, ask);
                continue;
            };
            if let Err(why) = self.answer(id, answer, ask, out) {
                out.refuse(Some(ask.frame), why);
            }
        }
        self.watch(out);
        if let Some(events) = &mut self.events {
            let waker = Waker::from(self.mailbox.clone());
            let key = events.key;
            let (entries, _old_waker) = self.shared.with(|state, now| {
                let entries = events.read(state, now);
                (entries, state.readers.leave(key, waker))
            });
            entries.iter().for_each(|entry| out.event(entry));
        }
    }

    /// Tells of holds that should be given away, or no longer, or that are gone; and has itself woken when that changes.
    pub(super) fn watch(&mut self, out: &mut Out) {
        if self.holds.values().all(|hold| hold.is_pass) {
            return;
        }
        let (shared, holds, keys) = (&self.shared, &mut self.holds, &mut self.keys);
        let waker = Waker::from(self.mailbox.clone());
        let _old_wakers = shared.with(|state, now| {
            tick(state, now);
            holds.retain(|id, hold| {
                if hold.is_pass {
                    return true;
                }
                if !state.arbiter.holds(*id) {
                    out.object(json!({"notice": "lost", "request": id.0}));
                    return false;
                }
                let should = state.arbiter.should_yield(*id, now);
                if std::mem::replace(&mut hold.told, should) != should {
                    let notice =
                        json!({"notice": "should_yield", "request": id.0, "should_yield": should});
                    out.object(notice);
                }
                true
            });
            let (key, events_key) =
                *keys.get_or_insert_with(|| (state.sleepers.new_key(), state.readers.new_key()));
            let old = state.sleepers.leave(key, waker.clone());
            // That it need not yield any more is told by no output, but an event always goes with it.
            let told = holds.values().any(|hold| hold.told);
            let old_reader = told.then(|| state.readers.leave(events_key, waker)).flatten();
            (old, old_reader)
        });
    }
}
