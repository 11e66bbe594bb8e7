//! A run of all six in virtual time: the players, the world and a mutex of three rules, without threads or sockets.

use std::time::Duration;

use practice::judge::{Counts, Frame, Sent, Waited, judge};
use practice::modules::{Do, Mode, Module, Player};
use practice::world::World;

pub(crate) const DELAY: Duration = Duration::from_secs(1);

pub(crate) fn group(module: &str) -> &str {
    match module {
        "stacker" => "fisher",
        "eater" => "auto_loot",
        other => other,
    }
}

/// Who waits for a turn, since when.
#[derive(Default)]
struct Turns {
    waiting: Vec<(usize, Duration)>,
    holder: Option<usize>,
    last: Option<(usize, Duration)>,
    token: u64,
}

impl Turns {
    /// When the next turn can be granted, and to whom: the best waiter, after its delay.
    fn due(&self) -> Option<(Duration, usize, Duration)> {
        if self.holder.is_some() {
            return None;
        }
        let &(who, since) = self.waiting.iter().min_by_key(|(who, _)| *who)?;
        let name = |who: usize| group(Module::ALL[who].name());
        let free = match self.last {
            Some((last, ended)) if name(last) != name(who) => ended + DELAY,
            Some((_, ended)) => ended,
            None => Duration::ZERO,
        };
        Some((free.max(since), who, since))
    }
}

/// Plays these modules only.
pub(crate) fn simulate(
    modules: &[Module],
    mode: Mode,
    seed: u64,
    length: Duration,
) -> (Counts, Vec<Frame>, Vec<Sent>) {
    let mut now = Duration::ZERO;
    let mut world = World::new(seed, now);
    let mut players: Vec<_> =
        modules.iter().map(|module| Player::new(*module, mode, seed, now)).collect();
    let mut wake: Vec<Option<Duration>> = vec![Some(now); players.len()];
    let mut turns = Turns::default();
    let (mut frames, mut sends, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    loop {
        // Grants first, then whoever is due: ties go to the higher module.
        let woken = wake.iter().enumerate().filter_map(|(who, at)| at.map(|at| (at, who))).min();
        let grant = turns.due();
        let at = match (woken, grant) {
            (Some((at, _)), Some((due, ..))) => at.min(due),
            (Some((at, _)), None) => at,
            (None, Some((due, ..))) => due,
            (None, None) => break,
        };
        now = now.max(at);
        if now > length {
            break;
        }
        let who = match (woken, grant) {
            (Some((at, who)), Some((due, ..))) if at <= due => who,
            (Some((_, who)), None) => who,
            (_, Some((_, who, since))) => {
                turns.waiting.retain(|(waiter, _)| *waiter != who);
                turns.holder = Some(who);
                turns.token += 1;
                let seconds = (now - since).as_secs_f64();
                waits.push(Waited { module: modules[who].name(), seconds });
                who
            }
            _ => break,
        };
        wake[who] = Some(now);
        let player = &mut players[who];
        match player.next(now, &world.state(now)) {
            Do::Sleep { until, .. } => wake[who] = Some(until),
            Do::Look => {}
            Do::Acquire => {
                turns.waiting.push((who, now));
                wake[who] = None;
            }
            Do::Release { used } => {
                turns.holder = None;
                if used {
                    turns.last = Some((who, now));
                }
            }
            Do::Send(action) => {
                let (verdict, effects) = world.act(now, &action);
                player.verdict(verdict);
                let (t, n) = (now.as_secs_f64(), frames.len() as u32);
                let hex = action.encode().iter().map(|byte| format!("{byte:02x}")).collect();
                frames.push(Frame { t, connection: None, n, hex, verdict, effects });
                let token = turns.holder.map(|_| turns.token.to_string());
                let module = modules[who].name().to_owned();
                sends.push(Sent { t, connection: None, n, module, cycle: player.cycle(), token });
            }
        }
    }
    let counts = judge(&frames, &sends, &waits, |module| group(module).to_owned());
    (counts, frames, sends)
}
