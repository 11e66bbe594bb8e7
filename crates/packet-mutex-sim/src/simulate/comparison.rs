//! Compares an arbiter with the oracle during a run: every event, and whether each input is taken.

use super::world::Observer;
use crate::action::{Action, Ask};
use crate::log::{Entry, Name};
use crate::oracle::Oracle;
use crate::seconds::{Nanos, nanos};
use crate::words;
use packet_mutex_arbiter::{Event, Input, ModuleId, Owner, RequestId, Roster, Steer};
use std::collections::VecDeque;
use std::convert::Infallible;

/// Runs the oracle beside an arbiter.
pub(super) struct Comparison {
    oracle: Oracle,
    modules: Vec<Name>,
    /// The last input, for messages.
    action: Option<Action>,
    /// Whether the oracle takes the last input.
    takes: bool,
    /// The events that the oracle expects of it.
    expected: VecDeque<Entry>,
    broken: Option<String>,
}

impl Comparison {
    /// Compares with an oracle that knows these rules.
    pub(super) fn new(rules: &Roster) -> Self {
        Comparison {
            // A run may be long, and old history changes nothing.
            oracle: Oracle::new(rules).forgetting(),
            modules: module_names(rules),
            action: None,
            takes: true,
            expected: VecDeque::new(),
            broken: None,
        }
    }

    fn differs(&mut self, how: impl FnOnce() -> String) {
        self.broken.get_or_insert_with(how);
    }
}

impl Observer for Comparison {
    fn input(&mut self, at: Nanos, input: &Input) {
        self.action = action(input, &self.modules);
        if let Some(action) = &self.action {
            self.takes = self.oracle.act(at, action).is_ok();
            self.expected.extend(self.oracle.log());
        }
    }

    fn event(&mut self, event: &Event) {
        let module = |module: ModuleId| module_name(&self.modules, module);
        let is = words::entry(event.clone().map_modules(module), request_name);
        match self.expected.pop_front() {
            Some(should) if should == is => {}
            Some(should) => self.differs(|| format!("{is}, but the oracle says {should}")),
            None => self.differs(|| format!("{is}, but the oracle says nothing")),
        }
    }

    fn handled(&mut self, taken: bool) {
        let Some(action) = self.action.take() else { return };
        if let Some(should) = self.expected.pop_front() {
            self.differs(|| format!("after {action} the oracle also says {should}"));
        }
        if taken != self.takes {
            let does = if taken { "refuses" } else { "takes" };
            self.differs(|| format!("{action}: the oracle {does} it"));
        }
    }

    fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }
}

/// Returns the names of a roster's modules, by their numbers.
pub(super) fn module_names(roster: &Roster) -> Vec<Name> {
    roster.spec().modules.iter().map(|module| module.name.as_str().into()).collect()
}

fn module_name(modules: &[Name], module: ModuleId) -> Name {
    modules.get(module.index()).cloned().unwrap_or_else(|| "".into())
}

fn request_name(request: RequestId) -> Name {
    format!("r{}", request.0).into()
}

/// Returns an input as an action of a scenario, if campaigns make such inputs. An owner has the name of its first request.
pub(super) fn action(input: &Input, modules: &[Name]) -> Option<Action> {
    let request = |id: &RequestId| request_name(*id);
    let owner = |owner: &Owner| request_name(RequestId(owner.0));
    let module = |module: &ModuleId| module_name(modules, *module);
    Some(match input {
        Input::Tick => Action::Tick,
        Input::Request(asked) => Action::Ask(Ask {
            owner: asked.owner.as_ref().map(owner),
            urgent: asked.urgent,
            timeout: asked.timeout.map(nanos),
            ..Ask::new(&request(&asked.id), &module(&asked.module))
        }),
        Input::End { hold, owner: by, how } => {
            Action::End { hold: request(hold), owner: by.as_ref().map(owner), how: *how }
        }
        Input::Yield { hold, owner: by, id, timeout } => Action::Yield {
            hold: request(hold),
            owner: by.as_ref().map(owner),
            request: request(id),
            timeout: timeout.map(nanos),
        },
        Input::Withdraw { request: it } => Action::Withdraw(request(it)),
        Input::OwnerLost { owner: lost } => Action::OwnerLost(owner(lost)),
        Input::Acknowledge { hold } => Action::Acknowledge(request(hold)),
        Input::Steer(Steer::Reload(_) | Steer::Revoke { .. } | Steer::Reset { .. }) => return None,
        Input::Steer(steer) => {
            let named = steer.clone().try_map_module(|it| Ok::<_, Infallible>(module(&it)));
            Action::Steer(named.unwrap_or_else(|never| match never {}))
        }
        // Campaigns do not make these.
        Input::EndModule { .. } | Input::Claim { .. } | Input::Heartbeat { .. } => return None,
    })
}
