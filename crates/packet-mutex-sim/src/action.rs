//! What can be done to a mutex, in terms that every front understands, and its text in scenarios.

use crate::log::Name;
use crate::seconds::{Nanos, nanos, seconds};
use packet_mutex_arbiter::{Below, Leave, Steer};
use std::fmt;

/// One thing that is done to a mutex. Requests, modules and owners go by name.
#[derive(Clone, Debug)]
pub enum Action {
    /// A timer fires, whether or not something is due.
    Tick,
    /// A module asks for the mutex.
    Ask(Ask),
    /// A turn, nested turn or pass ends.
    End {
        /// The request whose grant ends.
        hold: Name,
        /// The owner that ends it.
        owner: Option<Name>,
        /// How it ends.
        how: Leave,
    },
    /// The newest hold of a module and owner ends.
    EndModule {
        /// The module.
        module: Name,
        /// The owner.
        owner: Name,
    },
    /// A holder gives its turn away and asks again.
    Yield {
        /// The hold.
        hold: Name,
        /// The owner that yields.
        owner: Option<Name>,
        /// The new request.
        request: Name,
        /// How long the new request waits.
        timeout: Option<Nanos>,
    },
    /// An asker withdraws its request.
    Withdraw(Name),
    /// An asker confirms that it has seen its grant.
    Claim(Name),
    /// A holder has dealt with what an abandoned turn left behind.
    Acknowledge(Name),
    /// The holder of a lease is alive.
    Heartbeat(Name),
    /// An owner is lost: its process or connection is gone.
    OwnerLost(Name),
    /// An operator steers. A reset is [`Action::Reset`], since scenarios name its owner.
    Steer(Steer<Name>),
    /// The mutex is reset, by this owner.
    Reset(Option<Name>),
}

/// One ask.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The request's name.
    pub request: Name,
    /// The module, as the asker spells it.
    pub module: Name,
    /// The owner of the request.
    pub owner: Option<Name>,
    /// The hold through which a nested turn is asked for.
    pub within: Option<Name>,
    /// Whether it goes ahead of all requests that are not urgent.
    pub urgent: bool,
    /// How long it waits.
    pub timeout: Option<Nanos>,
    /// The length of the lease that comes with its grant.
    pub lease: Option<Nanos>,
    /// Whether its grant must be claimed.
    pub claim: bool,
    /// Whether it repeats an ask whose connection was lost.
    pub requeued: bool,
}

impl Ask {
    /// Returns a plain ask by an owner of its own, which has the request's name.
    #[must_use]
    pub fn new(request: &str, module: &str) -> Self {
        Ask {
            request: request.into(),
            module: module.into(),
            owner: Some(request.into()),
            within: None,
            urgent: false,
            timeout: None,
            lease: None,
            claim: false,
            requeued: false,
        }
    }
}

/// The action as a scenario writes it. A reload's roster follows on lines of its own.
impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Tick => f.write_str("tick"),
            Action::Ask(ask) => write!(f, "{ask}"),
            Action::End { hold, owner, how } => {
                let verb = match how {
                    Leave::Released => "ends",
                    Leave::Panicked => "panics",
                    Leave::Declined => "declines",
                };
                write!(f, "{hold} {verb} by {}", owner.as_deref().unwrap_or("nobody"))
            }
            Action::EndModule { module, owner } => write!(f, "end {module} by {owner}"),
            Action::Yield { hold, owner, request, timeout } => {
                let owner = owner.as_deref().unwrap_or("nobody");
                write!(f, "{request}: {hold} yields by {owner}")?;
                timeout.map_or(Ok(()), |t| write!(f, " timeout {}", seconds(t)))
            }
            Action::Withdraw(request) => write!(f, "{request} withdraws"),
            Action::Claim(request) => write!(f, "{request} claims"),
            Action::Acknowledge(hold) => write!(f, "{hold} acknowledges"),
            Action::Heartbeat(hold) => write!(f, "{hold} heartbeats"),
            Action::OwnerLost(owner) => write!(f, "lost {owner}"),
            Action::Steer(steer) => write_steer(steer, f),
            Action::Reset(owner) => {
                write!(f, "reset by {}", owner.as_deref().unwrap_or("nobody"))
            }
        }
    }
}

/// Returns how scenarios write the priority below which a pause holds requests back.
pub(crate) fn below_text(below: Below) -> String {
    match below {
        Below::Priority(level) => level.to_string(),
        Below::Urgent => "urgent".to_string(),
    }
}

fn write_steer(steer: &Steer<Name>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match steer {
        Steer::Cancel { module } => write!(f, "cancel {module}"),
        Steer::Disable { module } => write!(f, "disable {module}"),
        Steer::Enable { module } => write!(f, "enable {module}"),
        Steer::Mode { module, mode } => write!(f, "mode {module} {}", mode.name()),
        Steer::Pause { reason, below, lasts } => {
            write!(f, "pause {reason:?} below {}", below_text(*below))?;
            lasts.map_or(Ok(()), |t| write!(f, " for {}", seconds(nanos(t))))
        }
        Steer::Resume { reason: None } => f.write_str("resume"),
        Steer::Resume { reason: Some(reason) } => write!(f, "resume {reason:?}"),
        Steer::Close => f.write_str("close"),
        Steer::Reload(_) => f.write_str("reload"),
        Steer::Revoke { reason } => write!(f, "revoke {reason:?}"),
        // Scenarios name owners; see `Action::Reset`.
        Steer::Reset { .. } => f.write_str("reset"),
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} asks", self.request, self.module)?;
        if self.owner.as_ref() != Some(&self.request) {
            write!(f, " by {}", self.owner.as_deref().unwrap_or("nobody"))?;
        }
        if let Some(hold) = &self.within {
            write!(f, " within {hold}")?;
        }
        if self.urgent {
            f.write_str(" urgent")?;
        }
        if let Some(timeout) = self.timeout {
            write!(f, " timeout {}", seconds(timeout))?;
        }
        if let Some(lease) = self.lease {
            write!(f, " lease {}", seconds(lease))?;
        }
        for (is, word) in [(self.claim, " claim"), (self.requeued, " requeued")] {
            f.write_str(if is { word } else { "" })?;
        }
        Ok(())
    }
}

/// A question that a scenario puts to the mutex at a moment. Each has a short text as its answer.
#[derive(Clone, Debug)]
pub enum Query {
    /// `? f told`: the answer that a request got.
    Told(Name),
    /// `? f should_yield`: whether this hold should give way.
    ShouldYield(Name),
    /// `? holder`
    Holder,
    /// `? waiters`
    Waiters,
    /// `? why`: why each waiter waits.
    Why,
    /// `? next`: the next grant and its time, if no other request arrives.
    Next,
    /// `? last`: the last turn and its end.
    Last,
    /// `? paused`
    Paused,
    /// `? module fisher`: its mode and counts.
    Module(Name),
    /// `? name Fisher`: what a name stands for.
    Name(String),
    /// `? missed`: how many events the buffer dropped.
    Missed,
}
