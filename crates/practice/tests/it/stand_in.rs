//! A run of all six in virtual time: the players, the world and a mutex of three rules, without threads or sockets.

use std::sync::{Condvar, Mutex, OnceLock};
use std::time::{Duration, Instant};

use practice::judge::{Counts, Frame, Sent, Waited, judge};
use practice::modules::{Do, Mode, Module, Player};
use practice::run::{Gate, Refused, Turn};
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

pub(crate) fn simulate(mode: Mode, seed: u64, length: Duration) -> (Counts, Vec<Frame>, Vec<Sent>) {
    let mut now = Duration::ZERO;
    let mut world = World::new(seed, now);
    let mut players: Vec<_> =
        Module::ALL.iter().map(|module| Player::new(*module, mode, seed, now)).collect();
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
                waits.push(Waited { module: Module::ALL[who].name(), seconds });
                who
            }
            _ => break,
        };
        wake[who] = Some(now);
        let player = &mut players[who];
        match player.next(now, &world.state(now)) {
            Do::Sleep { until, .. } => wake[who] = Some(until),
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
                frames.push(Frame { t, n, hex, verdict, effects });
                let token = turns.holder.map(|_| turns.token.to_string());
                let module = Module::ALL[who].name().to_owned();
                sends.push(Sent { t, n, module, cycle: player.cycle(), token });
            }
        }
    }
    let counts = judge(&frames, &sends, &waits, |module| group(module).to_owned());
    (counts, frames, sends)
}

/// A mutex of three rules for threads: the best waiter, after its delay.
#[derive(Default)]
pub(crate) struct StandIn {
    turns: Mutex<(Turns, bool)>,
    changed: Condvar,
    epoch: OnceLock<Instant>,
}

struct Held<'a> {
    mutex: &'a StandIn,
    who: usize,
    token: u64,
    used: bool,
}

impl StandIn {
    fn now(&self) -> Duration {
        self.epoch.get_or_init(Instant::now).elapsed()
    }
}

impl Gate for StandIn {
    fn acquire(&self, module: &'static str) -> Result<Box<dyn Turn + '_>, Refused> {
        let who = Module::ALL.iter().position(|m| m.name() == module).unwrap();
        let mut guard = self.turns.lock().unwrap();
        guard.0.waiting.push((who, self.now()));
        loop {
            if guard.1 {
                return Err(Refused::Closed);
            }
            let now = self.now();
            let wait = match guard.0.due() {
                Some((due, best, _)) if best == who && due <= now => break,
                Some((due, ..)) => due.saturating_sub(now).max(Duration::from_millis(1)),
                None => Duration::from_secs(1),
            };
            guard = self.changed.wait_timeout(guard, wait).unwrap().0;
        }
        guard.0.waiting.retain(|(waiter, _)| *waiter != who);
        guard.0.holder = Some(who);
        guard.0.token += 1;
        Ok(Box::new(Held { mutex: self, who, token: guard.0.token, used: true }))
    }

    fn close(&self) {
        self.turns.lock().unwrap().1 = true;
        self.changed.notify_all();
    }

    fn group(&self, module: &str) -> String {
        group(module).to_owned()
    }
}

impl Turn for Held<'_> {
    fn token(&self) -> String {
        self.token.to_string()
    }

    fn decline(mut self: Box<Self>) {
        self.used = false;
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut guard = self.mutex.turns.lock().unwrap();
        guard.0.holder = None;
        if self.used {
            guard.0.last = Some((self.who, self.mutex.now()));
        }
        drop(guard);
        self.mutex.changed.notify_all();
    }
}
