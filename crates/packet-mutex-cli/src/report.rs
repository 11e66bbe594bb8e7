//! `packet-mutex report`: a trace as a timeline.

use crate::exit::{ExitStatus, Failure, finish};
use crate::printer::Printer;
use packet_mutex::roster_toml::RosterFile;
use packet_mutex::{ModuleSpec, Roster};
use std::path::{Path, PathBuf};
use timeline::{Lane, Report, Run};

/// The largest trace that is read.
const TRACE_MAX: u64 = 1 << 30;
/// The width of the text, in columns.
const WIDTH: usize = 100;

/// Render a trace: as text, as an HTML page, or as a file that Perfetto opens
///
/// Without any of the three options it prints text.
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
    let done = render(args, printer).map(|()| ExitStatus::Done);
    finish(done, printer)
}

fn render(args: &Args, printer: &mut Printer) -> Result<(), Failure> {
    let lines = read(&args.trace).map_err(Failure::bad_input)?;
    let mut run = Run::new(args.trace.file_name().unwrap_or_default().to_string_lossy());
    run.read_events(&lines);
    let lanes = match &args.roster {
        None => Vec::new(),
        Some(path) => lanes_of(&RosterFile::open(path).map_err(Failure::bad_input)?.roster),
    };
    let report = Report { title: "Trace".into(), lanes, runs: vec![run], ..Report::default() };
    let write = |path: &Path, text: String| {
        std::fs::write(path, text).map_err(|e| Failure::unwritten(path, e))
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
    let named = |why: String| format!("{}: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|e| named(e.to_string()))?.len();
    if length > TRACE_MAX {
        return Err(named("is larger than 1 GiB, the largest trace".into()));
    }
    let bytes = std::fs::read(path).map_err(|e| named(e.to_string()))?;
    // The report counts lines that are cut off or garbled.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns a lane for each module of a roster, the highest priority first.
pub(crate) fn lanes_of(roster: &Roster) -> Vec<Lane> {
    let mut modules: Vec<&ModuleSpec> = roster.spec().modules.iter().collect();
    modules.sort_by_key(|module| std::cmp::Reverse(module.priority));
    let lane =
        |m: &ModuleSpec| Lane::new(&m.name, m.group.as_deref().unwrap_or(&m.name), m.priority);
    modules.into_iter().map(lane).collect()
}
