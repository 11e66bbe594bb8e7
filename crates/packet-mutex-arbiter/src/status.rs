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
    /// The holder, if there is one.
    pub holder: Option<HolderStatus>,
    /// The waiters, best first. Those that a pause holds back come last.
    pub waiters: Vec<WaiterStatus>,
    /// The module of the last turn, and how long ago that turn ended.
    pub last: Option<(Arc<str>, Duration)>,
    /// The next module to be granted if nobody else arrives, and how long until then. While somebody holds, this assumes
    /// that the turn ends now.
    pub next: Option<(Arc<str>, Duration)>,
    /// The pauses.
    pub paused: Vec<PauseStatus>,
    /// Every module that the mutex knows.
    pub modules: Vec<ModuleStatus>,
    /// Whether the mutex is closed and takes no more requests.
    pub closed: bool,
    /// Whether a turn was abandoned or revoked and nobody has acknowledged it (S7).
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
    /// How many holds are open; more than 1 when turns are nested.
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
    /// Its effective priority: with aging, the priority grows while it waits (S13).
    pub effective: f64,
    /// How long it has waited.
    pub waited: Duration,
    /// How much longer it waits at most.
    pub deadline: Duration,
    /// Whether it is urgent.
    pub urgent: bool,
    /// The reason of the pause that holds it back, if there is one.
    pub paused: Option<Arc<str>>,
}

/// A pause.
#[derive(Clone, Debug, PartialEq)]
pub struct PauseStatus {
    /// Why it was set.
    pub reason: Arc<str>,
    /// Which requests it holds back.
    pub below: Below,
    /// How much longer it lasts, if it ends by itself.
    pub left: Option<Duration>,
}

/// Why a waiter waits, as [`Status::reason`] returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It is the first in line, and somebody holds the mutex.
    Turn {
        /// The holder.
        of: Arc<str>,
        /// The delay that would follow if the turn ended now. It is zero if there is none, or if another waiter would be
        /// granted by then.
        delay: Duration,
    },
    /// It is the first in line, and the mutex is being handed over (S3).
    Handover {
        /// The module of the last turn; `None` if there was none.
        from: Option<Arc<str>>,
        /// How much longer that takes; `None` if it times out before it would be granted.
        left: Option<Duration>,
    },
    /// Others go before it.
    Behind {
        /// The module of the first of them.
        first: Arc<str>,
        /// How many there are.
        ahead: usize,
    },
    /// A pause holds it back (S12).
    Paused {
        /// The pause's reason.
        reason: Arc<str>,
        /// How much longer the pause lasts, if it ends by itself.
        left: Option<Duration>,
    },
}

/// A module's mode, and its counts since the start or the last reset.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleStatus {
    /// Its name.
    pub module: Arc<str>,
    /// Its mode.
    pub mode: Mode,
    /// Whether its requests are refused.
    pub disabled: bool,
    /// How many turns it had. Nested turns are not counted.
    pub turns: u64,
    /// How many recorded passes it had.
    pub passes: u64,
    /// How many of its requests timed out.
    pub timeouts: u64,
    /// How long its granted requests waited.
    pub wait: Percentiles,
    /// How long its turns and passes took.
    pub hold: Percentiles,
}

/// Percentiles, each exact to 1/16 of its value. The longest is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Percentiles {
    /// The median.
    pub p50: Duration,
    /// The 99th percentile: 99 of 100 are not longer.
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

    /// Returns why the waiter at this index waits, or `None` if there is no such waiter.
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
        // Worked out from the snapshot alone, so that a reader behind a socket gets the same answer as one in this
        // process.
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
