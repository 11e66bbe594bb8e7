//! From TOML text to a roster. What concerns one field is checked here, where its place is known; what concerns
//! several, by [`Roster::new`]. Everything is read even when something is wrong, so that all errors come at once.

use super::duration::parse_duration;
use super::keys::Section;
use super::{FILE_MAX, Place, RosterFileError, too_large};
use crate::english::English;
use packet_mutex_arbiter::{
    DEFAULT_PRIORITY, DelaySpec, Limits, Mode, ModuleSpec, NAME_MAX, Roster, RosterProblem,
    RosterSpec, fold_name, nearest_name,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

/// The roster, what `more` makes of the document, and the place of each field that the text writes.
///
/// `more_keys` are those that the roster's tables may have beside their own; `more` reads them.
pub(super) fn roster_and<T>(
    text: &str,
    more_keys: &'static [(Section, &'static str)],
    more: impl FnOnce(&mut Reader, &DeTable<'_>) -> T,
) -> Result<(Roster, T, BTreeMap<String, Place>), Vec<RosterFileError>> {
    if text.len() > FILE_MAX {
        return Err(vec![too_large()]);
    }
    let (mut document, mut complaints) = DeTable::parse_recoverable(text);
    // The parser reads on after most errors, but not after a line that sets nothing.
    let readable = without_idle_lines(text, &broken(text, &complaints));
    if readable != text {
        let (rest, in_rest) = DeTable::parse_recoverable(&readable);
        document = rest;
        complaints.extend(in_rest);
        complaints.sort_by_key(|error| offset(text, error));
        complaints.dedup_by_key(|error| offset(text, error));
    }
    let mut reader = Reader { more_keys, ..Reader::default() };
    let spec = reader.mutex(document.get_ref());
    let roster = reader.check(spec);
    let more = more(&mut reader, document.get_ref());
    reader.drop_consequences(text, &broken(text, &complaints));
    for complaint in &complaints {
        reader.complaint(text, complaint);
    }
    match roster {
        Some(roster) if reader.found.is_empty() => {
            Ok((roster, more, field_places(text, &reader.written)))
        }
        _ => Err(errors(text, reader.found)),
    }
}

/// The text with the broken lines blank that are neither `key = value` nor a header.
fn without_idle_lines(text: &str, broken: &BTreeSet<usize>) -> String {
    let mut readable = String::with_capacity(text.len());
    for (line, is_broken) in lines(text, broken) {
        if is_broken && !line.contains('=') && !is_header(line) {
            let content = line.trim_end_matches('\n');
            readable.extend(std::iter::repeat_n(' ', content.len()));
            readable.push_str(&line[content.len()..]);
        } else {
            readable.push_str(line);
        }
    }
    readable
}

/// The lines with their ends, and whether one of the bytes is in each.
fn lines<'t>(text: &'t str, bytes: &BTreeSet<usize>) -> impl Iterator<Item = (&'t str, bool)> {
    let mut start = 0;
    text.split_inclusive('\n').map(move |line| {
        let end = start + line.len();
        // The end of the text belongs to the last line.
        let last = usize::from(end == text.len());
        let hit = bytes.range(start..end + last).next().is_some();
        start = end;
        (line, hit)
    })
}

fn is_header(line: &str) -> bool {
    line.trim_start().starts_with('[')
}

/// The bytes at which the text is no TOML.
fn broken(text: &str, complaints: &[toml::de::Error]) -> BTreeSet<usize> {
    let syntax = complaints.iter().filter(|error| !is_duplicate(error));
    syntax.map(|error| offset(text, error)).collect()
}

fn is_duplicate(error: &toml::de::Error) -> bool {
    error.message() == "duplicate key"
}

fn offset(text: &str, error: &toml::de::Error) -> usize {
    // Without a span the parser ran out of text.
    error.span().map_or(text.len(), |span| span.start)
}

/// Something wrong at a byte of the text.
#[derive(Debug)]
struct Found {
    at: usize,
    field: String,
    wrong: Wrong,
    /// For what stands twice: the byte where it stood first.
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
    /// The path of one of its fields.
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
    /// The fields that are written, by path, with the byte where their key stands.
    written: BTreeMap<String, usize>,
    /// For each delay that could be read: its index in the file.
    delays_read: Vec<usize>,
}

impl Reader {
    fn mutex(&mut self, document: &DeTable<'_>) -> RosterSpec {
        let root = self.section(Section::Mutex, String::new(), document);
        let mut spec = RosterSpec::default();
        set(&mut spec.handover_delay, self.read(&root, "handover_delay", duration));
        set(&mut spec.timeout, self.read(&root, "timeout", duration));
        set(&mut spec.aging, self.read(&root, "aging", duration_or_off));
        set(&mut spec.strict, self.read(&root, "strict", boolean));
        set(&mut spec.starving_after, self.read(&root, "starving_after", duration_or_off));
        set(&mut spec.claim_within, self.read(&root, "claim_within", duration_above_zero));
        if let Some(limits) = self.read(&root, "limits", table) {
            spec.limits = self.limits(limits);
        }
        if let Some(modules) = self.read(&root, "modules", table) {
            spec.modules = self.modules(modules);
        }
        if let Some(delays) = self.read(&root, "delays", array) {
            spec.delays = self.delays(delays);
        }
        spec
    }

    fn limits(&mut self, table: &DeTable<'_>) -> Limits {
        let fields = self.section(Section::Limits, "limits".into(), table);
        let mut limits = Limits::default();
        set(&mut limits.waiters, self.read(&fields, "waiters", count));
        set(&mut limits.modules, self.read(&fields, "modules", count));
        set(&mut limits.events, self.read(&fields, "events", count));
        limits
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
                    // The name as it is written: `Roster::new` folds it, and reports it as it finds it.
                    let module = self.module(key.get_ref(), path, table);
                    modules.extend(name.is_ok().then_some(module));
                }
                other => self.wrong(value.span().start, path, not("a table of settings", other)),
            }
        }
        modules
    }

    fn module(&mut self, name: &str, path: String, table: &DeTable<'_>) -> ModuleSpec {
        let fields = self.section(Section::Module, path, table);
        let mut module = ModuleSpec::new(name, DEFAULT_PRIORITY);
        set(&mut module.priority, self.read(&fields, "priority", priority));
        module.group = self.read(&fields, "group", name_text);
        module.timeout = self.read(&fields, "timeout", duration);
        module.handover_delay = self.read(&fields, "handover_delay", duration);
        set(&mut module.longest_turn, self.read(&fields, "longest_turn", duration_or_off));
        set(&mut module.urgent, self.read(&fields, "urgent", boolean));
        set(&mut module.mode, self.read(&fields, "mode", mode));
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
        let fields = self.section(Section::Delay, path, table);
        for key in Section::Delay.keys().filter(|key| !table.contains_key(key.name)) {
            self.wrong(at, fields.path_of(key.name), "is missing".into());
        }
        let from = self.read(&fields, "from", group_or_any);
        let to = self.read(&fields, "to", group_or_any);
        let delay = self.read(&fields, "delay", duration);
        Some(DelaySpec { from: from?, to: to?, delay: delay? })
    }

    fn section<'d>(
        &mut self,
        section: Section,
        path: String,
        table: &'d DeTable<'d>,
    ) -> Fields<'d> {
        let more = self.more_keys.iter().filter(|(of, _)| *of == section);
        let known = section.keys().map(|key| key.name).chain(more.map(|(_, name)| *name));
        let known: Vec<&str> = known.collect();
        self.fields(&known, path, table)
    }

    /// Notes where the table's keys stand and reports those that nobody knows.
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

    /// The value of a key, if it is written and right.
    pub fn read<'d, T>(
        &mut self,
        fields: &Fields<'d>,
        key: &str,
        parse: impl Fn(&'d DeValue<'d>) -> Result<T, Wrong>,
    ) -> Option<T> {
        debug_assert!(fields.known.contains(&key), "{key} is in no table");
        let value = fields.table.get(key)?;
        if value.span().is_empty() {
            // The parser's stand-in for a value that is missing, which it has reported.
            return None;
        }
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
                    ("is the same module a second time, as case does not count".into(), first)
                }
                problem => (English(problem).to_string(), None),
            };
            self.found.push(Found { at, field, wrong: Wrong::from(message), first });
        }
        None
    }

    /// A field as `Roster::new` calls it, which never saw the delays that could not be read.
    fn field_in_file(&self, field: &str) -> String {
        let renumbered = || {
            let (at, rest) = field.strip_prefix("delays[")?.split_once(']')?;
            let in_file = self.delays_read.get(at.parse::<usize>().ok()?)?;
            Some(format!("delays[{in_file}]{rest}"))
        };
        renumbered().unwrap_or_else(|| field.to_string())
    }

    /// Forgets what was found in broken lines, and in the tables of broken headers: it says nothing.
    fn drop_consequences(&mut self, text: &str, broken: &BTreeSet<usize>) {
        let mut doubtful: Vec<Range<usize>> = Vec::new();
        let (mut start, mut in_broken_table) = (0, false);
        for (line, is_broken) in lines(text, broken) {
            if is_header(line) {
                in_broken_table = is_broken;
            }
            if is_broken || in_broken_table {
                doubtful.push(start..start + line.len());
            }
            start += line.len();
        }
        self.found.retain(|error| {
            let line = doubtful.partition_point(|line| line.end <= error.at);
            !doubtful.get(line).is_some_and(|line| line.contains(&error.at))
        });
    }

    /// Takes over what the parser complains of.
    fn complaint(&mut self, text: &str, error: &toml::de::Error) {
        let at = offset(text, error);
        if !is_duplicate(error) {
            return self.wrong(at, String::new(), error.message().to_string());
        }
        // The parser tells the place only. The field's path is that of the nearest like it before: the one it repeats,
        // or, when a whole table is repeated, itself.
        let end = error.span().map_or(at, |span| span.end);
        let before = &text[..text.floor_char_boundary(end)];
        let key = before.rsplit(['{', ',', '[', ' ', '\t', '\n']).next().unwrap_or_default();
        let like = |(path, written): &(&String, &usize)| {
            let table = path.strip_suffix(key);
            **written <= at && table.is_some_and(|table| table.is_empty() || table.ends_with('.'))
        };
        let repeated = self.written.iter().filter(like).max_by_key(|(_, written)| **written);
        self.found.push(Found {
            at,
            field: repeated.map(|(path, _)| path.clone()).unwrap_or_default(),
            wrong: Wrong::from("stands here a second time".to_string()),
            first: repeated.map(|(_, first)| *first).filter(|first| *first < at),
        });
    }

    /// Reports what is wrong with the field at this byte of the text.
    pub fn wrong(&mut self, at: usize, field: String, message: String) {
        self.found.push(Found { at, field, wrong: Wrong::from(message), first: None });
    }
}

/// Overwrites a default with what the file says, if it says something.
fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

/// A table's entries in the order of the text.
#[must_use]
pub fn in_order<'t, 'd>(
    table: &'t DeTable<'d>,
) -> Vec<(&'t Spanned<toml::de::DeString<'d>>, &'t Spanned<DeValue<'d>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A duration.
///
/// # Errors
///
/// What else the value is.
pub fn duration(value: &DeValue<'_>) -> Result<Duration, Wrong> {
    match value {
        DeValue::String(text) => {
            parse_duration(text).map_err(|why| format!("{} {why}", quoted(text)).into())
        }
        DeValue::Integer(number) => Err(without_unit(number.as_str())),
        DeValue::Float(number) => Err(without_unit(number.as_str())),
        other => Err(not("a duration such as \"1.5s\"", other).into()),
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

fn without_unit(number: &str) -> Wrong {
    if number.starts_with('-') {
        return Wrong::from("must not be negative".to_string());
    }
    let number = shown(number);
    format!("{number} needs a unit; for seconds write \"{number}s\"").into()
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

/// The name of a module, group or the like.
///
/// # Errors
///
/// What else the value is.
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
        message: format!("{} is no mode; the modes are enforced, observed and off", quoted(text)),
        nearest: nearest(text, [Mode::Enforced, Mode::Observed, Mode::Off].map(Mode::name)),
    })
}

/// A table.
///
/// # Errors
///
/// What else the value is.
pub fn table<'d>(value: &'d DeValue<'d>) -> Result<&'d DeTable<'d>, Wrong> {
    value.as_table().ok_or_else(|| not("a table", value).into())
}

fn array<'d>(value: &'d DeValue<'d>) -> Result<&'d DeArray<'d>, Wrong> {
    value.as_array().ok_or_else(|| not("an array of tables, [[delays]]", value).into())
}

/// What is wrong with a value of another kind than the wanted one.
#[must_use]
pub fn not(wanted: &str, value: &DeValue<'_>) -> String {
    let article = if matches!(value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
    format!("must be {wanted}, not {article} {}", value.type_str())
}

fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    // What is longer than any name is no slip of the fingers, and would cost time to compare.
    let nearest = if text.len() <= NAME_MAX { nearest_name(text, known) } else { None };
    nearest.map(str::to_string)
}

/// A key as it may be shown: as it is if it is harmless, else escaped and cut.
#[must_use]
pub fn shown(key: &str) -> String {
    match fold_name(key) {
        Ok(_) => key.to_string(),
        Err(_) => quoted(key),
    }
}

/// Text from the file as it may be shown: escaped, and cut where it gets long.
fn quoted(text: &str) -> String {
    match text.char_indices().nth(NAME_MAX) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

/// The fields' places, under their paths as written and with case folded.
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

/// The errors in the order of the text.
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

/// The places of many bytes in one sweep: a file of nothing but errors must not take quadratic time.
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
