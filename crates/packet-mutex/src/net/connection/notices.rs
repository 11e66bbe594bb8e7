//! What others did, as far as it concerns a connection.

use super::Connection;
use super::wire::Out;
use crate::net::protocol::Notice;
use packet_mutex_arbiter::RequestId;
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
    /// Ready if there is word; if not, the task is woken when there is.
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
            let (answer, _) = self.local.with(|state, _| state.answer_or_leave(id, waker));
            let Some(answer) = answer else {
                self.asks.insert(id, ask);
                continue;
            };
            self.answer(id, answer, ask, out);
        }
        self.watch(out);
        if let Some(events) = &mut self.events {
            let waker = Waker::from(self.mailbox.clone());
            let key = events.key;
            let (news, _old_waker) = self.local.with(|state, now| {
                let news = events.read(state, now);
                (news, state.readers.leave(key, waker))
            });
            news.into_iter().for_each(|event| out.notice(Notice::Event(event)));
        }
    }

    /// Tells of holds that should be given away, or no longer, or that are gone; and has itself woken when that changes.
    pub(super) fn watch(&mut self, out: &mut Out) {
        if self.holds.values().all(|hold| hold.is_pass) {
            return;
        }
        let (local, holds, keys) = (&self.local, &mut self.holds, &mut self.keys);
        let waker = Waker::from(self.mailbox.clone());
        let _old_wakers = local.with(|state, now| {
            state.tick(now);
            holds.retain(|id, hold| {
                if hold.is_pass {
                    return true;
                }
                if !state.arbiter.holds(*id) {
                    out.notice(Notice::Lost(*id));
                    return false;
                }
                let should = state.arbiter.should_yield(*id, now);
                if std::mem::replace(&mut hold.told, should) != should {
                    out.notice(Notice::ShouldYield(*id, should));
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
