//! What others did that concerns a connection.

use super::state::Connection;
use super::wire::Out;
use crate::net::protocol::Notice;
use std::task::Waker;

impl Connection {
    /// Collects the answers of requests, changes that concern holds, and new events.
    pub(super) fn collect(&mut self, out: &mut Out) {
        for id in self.mailbox.empty() {
            let Some(ask) = self.asks.remove(&id) else { continue };
            let waker = Waker::noop().clone();
            let (answer, _) = self.local.with(|state, _| state.answer_or_leave(id, waker));
            let Some(answer) = answer else {
                self.asks.insert(id, ask);
                continue;
            };
            self.answer(id, answer, ask, out);
        }
        self.check_holds(out);
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

    /// Tells the client which of its holds are lost and which should be given away, as far as that has changed. Arranges to be
    /// woken when it changes again.
    pub(super) fn check_holds(&mut self, out: &mut Out) {
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
                if std::mem::replace(&mut hold.told_to_yield, should) != should {
                    out.notice(Notice::ShouldYield(*id, should));
                }
                true
            });
            let (key, events_key) =
                *keys.get_or_insert_with(|| (state.sleepers.new_key(), state.readers.new_key()));
            let old = state.sleepers.leave(key, waker.clone());
            // No output says that a turn need not be given away any more, but an event always comes with it.
            let told = holds.values().any(|hold| hold.told_to_yield);
            let old_reader = told.then(|| state.readers.leave(events_key, waker)).flatten();
            (old, old_reader)
        });
    }
}
