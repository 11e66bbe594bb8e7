//! Crews: a roster and what its modules do all day, from one TOML file. The format is in `docs/PLANNING.md`.

use super::distribution::Distribution;
use crate::seconds::{Nanos, SECOND, nanos};
use packet_mutex::English;
use packet_mutex::roster_toml::more::{
    DeTable, DeValue, Fields, Reader, Wrong, duration, in_order, name_text, not, shown,
};
use packet_mutex::roster_toml::{RosterFile, RosterFileErrors, Section};
use packet_mutex_arbiter::{fold_name, nearest_name};
use std::path::Path;

/// The keys that a roster's tables have in a crew file besides their own.
const MORE_KEYS: &[(Section, &str)] = &[(Section::Module, "work"), (Section::Mutex, "sources")];
const SOURCE_KEYS: &[&str] = &["every", "burst", "gap"];
const WORK_KEYS: &[&str] = &[
    "rest", "every", "after", "reaction", "burst", "gap", "action", "actions", "urgent",
    "declines", "panics", "dies", "yields", "nests", "stalls", "stall", "gives_up", "patience",
];
/// The most asks of a burst, and the most actions of a turn.
const COUNT_MAX: u32 = 1000;
/// The most lengths that a distribution lists.
const LIST_MAX: usize = 10_000;
/// The least average of an interval. Without it, a run could stay at one instant for ever.
const LEAST_INTERVAL: Nanos = SECOND / 1000;

/// A roster and the workloads of its modules.
#[derive(Clone, Debug)]
pub struct Crew {
    /// The roster, and where its fields stand.
    pub file: RosterFile,
    /// What its modules do.
    pub demand: Demand,
}

/// The demand for a mutex: what its modules do all day.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// What each does, in the order of the file.
    pub works: Vec<Work>,
    /// What happens around them.
    pub sources: Vec<Source>,
}

/// Something that happens by itself and to which several modules may react, such as a corpse.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// The time from one occasion to the next.
    pub every: Distribution,
    /// How many come at one occasion.
    pub burst: Burst,
}

/// Several asks or events at one occasion.
#[derive(Clone, Debug, PartialEq)]
pub struct Burst {
    /// How many, from and to.
    pub size: (u32, u32),
    /// The time between them.
    pub gap: Distribution,
}

/// What a module does.
#[derive(Clone, Debug, PartialEq)]
pub struct Work {
    /// The module.
    pub module: String,
    /// When it asks.
    pub when: When,
    /// How many asks make an occasion.
    pub burst: Burst,
    /// How many actions a turn has, from and to.
    pub actions: (u32, u32),
    /// How long one action takes.
    pub action: Distribution,
    /// The probability that it asks urgently.
    pub urgent: f64,
    /// The probability that it declines its turn.
    pub declines: f64,
    /// The probability that a panic ends its turn half-way.
    pub panics: f64,
    /// The probability that it dies half-way through its turn.
    pub dies: f64,
    /// The probability that it gives its turn away half-way and waits for another one.
    pub yields: f64,
    /// The probability that it asks again half-way through its turn, and has a nested turn.
    pub nests: f64,
    /// The probability that it stalls.
    pub stalls: f64,
    /// How much longer a stalled turn takes.
    pub stall: Distribution,
    /// The probability that it loses patience while it waits.
    pub gives_up: f64,
    /// How long it waits before it gives up.
    pub patience: Distribution,
}

/// When a module asks.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// This long after its turn has ended or its ask has failed: a script that does one thing after another.
    Rest(Distribution),
    /// This long after its previous ask, whatever came of that: demand that does not wait for the mutex.
    Every(Distribution),
    /// After each event of a source.
    After {
        /// The source's place among the crew's.
        source: usize,
        /// How long after.
        reaction: Distribution,
    },
}

impl Crew {
    /// Reads a crew file.
    ///
    /// # Errors
    ///
    /// All that is wrong with it, in the order of the lines.
    pub fn open(path: &Path) -> Result<Crew, RosterFileErrors> {
        let (file, demand) = RosterFile::open_and(path, MORE_KEYS, read)?;
        Ok(Crew { file, demand })
    }

    /// Reads a crew from text. `file_name` appears only in errors.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn parse(file_name: &str, text: &str) -> Result<Crew, RosterFileErrors> {
        let (file, demand) = RosterFile::parse_and(file_name, text, MORE_KEYS, read)?;
        Ok(Crew { file, demand })
    }
}

fn read(reader: &mut Reader, document: &DeTable<'_>) -> Demand {
    let sources = match document.get("sources").map(|value| value.get_ref()) {
        Some(DeValue::Table(table)) => read_sources(reader, table),
        Some(other) => {
            let at = document.get("sources").map_or(0, |value| value.span().start);
            reader.wrong(at, "sources".into(), not("a table of sources", other));
            Vec::new()
        }
        None => Vec::new(),
    };
    let mut works = Vec::new();
    // The roster's reader has reported whatever else is wrong with the modules.
    let modules = document.get("modules").and_then(|value| value.get_ref().as_table());
    for (name, module) in modules.map(in_order).unwrap_or_default() {
        let Some(module) = module.get_ref().as_table() else { continue };
        let path = format!("modules.{}.work", shown(name.get_ref()));
        match (fold_name(name.get_ref()), module.get_key_value("work")) {
            (Ok(name), Some((key, value))) => match value.get_ref() {
                DeValue::Table(table) => {
                    works.extend(read_work(reader, name, path, key.span().start, table, &sources));
                }
                other => {
                    reader.wrong(value.span().start, path, not("a table of a workload", other));
                }
            },
            _ => continue,
        }
    }
    Demand { works, sources: sources.into_iter().filter_map(|(_, source)| source).collect() }
}

/// Reads the sources by name. One with an error keeps its name, so that `after` of it is not reported as well.
fn read_sources(reader: &mut Reader, table: &DeTable<'_>) -> Vec<(String, Option<Source>)> {
    let mut sources = Vec::new();
    for (key, value) in in_order(table) {
        let path = format!("sources.{}", shown(key.get_ref()));
        let at = key.span().start;
        let name = match fold_name(key.get_ref()) {
            Ok(name) => name,
            Err(why) => {
                reader.wrong(at, path, English(&why).to_string());
                continue;
            }
        };
        let DeValue::Table(table) = value.get_ref() else {
            let wrong = not("a table of a source", value.get_ref());
            reader.wrong(value.span().start, path, wrong);
            continue;
        };
        let fields = reader.fields(SOURCE_KEYS, path, table);
        let burst = read_burst(reader, &fields);
        if !table.contains_key("every") {
            reader.wrong(at, fields.path_of("every"), "is missing".into());
        }
        let every = reader.read(&fields, "every", interval);
        sources.push((name.clone(), every.map(|every| Source { name, every, burst })));
    }
    sources
}

fn read_work(
    reader: &mut Reader,
    module: String,
    path: String,
    at: usize,
    table: &DeTable<'_>,
    sources: &[(String, Option<Source>)],
) -> Option<Work> {
    let fields = reader.fields(WORK_KEYS, path, table);
    let burst = read_burst(reader, &fields);
    let when = read_when(reader, &fields, at, table, sources);
    if !table.contains_key("action") {
        reader.wrong(at, fields.path_of("action"), "is missing".into());
    }
    let action = reader.read(&fields, "action", distribution);
    let mut probability = |key| reader.read(&fields, key, probability).unwrap_or(0.0);
    let [urgent, gives_up] = ["urgent", "gives_up"].map(&mut probability);
    let fates = ["declines", "panics", "dies", "stalls", "yields", "nests"].map(&mut probability);
    let sum: f64 = fates.iter().sum();
    let [declines, panics, dies, stalls, yields, nests] = fates;
    if sum > 1.0 {
        let message = format!(
            "declines, panics, dies, stalls, yields and nests are {sum} together, more than 1"
        );
        reader.wrong(at, fields.path_of("declines"), message);
    }
    let actions = reader.read(&fields, "actions", count).unwrap_or((1, 1));
    let stall =
        reader.read(&fields, "stall", distribution).unwrap_or(Distribution::Always(10 * SECOND));
    let patience =
        reader.read(&fields, "patience", distribution).unwrap_or(Distribution::Always(SECOND));
    Some(Work {
        module,
        when: when?,
        burst,
        actions,
        action: action?,
        urgent,
        declines,
        panics,
        dies,
        yields,
        nests,
        stalls,
        stall,
        gives_up,
        patience,
    })
}

/// Reads when a module asks: exactly one of `rest`, `every` and `after`.
fn read_when(
    reader: &mut Reader,
    fields: &Fields<'_>,
    at: usize,
    table: &DeTable<'_>,
    sources: &[(String, Option<Source>)],
) -> Option<When> {
    let given: Vec<&str> =
        ["rest", "every", "after"].into_iter().filter(|key| table.contains_key(*key)).collect();
    if given.len() != 1 {
        let message = "needs exactly one of `rest`, `every` and `after`".into();
        reader.wrong(at, fields.path_of(given.get(1).unwrap_or(&"rest")), message);
    }
    if table.contains_key("reaction") && !table.contains_key("after") {
        reader.wrong(at, fields.path_of("reaction"), "counts only with `after`".into());
    }
    let reaction = reader.read(fields, "reaction", distribution).unwrap_or(Distribution::Always(0));
    let rest = reader.read(fields, "rest", interval).map(When::Rest);
    let every = reader.read(fields, "every", interval).map(When::Every);
    let after = reader.read(fields, "after", name_text);
    let after = after.and_then(|name| {
        let names = || sources.iter().map(|(name, _)| name.as_str());
        let source = names().position(|known| known == name);
        if source.is_none() {
            let at = table.get("after").map_or(at, |value| value.span().start);
            let hint = nearest_name(&name, names());
            let hint = hint.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            reader.wrong(at, fields.path_of("after"), format!("there is no source `{name}`{hint}"));
        }
        source.map(|source| When::After { source, reaction })
    });
    rest.or(every).or(after)
}

fn read_burst(reader: &mut Reader, fields: &Fields<'_>) -> Burst {
    Burst {
        size: reader.read(fields, "burst", count).unwrap_or((1, 1)),
        gap: reader.read(fields, "gap", distribution).unwrap_or(Distribution::Always(0)),
    }
}

fn interval(value: &DeValue<'_>) -> Result<Distribution, Wrong> {
    let distribution = distribution(value)?;
    if distribution.mean() < LEAST_INTERVAL {
        return Err("must be 1 ms or more on average".to_string().into());
    }
    Ok(distribution)
}

const A_DISTRIBUTION: &str =
    "a duration such as \"2s\", or a table with one of uniform, exponential, lognormal and one_of";

fn distribution(value: &DeValue<'_>) -> Result<Distribution, Wrong> {
    let DeValue::Table(shapes) = value else {
        return length(value).map(Distribution::Always);
    };
    let mut entries = shapes.iter();
    let (Some((key, value)), None) = (entries.next(), entries.next()) else {
        return Err(format!("must be {A_DISTRIBUTION}").into());
    };
    let value = value.get_ref();
    match key.get_ref().as_ref() {
        "uniform" => match lengths(value)?.as_slice() {
            [low, high] if low <= high => Ok(Distribution::Uniform(*low, *high)),
            _ => Err("`uniform` must be [shortest, longest]".to_string().into()),
        },
        "exponential" => match length(value)? {
            0 => Err("`exponential` must be a mean above zero".to_string().into()),
            mean => Ok(Distribution::Exponential(mean)),
        },
        "lognormal" => match lengths(value)?.as_slice() {
            [median, p99] if 0 < *median && median <= p99 => {
                Ok(Distribution::Lognormal { median: *median, p99: *p99 })
            }
            _ => {
                Err("`lognormal` must be [median, 99th percentile], above zero".to_string().into())
            }
        },
        "one_of" => match lengths(value)? {
            list if (1..=LIST_MAX).contains(&list.len()) => Ok(Distribution::OneOf(list)),
            _ => Err(format!("`one_of` must list 1 to {LIST_MAX} durations").into()),
        },
        other => {
            let shapes = ["uniform", "exponential", "lognormal", "one_of"];
            let near = if other.len() <= 64 { nearest_name(other, shapes) } else { None };
            let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            Err(format!("{} is not a distribution{hint}", shown(other)).into())
        }
    }
}

fn lengths(value: &DeValue<'_>) -> Result<Vec<Nanos>, Wrong> {
    let list = value.as_array().ok_or_else(|| not("a list of durations", value))?;
    list.iter().map(|element| length(element.get_ref())).collect()
}

fn length(value: &DeValue<'_>) -> Result<Nanos, Wrong> {
    duration(value).map(nanos)
}

fn count(value: &DeValue<'_>) -> Result<(u32, u32), Wrong> {
    let wanted = || format!("a whole number from 1 to {COUNT_MAX}, or two: [least, most]");
    let one = |value: &DeValue<'_>| {
        let number = value.as_integer().ok_or_else(|| not(&wanted(), value))?;
        match u32::from_str_radix(number.as_str(), number.radix()) {
            Ok(count) if (1..=COUNT_MAX).contains(&count) => Ok(count),
            _ => Err(format!("{} is not {}", shown(number.as_str()), wanted())),
        }
    };
    let Some(list) = value.as_array() else {
        return Ok(one(value).map(|count| (count, count))?);
    };
    let counts: Result<Vec<u32>, String> = list.iter().map(|value| one(value.get_ref())).collect();
    match counts?.as_slice() {
        [least, most] if least <= most => Ok((*least, *most)),
        _ => Err(format!("must be {}", wanted()).into()),
    }
}

fn probability(value: &DeValue<'_>) -> Result<f64, Wrong> {
    let wanted = "a probability from 0 to 1";
    let text = match value {
        DeValue::Float(number) => number.as_str(),
        DeValue::Integer(number) => number.as_str(),
        other => return Err(not(wanted, other).into()),
    };
    match text.parse::<f64>() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err(format!("{} is not {wanted}", shown(text)).into()),
    }
}
