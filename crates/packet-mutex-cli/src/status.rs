//! `packet-mutex status`: a snapshot of a running mutex.

use crate::connection::Connection;
use crate::exit::{ExitStatus, Failure, finish};
use crate::printer::{BAD, GOOD, HEADING, Printer};
use crate::table::{Align, Table};
use packet_mutex::{Below, English, PauseStatus, Status, status_to_json};
use std::time::Duration;

/// Show who holds a running mutex, who waits, and why
///
/// Exit code: 69 if the mutex cannot be reached.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    connection: Connection,

    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn status(args: &Args, printer: &mut Printer) -> ExitStatus {
    let done = show(args, printer).map(|()| ExitStatus::Done);
    finish(done, printer)
}

fn show(args: &Args, printer: &mut Printer) -> Result<(), Failure> {
    let mutex = args.connection.open()?;
    let (name, status) = (mutex.name(), mutex.try_status()?);
    printer.data(if args.json { status_to_json(name, &status) } else { text_of(name, &status) });
    Ok(())
}

fn text_of(name: &str, status: &Status) -> String {
    let mut lines = vec![match &status.holder {
        None => format!("{HEADING}{name}{HEADING:#}: {GOOD}free{GOOD:#}"),
        Some(holder) => format!(
            "{HEADING}{name}{HEADING:#}: {} has held for {}, token {}{}",
            holder.module,
            seconds(holder.held),
            holder.token,
            if holder.depth > 1 { format!(", {} turns deep", holder.depth) } else { String::new() },
        ),
    }];
    if let Some((module, ended)) = &status.last {
        lines.push(format!("last: {module}, ended {} ago", seconds(*ended)));
    }
    if let Some((module, when)) = next(status, seconds) {
        lines.push(format!("next: {module}, {when}"));
    }
    for paused in &status.paused {
        let (reason, whom) = (&paused.reason, pause(paused, seconds));
        lines.push(format!("{BAD}paused{BAD:#}: {reason} ({whom})"));
    }
    if status.abandoned {
        lines.push(format!(
            "{BAD}a turn was abandoned or revoked{BAD:#} and nobody has acknowledged it"
        ));
    }
    if status.closed {
        lines.push(format!("{BAD}closed{BAD:#}: it accepts no more requests"));
    }
    let mut parts = vec![lines.join("\n")];
    if !status.waiters.is_empty() {
        parts.push(waiters(status).to_string());
    }
    parts.push(modules(status).to_string());
    parts.join("\n\n")
}

/// Returns who is next, and when.
pub(crate) fn next(
    status: &Status,
    seconds: impl Fn(Duration) -> String,
) -> Option<(&str, String)> {
    let (module, within) = status.next.as_ref()?;
    let when = match (within.is_zero(), &status.holder) {
        (true, Some(_)) => "as soon as the turn ends".to_owned(),
        (true, None) => "now".to_owned(),
        (false, Some(_)) => format!("{} after the turn, if it ended now", seconds(*within)),
        (false, None) => format!("in {}, for the handover", seconds(*within)),
    };
    Some((module, when))
}

/// Returns whom a pause holds back, and for how much longer.
pub(crate) fn pause(pause: &PauseStatus, seconds: impl Fn(Duration) -> String) -> String {
    let below = match pause.below {
        Below::Priority(level) => format!("all below {level}"),
        Below::Urgent => "all but urgent".to_owned(),
    };
    let left = pause.left.map(|left| format!(", {} more", seconds(left)));
    below + &left.unwrap_or_default()
}

fn waiters(status: &Status) -> Table {
    let mut table = Table::new(&[
        ("waiting", Align::Left),
        ("priority", Align::Right),
        ("effective", Align::Right),
        ("for", Align::Right),
        ("times out in", Align::Right),
        ("why", Align::Left),
    ]);
    for (at, waiter) in status.waiters.iter().enumerate() {
        let urgent = if waiter.urgent { "urgent, " } else { "" };
        let why = status.reason(at).map_or_else(String::new, |reason| English(&reason).to_string());
        table.row([
            waiter.module.to_string(),
            waiter.priority.to_string(),
            format!("{:.1}", waiter.effective),
            seconds(waiter.waited),
            seconds(waiter.deadline),
            format!("{urgent}{why}"),
        ]);
    }
    table
}

fn modules(status: &Status) -> Table {
    let mut table = Table::new(&[
        ("module", Align::Left),
        ("mode", Align::Left),
        ("turns", Align::Right),
        ("timeouts", Align::Right),
        ("wait p50 / p99 / max", Align::Right),
        ("hold p50 / p99 / max", Align::Right),
    ]);
    for module in &status.modules {
        let mode = if module.disabled { "disabled" } else { module.mode.name() };
        let three = |p: &packet_mutex::Percentiles| {
            format!("{} / {} / {}", seconds(p.p50), seconds(p.p99), seconds(p.max))
        };
        table.row([
            module.module.to_string(),
            mode.to_owned(),
            module.turns.to_string(),
            module.timeouts.to_string(),
            three(&module.wait),
            three(&module.hold),
        ]);
    }
    table
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
