//! The one table of the roster's keys. The reader, the writer, the reference and `check --json` are made from it. Each key is
//! a field of the roster with the same name. The compiler finds a field without a key.

use super::duration::format_duration;
use packet_mutex_arbiter::{DEFAULT_PRIORITY, DelaySpec, Limits, Mode, ModuleSpec, RosterSpec};
use std::fmt;
use std::time::Duration;

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
    /// All of them, in the order of the reference.
    pub const ALL: [Section; 4] =
        [Section::Mutex, Section::Limits, Section::Module, Section::Delay];

    /// Returns the section's header as it is written. It is empty for the top level.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Section::Mutex => "",
            Section::Limits => "[limits]",
            Section::Module => "[modules.NAME]",
            Section::Delay => "[[delays]]",
        }
    }

    /// Returns the keys that the section can have.
    ///
    /// ```
    /// use packet_mutex::roster_toml::Section;
    /// assert!(Section::Delay.keys().iter().any(|key| key.name == "from"));
    /// ```
    #[must_use]
    pub fn keys(self) -> Vec<Key> {
        match self {
            Section::Mutex => described(Some(RosterSpec::default())),
            Section::Limits => described(Some(Limits::default())),
            Section::Module => described(Some(ModuleSpec::new("", DEFAULT_PRIORITY))),
            Section::Delay => described(None::<DelaySpec>),
        }
    }
}

/// A key of the roster file, as the reference describes it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// The values that it takes.
    pub value: &'static str,
    /// The value that counts without it. It is empty for a table.
    pub default: String,
    /// What it means.
    pub meaning: &'static str,
}

/// The value of a setting. Its text is TOML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A length of time.
    Duration(Duration),
    /// The word `off`.
    Off,
    /// True or false.
    Flag(bool),
    /// A whole number.
    Number(usize),
    /// A name or a word.
    Text(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Duration(duration) => write!(f, "\"{}\"", format_duration(*duration)),
            Value::Off => f.write_str("\"off\""),
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Number(number) => write!(f, "{number}"),
            // Names and words have no character that must be escaped.
            Value::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

/// Returns the settings of a part of the roster by their keys. It leaves out tables, and settings for which the mutex's value
/// counts.
///
/// ```
/// use packet_mutex::roster_toml::{Value, values};
/// use packet_mutex::Roster;
///
/// let roster = Roster::default();
/// assert!(values(roster.spec()).contains(&("strict", Value::Flag(false))));
/// ```
#[must_use]
pub fn values<S: Table>(spec: &S) -> Vec<(&'static str, Value)> {
    let mut spec = spec.clone();
    S::SETTINGS.iter().filter_map(|s| Some((s.name, s.field.get(&mut spec)?))).collect()
}

/// A part of the roster that is a table in the file.
pub trait Table: Clone + 'static {
    /// Which table.
    #[doc(hidden)]
    const SECTION: Section;
    /// Its keys.
    #[doc(hidden)]
    const SETTINGS: &'static [Setting<Self>];
}

/// A key, and the field that it sets.
#[doc(hidden)]
#[derive(Debug)]
pub struct Setting<S> {
    pub(super) name: &'static str,
    pub(super) field: Field<S>,
    meaning: &'static str,
}

/// A field, by the values that it takes.
#[derive(Debug)]
pub(super) enum Field<S> {
    Duration(fn(&mut S) -> &mut Duration),
    DurationAboveZero(fn(&mut S) -> &mut Duration),
    DurationOrOff(fn(&mut S) -> &mut Option<Duration>),
    /// A duration. Without it, the mutex's value counts.
    DurationOrMutexs(fn(&mut S) -> &mut Option<Duration>),
    Flag(fn(&mut S) -> &mut bool),
    Count(fn(&mut S) -> &mut usize),
    Priority(fn(&mut S) -> &mut u8),
    Mode(fn(&mut S) -> &mut Mode),
    /// A group. Without it, the module's name counts.
    Group(fn(&mut S) -> &mut Option<String>),
    GroupOrAny(fn(&mut S) -> &mut String),
    /// An inner table. The text is what the reference says of its value.
    Tables(&'static str),
}

impl<S> Field<S> {
    /// Returns what the reference says about its values.
    fn values(&self) -> &'static str {
        match self {
            Field::Duration(_) | Field::DurationOrMutexs(_) => "duration",
            Field::DurationAboveZero(_) => "duration above zero",
            Field::DurationOrOff(_) => "duration above zero, or `\"off\"`",
            Field::Flag(_) => "`true` or `false`",
            Field::Count(_) => "whole number above zero",
            Field::Priority(_) => "whole number, 0 to 255",
            Field::Mode(_) => "`\"enforced\"`, `\"observed\"` or `\"off\"`",
            Field::Group(_) => "name",
            Field::GroupOrAny(_) => "name of a group, or `\"*\"`",
            Field::Tables(values) => values,
        }
    }

    /// Returns its value, or `None` if it is not written in a file.
    fn get(&self, spec: &mut S) -> Option<Value> {
        Some(match self {
            Field::Duration(of) | Field::DurationAboveZero(of) => Value::Duration(*of(spec)),
            Field::DurationOrOff(of) => of(spec).map_or(Value::Off, Value::Duration),
            Field::DurationOrMutexs(of) => Value::Duration((*of(spec))?),
            Field::Flag(of) => Value::Flag(*of(spec)),
            Field::Count(of) => Value::Number(*of(spec)),
            Field::Priority(of) => Value::Number(usize::from(*of(spec))),
            Field::Mode(of) => Value::Text(of(spec).name().to_owned()),
            Field::Group(of) => Value::Text(of(spec).clone()?),
            Field::GroupOrAny(of) => Value::Text(of(spec).clone()),
            Field::Tables(_) => return None,
        })
    }
}

/// Describes the keys of a table, with the defaults in `usual`. Without `usual`, each key must be given.
fn described<S: Table>(mut usual: Option<S>) -> Vec<Key> {
    let default = |field: &Field<S>, usual: &mut S| match (field, field.get(usual)) {
        (_, Some(value)) => format!("`{value}`"),
        (Field::DurationOrMutexs(_), None) => "the mutex's".to_owned(),
        (Field::Group(_), None) => "the module's name".to_owned(),
        (_, None) => String::new(),
    };
    S::SETTINGS
        .iter()
        .map(|Setting { name, field, meaning }| Key {
            name,
            value: field.values(),
            default: match &mut usual {
                Some(usual) => default(field, usual),
                None => "must be given".to_owned(),
            },
            meaning,
        })
        .collect()
}

/// Makes the table of a struct. It takes each field with its kind and meaning, and then the fields that are not keys.
macro_rules! table {
    ($spec:ident, $section:ident,
     { $($field:ident: $kind:ident, $meaning:literal;)* },
     tables { $($table:ident: $values:literal, $about:literal;)* },
     others { $($other:ident)* }) => {
        impl Table for $spec {
            const SECTION: Section = Section::$section;
            const SETTINGS: &'static [Setting<Self>] = &[
                $(Setting {
                    name: stringify!($field),
                    field: Field::$kind(|spec| &mut spec.$field),
                    meaning: $meaning,
                },)*
                $(Setting {
                    name: stringify!($table),
                    field: Field::Tables($values),
                    meaning: $about,
                },)*
            ];
        }
        // The compiler finds a field that is not in the table.
        const _: fn(&$spec) = |$spec { $($field: _,)* $($table: _,)* $($other: _,)* }| ();
    };
}

table! { RosterSpec, Mutex, {
    handover_delay: Duration, "The least time between turns of different groups.";
    timeout: Duration, "How long a request waits. `\"0s\"`: it is granted at once or refused.";
    aging: DurationOrOff,
        "The waiting time that is worth one step of priority. Off: strict priorities.";
    strict: Flag,
        "Whether modules that the roster does not name are refused. If not, their priority is 50 and each is a group of \
         its own.";
    starving_after: DurationOrOff, "A request that has waited this long raises a `starving` event.";
    claim_within: DurationAboveZero,
        "A grant that its asker does not take within this time is declined, such as that of a future that is never \
         polled again.";
}, tables {
    limits: "table", "The limits, below.";
    modules: "tables by name", "The modules, below.";
    delays: "array of tables", "Delays between pairs of groups, below.";
}, others {} }

table! { Limits, Limits, {
    waiters: Count, "Most waiting requests, and most open passes.";
    modules: Count, "Most distinct modules, those that the roster does not name included.";
    events: Count, "Most events kept for readers that have not yet read them.";
}, tables {}, others {} }

table! { ModuleSpec, Module, {
    priority: Priority, "The higher goes first; equals go in order of arrival.";
    group: Group, "Modules of one group hand over without delay, and may nest.";
    timeout: DurationOrMutexs, "How long its requests wait, unless the call says otherwise.";
    handover_delay: DurationOrMutexs, "The delay after its turns, for other groups.";
    longest_turn: DurationOrOff,
        "A longer turn is an overrun: an event, a warning, and the holder is asked to yield.";
    urgent: Flag, "Whether it may ask urgently.";
    mode: Mode,
        "Observed: it is let through at once, and conflicts are recorded. Off: it is let through unrecorded.";
}, tables {}, others { name } }

table! { DelaySpec, Delay, {
    from: GroupOrAny, "The group whose turn ended; `\"*\"`: any other group.";
    to: GroupOrAny, "The group that waits; `\"*\"`: any other group.";
    delay: Duration,
        "The least time between. The most specific pair counts; of `a` to `*` and `*` to `b`, the longer.";
}, tables {}, others {} }
