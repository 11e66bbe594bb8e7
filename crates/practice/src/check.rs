//! What a practice must show, with the mutex and without it.

use packet_mutex::Roster;

use crate::judge::Counts;
use crate::logs::Findings;
use crate::modules::Module;

/// In a run of so many seconds some fish is caught, as good as surely.
const LONG: u64 = 60;

/// Returns what is not as the documentation promises; nothing if all is well.
#[must_use]
pub fn complaints(without: &Counts, with: &Counts) -> Vec<String> {
    let mut complaints: Vec<String> = with
        .wrongs()
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(kind, count)| format!("{count} {kind} with the mutex"))
        .collect();
    let least = Roster::default().spec().handover_delay.as_secs_f64();
    if with.min_handover_s.is_none_or(|took| took < least) {
        complaints.push(format!("the least handover took {:?} s", with.min_handover_s));
    }
    for module in Module::ALL.map(Module::name) {
        if with.modules.get(module).is_none_or(|service| service.turns == 0) {
            complaints.push(format!("{module} got no turn"));
        }
    }
    if without.clean() {
        complaints.push("nothing went wrong without the mutex".into());
    }
    complaints
}

/// Returns what several processes can do wrong besides.
#[must_use]
pub fn misfits(without: &Findings, with: &Findings, seconds: u64) -> Vec<String> {
    let turnless = [("without_turn", with.without_turn)];
    let with_all = with.misfits().into_iter().chain(turnless).map(|misfit| ("with", misfit));
    let without_all = without.misfits().into_iter().map(|misfit| ("without", misfit));
    let misfits = with_all.chain(without_all).filter(|(_, (_, count))| *count > 0);
    let misfits =
        misfits.map(|(run, (kind, count))| format!("{count} {} in the run {run}", spaced(kind)));
    let missing = with.counts.made().into_iter();
    let missing = missing
        .filter(|(kind, count)| *count == 0 && (*kind != "fish" || seconds >= LONG))
        .map(|(kind, _)| format!("no {} with the mutex", spaced(kind)));
    misfits.chain(missing).collect()
}

/// Returns a name in the JSON as people write it.
#[must_use]
pub fn spaced(kind: &str) -> String {
    kind.replace('_', " ")
}

/// Returns a line that compares the two runs.
#[must_use]
pub fn summary(seconds: u64, seed: u64, without: &Counts, with: &Counts) -> String {
    let wrongs = |counts: &Counts| counts.wrongs().iter().map(|(_, count)| count).sum::<u64>();
    format!(
        "seed {seed}, {seconds} s: {} things wrong without the mutex, {} with it",
        wrongs(without),
        wrongs(with)
    )
}

/// Reads the numbers of a command line, where each may be left out from the end.
///
/// # Errors
///
/// Which of them is not a number.
pub fn numbers<const N: usize>(defaults: [u64; N]) -> Result<[u64; N], String> {
    let mut numbers = defaults;
    for (number, text) in numbers.iter_mut().zip(std::env::args().skip(1)) {
        *number = text.parse().map_err(|_| format!("`{text}` is not a number"))?;
    }
    Ok(numbers)
}
