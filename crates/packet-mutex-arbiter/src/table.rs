//! The roster as the arbiter uses it. Modules and groups have numbers, and delays are looked up in pairs.

use crate::input::ModuleId;
use crate::name::{InvalidName, check_name, nearest_name, skeleton};
use crate::roster::{DEFAULT_PRIORITY, Limits, Mode, ModuleSpec, Roster};
use crate::time::nanos;
use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct GroupId(u16);

impl GroupId {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Module {
    pub(crate) name: Arc<str>,
    pub(crate) group: GroupId,
    pub(crate) priority: u8,
    pub(crate) timeout: Duration,
    pub(crate) delay: Duration,
    pub(crate) longest_turn: Option<Duration>,
    pub(crate) may_be_urgent: bool,
    pub(crate) mode: Mode,
    pub(crate) disabled: bool,
}

/// A group, or any other group (`*`).
type Side = Option<GroupId>;

#[derive(Clone, Debug)]
pub(crate) struct Table {
    roster: Roster,
    modules: Vec<Module>,
    by_name: BTreeMap<Arc<str>, ModuleId>,
    /// The roster's names by what is left of them without `- _ .`.
    by_skeleton: BTreeMap<String, Arc<str>>,
    groups: BTreeMap<Arc<str>, GroupId>,
    pairs: BTreeMap<(Side, Side), Duration>,
}

/// A module's number, as [`Arbiter::resolve`](crate::Arbiter::resolve) found or made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The module.
    pub module: ModuleId,
    /// Whether this was the first ask for a module that the roster does not name. That is worth a warning.
    pub first_unknown: bool,
    /// The nearest name in the roster, if [`first_unknown`](Self::first_unknown) is set and a name is near.
    pub nearest: Option<Arc<str>>,
}

/// Why a name stands for no module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It is not a valid name, or it differs from a roster name only in `- _ .`.
    Invalid(InvalidName),
    /// The roster is strict and does not have the module.
    UnknownModule {
        /// The name.
        name: String,
        /// The nearest name in the roster, if one is near.
        nearest: Option<Arc<str>>,
    },
    /// There are too many distinct modules already (S14).
    TooManyModules {
        /// The limit.
        limit: usize,
    },
}

impl NameError {
    /// Returns the name of this kind of error, which every front uses.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            NameError::Invalid(_) => InvalidName::KIND,
            NameError::UnknownModule { .. } => "unknown_module",
            NameError::TooManyModules { .. } => "refused",
        }
    }
}

impl Table {
    pub(crate) fn new(roster: Roster) -> Self {
        let mut table = Table {
            roster,
            modules: Vec::new(),
            by_name: BTreeMap::new(),
            by_skeleton: BTreeMap::new(),
            groups: BTreeMap::new(),
            pairs: BTreeMap::new(),
        };
        table.apply_roster(None);
        table
    }

    /// Takes over the new roster's settings. Modules and groups keep their numbers.
    ///
    /// # Errors
    ///
    /// The limit, if the old and new modules together exceed it.
    pub(crate) fn reload(&mut self, roster: Roster) -> Result<(), usize> {
        let limit = roster.spec().limits.modules;
        let is_new = |m: &&ModuleSpec| !self.by_name.contains_key(m.name.as_str());
        // Old modules count too. They keep their numbers, since handles, waiters and records refer to them.
        let added = roster.spec().modules.iter().filter(is_new).count();
        if self.modules.len() + added > limit {
            return Err(limit);
        }
        let old = core::mem::replace(&mut self.roster, roster);
        self.apply_roster(Some(&old));
        Ok(())
    }

    fn apply_roster(&mut self, old: Option<&Roster>) {
        let roster = self.roster.clone();
        let known = self.modules.iter().map(|m| m.name.to_string());
        let forgotten: Vec<String> = known.filter(|n| roster.module(n).is_none()).collect();
        for name in forgotten {
            // It gets the settings of a module that the roster does not name. A mode that was switched by hand stays: only
            // a roster that itself changes the mode changes it.
            self.put(&unnamed(&name), old.and_then(|o| o.module(&name)).map(|m| m.mode));
        }
        for module in &roster.spec().modules {
            let old_mode = old.map(|o| o.module(&module.name).map_or(Mode::Enforced, |m| m.mode));
            self.put(module, old_mode);
        }
        let skeletons = roster.spec().modules.iter();
        self.by_skeleton =
            skeletons.map(|m| (skeleton(&m.name), Arc::from(m.name.as_str()))).collect();
        let delays = roster.spec().delays.iter();
        self.pairs = delays.map(|d| ((self.side(&d.from), self.side(&d.to)), d.delay)).collect();
    }

    fn side(&mut self, group: &str) -> Side {
        (group != "*").then(|| self.group(group))
    }

    fn group(&mut self, name: &str) -> GroupId {
        if let Some(id) = self.groups.get(name) {
            return *id;
        }
        let id = GroupId(u16::try_from(self.groups.len()).unwrap_or(u16::MAX));
        self.groups.insert(Arc::from(name), id);
        id
    }

    /// Adds the module or replaces its settings. The mode changes only if it differs from that of the old roster.
    fn put(&mut self, spec: &ModuleSpec, old_mode: Option<Mode>) {
        let defaults = self.roster.spec();
        let (timeout, delay) = (defaults.timeout, defaults.handover_delay);
        let mut module = Module {
            name: Arc::from(spec.name.as_str()),
            group: self.group(spec.group.as_deref().unwrap_or(&spec.name)),
            priority: spec.priority,
            timeout: spec.timeout.unwrap_or(timeout),
            delay: spec.handover_delay.unwrap_or(delay),
            longest_turn: spec.longest_turn,
            may_be_urgent: spec.urgent,
            mode: spec.mode,
            disabled: false,
        };
        if let Some(id) = self.by_name.get(spec.name.as_str()) {
            let before = &mut self.modules[id.index()];
            module.disabled = before.disabled;
            if old_mode.is_none_or(|old| old == spec.mode) {
                module.mode = before.mode;
            }
            *before = module;
        } else {
            let id = ModuleId(u16::try_from(self.modules.len()).unwrap_or(u16::MAX));
            self.by_name.insert(module.name.clone(), id);
            self.modules.push(module);
        }
    }

    pub(crate) fn resolve(&mut self, text: &str) -> Result<Resolved, NameError> {
        check_name(text).map_err(NameError::Invalid)?;
        // Every ask by name comes through here, and most names need no folding, so they are not copied.
        let name = if text.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(text.to_ascii_lowercase())
        } else {
            Cow::Borrowed(text)
        };
        if let Some(module) = self.by_name.get(name.as_ref()) {
            return Ok(Resolved { module: *module, first_unknown: false, nearest: None });
        }
        if let Some(meant) = self.by_skeleton.get(&skeleton(&name)) {
            let (name, meant) = (name.into_owned(), meant.to_string());
            return Err(NameError::Invalid(InvalidName::NearMiss { name, meant }));
        }
        let roster_names = self.by_skeleton.values();
        let nearest = nearest_name(&name, roster_names.map(|n| &**n)).map(Arc::from);
        if self.roster.spec().strict {
            return Err(NameError::UnknownModule { name: name.into_owned(), nearest });
        }
        let limit = self.limits().modules;
        if self.modules.len() >= limit {
            return Err(NameError::TooManyModules { limit });
        }
        self.put(&unnamed(&name), None);
        Ok(Resolved { module: self.by_name[name.as_ref()], first_unknown: true, nearest })
    }

    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    pub(crate) fn limits(&self) -> Limits {
        self.roster.spec().limits
    }

    pub(crate) fn modules(&self) -> &[Module] {
        &self.modules
    }

    pub(crate) fn module(&self, id: ModuleId) -> &Module {
        &self.modules[id.index()]
    }

    pub(crate) fn module_mut(&mut self, id: ModuleId) -> &mut Module {
        &mut self.modules[id.index()]
    }

    pub(crate) fn group_count(&self) -> usize {
        self.groups.len()
    }

    pub(crate) fn group_ids(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..u16::try_from(self.groups.len()).unwrap_or(u16::MAX)).map(GroupId)
    }

    /// Returns the delay from a group to another, for a turn with this delay of its own (S3). `to` is `None` for a group
    /// that is not yet known. The result is `None` for the same group without a pair of its own.
    #[inline]
    pub(crate) fn delay(&self, from: GroupId, to: Side, own: Duration) -> Option<Duration> {
        let pair = |from, to| self.pairs.get(&(from, to)).copied();
        // The usual roster has no pairs, and this runs for every group at the end of every turn.
        if self.pairs.is_empty() {
            return (to != Some(from)).then_some(own);
        }
        if let Some(to) = to
            && let Some(exact) = pair(Some(from), Some(to))
        {
            return Some(exact);
        }
        if to == Some(from) {
            return None;
        }
        let to_this = to.and_then(|to| pair(None, Some(to)));
        let half = pair(Some(from), None).max(to_this);
        Some(half.or(pair(None, None)).unwrap_or(own))
    }

    /// Returns the longest delay that any turn can leave behind.
    pub(crate) fn longest_delay(&self) -> Duration {
        let own = self.modules.iter().map(|m| m.delay);
        let all = own.chain(self.pairs.values().copied());
        all.fold(self.roster.spec().handover_delay, Duration::max)
    }

    /// Returns the interval of aging in nanoseconds, if aging is on.
    pub(crate) fn aging(&self) -> Option<i128> {
        self.roster.spec().aging.map(|interval| i128::from(nanos(interval)))
    }
}

/// Returns the settings of a module that the roster does not name.
fn unnamed(name: &str) -> ModuleSpec {
    ModuleSpec::new(name, DEFAULT_PRIORITY)
}
