//! The roster: the modules of one mutex with their settings (S19).

use crate::name::{InvalidName, check_name, fold_name, skeleton};
use crate::named::named;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use alloc::{format, vec};
use core::fmt;
use core::time::Duration;

/// The longest timeout, delay or lease: 24 hours. None is infinite (S4).
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// The priority of a module that the roster does not name.
pub const DEFAULT_PRIORITY: u8 = 50;

named! {
    /// How far the mutex governs a module (S15).
    #[derive(Default)]
    pub enum Mode {
        /// The module takes turns like the others.
        #[default]
        Enforced = "enforced",
        /// The module gets a pass at once. The pass is recorded and excludes nobody.
        Observed = "observed",
        /// The module gets a pass at once. Nothing is recorded.
        Off = "off",
    }
}

/// The limits of S14. Each has an error of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limits {
    /// The most requests that can wait, and the most passes that can be open.
    pub waiters: usize,
    /// The most distinct modules, including those that the roster does not name. At most 65,535.
    pub modules: usize,
    /// The most events that are kept for readers that have not yet read them.
    pub events: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { waiters: 4096, modules: 256, events: 8192 }
    }
}

/// One module's settings as they were written. `None` means the mutex's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleSpec {
    /// The module's name.
    pub name: String,
    /// Its priority, 0 to 255. The higher goes first.
    pub priority: u8,
    /// Its group. Modules of one group hand over without delay and may nest. `None`: a group of its own name.
    pub group: Option<String>,
    /// How long its requests wait at most, unless the call says otherwise.
    pub timeout: Option<Duration>,
    /// The delay after its turns, for other groups.
    pub handover_delay: Option<Duration>,
    /// Its longest turn. Longer turns are overruns (S8). `None`: no turn is an overrun.
    pub longest_turn: Option<Duration>,
    /// Whether it may ask urgently (S10).
    pub urgent: bool,
    /// How far the mutex governs it.
    pub mode: Mode,
}

impl ModuleSpec {
    /// Makes a module with this name and priority. Everything else is as the mutex has it.
    #[must_use]
    pub fn new(name: &str, priority: u8) -> Self {
        ModuleSpec {
            name: name.to_string(),
            priority,
            group: None,
            timeout: None,
            handover_delay: None,
            longest_turn: None,
            urgent: true,
            mode: Mode::Enforced,
        }
    }

    /// Puts the module into a group.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.to_string());
        self
    }
}

/// A delay for handovers from one group to another; `*` stands for every other group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DelaySpec {
    /// The group whose turn ended, or `*`.
    pub from: String,
    /// The group that is to be granted, or `*`.
    pub to: String,
    /// The least time between their turns.
    pub delay: Duration,
}

/// A roster as it was written, not yet checked. [`Roster::new`] checks it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterSpec {
    /// The least time between turns of different groups (S3).
    pub handover_delay: Duration,
    /// How long a request waits at most (S4).
    pub timeout: Duration,
    /// The waiting time that is worth one step of priority (S13). `None`: strict priorities.
    pub aging: Option<Duration>,
    /// Whether modules that the roster does not name are refused.
    pub strict: bool,
    /// A request that has waited this long raises a `starving` event (S13). `None`: never.
    pub starving_after: Option<Duration>,
    /// A grant that nobody claims within this time is declined. This concerns only askers that might not notice their
    /// grant, such as a future that is never polled again (S12).
    pub claim_within: Duration,
    /// The limits of S14.
    pub limits: Limits,
    /// The modules.
    pub modules: Vec<ModuleSpec>,
    /// Delays of particular pairs of groups. The most specific pair counts. Of `a`→`*` and `*`→`b`, the longer counts.
    pub delays: Vec<DelaySpec>,
}

/// The mutex's settings without any module.
impl Default for RosterSpec {
    fn default() -> Self {
        RosterSpec {
            handover_delay: Duration::from_secs(1),
            timeout: Duration::from_secs(30),
            aging: None,
            strict: false,
            starving_after: Some(Duration::from_secs(15)),
            claim_within: Duration::from_secs(5),
            limits: Limits::default(),
            modules: Vec::new(),
            delays: Vec::new(),
        }
    }
}

/// One thing that is wrong with a roster, and its field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterError {
    /// The field's path, such as `modules.fisher.timeout` or `delays[0].from`.
    pub field: String,
    /// What is wrong.
    pub problem: RosterProblem,
}

/// What can be wrong with a roster's field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RosterProblem {
    /// The name is not valid.
    Name(InvalidName),
    /// Two modules have the same name after folding, or two delays have the same pair.
    Duplicate,
    /// A module's name differs from another's only in `- _ .`.
    TooAlike {
        /// The other module.
        other: String,
    },
    /// A duration is longer than [`DURATION_MAX`].
    TooLong,
    /// A duration or limit that must not be zero is zero.
    Zero,
    /// There are more modules than the limit.
    TooManyModules {
        /// The limit.
        limit: usize,
    },
}

/// Shows the field and the problem for programmers. The crate `packet-mutex` has sentences for users.
impl fmt::Display for RosterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.field, self.problem)
    }
}

impl core::error::Error for RosterError {}

/// All that is wrong with a roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RosterErrors(pub Vec<RosterError>);

impl fmt::Display for RosterErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}

impl core::error::Error for RosterErrors {}

/// A checked roster.
///
/// [`Roster::default`] holds the six modules that PacketMutex was made for.
///
/// ```
/// use packet_mutex_arbiter::{ModuleSpec, Roster, RosterSpec};
/// use core::time::Duration;
///
/// let roster = Roster::new(RosterSpec {
///     handover_delay: Duration::from_millis(600),
///     modules: vec![ModuleSpec::new("arm", 90), ModuleSpec::new("camera", 10)],
///     ..RosterSpec::default()
/// })
/// .unwrap();
/// assert_eq!(roster.spec().modules.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    spec: RosterSpec,
}

impl Roster {
    /// Checks a roster and folds its names.
    ///
    /// # Errors
    ///
    /// All that is wrong with the roster, each error with its field.
    pub fn new(mut spec: RosterSpec) -> Result<Roster, RosterErrors> {
        let mut errors = Vec::new();
        check_mutex(&spec, &mut errors);
        check_modules(&mut spec, &mut errors);
        check_delays(&mut spec, &mut errors);
        if errors.is_empty() { Ok(Roster { spec }) } else { Err(RosterErrors(errors)) }
    }

    /// Returns the settings, with their names folded.
    #[must_use]
    pub fn spec(&self) -> &RosterSpec {
        &self.spec
    }

    /// Returns the settings, to be changed and checked again with [`Roster::new`].
    #[must_use]
    pub fn into_spec(self) -> RosterSpec {
        self.spec
    }

    /// Returns the settings of a module, if the roster names it.
    #[must_use]
    pub fn module(&self, name: &str) -> Option<&ModuleSpec> {
        self.spec.modules.iter().find(|module| module.name == name)
    }

    /// Returns the paths of the fields in which two rosters differ (S19).
    #[must_use]
    pub fn differences(&self, other: &Roster) -> Vec<String> {
        let (mine, theirs) = (self.fields(), other.fields());
        let paths: BTreeSet<&String> = mine.keys().chain(theirs.keys()).collect();
        let differing = paths.into_iter().filter(|path| mine.get(*path) != theirs.get(*path));
        differing.cloned().collect()
    }

    fn fields(&self) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        let mut put = |path: String, value: &dyn fmt::Debug| {
            fields.insert(path, format!("{value:?}"));
        };
        // Named one by one, so that the compiler finds a field that is forgotten here.
        let RosterSpec {
            handover_delay,
            timeout,
            aging,
            strict,
            starving_after,
            claim_within,
            limits,
            modules,
            delays,
        } = &self.spec;
        put("handover_delay".into(), handover_delay);
        put("timeout".into(), timeout);
        put("aging".into(), aging);
        put("strict".into(), strict);
        put("starving_after".into(), starving_after);
        put("claim_within".into(), claim_within);
        put("limits".into(), limits);
        for module in modules {
            let ModuleSpec {
                name,
                priority,
                group,
                timeout,
                handover_delay,
                longest_turn,
                urgent,
                mode,
            } = module;
            let path = |key: &str| format!("modules.{name}.{key}");
            put(path("priority"), priority);
            // No group and a group of the module's own name mean the same, so they are no difference.
            put(path("group"), group.as_ref().unwrap_or(name));
            put(path("timeout"), timeout);
            put(path("handover_delay"), handover_delay);
            put(path("longest_turn"), longest_turn);
            put(path("urgent"), urgent);
            put(path("mode"), mode);
        }
        for DelaySpec { from, to, delay } in delays {
            put(format!("delays.{from}->{to}"), delay);
        }
        fields
    }
}

/// Runemaker, trainer, fisher, auto_loot, stacker and eater, with the groups {fisher, stacker} and {auto_loot, eater}.
impl Default for Roster {
    fn default() -> Self {
        let modules = vec![
            ModuleSpec::new("runemaker", 100),
            ModuleSpec::new("trainer", 80),
            ModuleSpec::new("fisher", 60).group("fishing"),
            ModuleSpec::new("auto_loot", 40).group("looting"),
            ModuleSpec::new("stacker", 30).group("fishing"),
            ModuleSpec::new("eater", 20).group("looting"),
        ];
        Roster { spec: RosterSpec { modules, ..RosterSpec::default() } }
    }
}

fn check_mutex(spec: &RosterSpec, errors: &mut Vec<RosterError>) {
    let RosterSpec {
        handover_delay,
        timeout,
        aging,
        strict: _,
        starving_after,
        claim_within,
        limits: Limits { waiters, modules, events },
        modules: _,
        delays: _,
    } = *spec;
    check_duration("handover_delay".into(), Some(handover_delay), true, errors);
    check_duration("timeout".into(), Some(timeout), true, errors);
    check_duration("aging".into(), aging, false, errors);
    check_duration("starving_after".into(), starving_after, false, errors);
    check_duration("claim_within".into(), Some(claim_within), false, errors);
    for (key, value) in [("waiters", waiters), ("modules", modules), ("events", events)] {
        if value == 0 {
            errors.push(error(format!("limits.{key}"), RosterProblem::Zero));
        }
    }
    // A module's number has 16 bits, and the last of them is `ModuleId::NONE`.
    let limit = modules.min(usize::from(u16::MAX));
    if spec.modules.len() > limit {
        errors.push(error("modules".into(), RosterProblem::TooManyModules { limit }));
    }
}

fn check_modules(spec: &mut RosterSpec, errors: &mut Vec<RosterError>) {
    let mut skeletons: BTreeMap<String, String> = BTreeMap::new();
    for module in &mut spec.modules {
        let ModuleSpec {
            name: written,
            priority: _,
            group,
            timeout,
            handover_delay,
            longest_turn,
            urgent: _,
            mode: _,
        } = module;
        // A bad name must not reach a log raw (S14), so the path shows only a good one.
        let shown = if check_name(written).is_ok() { written.as_str() } else { "?" };
        let path = format!("modules.{shown}");
        match fold_name(written) {
            Err(why) => errors.push(error(path.clone(), RosterProblem::Name(why))),
            Ok(name) => {
                if let Some(other) = skeletons.insert(skeleton(&name), name.clone()) {
                    let problem = if other == name {
                        RosterProblem::Duplicate
                    } else {
                        RosterProblem::TooAlike { other }
                    };
                    errors.push(error(path.clone(), problem));
                }
                // Folded in place even if something else is wrong, so that later checks compare what will count.
                *written = name;
            }
        }
        if let Some(group) = group {
            match fold_name(group) {
                Err(why) => errors.push(error(format!("{path}.group"), RosterProblem::Name(why))),
                Ok(name) => *group = name,
            }
        }
        check_duration(format!("{path}.timeout"), *timeout, true, errors);
        check_duration(format!("{path}.handover_delay"), *handover_delay, true, errors);
        check_duration(format!("{path}.longest_turn"), *longest_turn, false, errors);
    }
}

fn check_delays(spec: &mut RosterSpec, errors: &mut Vec<RosterError>) {
    let mut pairs = BTreeSet::new();
    for (at, DelaySpec { from, to, delay }) in spec.delays.iter_mut().enumerate() {
        for (key, group) in [("from", &mut *from), ("to", &mut *to)] {
            if group == "*" {
                continue;
            }
            match fold_name(group) {
                Err(why) => {
                    errors.push(error(format!("delays[{at}].{key}"), RosterProblem::Name(why)));
                }
                Ok(name) => *group = name,
            }
        }
        check_duration(format!("delays[{at}].delay"), Some(*delay), true, errors);
        if !pairs.insert((from.clone(), to.clone())) {
            errors.push(error(format!("delays[{at}]"), RosterProblem::Duplicate));
        }
    }
}

fn check_duration(
    field: String,
    value: Option<Duration>,
    zero: bool,
    errors: &mut Vec<RosterError>,
) {
    match value {
        Some(value) if value > DURATION_MAX => errors.push(error(field, RosterProblem::TooLong)),
        Some(value) if value.is_zero() && !zero => errors.push(error(field, RosterProblem::Zero)),
        _ => {}
    }
}

fn error(field: String, problem: RosterProblem) -> RosterError {
    RosterError { field, problem }
}
