//! `packet-mutex simulate`: weeks of a crew in virtual time, and what another roster would change.

use crate::exit::{ExitStatus, Failure, finish};
use crate::printer::{BAD, GOOD, HEADING, Printer};
use crate::table::{Align, Table};
use indicatif::{ProgressBar, ProgressStyle};
use packet_mutex::English;
use packet_mutex::roster_toml::{RosterFile, warnings};
use packet_mutex_sim::simulate::{
    Crew, Demand, LongestWait, ModuleOutcome, Outcome, Simulation, WINDOW,
};
use packet_mutex_sim::{Nanos, SECOND};
use serde_json::{Map, Value, json};
use std::cmp::Reverse;
use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use timeline::{Count, Lane, Report};

/// See weeks of your modules in virtual time, and what another roster would change
///
/// It runs the same arbiter as production. The same seed gives the same output, byte for byte. Exit code: 1 if a
/// module never gets its turn, 2 if a file is wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who works and how: a roster with workloads, a TOML file (docs/PLANNING.md)
    crew: PathBuf,

    /// How many hours of virtual time
    #[arg(long, value_name = "N", default_value_t = 168, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    hours: u32,

    /// The seed of all chances
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Compare with another crew under the same seed; a roster without workloads gets the first crew's
    #[arg(long, value_name = "CREW2")]
    compare: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    json: bool,

    /// Write a typical stretch and the worst wait as a timeline, in one HTML file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Write all events to this file, for `report`; a week of six busy modules takes about 130 MB
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
}

/// A crew and its outcome.
struct Run<'a> {
    file: &'a RosterFile,
    simulation: Simulation<'a>,
    outcome: Outcome,
}

pub(crate) fn simulate(args: &Args, printer: &mut Printer) -> ExitStatus {
    let done = simulate_all(args, printer).map_err(Failure::bad_input);
    finish(done, printer)
}

fn simulate_all(args: &Args, printer: &mut Printer) -> Result<ExitStatus, String> {
    let crews = read(args)?;
    let demand = &crews[0].demand;
    let runs = crews.iter().map(|crew| {
        let own = crew.demand != Demand::default();
        run(args, &crew.file, if own { &crew.demand } else { demand })
    });
    let runs = runs.collect::<Result<Vec<Run<'_>>, String>>()?;
    if let Some(file) = &args.report {
        write_report(file, args, &runs)?;
    }
    if let Some(file) = &args.trace {
        write_trace(file, &runs)?;
    }
    if args.json {
        printer.data(json(args, &runs));
    } else {
        printer.data(text(args, &runs));
    }
    for (what, path) in [("timeline", &args.report), ("trace", &args.trace)] {
        if let Some(path) = path {
            printer.note(format_args!("{what}: {}", path.display()));
        }
    }
    if !args.json {
        for run in &runs {
            for (place, warning) in run.warnings() {
                printer.warning(format_args!("{place}: {warning}"));
            }
        }
    }
    let all_served = runs.iter().all(|run| run.outcome.never_served().next().is_none());
    Ok(if all_served { ExitStatus::Done } else { ExitStatus::NotSo })
}

/// Reads the crews.
///
/// # Errors
///
/// All errors of both files.
fn read(args: &Args) -> Result<Vec<Crew>, String> {
    let mut errors = Vec::new();
    let mut open = |path: &Path| Crew::open(path).map_err(|why| errors.push(why.to_string())).ok();
    let first = open(&args.crew);
    let second = args.compare.as_deref().map(open);
    if !errors.is_empty() {
        return Err(errors.join("\n"));
    }
    if let Some(crew) = first.as_ref().filter(|crew| crew.demand.works.is_empty()) {
        return Err(format!("{}: no module has a `work` table", crew.file.file));
    }
    Ok(first.into_iter().chain(second.flatten()).collect())
}

fn run<'a>(args: &Args, file: &'a RosterFile, demand: &'a Demand) -> Result<Run<'a>, String> {
    let simulation =
        Simulation { roster: &file.roster, demand, hours: args.hours, seed: args.seed };
    // It is hidden where stderr is not a terminal.
    let bar = ProgressBar::new(simulation.length() / SECOND);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {percent} %, {eta} left") {
        bar.set_style(style);
    }
    bar.set_message(file.file.clone());
    let outcome = simulation.run(&mut |now| bar.set_position(now / SECOND));
    bar.finish_and_clear();
    let outcome = outcome.map_err(|why| format!("{}: {}", file.file, English(&why)))?;
    Ok(Run { file, simulation, outcome })
}

impl Run<'_> {
    /// Returns what in the roster can lock modules out, each with its place in the file.
    fn warnings(&self) -> impl Iterator<Item = (String, String)> {
        warnings(&self.file.roster).into_iter().map(|warning| {
            let place = self.file.place(&warning.field);
            let place = place.map_or(String::new(), |place| format!(":{place}"));
            (format!("{}{place}", self.file.file), warning.to_string())
        })
    }

    /// Returns the modules that asked, the highest priority first.
    fn modules(&self) -> Vec<&ModuleOutcome> {
        let mut modules: Vec<_> = self.outcome.modules.iter().filter(|m| m.asks > 0).collect();
        modules.sort_by_key(|module| Reverse(self.priority(module)));
        modules
    }

    fn priority(&self, module: &ModuleOutcome) -> u8 {
        let named = self.simulation.roster.module(&module.module);
        named.map_or(packet_mutex_arbiter::DEFAULT_PRIORITY, |module| module.priority)
    }

    /// Returns for whom a module waits and how long altogether, the longest first.
    fn waits_for(&self, module: &ModuleOutcome) -> Vec<(&str, Nanos)> {
        let names = self.outcome.modules.iter().map(|other| other.module.as_str());
        let waits = names.zip(module.waited_for.iter().copied());
        let mut waits: Vec<_> = waits.filter(|(_, waited)| *waited > 0).collect();
        waits.sort_by_key(|(name, waited)| (Reverse(*waited), *name));
        waits
    }

    /// Returns a part of the run's time in percent.
    fn percent(&self, time: Nanos) -> f64 {
        time as f64 / self.outcome.length as f64 * 100.0
    }

    fn free(&self) -> Nanos {
        self.outcome.length - self.outcome.busy - self.outcome.held_up
    }
}

// As text.

fn text(args: &Args, runs: &[Run<'_>]) -> String {
    let letters = if runs.len() > 1 { &["A ", "B "][..] } else { &[""] };
    let verdicts: Vec<String> =
        runs.iter().zip(letters).flat_map(|(run, letter)| verdicts(run, letter)).collect();
    let head = format!("{HEADING}{} h in virtual time, seed {}{HEADING:#}", args.hours, args.seed);
    let (channel, modules) = (channel_table(runs, letters), modules_table(runs, letters));
    format!("{head}\n\n{channel}\n\n{modules}\n\n{}", verdicts.join("\n"))
}

/// Returns how the channel's time is used.
fn channel_table(runs: &[Run<'_>], letters: &[&str]) -> Table {
    let mut table = Table::new(&[
        ("the channel", Align::Left),
        ("busy", Align::Right),
        ("handing over while somebody waits", Align::Right),
        ("free", Align::Right),
        ("handovers", Align::Right),
    ]);
    for (run, letter) in runs.iter().zip(letters) {
        let percent = |time| format!("{:.1} %", run.percent(time));
        table.row([
            format!("{letter}{}", run.file.file),
            percent(run.outcome.busy),
            percent(run.outcome.held_up),
            percent(run.free()),
            run.outcome.handovers.to_string(),
        ]);
    }
    table
}

/// Returns a row for each module, and under it the other crew's.
fn modules_table(runs: &[Run<'_>], letters: &[&str]) -> Table {
    let mut columns = vec![("module", Align::Left)];
    if runs.len() > 1 {
        columns.push(("", Align::Left));
    }
    columns.extend([
        ("priority", Align::Right),
        ("asks", Align::Right),
        ("turns", Align::Right),
        ("timed out", Align::Right),
        ("wait p50", Align::Right),
        ("p99", Align::Right),
        ("longest", Align::Right),
        ("starved", Align::Right),
        ("waits mostly for", Align::Left),
    ]);
    let mut table = Table::new(&columns);
    let mut names: Vec<&str> = Vec::new();
    for module in runs.iter().flat_map(Run::modules) {
        if !names.contains(&module.module.as_str()) {
            names.push(&module.module);
        }
    }
    for name in names {
        let mut shown = name;
        for (run, letter) in runs.iter().zip(letters) {
            let Some(module) = run.modules().into_iter().find(|module| module.module == name)
            else {
                continue;
            };
            let mut cells = vec![std::mem::take(&mut shown).to_string()];
            if runs.len() > 1 {
                cells.push(letter.trim().to_string());
            }
            cells.extend(cells_of(run, module));
            table.row(cells);
        }
    }
    table
}

fn cells_of(run: &Run<'_>, module: &ModuleOutcome) -> [String; 9] {
    let wait = |share| seconds(module.wait(share));
    let bad = |count: u64| if count > 0 { format!("{BAD}{count}{BAD:#}") } else { "0".into() };
    let waits = run.waits_for(module);
    let all: Nanos = waits.iter().map(|(_, waited)| waited).sum();
    let mostly = waits.first().map_or(String::new(), |(name, waited)| {
        format!("{name} {:.0} %", *waited as f64 / all as f64 * 100.0)
    });
    let served = module.served();
    [
        run.priority(module).to_string(),
        module.asks.to_string(),
        if served == 0 { format!("{BAD}0{BAD:#}") } else { served.to_string() },
        bad(module.timeouts),
        wait(0.5),
        wait(0.99),
        wait(1.0),
        bad(module.starved),
        mostly,
    ]
}

/// Returns whether every module gets its turn, and if not, because of whom.
fn verdicts(run: &Run<'_>, letter: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for module in run.outcome.modules.iter().filter(|module| module.timeouts > 0) {
        let what = if module.served() == 0 {
            "never had its turn".to_string()
        } else {
            format!("timed out {} of {} times", module.timeouts, module.asks)
        };
        let because = run.waits_for(module);
        let because = because.first().map_or("nobody", |(name, _)| *name);
        let line = format!("{letter}{} {what}; it waited mostly for {because}", module.module);
        lines.push(format!("{BAD}{line}{BAD:#}"));
    }
    if lines.is_empty() {
        lines.push(format!("{GOOD}{letter}every module had its turn each time{GOOD:#}"));
    }
    lines
}

fn seconds(length: Nanos) -> String {
    format!("{:.2} s", length as f64 / SECOND as f64)
}

// As JSON.

fn json(args: &Args, runs: &[Run<'_>]) -> Value {
    let crews: Vec<Value> = runs.iter().map(json_of).collect();
    json!({ "hours": args.hours, "seed": args.seed, "crews": crews })
}

fn json_of(run: &Run<'_>) -> Value {
    let modules: Map<String, Value> = run
        .modules()
        .into_iter()
        .map(|module| (module.module.clone(), json_of_module(run, module)))
        .collect();
    let never: Vec<&str> = run.outcome.never_served().map(|m| m.module.as_str()).collect();
    let warnings = run.warnings().map(|(place, what)| json!({ "place": place, "message": what }));
    json!({
        "file": run.file.file,
        "busy": share(run.percent(run.outcome.busy)),
        "held_up": share(run.percent(run.outcome.held_up)),
        "free": share(run.percent(run.free())),
        "handovers": run.outcome.handovers,
        "never_served": never,
        "warnings": warnings.collect::<Vec<Value>>(),
        "modules": modules,
    })
}

fn json_of_module(run: &Run<'_>, module: &ModuleOutcome) -> Value {
    let second = |length: Nanos| length as f64 / SECOND as f64;
    let spread = |length: &dyn Fn(f64) -> Nanos| json!({ "p50": second(length(0.5)), "p99": second(length(0.99)), "max": second(length(1.0)) });
    let longest = module.longest.map(|LongestWait { from, length, granted }| {
        json!({ "from": second(from), "length": second(length), "granted": granted })
    });
    let waits_for: Map<String, Value> = run
        .waits_for(module)
        .into_iter()
        .map(|(name, waited)| (name.to_string(), json!(second(waited))))
        .collect();
    json!({
        "priority": run.priority(module),
        "asks": module.asks,
        "turns": module.turns,
        "passes": module.passes,
        "timeouts": module.timeouts,
        "refused": module.refused,
        "gave_up": module.gave_up,
        "declined": module.declined,
        "panicked": module.panicked,
        "abandoned": module.abandoned,
        "overruns": module.overruns,
        "starved": module.starved,
        "wait": spread(&|share| module.wait(share)),
        "hold": spread(&|share| module.hold(share)),
        "longest_wait": longest,
        "waits_for": waits_for,
    })
}

/// Returns a percentage as a share of one, to a millionth.
fn share(percent: f64) -> f64 {
    (percent * 10_000.0).round() / 1_000_000.0
}

// As a timeline.

/// The longest stretch around a wait that is shown.
const STRETCH_MAX: Nanos = 600 * SECOND;

fn write_report(file: &Path, args: &Args, runs: &[Run<'_>]) -> Result<(), String> {
    let mut report = Report {
        title: runs.iter().map(|run| run.file.file.as_str()).collect::<Vec<_>>().join(" and "),
        subtitle: format!(
            "{} h in virtual time, seed {}. Of each crew a typical stretch and its worst wait are shown; all else is \
             counted and left out.",
            args.hours, args.seed
        ),
        ..Report::default()
    };
    for run in runs {
        let spec = run.simulation.roster.spec();
        let mut modules: Vec<_> = spec.modules.iter().collect();
        modules.sort_by_key(|module| Reverse(module.priority));
        for module in modules {
            let group = module.group.as_deref().unwrap_or(&module.name);
            if !report.lanes.iter().any(|lane| lane.module == module.name) {
                report.lanes.push(Lane::new(&module.name, group, module.priority));
            }
        }
    }
    // Both crews show the same minutes, so that they can be compared.
    let typical = runs.first().map_or(0, |run| run.outcome.typical);
    for run in runs {
        report.runs.extend(timelines(run, typical)?);
    }
    std::fs::write(file, timeline::render(&report))
        .map_err(|why| format!("{} cannot be written: {why}", file.display()))
}

/// Writes all events. With two crews, the mutex's name is the crew's file, so that readers can tell them apart.
fn write_trace(path: &Path, runs: &[Run<'_>]) -> Result<(), String> {
    let unwritten = |why: io::Error| format!("{} cannot be written: {why}", path.display());
    let mut out = BufWriter::new(File::create(path).map_err(unwritten)?);
    for run in runs {
        let mutex = if runs.len() > 1 { run.file.file.as_str() } else { "main" };
        let written = run.simulation.write_events(mutex, &mut out);
        written
            .map_err(|why| format!("{}: {}", run.file.file, English(&why)))?
            .map_err(unwritten)?;
    }
    out.flush().map_err(unwritten)
}

/// Returns a typical stretch of a run, and the one around its worst wait.
fn timelines(run: &Run<'_>, typical: Nanos) -> Result<Vec<timeline::Run>, String> {
    let end = run.outcome.length;
    let file = &run.file.file;
    let note = format!(
        "From {}: the two minutes whose turns and waits are nearest to the average{}; the other {} are left out.",
        clock(typical),
        if run.outcome.typical == typical { "" } else { " of the first crew" },
        clock(end.saturating_sub(WINDOW)),
    );
    let mut shown = vec![(file.clone(), note, typical..(typical + WINDOW).min(end))];
    if let Some((module, wait)) = run.outcome.longest() {
        let (stretch, cut) = around(wait, end);
        let note = format!(
            "From {}: {} waits {} {}{}.",
            clock(stretch.start),
            module.module,
            seconds(wait.length),
            if wait.granted { "and gets its turn" } else { "and times out" },
            if cut { "; only the last ten minutes of it are shown" } else { "" },
        );
        shown.push((format!("The worst wait of {file}"), note, stretch));
    }
    let stretches: Vec<Range<Nanos>> = shown.iter().map(|(.., stretch)| stretch.clone()).collect();
    let events = run.simulation.events(&stretches).map_err(|why| English(&why).to_string())?;
    let mut runs = Vec::new();
    for ((title, note, _), events) in shown.into_iter().zip(events) {
        let mut timeline = timeline::Run::new(title);
        timeline.note = note;
        timeline.read_events(&events);
        if runs.is_empty() {
            timeline.summary = summary(run);
        }
        runs.push(timeline);
    }
    Ok(runs)
}

/// Returns the stretch around a wait, and whether it had to be cut.
fn around(wait: LongestWait, end: Nanos) -> (Range<Nanos>, bool) {
    let until = (wait.from + wait.length + 5 * SECOND).min(end);
    let from = wait.from.saturating_sub(10 * SECOND);
    let cut = until - from > STRETCH_MAX;
    (from.max(until.saturating_sub(STRETCH_MAX))..until, cut)
}

fn summary(run: &Run<'_>) -> Vec<Count> {
    let percent = |time| format!("{:.1} %", run.percent(time));
    let mut summary = vec![
        Count::new("busy", percent(run.outcome.busy)),
        Count::new("handing over while somebody waits", percent(run.outcome.held_up)),
        Count::new("handovers", run.outcome.handovers),
    ];
    for module in run.modules() {
        let wait = |share| seconds(module.wait(share));
        let label = format!("{}: turns; waits p50, p99, longest", module.module);
        let value = format!("{}; {}, {}, {}", module.turns, wait(0.5), wait(0.99), wait(1.0));
        summary.push(Count { bad: module.served() == 0, ..Count::new(label, value) });
        summary
            .push(Count::should_be_zero(format!("{}: timed out", module.module), module.timeouts));
    }
    summary
}

/// Returns a moment or length as hours, minutes and seconds.
fn clock(time: Nanos) -> String {
    let seconds = time / SECOND;
    format!("{}:{:02}:{:02} h", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
