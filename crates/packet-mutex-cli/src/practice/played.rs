//! The results of the three runs, as a table, as JSON, as logs and as a timeline.

use crate::printer::{BAD, GOOD};
use crate::report::lanes_of;
use crate::table::{Align, Table};
use packet_mutex::roster_toml::format_duration;
use packet_mutex::{Event, Roster};
use practice::judge::Counts;
use practice::modules::{Mode, Module};
use practice::run::Outcome;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;
use timeline::{Action, Count, Report};

/// The three runs: `without`, `action_only` and `with`, in this order.
pub(super) struct Played {
    roster: Roster,
    seconds: u64,
    seed: u64,
    runs: Vec<Run>,
}

struct Run {
    mode: Mode,
    outcome: Outcome,
    events: Vec<Event>,
}

impl Played {
    pub(super) fn new(
        roster: Roster,
        (seconds, seed): (u64, u64),
        outcomes: Vec<Outcome>,
        events: [Vec<Event>; 3],
    ) -> Self {
        let runs = Mode::ALL.into_iter().zip(outcomes).zip(events);
        let runs = runs.map(|((mode, outcome), events)| Run { mode, outcome, events }).collect();
        Played { roster, seconds, seed, runs }
    }

    /// Returns what went wrong in the run with the mutex.
    pub(super) fn conflicts(&self) -> Vec<String> {
        let Some(with) = self.runs.iter().find(|run| run.mode == Mode::With) else {
            return vec!["the run with the mutex is missing".into()];
        };
        let counts = &with.outcome.counts;
        let troubles = troubles(counts).into_iter().filter(|(_, n)| *n > 0);
        let mut conflicts: Vec<String> =
            troubles.map(|(what, n)| format!("with the mutex: {n} {what}")).collect();
        let least = least_delay(&self.roster);
        if counts.min_handover_s.is_some_and(|s| s < least.as_secs_f64()) {
            let least = format_duration(least);
            conflicts.push(format!("with the mutex: a handover was shorter than {least}"));
        }
        conflicts
    }

    pub(super) fn json(&self) -> Value {
        let runs =
            self.runs.iter().map(|run| (run.mode.name().to_owned(), json!(run.outcome.counts)));
        let mut object: Map<String, Value> = runs.collect();
        object.insert("seconds".into(), json!(self.seconds));
        object.insert("seed".into(), json!(self.seed));
        object.into()
    }

    pub(super) fn text(&self) -> String {
        let verdict = if self.conflicts().is_empty() {
            format!("{GOOD}with the mutex: no conflict{GOOD:#}")
        } else {
            format!("{BAD}with the mutex: conflicts{BAD:#}")
        };
        format!("{}\n\n{}\n\n{verdict}", self.counts_table(), self.modules_table())
    }

    fn counts_table(&self) -> Table {
        let mut columns = vec![("one character, six modules", Align::Left)];
        columns.extend(self.runs.iter().map(|run| (run.mode.name(), Align::Right)));
        let mut table = Table::new(&columns);
        let of_each = |value: &dyn Fn(&Counts) -> String| -> Vec<String> {
            self.runs.iter().map(|run| value(&run.outcome.counts)).collect()
        };
        for (at, (what, _)) in troubles(&Counts::default()).into_iter().enumerate() {
            let cells = of_each(&|counts| {
                let n = troubles(counts)[at].1;
                let style = if n > 0 { BAD } else { GOOD };
                format!("{style}{n}{style:#}")
            });
            table.row([what.to_owned()].into_iter().chain(cells));
        }
        for (at, (what, _)) in gains(&Counts::default()).into_iter().enumerate() {
            let cells = of_each(&|counts| gains(counts)[at].1.to_string());
            table.row([what.to_owned()].into_iter().chain(cells));
        }
        let handover = of_each(&|c| c.min_handover_s.map_or("-".into(), |s| format!("{s:.3} s")));
        table.row(["shortest handover".to_owned()].into_iter().chain(handover));
        table
    }

    fn modules_table(&self) -> Table {
        let mut columns = vec![("turns, and waits: median / longest", Align::Left)];
        columns.extend(self.runs.iter().map(|run| (run.mode.name(), Align::Right)));
        let mut table = Table::new(&columns);
        for module in Module::ALL.map(Module::name) {
            let cells = self.runs.iter().map(|run| {
                let service = run.outcome.counts.modules.get(module).cloned().unwrap_or_default();
                match run.mode {
                    Mode::Without => format!("{}", service.turns),
                    _ => format!(
                        "{}  {:.1} / {:.1} s",
                        service.turns, service.wait_p50_s, service.wait_max_s
                    ),
                }
            });
            table.row([module.to_owned()].into_iter().chain(cells));
        }
        table
    }

    /// Writes `frames.jsonl`, `sends.jsonl` and `events.jsonl` for each run.
    pub(super) fn write_logs(&self, directory: &Path) -> io::Result<()> {
        for run in &self.runs {
            let directory = directory.join(run.mode.name());
            run.outcome.write_logs(&directory)?;
            let mut file = BufWriter::new(File::create(directory.join("events.jsonl"))?);
            run.events.iter().try_for_each(|event| writeln!(file, "{event}"))?;
            file.flush()?;
        }
        Ok(())
    }

    pub(super) fn report(&self) -> Report {
        Report {
            title: "Six modules, one character".into(),
            subtitle: format!(
                "The same six modules on the same world (seed {}, {} s), three times: without the mutex, with a turn \
                 around each single action, and with a turn around each whole cycle.",
                self.seed, self.seconds
            ),
            lanes: lanes_of(&self.roster),
            runs: self.runs.iter().map(Run::timeline).collect(),
        }
    }
}

impl Run {
    fn timeline(&self) -> timeline::Run {
        let mut run = timeline::Run::new(match self.mode {
            Mode::Without => "Without the mutex",
            Mode::ActionOnly => "A turn around each action",
            Mode::With => "A turn around each cycle",
        });
        run.note = match self.mode {
            Mode::Without => "Each module sends whenever it likes.",
            Mode::ActionOnly => "What was read before the wait is stale when the turn comes.",
            Mode::With => "As the guide says: slots are read inside the turn.",
        }
        .into();
        let counts = &self.outcome.counts;
        let troubles = troubles(counts).into_iter().map(|(what, n)| Count::should_be_zero(what, n));
        run.summary = troubles.collect();
        run.summary.extend(gains(counts).into_iter().map(|(what, n)| Count::new(what, n)));
        for event in &self.events {
            run.read_events(&event.to_string());
        }
        run.actions = self.actions();
        run
    }

    fn actions(&self) -> Vec<Action> {
        let verdicts: BTreeMap<u32, Value> =
            self.outcome.frames.iter().map(|frame| (frame.n, json!(frame.verdict))).collect();
        let interleaved: BTreeSet<u32> =
            practice::judge::interleaved(&self.outcome.sends).into_iter().collect();
        let sends = self.outcome.sends.iter();
        sends
            .map(|sent| Action {
                t: sent.t,
                module: sent.module.clone(),
                cycle: Some(sent.cycle),
                token: sent.token.clone(),
                verdict: verdicts.get(&sent.n).and_then(Value::as_str).unwrap_or("unseen").into(),
                interleaved: interleaved.contains(&sent.n),
            })
            .collect()
    }
}

/// Returns the counts of what should not happen.
fn troubles(counts: &Counts) -> [(&'static str, u64); 5] {
    [
        ("interleavings", counts.interleavings),
        ("refusals", counts.refusals),
        ("wrong items", counts.wrong_items),
        ("weapons lost", counts.weapons_lost),
        ("runes failed", counts.runes_failed),
    ]
}

/// Returns the counts of what the modules achieve.
fn gains(counts: &Counts) -> [(&'static str, u64); 4] {
    [
        ("runes made", counts.runes_made),
        ("fish", counts.fish),
        ("meals", counts.meals),
        ("loot", counts.loot),
    ]
}

/// Returns the shortest delay that the roster allows between two groups.
fn least_delay(roster: &Roster) -> Duration {
    let spec = roster.spec();
    let modules = spec.modules.iter().filter_map(|module| module.handover_delay);
    let pairs = spec.delays.iter().map(|pair| pair.delay);
    modules.chain(pairs).fold(spec.handover_delay, Duration::min)
}
