//! A consistent snapshot (S16).

use crate::decision::Decision;
use crate::histogram::Histogram;
use crate::input::{Below, ModuleId, RequestId, Token};
use crate::records::Records;
use crate::roster::Mode;
use crate::time::Time;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

/// Who holds, who waits, and when the next grant can come, at one instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    /// The instant.
    pub now: Time,
    /// Who holds the mutex.
    pub holder: Option<HolderStatus>,
    /// Who waits, best first; those that a pause holds back come last.
    pub waiters: Vec<WaiterStatus>,
    /// The last turn's module, and how long ago it ended.
    pub last: Option<(Arc<str>, Duration)>,
    /// Who is next if nobody else arrives, and the earliest time from now; while somebody holds, as if the turn ended now.
    pub next: Option<(Arc<str>, Duration)>,
    /// The pauses.
    pub paused: Vec<PauseStatus>,
    /// Every module that the mutex knows.
    pub modules: Vec<ModuleStatus>,
    /// The mutex takes no more requests.
    pub closed: bool,
    /// A turn was abandoned and nobody has acknowledged it (S7).
    pub abandoned: bool,
}

/// The holder.
#[derive(Clone, Debug, PartialEq)]
pub struct HolderStatus {
    /// The module that got the turn.
    pub module: Arc<str>,
    /// The turn's token.
    pub token: Token,
    /// How long it has held.
    pub held: Duration,
    /// Its open holds; more than 1 when nested.
    pub depth: usize,
}

/// A waiter.
#[derive(Clone, Debug, PartialEq)]
pub struct WaiterStatus {
    /// The request.
    pub request: RequestId,
    /// The module.
    pub module: Arc<str>,
    /// Its priority.
    pub priority: u8,
    /// Its priority with aging.
    pub effective: f64,
    /// How long it has waited.
    pub waited: Duration,
    /// How long it will wait at most, from now.
    pub deadline: Duration,
    /// Before all that are not urgent.
    pub urgent: bool,
    /// The reason of the pause that holds it back.
    pub paused: Option<Arc<str>>,
}

/// A pause.
#[derive(Clone, Debug, PartialEq)]
pub struct PauseStatus {
    /// Why.
    pub reason: Arc<str>,
    /// Whom it holds back.
    pub below: Below,
    /// How long it lasts from now, if it ends by itself.
    pub left: Option<Duration>,
}

/// Why a waiter waits, from [`Status::reason`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the first, and somebody holds the mutex.
    Turn {
        /// The holder.
        of: Arc<str>,
        /// The delay that would follow if the turn ended now; zero if there is none, or if another waiter would be
        /// granted by then.
        delay: Duration,
    },
    /// It is the first, and the mutex is being handed over (S3).
    Handover {
        /// Whose turn was the last; `None` if there was none.
        from: Option<Arc<str>>,
        /// How much longer; `None` if it will not be granted even then, since it times out before.
        left: Option<Duration>,
    },
    /// Others go before it.
    Behind {
        /// The first of them.
        first: Arc<str>,
        /// How many they are.
        ahead: usize,
    },
    /// A pause holds it back (S12).
    Paused {
        /// The pause's reason.
        reason: Arc<str>,
        /// How much longer, if it ends by itself.
        left: Option<Duration>,
    },
}

/// A module's mode and counts since the start or the last reset.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleStatus {
    /// Its name.
    pub module: Arc<str>,
    /// Its mode.
    pub mode: Mode,
    /// Its requests are refused.
    pub disabled: bool,
    /// Its turns, nested ones not counted.
    pub turns: u64,
    /// Its recorded passes.
    pub passes: u64,
    /// Its requests that timed out.
    pub timeouts: u64,
    /// How long its granted requests waited.
    pub wait: Percentiles,
    /// How long its turns and passes took.
    pub hold: Percentiles,
}

/// Percentiles, exact to a sixteenth; the longest is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: Duration,
    /// 99 of 100 are not longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Percentiles {
    fn of(histogram: &Histogram) -> Self {
        Percentiles {
            p50: histogram.percentile(50),
            p99: histogram.percentile(99),
            max: histogram.max(),
        }
    }
}

impl Status {
    pub(crate) fn new(
        decision: &Decision,
        records: &Records,
        now: Time,
        next: Option<(ModuleId, Duration)>,
    ) -> Self {
        let name = |module| decision.table.module(module).name.clone();
        let queue = decision.waiting.iter().chain(&decision.held_back);
        let modules = decision.table.modules().iter().enumerate().map(|(index, module)| {
            let record = records.module(ModuleId(index as u16));
            ModuleStatus {
                module: module.name.clone(),
                mode: module.mode,
                disabled: module.disabled,
                turns: record.turns,
                passes: record.passes,
                timeouts: record.timeouts,
                wait: Percentiles::of(&record.wait),
                hold: Percentiles::of(&record.hold),
            }
        });
        Status {
            now,
            holder: decision.holder.as_ref().map(|holder| HolderStatus {
                module: name(holder.module),
                token: holder.token,
                held: now.since(holder.since),
                depth: decision.holds.len(),
            }),
            waiters: queue.map(|rank| waiter_status(decision, rank.request, now)).collect(),
            last: decision.last.map(|(module, ended)| (name(module), now.since(ended))),
            next: next.map(|(module, left)| (name(module), left)),
            paused: decision
                .pauses
                .iter()
                .map(|pause| PauseStatus {
                    reason: pause.reason.clone(),
                    below: pause.below,
                    left: pause.until.map(|until| until.since(now)),
                })
                .collect(),
            modules: modules.collect(),
            closed: decision.closing,
            abandoned: decision.abandoned,
        }
    }

    /// Why the waiter at this index waits; `None` if there is none.
    #[must_use]
    pub fn reason(&self, at: usize) -> Option<Reason> {
        let waiter = self.waiters.get(at)?;
        if let Some(reason) = &waiter.paused {
            let pause = self.paused.iter().find(|pause| pause.reason == *reason);
            let left = pause.and_then(|pause| pause.left);
            return Some(Reason::Paused { reason: reason.clone(), left });
        }
        if at > 0 {
            return Some(Reason::Behind { first: self.waiters[0].module.clone(), ahead: at });
        }
        let granted = self.next.as_ref().filter(|(module, _)| *module == waiter.module);
        let left = granted.map(|(_, left)| *left);
        Some(match &self.holder {
            Some(holder) => {
                Reason::Turn { of: holder.module.clone(), delay: left.unwrap_or_default() }
            }
            None => {
                let from = self.last.as_ref().map(|(module, _)| module.clone());
                Reason::Handover { from, left }
            }
        })
    }
}

fn waiter_status(decision: &Decision, request: RequestId, now: Time) -> WaiterStatus {
    let waiter = &decision.requests[&request];
    let module = decision.table.module(waiter.module);
    WaiterStatus {
        request,
        module: module.name.clone(),
        priority: module.priority,
        effective: decision.effective(waiter, now),
        waited: now.since(waiter.arrived),
        deadline: waiter.deadline.since(now),
        urgent: waiter.urgent,
        paused: decision.pause_before(waiter.urgent, module.priority).map(|p| p.reason.clone()),
    }
}
