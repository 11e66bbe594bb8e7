//! `packet-mutex report`: a trace as a timeline.

use crate::ExitStatus;
use crate::elsewhere::ended;
use crate::printer::Printer;
use packet_mutex::roster_toml::RosterFile;
use packet_mutex::{ModuleSpec, Roster};
use std::path::{Path, PathBuf};
use timeline::{Lane, Report, Run};

/// The largest trace that is read.
const TRACE_MAX: u64 = 1 << 30;
/// The width of the text where the terminal does not say.
const WIDTH: usize = 100;

/// Render a trace: as text, as an HTML page, or as a file that Perfetto opens
///
/// Without any of the three it is shown as text.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The trace, a file with one event a line
    trace: PathBuf,

    /// Write the timeline as one HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write a file for ui.perfetto.dev
    #[arg(long, value_name = "FILE")]
    perfetto: Option<PathBuf>,

    /// Print the timeline as text
    #[arg(long)]
    text: bool,

    /// The roster, for the order and the groups of the modules
    #[arg(long, value_name = "FILE")]
    roster: Option<PathBuf>,
}

pub(crate) fn report(args: &Args, printer: &mut Printer) -> ExitStatus {
    let told = tell(args, printer);
    ended(told.map(|()| ExitStatus::Done), printer)
}

fn tell(args: &Args, printer: &mut Printer) -> Result<(), (ExitStatus, String)> {
    let bad = |why: String| (ExitStatus::BadInput, why);
    let lines = read(&args.trace).map_err(bad)?;
    let mut run = Run::new(args.trace.file_name().unwrap_or_default().to_string_lossy());
    run.read_events(&lines);
    let lanes = match &args.roster {
        None => Vec::new(),
        Some(path) => lanes(path).map_err(bad)?,
    };
    let report = Report { title: "Trace".into(), lanes, runs: vec![run], ..Report::default() };
    let write = |path: &Path, text: String| {
        let unwritten = |e| bad(format!("{} cannot be written: {e}", path.display()));
        std::fs::write(path, text).map_err(unwritten)
    };
    if let Some(path) = &args.html {
        write(path, timeline::render(&report))?;
        printer.note(format_args!("timeline: {}", path.display()));
    }
    if let Some(path) = &args.perfetto {
        write(path, timeline::perfetto(&report))?;
        printer.note(format_args!("for Perfetto: {}", path.display()));
    }
    if args.text || (args.html.is_none() && args.perfetto.is_none()) {
        printer.data(timeline::text(&report, WIDTH).trim_end());
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    let told = |why: String| format!("{}: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|e| told(e.to_string()))?.len();
    if length > TRACE_MAX {
        return Err(told("is larger than 1 GiB, the largest trace".into()));
    }
    let bytes = std::fs::read(path).map_err(|e| told(e.to_string()))?;
    // A line that is cut off or garbled is told of in the report.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn lanes(path: &Path) -> Result<Vec<Lane>, String> {
    let file = RosterFile::open(path).map_err(|errors| errors.to_string())?;
    Ok(lanes_of(&file.roster))
}

/// The modules of a roster, the highest priority first.
pub(crate) fn lanes_of(roster: &Roster) -> Vec<Lane> {
    let mut modules: Vec<&ModuleSpec> = roster.spec().modules.iter().collect();
    modules.sort_by_key(|module| std::cmp::Reverse(module.priority));
    let lane =
        |m: &ModuleSpec| Lane::new(&m.name, m.group.as_deref().unwrap_or(&m.name), m.priority);
    modules.into_iter().map(lane).collect()
}
