//! Reads a roster from TOML text.
//!
//! What concerns one field is checked here, where its place is known. What concerns several is checked by [`Roster::new`].
//! Everything is read even when something is wrong, so that all errors come at once. Text that is not TOML is not read: a
//! parser could only guess what it means, and further errors would be guesses too.

use super::duration::parse_duration;
use super::keys::{Field, Section, Setting, Table};
use super::{FILE_MAX, Place, RosterFileError, too_large};
use crate::english::English;
use packet_mutex_arbiter::{
    DEFAULT_PRIORITY, DURATION_MAX, DelaySpec, Mode, ModuleSpec, NAME_MAX, Roster, RosterProblem,
    RosterSpec, fold_name, nearest_name,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// Returns the roster, what `more` makes of the document, and the place of each field in the text.
///
/// The roster's tables may have `more_keys` beside their own, and `more` reads them.
pub(super) fn roster_and<T>(
    text: &str,
    more_keys: &'static [(Section, &'static str)],
    more: impl FnOnce(&mut Reader, &DeTable<'_>) -> T,
) -> Result<(Roster, T, BTreeMap<String, Place>), Vec<RosterFileError>> {
    if text.len() > FILE_MAX {
        return Err(vec![too_large()]);
    }
    let (document, errors_in_toml) = DeTable::parse_recoverable(text);
    if !errors_in_toml.is_empty() {
        return Err(vec![not_toml(text, &errors_in_toml)]);
    }
    let mut reader = Reader { more_keys, ..Reader::default() };
    let spec = reader.mutex(document.get_ref());
    let roster = reader.check(spec);
    let more = more(&mut reader, document.get_ref());
    match roster {
        Some(roster) if reader.found.is_empty() => {
            Ok((roster, more, field_places(text, &reader.written)))
        }
        _ => Err(errors(text, reader.found)),
    }
}

/// Returns the first error in the text, with its place. The parser may report a later one first.
fn not_toml(text: &str, errors: &[toml::de::Error]) -> RosterFileError {
    // An error without a span means that the text ended too early.
    let span = |error: &toml::de::Error| error.span().unwrap_or(text.len()..text.len());
    let first = errors.iter().min_by_key(|error| span(error).start);
    let span = first.map_or(0..0, span);
    let message = match first.map_or("is not TOML", toml::de::Error::message) {
        "duplicate key" => {
            let key = text.get(span.clone()).unwrap_or_default();
            format!("{} is defined twice; remove one of the two", shown(key.trim_matches('"')))
        }
        other => other.to_owned(),
    };
    let place = places(text, [span.start]).into_values().next();
    RosterFileError { place, field: String::new(), message, nearest: None }
}

/// Something wrong at a byte of the text.
#[derive(Debug)]
struct Found {
    at: usize,
    field: String,
    wrong: Wrong,
    /// If it is defined twice, the byte of the first definition.
    first: Option<usize>,
}

/// What is wrong with a value.
#[derive(Debug)]
pub struct Wrong {
    message: String,
    nearest: Option<String>,
}

impl From<String> for Wrong {
    fn from(message: String) -> Self {
        Wrong { message, nearest: None }
    }
}

/// A table of the document whose keys have been looked at.
#[derive(Debug)]
pub struct Fields<'d> {
    known: Vec<&'static str>,
    path: String,
    table: &'d DeTable<'d>,
}

impl Fields<'_> {
    /// Returns the path of one of its fields.
    #[must_use]
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }
}

/// Reads tables and collects all that is wrong with them.
#[derive(Debug, Default)]
pub struct Reader {
    more_keys: &'static [(Section, &'static str)],
    found: Vec<Found>,
    /// The fields in the text, by path, with the byte of their key.
    written: BTreeMap<String, usize>,
    /// The index in the file of each delay that could be read.
    delays_read: Vec<usize>,
}

impl Reader {
    fn mutex(&mut self, document: &DeTable<'_>) -> RosterSpec {
        let mut spec = RosterSpec::default();
        let root = self.fill(String::new(), document, &mut spec).0;
        if let Some(limits) = self.read(&root, "limits", table) {
            self.fill("limits".into(), limits, &mut spec.limits);
        }
        if let Some(modules) = self.read(&root, "modules", table) {
            spec.modules = self.modules(modules);
        }
        if let Some(delays) = self.read(&root, "delays", array) {
            spec.delays = self.delays(delays);
        }
        spec
    }

    /// Overwrites the settings that the table has. Returns its fields, and whether all of them are right.
    fn fill<'d, S: Table>(
        &mut self,
        path: String,
        table: &'d DeTable<'d>,
        spec: &mut S,
    ) -> (Fields<'d>, bool) {
        let more = self.more_keys.iter().filter(|(of, _)| *of == S::SECTION);
        let known = S::SETTINGS.iter().map(|setting| setting.name).chain(more.map(|(_, key)| *key));
        let known: Vec<&str> = known.collect();
        let fields = self.fields(&known, path, table);
        let mut all_right = true;
        for Setting { name, field, .. } in S::SETTINGS {
            let is_written = table.contains_key(*name);
            let right = self.read(&fields, name, |value| field.set(spec, value));
            all_right &= !is_written || right.is_some();
        }
        (fields, all_right)
    }

    fn modules(&mut self, table: &DeTable<'_>) -> Vec<ModuleSpec> {
        let mut modules = Vec::new();
        for (key, value) in in_order(table) {
            let path = format!("modules.{}", shown(key.get_ref()));
            let at = key.span().start;
            self.written.entry(path.clone()).or_insert(at);
            let name = fold_name(key.get_ref());
            if let Err(why) = &name {
                self.wrong(at, path.clone(), English(why).to_string());
            }
            match value.get_ref() {
                DeValue::Table(table) => {
                    // The name as it is written, since `Roster::new` folds it and compares it with the others.
                    let module = self.module(key.get_ref(), path, table);
                    modules.extend(name.is_ok().then_some(module));
                }
                other => self.wrong(value.span().start, path, not("a table of settings", other)),
            }
        }
        modules
    }

    fn module(&mut self, name: &str, path: String, table: &DeTable<'_>) -> ModuleSpec {
        let mut module = ModuleSpec::new(name, DEFAULT_PRIORITY);
        self.fill(path, table, &mut module);
        module
    }

    fn delays(&mut self, array: &DeArray<'_>) -> Vec<DelaySpec> {
        let mut delays = Vec::new();
        for (at, element) in array.iter().enumerate() {
            let path = format!("delays[{at}]");
            let start = element.span().start;
            self.written.entry(path.clone()).or_insert(start);
            match element.get_ref() {
                DeValue::Table(table) => {
                    if let Some(delay) = self.delay(start, path, table) {
                        delays.push(delay);
                        self.delays_read.push(at);
                    }
                }
                other => self.wrong(start, path, not("a table with from, to and delay", other)),
            }
        }
        delays
    }

    fn delay(&mut self, at: usize, path: String, table: &DeTable<'_>) -> Option<DelaySpec> {
        let mut delay = DelaySpec { from: String::new(), to: String::new(), delay: Duration::ZERO };
        let (fields, mut all_right) = self.fill(path, table, &mut delay);
        for Setting { name, .. } in DelaySpec::SETTINGS {
            if !table.contains_key(*name) {
                self.wrong(at, fields.path_of(name), "is missing".into());
                all_right = false;
            }
        }
        all_right.then_some(delay)
    }

    /// Notes the places of the table's keys, and reports those that are unknown.
    pub fn fields<'d>(
        &mut self,
        known: &[&'static str],
        path: String,
        table: &'d DeTable<'d>,
    ) -> Fields<'d> {
        let fields = Fields { known: known.to_vec(), path, table };
        for key in table.keys() {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            let field = fields.path_of(&shown(name));
            self.written.entry(field.clone()).or_insert(at);
            if !known.contains(&name) {
                let nearest = nearest(name, known.iter().copied());
                let wrong = Wrong { message: "unknown key".into(), nearest };
                self.found.push(Found { at, field, wrong, first: None });
            }
        }
        fields
    }

    /// Returns the value of a key, if it is written and right.
    pub fn read<'d, T>(
        &mut self,
        fields: &Fields<'d>,
        key: &str,
        parse: impl FnOnce(&'d DeValue<'d>) -> Result<T, Wrong>,
    ) -> Option<T> {
        debug_assert!(fields.known.contains(&key), "{key} is in no table");
        let value = fields.table.get(key)?;
        match parse(value.get_ref()) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let (at, field) = (value.span().start, fields.path_of(key));
                self.found.push(Found { at, field, wrong, first: None });
                None
            }
        }
    }

    fn check(&mut self, spec: RosterSpec) -> Option<Roster> {
        let errors = match Roster::new(spec) {
            Ok(roster) => return Some(roster),
            Err(errors) => errors.0,
        };
        for error in errors {
            let field = self.field_in_file(&error.field);
            let at = self.written.get(&field).copied().unwrap_or_default();
            let (message, first) = match &error.problem {
                RosterProblem::Duplicate if field.starts_with("modules.") => {
                    let same = |(path, _): &(&String, &usize)| path.eq_ignore_ascii_case(&field);
                    let first = self.written.iter().filter(same).map(|(_, at)| *at).min();
                    ("is defined twice, for names ignore case".into(), first)
                }
                RosterProblem::Duplicate => {
                    ("is defined twice: an earlier delay has the same `from` and `to`".into(), None)
                }
                problem => (English(problem).to_string(), None),
            };
            self.found.push(Found { at, field, wrong: Wrong::from(message), first });
        }
        None
    }

    /// Returns a field's path in the file. `Roster::new` numbers only the delays that could be read.
    fn field_in_file(&self, field: &str) -> String {
        let renumbered = || {
            let (at, rest) = field.strip_prefix("delays[")?.split_once(']')?;
            let in_file = self.delays_read.get(at.parse::<usize>().ok()?)?;
            Some(format!("delays[{in_file}]{rest}"))
        };
        renumbered().unwrap_or_else(|| field.to_string())
    }

    /// Reports what is wrong with the field at this byte of the text.
    pub fn wrong(&mut self, at: usize, field: String, message: String) {
        self.found.push(Found { at, field, wrong: Wrong::from(message), first: None });
    }
}

impl<S> Field<S> {
    /// Overwrites the field with a value of the file.
    fn set(&self, spec: &mut S, value: &DeValue<'_>) -> Result<(), Wrong> {
        match self {
            Field::Duration(of) => *of(spec) = duration(value)?,
            Field::DurationAboveZero(of) => *of(spec) = duration_above_zero(value)?,
            Field::DurationOrOff(of) => *of(spec) = duration_or_off(value)?,
            Field::DurationOrMutexs(of) => *of(spec) = Some(duration(value)?),
            Field::Flag(of) => *of(spec) = boolean(value)?,
            Field::Count(of) => *of(spec) = count(value)?,
            Field::Priority(of) => *of(spec) = priority(value)?,
            Field::Mode(of) => *of(spec) = mode(value)?,
            Field::Group(of) => *of(spec) = Some(name_text(value)?),
            Field::GroupOrAny(of) => *of(spec) = group_or_any(value)?,
            // The caller reads the inner table.
            Field::Tables(_) => {}
        }
        Ok(())
    }
}

/// Returns a table's entries in the order of the text.
#[must_use]
pub fn in_order<'t, 'd>(
    table: &'t DeTable<'d>,
) -> Vec<(&'t Spanned<toml::de::DeString<'d>>, &'t Spanned<DeValue<'d>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// Reads a duration: a number with its unit, or a number of seconds.
///
/// # Errors
///
/// What is wrong with the value.
pub fn duration(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    match value {
        DeValue::String(text) => {
            parse_duration(text).map_err(|why| format!("{} {why}", quoted(text)).into())
        }
        DeValue::Integer(number) => {
            // A number that does not fit is too long a duration in any case.
            let seconds =
                i128::from_str_radix(number.as_str(), number.radix()).unwrap_or(i128::MAX);
            seconds_from(number.as_str(), seconds as f64)
        }
        DeValue::Float(number) => {
            seconds_from(number.as_str(), number.as_str().parse().unwrap_or(f64::NAN))
        }
        other => Err(not("a duration such as \"1.5s\"", other).into()),
    }
}

fn seconds_from(text: &str, seconds: f64) -> Result<Duration, Wrong> {
    let wrong = |why: &str| Err(format!("{} {why}", shown(text)).into());
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= DURATION_MAX => Ok(duration),
        _ if seconds.is_nan() => wrong("is not a number of seconds"),
        _ if seconds < 0.0 => Err("must not be negative".to_owned().into()),
        _ => wrong(&English(&RosterProblem::TooLong).to_string()),
    }
}

fn duration_above_zero(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    match duration(value)? {
        Duration::ZERO => Err(English(&RosterProblem::Zero).to_string().into()),
        duration => Ok(duration),
    }
}

fn duration_or_off(value: &DeValue<'_>) -> Result<Option<Duration>, Wrong> {
    if value.as_str() == Some("off") {
        return Ok(None);
    }
    duration_above_zero(value).map(Some)
}

fn boolean(value: &DeValue<'_>) -> Result<bool, Wrong> {
    value.as_bool().ok_or_else(|| not("true or false", value).into())
}

fn priority(value: &DeValue<'_>) -> Result<u8, Wrong> {
    let wanted = "a whole number from 0 to 255";
    let number = value.as_integer().ok_or_else(|| not(wanted, value))?;
    u8::from_str_radix(number.as_str(), number.radix())
        .map_err(|_| format!("{} is not {wanted}", shown(number.as_str())).into())
}

fn count(value: &DeValue<'_>) -> Result<usize, Wrong> {
    let wanted = "a whole number above zero";
    let number = value.as_integer().ok_or_else(|| not(wanted, value))?;
    match usize::from_str_radix(number.as_str(), number.radix()) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(format!("{} is not {wanted}", shown(number.as_str())).into()),
    }
}

/// Reads the name of a module, a group or the like.
///
/// # Errors
///
/// What is wrong with the value.
pub fn name_text(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| not("a name", value))?;
    fold_name(text).map_err(|why| English(&why).to_string().into())
}

fn group_or_any(value: &DeValue<'_>) -> Result<String, Wrong> {
    if value.as_str() == Some("*") { Ok("*".into()) } else { name_text(value) }
}

fn mode(value: &DeValue<'_>) -> Result<Mode, Wrong> {
    let text = value.as_str().ok_or_else(|| not("a mode", value))?;
    Mode::from_name(text).ok_or_else(|| Wrong {
        message: format!("{} is not a mode; use enforced, observed or off", quoted(text)),
        nearest: nearest(text, [Mode::Enforced, Mode::Observed, Mode::Off].map(Mode::name)),
    })
}

/// Reads a table.
///
/// # Errors
///
/// What is wrong with the value.
pub fn table<'d>(value: &'d DeValue<'d>) -> Result<&'d DeTable<'d>, Wrong> {
    value.as_table().ok_or_else(|| not("a table", value).into())
}

fn array<'d>(value: &'d DeValue<'d>) -> Result<&'d DeArray<'d>, Wrong> {
    value.as_array().ok_or_else(|| not("an array of tables, [[delays]]", value).into())
}

/// Returns the message for a value of the wrong kind.
#[must_use]
pub fn not(wanted: &str, value: &DeValue<'_>) -> String {
    let article = if matches!(value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    format!("must be {wanted}, not {article} {}", value.type_str())
}

fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // A text that is longer than any name is not a typing mistake, and would take long to compare.
    let nearest = if text.len() <= NAME_MAX { nearest_name(text, known) } else { None };
    nearest.map(str::to_string)
}

/// Returns a key as it may be shown: as it is if it is harmless, otherwise escaped and cut.
#[must_use]
pub fn shown(key: &str) -> String {
    match fold_name(key) {
        Ok(_) => key.to_string(),
        Err(_) => quoted(key),
    }
}

/// Returns text from the file as it may be shown: escaped, and cut if it is long.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(NAME_MAX) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// Returns the fields' places by their paths, with case folded.
fn field_places(text: &str, written: &BTreeMap<String, usize>) -> BTreeMap<String, Place> {
    let places = places(text, written.values().copied());
    let mut fields = BTreeMap::new();
    for (path, at) in written {
        if let Some(place) = places.get(at) {
            fields.insert(path.to_ascii_lowercase(), *place);
        }
    }
    fields
}

/// Returns the errors in the order of the text.
fn errors(text: &str, mut found: Vec<Found>) -> Vec<RosterFileError> {
    let offsets = found.iter().flat_map(|error| [Some(error.at), error.first]).flatten();
    let places = places(text, offsets);
    found.sort_by_key(|error| error.at);
    let finished = found.into_iter().map(|error| {
        let first = error.first.and_then(|first| places.get(&first));
        let first = first.map(|first| format!("; first in line {}", first.line));
        RosterFileError {
            place: places.get(&error.at).copied(),
            field: error.field,
            message: error.wrong.message + &first.unwrap_or_default(),
            nearest: error.wrong.nearest,
        }
    });
    finished.collect()
}

/// Returns the places of many bytes in one sweep. A file that is full of errors must not take quadratic time.
pub(super) fn places(
    text: &str,
    offsets: impl IntoIterator<Item = usize>,
) -> BTreeMap<usize, Place> {
    let mut places = BTreeMap::new();
    let mut at = Place { line: 1, column: 1 };
    let mut chars = text.char_indices().peekable();
    for offset in offsets.into_iter().collect::<BTreeSet<usize>>() {
        while let Some((_, c)) = chars.next_if(|(start, c)| start + c.len_utf8() <= offset) {
            at = match c {
                '\n' => Place { line: at.line + 1, column: 1 },
                _ => Place { column: at.column + 1, ..at },
            };
        }
        places.insert(offset, at);
    }
    places
}
