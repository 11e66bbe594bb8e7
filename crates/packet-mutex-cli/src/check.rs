//! `packet-mutex check`: a roster as it is understood, or all its errors.

use crate::exit::ExitStatus;
use crate::printer::{HEADING, Printer};
use crate::table::{Align, Table};
use packet_mutex::roster_toml::{
    self, Place, RosterFile, RosterFileErrors, RosterWarning, Value as Setting, format_duration,
    longest_wait, values, warnings,
};
use packet_mutex_arbiter::{DEFAULT_PRIORITY, ModuleSpec, Roster, RosterSpec};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Show a roster as it is understood, or all its errors
///
/// Warnings name the modules that can be locked out. Exit code: 0 if the roster is right, 2 if not.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The roster, a TOML file
    roster: PathBuf,

    /// Print one JSON object: the roster, its warnings and its errors
    #[arg(long)]
    json: bool,
}

pub(crate) fn check(args: &Args, printer: &mut Printer) -> ExitStatus {
    match RosterFile::open(&args.roster) {
        Ok(file) => {
            let warnings = warnings(&file.roster);
            if args.json {
                printer.data(json_of(&file, &warnings));
            } else {
                printer.data(text_of(&file));
                for warning in &warnings {
                    printer.warning(located(&file.file, file.place(&warning.field), warning));
                }
            }
            ExitStatus::Done
        }
        Err(errors) => {
            if args.json {
                printer.data(json_of_errors(&errors));
            } else {
                for error in errors.to_string().lines() {
                    printer.error(error);
                }
            }
            ExitStatus::BadInput
        }
    }
}

fn text_of(file: &RosterFile) -> String {
    let spec = file.roster.spec();
    let groups: BTreeSet<&str> = spec.modules.iter().map(group).collect();
    let mut parts = vec![format!(
        "{HEADING}{}{HEADING:#}: {} in {}\n{}",
        file.file,
        counted(spec.modules.len(), "module"),
        counted(groups.len(), "group"),
        mutex_line(spec),
    )];
    if !spec.modules.is_empty() {
        parts.push(modules_table(&file.roster).to_string());
    }
    if !spec.delays.is_empty() {
        parts.push(delays_table(spec).to_string());
    }
    parts.join("\n\n")
}

fn mutex_line(spec: &RosterSpec) -> String {
    let others = if spec.strict {
        "other modules are refused".to_string()
    } else {
        format!("other modules have priority {DEFAULT_PRIORITY}")
    };
    format!(
        "handover delay {}, timeout {}, aging {}; {others}",
        format_duration(spec.handover_delay),
        format_duration(spec.timeout),
        or(spec.aging, "off"),
    )
}

/// Returns a row for each module, in the order in which they are served.
fn modules_table(roster: &Roster) -> Table {
    let spec = roster.spec();
    let mut columns = vec![
        ("module", Align::Left),
        ("priority", Align::Right),
        ("group", Align::Left),
        ("timeout", Align::Right),
        ("delay after", Align::Right),
        ("longest turn", Align::Right),
        ("urgent", Align::Left),
        ("mode", Align::Left),
    ];
    // Without aging it would say the same as the warnings.
    if spec.aging.is_some() {
        columns.push(("longest wait", Align::Right));
    }
    let mut table = Table::new(&columns);
    let mut modules: Vec<&ModuleSpec> = spec.modules.iter().collect();
    modules.sort_by_key(|module| std::cmp::Reverse(module.priority));
    for module in modules {
        let ModuleSpec {
            name,
            priority,
            group: _,
            timeout,
            handover_delay,
            longest_turn,
            urgent,
            mode,
        } = module;
        table.row([
            name.clone(),
            priority.to_string(),
            group(module).to_string(),
            format_duration(timeout.unwrap_or(spec.timeout)),
            format_duration(handover_delay.unwrap_or(spec.handover_delay)),
            or(*longest_turn, "no limit"),
            if *urgent { "yes" } else { "no" }.to_string(),
            mode.name().to_string(),
            or(longest_wait(roster, name), "no bound"),
        ]);
    }
    table
}

fn delays_table(spec: &RosterSpec) -> Table {
    let mut table =
        Table::new(&[("from", Align::Left), ("to", Align::Left), ("delay", Align::Right)]);
    for delay in &spec.delays {
        table.row([delay.from.clone(), delay.to.clone(), format_duration(delay.delay)]);
    }
    table
}

fn json_of(file: &RosterFile, warnings: &[RosterWarning]) -> Value {
    let warnings: Vec<Value> = warnings
        .iter()
        .map(|warning| {
            let place = file.place(&warning.field);
            json_at(&file.file, place, &warning.field, &warning.message)
        })
        .collect();
    json!({ "roster": json_of_roster(&file.roster), "warnings": warnings, "errors": [] })
}

/// Modules have the mutex's settings where they have none of their own.
fn json_of_roster(roster: &Roster) -> Value {
    let spec = roster.spec();
    let module = |module: &ModuleSpec| {
        let mut settings = module.clone();
        settings.group.get_or_insert_with(|| module.name.clone());
        settings.timeout.get_or_insert(spec.timeout);
        settings.handover_delay.get_or_insert(spec.handover_delay);
        let mut json = json_of_values(&settings);
        json["longest_wait"] =
            json!(longest_wait(roster, &module.name).map(|wait| wait.as_secs_f64()));
        (module.name.clone(), json)
    };
    let mut json = json_of_values(spec);
    json["limits"] = json_of_values(&spec.limits);
    json["modules"] = spec.modules.iter().map(module).collect::<serde_json::Map<_, _>>().into();
    json["delays"] = spec.delays.iter().map(json_of_values).collect();
    json
}

fn json_of_values<S: roster_toml::Table>(spec: &S) -> Value {
    let json = |value| match value {
        Setting::Duration(duration) => json!(duration.as_secs_f64()),
        Setting::Off => Value::Null,
        Setting::Flag(flag) => json!(flag),
        Setting::Number(number) => json!(number),
        Setting::Text(text) => json!(text),
    };
    let settings = values(spec).into_iter().map(|(key, value)| (key.to_owned(), json(value)));
    settings.collect::<serde_json::Map<_, _>>().into()
}

fn json_of_errors(errors: &RosterFileErrors) -> Value {
    let list: Vec<Value> = errors
        .errors
        .iter()
        .map(|error| {
            let mut json = json_at(&errors.file, error.place, &error.field, &error.message);
            json["nearest"] = json!(error.nearest);
            json
        })
        .collect();
    json!({ "roster": null, "warnings": [], "errors": list })
}

fn json_at(file: &str, place: Option<Place>, field: &str, message: &str) -> Value {
    json!({
        "file": file,
        "line": place.map(|place| place.line),
        "column": place.map(|place| place.column),
        "field": field,
        "message": message,
    })
}

fn located(file: &str, place: Option<Place>, warning: &RosterWarning) -> String {
    match place {
        Some(place) => format!("{file}:{place}: {warning}"),
        None => format!("{file}: {warning}"),
    }
}

fn group(module: &ModuleSpec) -> &str {
    module.group.as_deref().unwrap_or(&module.name)
}

fn or(duration: Option<Duration>, none: &str) -> String {
    duration.map_or_else(|| none.to_string(), format_duration)
}

fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
