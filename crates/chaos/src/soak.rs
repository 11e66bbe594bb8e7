//! Runs many cells, several at a time, and makes a table of their outcomes.

use crate::cell::{Outcome, run};
use crate::step::{Cell, Fault, Transport, cells};
use random::Rng;
use std::fmt::Write;
use std::path::Path;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

/// A run of random cells with random times.
#[derive(Clone, Copy, Debug)]
pub struct Soak {
    /// The first seed. The seeds decide which cells run and at which times, but not how fast the machine is.
    pub seed: u64,
    /// No cell begins after this time.
    pub lasts: Duration,
    /// How many cells run at a time.
    pub workers: usize,
}

impl Soak {
    /// Runs it. `look` is called with each outcome as it comes.
    #[must_use]
    pub fn run(self, program: &Path, look: impl FnMut(&Outcome) + Send) -> Vec<Outcome> {
        let end = Instant::now() + self.lasts;
        let all = cells();
        let next = (self.seed..).map_while(|seed| {
            let mut rng = Rng::new(seed);
            let at = usize::try_from(rng.next_u64()).unwrap_or_default() % all.len();
            (Instant::now() < end).then(|| Cell { jitter: Some(seed), ..all[at] })
        });
        run_all(program, next, self.workers, look)
    }
}

/// Runs cells, several at a time.
pub fn run_all(
    program: &Path,
    cells: impl Iterator<Item = Cell> + Send,
    workers: usize,
    look: impl FnMut(&Outcome) + Send,
) -> Vec<Outcome> {
    let cells = Mutex::new(cells);
    let done = Mutex::new((Vec::new(), look));
    let work = || {
        loop {
            let Some(cell) = cells.lock().expect("no panic").next() else { return };
            let outcome = run(program, cell);
            let mut done = done.lock().expect("no panic");
            (done.1)(&outcome);
            done.0.push(outcome);
        }
    };
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    done.into_inner().expect("no panic").0
}

/// Returns a table of the outcomes of each fault over each transport.
#[must_use]
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::from(
        "fault        transport  cells  turns  refused  recovered in (median, most)  run anew  wrong\n",
    );
    for fault in Fault::ALL {
        for (transport, name) in [(Transport::Unix, "unix"), (Transport::Tcp, "tcp")] {
            let of: Vec<&Outcome> = outcomes
                .iter()
                .filter(|outcome| {
                    outcome.cell.fault == fault && outcome.cell.transport == transport
                })
                .collect();
            let sum = |count: fn(&Outcome) -> usize| of.iter().map(|o| count(o)).sum::<usize>();
            let mut recovered: Vec<Duration> =
                of.iter().filter_map(|outcome| outcome.figures.recovered).collect();
            recovered.sort_unstable();
            let seconds = |at: usize| {
                let time = recovered.get(at).map(Duration::as_secs_f64);
                time.map_or("-".into(), |time| format!("{time:.3} s"))
            };
            let most = seconds(recovered.len().saturating_sub(1));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{:<11}  {name:<9}  {:>5}  {:>5}  {:>7}  {:>27}  {:>8}  {:>5}",
                fault.name(),
                of.len(),
                sum(|o| o.figures.turns),
                sum(|o| o.figures.refused),
                format!("{}, {most}", seconds(recovered.len() / 2)),
                sum(|o| o.spoiled),
                sum(|o| usize::from(!o.wrong.is_empty())),
            );
        }
    }
    text
}
