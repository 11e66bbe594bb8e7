//! The one table of the roster's keys: the reader knows no others, and the reference is made from it.

/// A table of the roster file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// The file's top level: settings of the mutex.
    Mutex,
    /// `[limits]`.
    Limits,
    /// `[modules.NAME]`.
    Module,
    /// `[[delays]]`.
    Delay,
}

impl Section {
    /// The section's header as it is written; empty for the top level.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Section::Mutex => "",
            Section::Limits => "[limits]",
            Section::Module => "[modules.NAME]",
            Section::Delay => "[[delays]]",
        }
    }

    /// The keys that the section may have.
    ///
    /// ```
    /// use packet_mutex::roster_toml::Section;
    /// assert!(Section::Delay.keys().any(|key| key.name == "from"));
    /// ```
    pub fn keys(self) -> impl Iterator<Item = &'static Key> {
        KEYS.iter().filter(move |key| key.section == self)
    }
}

/// A key of the roster file.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The table it stands in.
    pub section: Section,
    /// Its name.
    pub name: &'static str,
    /// What values it takes.
    pub value: &'static str,
    /// What counts without it; empty for a table.
    pub default: &'static str,
    /// What it means.
    pub meaning: &'static str,
}

/// All keys, in the order of the reference.
pub const KEYS: &[Key] = &[
    key(
        Section::Mutex,
        "handover_delay",
        "duration",
        "`\"1s\"`",
        "The least time between turns of different groups.",
    ),
    key(
        Section::Mutex,
        "timeout",
        "duration",
        "`\"30s\"`",
        "How long a request waits. `\"0s\"`: it is granted at once or refused.",
    ),
    key(
        Section::Mutex,
        "aging",
        "duration above zero, or `\"off\"`",
        "`\"off\"`",
        "The waiting time that is worth one step of priority. Off: strict priorities.",
    ),
    key(
        Section::Mutex,
        "strict",
        "`true` or `false`",
        "`false`",
        "Whether modules that the roster does not name are refused. If not, their priority is 50 and each is a group of \
         its own.",
    ),
    key(
        Section::Mutex,
        "starving_after",
        "duration above zero, or `\"off\"`",
        "`\"15s\"`",
        "A request that has waited this long raises a `starving` event.",
    ),
    key(
        Section::Mutex,
        "claim_within",
        "duration above zero",
        "`\"5s\"`",
        "A grant that its asker does not take within this time is declined, such as that of a future that is never \
         polled again.",
    ),
    key(Section::Mutex, "limits", "table", "", "The limits, below."),
    key(Section::Mutex, "modules", "tables by name", "", "The modules, below."),
    key(Section::Mutex, "delays", "array of tables", "", "Delays between pairs of groups, below."),
    key(
        Section::Limits,
        "waiters",
        "whole number above zero",
        "`4096`",
        "Most waiting requests, and most open passes.",
    ),
    key(
        Section::Limits,
        "modules",
        "whole number above zero",
        "`256`",
        "Most distinct modules, those that the roster does not name included.",
    ),
    key(
        Section::Limits,
        "events",
        "whole number above zero",
        "`8192`",
        "Most events kept for readers that have not yet read them.",
    ),
    key(
        Section::Module,
        "priority",
        "whole number, 0 to 255",
        "`50`",
        "The higher goes first; equals go in order of arrival.",
    ),
    key(
        Section::Module,
        "group",
        "name",
        "the module's name",
        "Modules of one group hand over without delay, and may nest.",
    ),
    key(
        Section::Module,
        "timeout",
        "duration",
        "the mutex's",
        "How long its requests wait, unless the call says otherwise.",
    ),
    key(
        Section::Module,
        "handover_delay",
        "duration",
        "the mutex's",
        "The delay after its turns, for other groups.",
    ),
    key(
        Section::Module,
        "longest_turn",
        "duration above zero, or `\"off\"`",
        "`\"off\"`",
        "A longer turn is an overrun: an event, a warning, and the holder is asked to yield.",
    ),
    key(Section::Module, "urgent", "`true` or `false`", "`true`", "Whether it may ask urgently."),
    key(
        Section::Module,
        "mode",
        "`\"enforced\"`, `\"observed\"` or `\"off\"`",
        "`\"enforced\"`",
        "Observed: it is let through at once, and conflicts are recorded. Off: it is let through unrecorded.",
    ),
    key(
        Section::Delay,
        "from",
        "name of a group, or `\"*\"`",
        "must be given",
        "The group whose turn ended; `\"*\"`: any other group.",
    ),
    key(
        Section::Delay,
        "to",
        "name of a group, or `\"*\"`",
        "must be given",
        "The group that waits; `\"*\"`: any other group.",
    ),
    key(
        Section::Delay,
        "delay",
        "duration",
        "must be given",
        "The least time between. The most specific pair counts; of `a` to `*` and `*` to `b`, the longer.",
    ),
];

const fn key(
    section: Section,
    name: &'static str,
    value: &'static str,
    default: &'static str,
    meaning: &'static str,
) -> Key {
    Key { section, name, value, default, meaning }
}
