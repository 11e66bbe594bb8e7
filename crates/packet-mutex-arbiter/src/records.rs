//! The records: what is written down beside the decision. They never decide anything.

use crate::event::{Event, EventKind};
use crate::histogram::Histogram;
use crate::input::{ModuleId, RequestId, Token};
use crate::time::Time;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

#[derive(Clone, Debug)]
pub(crate) struct Records {
    pub(crate) next_request: u64,
    pub(crate) next_token: u64,
    /// How many turns ended and were not declined.
    pub(crate) turns_ended: u64,
    modules: Vec<ModuleRecord>,
    next_seq: u64,
    events: VecDeque<Event>,
}

#[derive(Clone, Debug)]
pub(crate) struct ModuleRecord {
    pub(crate) turns: u64,
    pub(crate) passes: u64,
    pub(crate) timeouts: u64,
    pub(crate) wait: Histogram,
    pub(crate) hold: Histogram,
}

static NO_RECORD: ModuleRecord = ModuleRecord::new();

impl ModuleRecord {
    const fn new() -> Self {
        ModuleRecord {
            turns: 0,
            passes: 0,
            timeouts: 0,
            wait: Histogram::new(),
            hold: Histogram::new(),
        }
    }
}

impl Records {
    pub(crate) fn new(first_token: u64) -> Self {
        Records {
            next_request: 1,
            next_token: first_token,
            turns_ended: 0,
            modules: Vec::new(),
            next_seq: 1,
            events: VecDeque::new(),
        }
    }

    pub(crate) fn take_token(&mut self) -> Token {
        // A token given twice would defeat its purpose (S17), so running out is a panic, not a wrap.
        let token = Token(self.next_token);
        self.next_token = token.0.checked_add(1).expect("2^64 turns");
        token
    }

    pub(crate) fn module(&self, module: ModuleId) -> &ModuleRecord {
        self.modules.get(module.index()).unwrap_or(&NO_RECORD)
    }

    pub(crate) fn module_mut(&mut self, module: ModuleId) -> &mut ModuleRecord {
        // Grown on first use, since a record holds two histograms and most modules of a large roster may never ask.
        if self.modules.len() <= module.index() {
            self.modules.resize_with(module.index() + 1, ModuleRecord::new);
        }
        &mut self.modules[module.index()]
    }

    pub(crate) fn clear_counts(&mut self) {
        self.modules.clear();
    }

    /// Appends an event. A full buffer loses its oldest event (S14).
    pub(crate) fn write(
        &mut self,
        limit: usize,
        at: Time,
        (module, request, token): (Option<ModuleId>, Option<RequestId>, Option<Token>),
        kind: EventKind,
    ) {
        // A loop and not a single pop, since a reload can lower the limit.
        while self.events.len() >= limit {
            self.events.pop_front();
        }
        self.events.push_back(Event { seq: self.next_seq, at, module, request, token, kind });
        self.next_seq += 1;
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.next_seq - 1
    }

    /// Returns how many events after `seq` are lost, and the others.
    pub(crate) fn since(&self, seq: u64) -> (u64, impl Iterator<Item = &Event>) {
        let first = self.next_seq - self.events.len() as u64;
        let lost = first.saturating_sub(seq + 1);
        let skip = (seq + 1).saturating_sub(first);
        (lost, self.events.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)))
    }
}
