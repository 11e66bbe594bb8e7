//! A consistent snapshot (S16).

use crate::decision::Decision;
use crate::event::{Quoted, Seconds};
use crate::histogram::Histogram;
use crate::input::{Below, ModuleId, RequestId, Token};
use crate::records::Records;
use crate::roster::Mode;
use crate::time::Time;
use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use core::time::Duration;

/// Who holds, who waits, and when the next grant can come, at one instant.
#[derive(Clone, Debug, PartialEq)]
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
    /// How long it holds.
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
    /// How long it waits.
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

/// Why a waiter waits, from [`Status::reason`]. Shown, it goes on after "waits".
///
/// ```
/// use core::time::Duration;
/// use packet_mutex_arbiter::Reason;
///
/// let left = Some(Duration::from_millis(400));
/// let reason = Reason::Handover { from: Some("fisher".into()), left };
/// assert_eq!(reason.to_string(), "0.4 s for the handover from fisher");
/// ```
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

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tenths = |time: Duration| time.as_secs_f64();
        match self {
            Reason::Turn { of, delay } => {
                write!(f, "for {of}'s turn to end")?;
                if delay.is_zero() {
                    return Ok(());
                }
                write!(f, ", then {:.1} s for the handover", tenths(*delay))
            }
            Reason::Handover { from, left } => {
                if let Some(left) = left {
                    write!(f, "{:.1} s ", tenths(*left))?;
                }
                match from {
                    Some(module) => write!(f, "for the handover from {module}"),
                    None => f.write_str("for the first turn to begin"),
                }
            }
            Reason::Behind { first, ahead: 1 } => write!(f, "behind {first}"),
            Reason::Behind { first, ahead: 2 } => write!(f, "behind {first} and another"),
            Reason::Behind { first, ahead } => write!(f, "behind {first} and {} others", ahead - 1),
            Reason::Paused { reason, left: None } => write!(f, "until the pause {reason:?} ends"),
            Reason::Paused { reason, left: Some(left) } => {
                write!(f, "{:.1} s until the pause {reason:?} ends", tenths(*left))
            }
        }
    }
}

/// A module's mode and counts since the start or the last reset.
#[derive(Clone, Debug, PartialEq)]
pub struct ModuleStatus {
    /// Its name.
    pub module: Arc<str>,
    /// Its mode.
    pub mode: Mode,
    /// Is it refused?
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

    /// Writes the snapshot as one line of JSON, without the line's end. Durations are in seconds.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_json(&self, mutex: &str, out: &mut impl Write) -> fmt::Result {
        write!(out, r#"{{"mutex":{},"t":{},"holder":"#, Quoted(mutex), self.now)?;
        match &self.holder {
            None => out.write_str("null")?,
            Some(HolderStatus { module, token, held, depth }) => {
                let held = Seconds(*held);
                write!(
                    out,
                    r#"{{"module":"{module}","token":"{token}","held":{held},"depth":{depth}}}"#
                )?;
            }
        }
        out.write_str(r#","waiters":"#)?;
        list(out, &self.waiters, |out, at, w| {
            write!(
                out,
                r#"{{"module":"{}","request":{},"priority":{},"effective":{:.3},"waited":{},"deadline":{},"urgent":{},"paused":"#,
                w.module,
                w.request.0,
                w.priority,
                w.effective,
                Seconds(w.waited),
                Seconds(w.deadline),
                w.urgent
            )?;
            match &w.paused {
                None => out.write_str("null")?,
                Some(reason) => write!(out, "{}", Quoted(reason))?,
            }
            let why = self.reason(at).map(|reason| reason.to_string());
            write!(out, r#","why":{}}}"#, Quoted(&why.unwrap_or_default()))
        })?;
        for (key, what, pair) in [("last", "ended", &self.last), ("next", "in", &self.next)] {
            match pair {
                None => write!(out, r#","{key}":null"#)?,
                Some((module, time)) => {
                    write!(out, r#","{key}":{{"module":"{module}","{what}":{}}}"#, Seconds(*time))?;
                }
            }
        }
        out.write_str(r#","paused":"#)?;
        list(out, &self.paused, |out, _, pause| {
            write!(out, r#"{{"reason":{},"below":"#, Quoted(&pause.reason))?;
            match pause.below {
                Below::Priority(level) => write!(out, "{level}")?,
                Below::Urgent => out.write_str(r#""urgent""#)?,
            }
            match pause.left {
                None => out.write_str(r#","left":null}"#),
                Some(left) => write!(out, r#","left":{}}}"#, Seconds(left)),
            }
        })?;
        write!(out, r#","closed":{},"abandoned":{},"modules":{{"#, self.closed, self.abandoned)?;
        for (at, module) in self.modules.iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            let (mode, disabled) = (module.mode.name(), module.disabled);
            write!(out, r#"{comma}"{}":{{"mode":"{mode}","disabled":{disabled}"#, module.module)?;
            let ModuleStatus { turns, passes, timeouts, .. } = module;
            write!(out, r#","turns":{turns},"passes":{passes},"timeouts":{timeouts}"#)?;
            for (key, Percentiles { p50, p99, max }) in
                [("wait", &module.wait), ("hold", &module.hold)]
            {
                let (p50, p99, max) = (Seconds(*p50), Seconds(*p99), Seconds(*max));
                write!(out, r#","{key}":{{"p50":{p50},"p99":{p99},"max":{max}}}"#)?;
            }
            out.write_char('}')?;
        }
        out.write_str("}}")
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

fn list<W: Write, T>(
    out: &mut W,
    items: &[T],
    mut item: impl FnMut(&mut W, usize, &T) -> fmt::Result,
) -> fmt::Result {
    out.write_char('[')?;
    for (at, it) in items.iter().enumerate() {
        if at > 0 {
            out.write_char(',')?;
        }
        item(out, at, it)?;
    }
    out.write_char(']')
}
