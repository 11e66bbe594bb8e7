//! The faults, the steps at which they land, and the clients that they hit.

use std::fmt;
use std::time::Duration;

/// The subject. One of the others is of its group: see [`Cell::kin`].
pub(crate) const SUBJECT: &str = "fisher";
/// The other client of higher priority than the subject.
pub(crate) const FIRST: &str = "runemaker";
/// The other client of lower priority than the subject.
pub(crate) const LAST: &str = "eater";
/// The module of the subject's nested turns.
pub(crate) const NESTED: &str = "stacker";

/// The handover delay of every run: much longer than a message takes, so that a grant without it shows.
pub(crate) const DELAY: Duration = Duration::from_millis(60);
/// The lease of every run over TCP: as short as a busy machine allows, since most cells wait for it to run out.
pub(crate) const LEASE: Duration = Duration::from_millis(900);

/// How far the subject has come in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// It has connected and said nothing.
    Connected,
    /// Half of its hello is written.
    HelloHalf,
    /// Its hello is answered, and it has not read the answer.
    HelloSent,
    /// It has read the answer to its hello.
    Greeted,
    /// Half of its ask is written.
    AskHalf,
    /// It waits behind a holder.
    Waiting,
    /// It was granted a turn, and has not read the grant.
    Granted,
    /// It has a turn and does nothing.
    Holding,
    /// It has sent the first of its actions.
    Acting,
    /// It has a nested turn.
    Nested,
    /// Half of its release is written.
    ReleaseHalf,
    /// Its release is answered, and it has not read the answer.
    ReleaseSent,
    /// It has given its turn away and asked anew, and has not read the answer.
    YieldSent,
    /// It has withdrawn its ask, and has not read the answer.
    WithdrawSent,
    /// Half of a heartbeat is written.
    HeartbeatHalf,
    /// Its last heartbeat is answered, and it has not read the answer. Heartbeats before it have kept the turn for longer than a
    /// lease.
    HeartbeatSent,
    /// It has a turn, asked for events on the same connection, and reads none.
    Events,
    /// Its turn is over, and it is still connected.
    Idle,
}

/// What the subject has at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Nothing,
    /// A request that waits.
    Waits,
    /// A turn.
    Holds,
}

impl Step {
    const ALL: [(Step, &'static str); 18] = [
        (Step::Connected, "connected"),
        (Step::HelloHalf, "hello-half"),
        (Step::HelloSent, "hello-sent"),
        (Step::Greeted, "greeted"),
        (Step::AskHalf, "ask-half"),
        (Step::Waiting, "waiting"),
        (Step::Granted, "granted"),
        (Step::Holding, "holding"),
        (Step::Acting, "acting"),
        (Step::Nested, "nested"),
        (Step::ReleaseHalf, "release-half"),
        (Step::ReleaseSent, "release-sent"),
        (Step::YieldSent, "yield-sent"),
        (Step::WithdrawSent, "withdraw-sent"),
        (Step::HeartbeatHalf, "heartbeat-half"),
        (Step::HeartbeatSent, "heartbeat-sent"),
        (Step::Events, "events"),
        (Step::Idle, "idle"),
    ];

    pub(crate) fn name(self) -> &'static str {
        Step::ALL.iter().find(|(step, _)| *step == self).map_or("", |(_, name)| name)
    }

    pub(crate) fn named(name: &str) -> Option<Step> {
        Step::ALL.iter().find(|(_, its)| *its == name).map(|(step, _)| *step)
    }

    pub(crate) fn standing(self) -> Standing {
        match self {
            Step::Connected | Step::HelloHalf | Step::HelloSent | Step::Greeted | Step::AskHalf => {
                Standing::Nothing
            }
            Step::ReleaseSent | Step::WithdrawSent | Step::Idle => Standing::Nothing,
            Step::Waiting | Step::YieldSent => Standing::Waits,
            Step::Granted | Step::Holding | Step::Acting | Step::Nested => Standing::Holds,
            Step::ReleaseHalf | Step::HeartbeatHalf | Step::HeartbeatSent | Step::Events => {
                Standing::Holds
            }
        }
    }

    /// Returns whether another client must hold the mutex at the step.
    pub(crate) fn is_behind_a_holder(self) -> bool {
        matches!(self, Step::Waiting | Step::WithdrawSent)
    }

    /// Returns the step at which the others come to wait, before the subject goes on to its own.
    pub(crate) fn before(self) -> Option<Step> {
        match self {
            Step::WithdrawSent => Some(Step::Waiting),
            Step::Acting | Step::Nested | Step::ReleaseHalf | Step::ReleaseSent => {
                Some(Step::Holding)
            }
            Step::YieldSent | Step::HeartbeatHalf | Step::HeartbeatSent | Step::Events => {
                Some(Step::Holding)
            }
            _ => None,
        }
    }
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The subject is killed (SIGKILL).
    Kill,
    /// The subject is stopped (SIGSTOP) and goes on later (SIGCONT): over TCP after more than a lease.
    Stop,
    /// The subject closes its writing side and reads on.
    HalfClose,
    /// The subject's connection is reset in the middle of a frame; over a Unix socket it is closed there.
    Reset,
    /// The server is killed and started again at once.
    ServerKill,
    /// The server is stopped and goes on later: over TCP after more than a lease.
    ServerStop,
}

impl Fault {
    pub(crate) const ALL: [Fault; 6] = [
        Fault::Kill,
        Fault::Stop,
        Fault::HalfClose,
        Fault::Reset,
        Fault::ServerKill,
        Fault::ServerStop,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill",
            Fault::Stop => "stop",
            Fault::HalfClose => "half-close",
            Fault::Reset => "reset",
            Fault::ServerKill => "server-kill",
            Fault::ServerStop => "server-stop",
        }
    }
}

/// How the clients are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A Unix socket.
    Unix,
    /// TCP on the loopback.
    Tcp,
}

/// What the subject is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sockets and JSON, frame by frame.
    Raw,
    /// `PacketMutex::connect`.
    Library,
}

/// A fault at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// How far the subject has come.
    pub step: Step,
    /// What goes wrong.
    pub fault: Fault,
    /// How the clients are connected.
    pub transport: Transport,
    /// What the subject is.
    pub kind: Kind,
    /// The seed of random times at which the run goes on, without waiting for what came before. `None`: the fault lands exactly
    /// at the step.
    pub jitter: Option<u64>,
}

impl Cell {
    /// Returns the other client of the subject's group. It alternates from step to step, so that the delay after a lost turn is
    /// checked for the subject's own group and for another.
    pub(crate) fn kin(&self) -> &'static str {
        if (self.step as usize).is_multiple_of(2) { FIRST } else { LAST }
    }

    fn exists(&self) -> bool {
        // A program cannot stop the library in the middle of a frame, and does not own its socket.
        let by_library = matches!(
            self.step,
            Step::Greeted
                | Step::Waiting
                | Step::Holding
                | Step::Acting
                | Step::Nested
                | Step::YieldSent
                | Step::Events
                | Step::Idle
        );
        let has_wire = matches!(self.fault, Fault::HalfClose | Fault::Reset);
        // Heartbeats are for leases, which only TCP has.
        let beats = matches!(self.step, Step::HeartbeatHalf | Step::HeartbeatSent);
        (self.kind == Kind::Raw || by_library && !has_wire)
            && (self.transport == Transport::Tcp || !beats)
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = if self.transport == Transport::Unix { "unix" } else { "tcp" };
        let kind = if self.kind == Kind::Raw { "raw" } else { "library" };
        write!(f, "{} at {} over {transport}, {kind}", self.fault.name(), self.step.name())?;
        self.jitter.map_or(Ok(()), |seed| write!(f, ", seed {seed}"))
    }
}

/// Returns all cells, with faults exactly at their steps.
#[must_use]
pub fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for transport in [Transport::Unix, Transport::Tcp] {
        for fault in Fault::ALL {
            for kind in [Kind::Raw, Kind::Library] {
                for (step, _) in Step::ALL {
                    cells.push(Cell { step, fault, transport, kind, jitter: None });
                }
            }
        }
    }
    cells.retain(Cell::exists);
    cells
}
