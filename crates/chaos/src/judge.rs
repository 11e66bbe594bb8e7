//! The judge: what may happen and what must happen, from the logs alone.
//!
//! A client writes a line before it sends and after it has read. So a turn lasted at least from the read grant to the written
//! release, and only within that time may the judge conclude that two turns overlap.

use crate::log::{Line, What};
use crate::step::{Cell, DELAY, FIRST, Fault, Kind, LAST, LEASE, SUBJECT, Standing, Transport};
use std::collections::BTreeMap;
use std::time::Duration;

/// How much later than possible a turn may be granted. It is less than a lease, so that a server that needlessly waits for one
/// fails.
const SLACK: Duration = Duration::from_millis(800);
/// The longest time until a client is connected anew: the longest pause between its attempts, and the attempt.
const RECONNECT: Duration = Duration::from_millis(2500);

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Turns whose grant was read.
    pub turns: usize,
    /// Actions that the far end refused.
    pub refused: usize,
    /// The time from the fault to the next grant of another client, if the subject held the mutex.
    pub recovered: Option<Duration>,
}

/// A turn as the log of its holder shows it.
#[derive(Debug, Default)]
struct TurnRecord<'a> {
    who: &'a str,
    token: u64,
    asked: u64,
    granted: u64,
    abandoned: bool,
    acknowledged: bool,
    /// When the holder was about to send its release or yield.
    ended: Option<u64>,
    released: bool,
    /// When the far end took its actions.
    accepted: Vec<u64>,
    refused: usize,
    /// When it last renewed its lease before the fault.
    renewed: u64,
}

/// Judges a run from its logs. Returns its figures and all that is wrong.
#[must_use]
pub fn judge(cell: Cell, lines: &[Line]) -> (Figures, Vec<String>) {
    let time = |which: &What| lines.iter().find(|line| line.what == *which).map(|line| line.t);
    let Some(fault) = time(&What::Fault) else {
        return (Figures::default(), vec!["the run did not come to the fault".into()]);
    };
    let run = Evidence {
        cell,
        lines,
        fault,
        continues: time(&What::Continues).unwrap_or(u64::MAX),
        restarts: time(&What::Restarts).unwrap_or(u64::MAX),
        turns: turns(lines, fault),
    };
    let figures = Figures {
        turns: run.turns.len(),
        refused: run.turns.iter().map(|turn| turn.refused).sum(),
        recovered: run.recovered().map(|at| Duration::from_nanos(at - fault)),
    };
    let mut wrong = Vec::new();
    run.exclusion(&mut wrong);
    run.delays(&mut wrong);
    run.everybody(&mut wrong);
    // With jitter the step at which the fault came is not known, so only the general rules can be judged.
    if cell.jitter.is_none() {
        run.fate(&mut wrong);
        run.marks(&mut wrong);
    }
    (figures, wrong)
}

/// Returns the turns in the order of their tokens.
fn turns(lines: &[Line], fault: u64) -> Vec<TurnRecord<'_>> {
    let mut turns: Vec<TurnRecord<'_>> = Vec::new();
    let mut asked: BTreeMap<&str, u64> = BTreeMap::new();
    for Line { t, who, what } in lines {
        if let What::Granted { token, abandoned } = *what {
            let asked = asked.get(&**who).copied().unwrap_or(*t);
            turns.push(TurnRecord {
                who,
                token,
                asked,
                granted: *t,
                abandoned,
                ..TurnRecord::default()
            });
        }
        if *what == What::Asks {
            asked.insert(who, *t);
        }
        let Some(turn) = turns.iter_mut().rev().find(|turn| turn.who == who) else { continue };
        match *what {
            What::Acknowledged => turn.acknowledged = true,
            What::Renews if *t < fault => turn.renewed = *t,
            What::Accepted { at, .. } => turn.accepted.push(at),
            What::Refused { .. } => turn.refused += 1,
            What::Yields { .. } | What::Releases { .. } => turn.ended = Some(*t),
            What::Released { .. } => turn.released = true,
            _ => {}
        }
    }
    turns.sort_by_key(|turn| turn.token);
    turns
}

/// The logs of one run, and what follows from them.
struct Evidence<'a> {
    cell: Cell,
    lines: &'a [Line],
    fault: u64,
    /// When the stopped process went on; never, if none was stopped.
    continues: u64,
    /// When the server was started again; never, if it was not killed.
    restarts: u64,
    turns: Vec<TurnRecord<'a>>,
}

impl Evidence<'_> {
    /// Returns the turns of the others after the fault, in the order of their tokens.
    fn others(&self) -> impl Iterator<Item = &TurnRecord<'_>> {
        self.turns.iter().filter(|turn| turn.who != SUBJECT && turn.granted > self.fault)
    }

    /// Returns the time of the first grant of another after the fault, if the subject held the mutex.
    fn recovered(&self) -> Option<u64> {
        let first = self.others().map(|turn| turn.granted).min();
        first.filter(|_| self.cell.step.standing() == Standing::Holds && self.cell.jitter.is_none())
    }

    /// Returns whether this is a turn of the stopped subject that it asked for before it went on.
    fn was_stopped(&self, turn: &TurnRecord<'_>) -> bool {
        self.cell.fault == Fault::Stop && turn.who == SUBJECT && turn.asked < self.continues
    }

    /// Returns whether its holder may have read the grant late, so that its time says nothing about the server's order.
    fn was_read_late(&self, turn: &TurnRecord<'_>) -> bool {
        let Cell { fault, transport, kind, .. } = self.cell;
        // A raw client does not count its lease, and may read a grant of a server that is gone by then.
        let counts_nothing = kind == Kind::Raw && turn.who == SUBJECT;
        let since = match (fault, transport) {
            (Fault::ServerKill, _) => self.restarts,
            (Fault::ServerStop, Transport::Tcp) => self.continues,
            _ => 0,
        };
        self.was_stopped(turn) || counts_nothing && turn.asked < since
    }

    /// Returns whether its holder may act on without knowing that its turn is over. No lock can prevent that (S8), which is
    /// why actions have tokens.
    fn may_be_late(&self, turn: &TurnRecord<'_>) -> bool {
        match self.cell.fault {
            Fault::Stop => self.cell.transport == Transport::Tcp && self.was_stopped(turn),
            Fault::ServerKill => turn.granted < self.restarts || self.was_read_late(turn),
            Fault::ServerStop => {
                let over_tcp = self.cell.transport == Transport::Tcp;
                over_tcp && (turn.granted < self.continues || self.was_read_late(turn))
            }
            _ => false,
        }
    }

    /// S1, S17: one turn at a time, with growing tokens. Late actions are refused, and no others.
    fn exclusion(&self, wrong: &mut Vec<String>) {
        for (at, turn) in self.turns.iter().enumerate() {
            let (who, token) = (turn.who, turn.token);
            for later in &self.turns[at + 1..] {
                if later.token == token {
                    wrong.push(format!("{who} and {} both had token {token}", later.who));
                }
                let is_read_late = self.was_read_late(turn) || self.was_read_late(later);
                if later.granted < turn.granted && !is_read_late {
                    let older = format!("{token} of {who} came after {}", later.token);
                    wrong.push(format!("tokens do not grow: {older} of {}", later.who));
                }
                let overlaps = turn.accepted.iter().any(|at| *at > later.granted);
                if overlaps && !self.may_be_late(turn) && !self.was_stopped(later) {
                    wrong.push(format!("{who} acted under {token} in a turn of {}", later.who));
                }
            }
            if turn.refused > 0 && !self.may_be_late(turn) {
                wrong.push(format!("{who} was refused under {token} although it was not late"));
            }
        }
        let mut accepted: Vec<(u64, u64)> = Vec::new();
        for turn in &self.turns {
            accepted.extend(turn.accepted.iter().map(|at| (*at, turn.token)));
        }
        accepted.sort_unstable();
        if !accepted.is_sorted_by_key(|(_, token)| token) {
            wrong.push("the actions of two turns interleave".into());
        }
    }

    /// Returns the time before which a turn cannot have ended, and whether it was abandoned or revoked; `None` if it had no
    /// reason to end.
    fn end_of(&self, turn: &TurnRecord<'_>) -> Option<(u64, bool)> {
        let ended = turn.ended.filter(|ended| !self.may_be_late(turn) || *ended < self.fault);
        if let Some(ended) = ended {
            return Some((ended, false));
        }
        match (self.cell.fault, self.cell.transport) {
            (Fault::ServerKill, _) if turn.granted < self.restarts => Some((self.restarts, true)),
            (Fault::ServerStop, Transport::Tcp) if self.may_be_late(turn) => {
                Some((turn.asked.max(turn.renewed) + nanos(LEASE), true))
            }
            // The faults below hit the subject only.
            _ if turn.who != SUBJECT => None,
            (Fault::ServerKill, _) => Some((self.restarts, true)),
            // The server counts the lease from what it last heard, which is no earlier than the client wrote it down.
            (_, Transport::Tcp) => Some((turn.asked.max(turn.renewed) + nanos(LEASE), true)),
            // A Unix socket has no lease, and a stopped process keeps its connection.
            (Fault::Stop | Fault::ServerStop, Transport::Unix) => None,
            (_, Transport::Unix) => Some((self.fault, true)),
        }
    }

    /// S3, S7, S17: the delay holds for other groups, and for all groups after a lost turn.
    fn delays(&self, wrong: &mut Vec<String>) {
        for two in self.turns.windows(2) {
            let [turn, next] = two else { continue };
            let Some((end, is_lost)) = self.end_of(turn) else {
                wrong.push(format!("{} lost token {} for no reason", turn.who, turn.token));
                continue;
            };
            let is_restarted = turn.granted < self.restarts && self.restarts < next.granted;
            let end = if is_restarted && !self.may_be_late(next) { self.restarts } else { end };
            let is_kin = |who| who == SUBJECT || who == self.cell.kin();
            let is_other = is_kin(turn.who) != is_kin(next.who);
            if (is_other || is_lost || is_restarted) && next.granted < end + nanos(DELAY) {
                let early = Duration::from_nanos(end + nanos(DELAY) - next.granted);
                wrong.push(format!("{} {} was granted {early:?} early", next.who, next.token));
            }
        }
    }

    /// Every client gets a turn in the end and can release it. One that closed only its writing side got its replies.
    fn everybody(&self, wrong: &mut Vec<String>) {
        let after = if self.cell.fault == Fault::Stop { self.continues } else { self.fault };
        for who in [SUBJECT, FIRST, LAST] {
            let has_turn = |turn: &TurnRecord<'_>| {
                turn.who == who && turn.released && (who != SUBJECT || turn.granted > after)
            };
            if !self.turns.iter().any(has_turn) {
                wrong.push(format!("{who} got no turn in the end"));
            }
        }
        for line in self.lines {
            if let What::Heard { replies, due } = line.what
                && replies < due
            {
                wrong.push(format!("{replies} of {due} replies after closing the writing side"));
            }
        }
    }

    /// S7, S8: what becomes of the subject's turn or request.
    fn fate(&self, wrong: &mut Vec<String>) {
        let Cell { step, fault, transport, kind, .. } = self.cell;
        let own = self.turns.iter().rfind(|turn| turn.who == SUBJECT && turn.asked < self.fault);
        let in_the_end = own.is_some_and(|turn| turn.released && turn.refused == 0);
        let while_stopped =
            |who: &str| self.others().any(|turn| turn.who == who && turn.granted < self.continues);
        let is_loss =
            |line: &Line| line.who == SUBJECT && line.what == What::Lost && line.t > self.fault;
        match (step.standing(), fault, transport) {
            (Standing::Nothing, ..) => {}
            (has, Fault::Stop, Transport::Unix) => {
                // It is still connected, so it keeps its turn, or its place in the queue and the turn that follows.
                if while_stopped(LAST) || has == Standing::Holds && while_stopped(FIRST) {
                    wrong.push("another was let in while the stopped subject was connected".into());
                }
                if !in_the_end {
                    wrong.push("the stopped subject could not use its turn in the end".into());
                }
            }
            (_, Fault::ServerStop, Transport::Unix) => {
                if !in_the_end {
                    wrong.push("the stopped server forgot what the subject had".into());
                }
            }
            (Standing::Holds, Fault::ServerStop, _) if kind == Kind::Library => {
                self.recovery(wrong);
                let told = self.lines.iter().find(|line| is_loss(line));
                if told.is_none_or(|line| line.t > self.continues) {
                    wrong.push("the holder did not stop itself within its lease".into());
                }
            }
            (Standing::Holds, ..) => {
                self.recovery(wrong);
                let has_to_know = !matches!(fault, Fault::Kill | Fault::HalfClose | Fault::Reset);
                if has_to_know && !self.lines.iter().any(is_loss) {
                    wrong.push("the subject did not find out that its turn is lost".into());
                }
                if fault == Fault::Stop && own.is_none_or(|turn| turn.refused == 0) {
                    wrong.push("the late subject was not refused".into());
                }
            }
            (Standing::Waits, Fault::ServerKill, _) if kind == Kind::Library => {
                if !in_the_end || own.is_some_and(|turn| turn.granted < self.restarts) {
                    wrong.push("the subject's ask did not survive the server".into());
                }
            }
            (Standing::Waits, Fault::Kill | Fault::HalfClose | Fault::Reset, _) => {
                let ended = self.turns.iter().filter(|turn| turn.who == FIRST);
                let ended = ended.filter_map(|turn| turn.ended).max().unwrap_or_default();
                let latest = ended.max(self.fault) + nanos(DELAY + SLACK);
                if self.others().any(|turn| turn.who == LAST && turn.granted > latest) {
                    wrong.push("the lost ask held the next one up".into());
                }
            }
            (Standing::Waits, ..) => {}
        }
    }

    /// S7, S8: when the turn that the subject held is given to another.
    fn recovery(&self, wrong: &mut Vec<String>) {
        let asked = self.lines.iter().filter(|line| {
            let renews = matches!(line.what, What::Asks | What::Renews);
            line.who == SUBJECT && renews && line.t < self.fault
        });
        let asked = asked.map(|line| line.t).max().unwrap_or_default();
        let (earliest, latest) = match (self.cell.fault, self.cell.transport) {
            (Fault::ServerKill, _) => (self.restarts, self.restarts + nanos(RECONNECT)),
            // A waiter may have asked over a connection that is gone. Its turn is granted in vain and has to time out too.
            (Fault::ServerStop, _) => {
                (asked + nanos(LEASE), self.continues + nanos(LEASE + RECONNECT))
            }
            // The server sees a closed Unix socket at once.
            (_, Transport::Unix) => (self.fault, self.fault),
            (_, Transport::Tcp) => (asked + nanos(LEASE), self.fault + nanos(LEASE)),
        };
        match self.recovered() {
            None => wrong.push("nobody got the turn that was lost".into()),
            Some(at) if at < earliest + nanos(DELAY) => {
                let early = Duration::from_nanos(earliest + nanos(DELAY) - at);
                wrong.push(format!("the lost turn was given away {early:?} early"));
            }
            Some(at) if at > latest + nanos(DELAY + SLACK) => {
                let late = Duration::from_nanos(at - latest - nanos(DELAY));
                wrong.push(format!("the lost turn was recovered {late:?} late"));
            }
            Some(_) => {}
        }
    }

    /// S7: each turn after a lost one is told so, until that is acknowledged, and no other turn is.
    fn marks(&self, wrong: &mut Vec<String>) {
        let Cell { step, fault, transport, .. } = self.cell;
        let is_lost = match fault {
            // S17: a server that starts again does not know whether a turn was open.
            Fault::ServerKill => true,
            Fault::Stop if transport == Transport::Unix => false,
            Fault::ServerStop if transport == Transport::Unix => false,
            // A waiter may have been granted a turn that it never saw, so the marks can be right or wrong either way.
            Fault::ServerStop => return,
            Fault::Stop if step.standing() == Standing::Waits => return,
            _ => step.standing() == Standing::Holds,
        };
        let since = if fault == Fault::ServerKill { self.restarts } else { self.fault };
        let mut is_marked = is_lost;
        let after = |turn: &&TurnRecord<'_>| turn.granted > since && !self.may_be_late(turn);
        for turn in self.turns.iter().filter(after) {
            if turn.abandoned != is_marked {
                let told = if turn.abandoned { "told" } else { "not told" };
                wrong.push(format!("{} {} is {told} of a lost turn", turn.who, turn.token));
            }
            is_marked &= !turn.acknowledged;
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::log::{Line, What};
    use crate::step::{Cell, Fault, Kind, Step, Transport};

    const MS: u64 = 1_000_000;

    /// Reads lines of a time in milliseconds, a client, an event and a token. A grant that is told of a lost turn is `marked`.
    fn lines(text: &str) -> Vec<Line> {
        let mut lines = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let t = words[0].parse::<u64>().unwrap() * MS;
            let token = words.get(3).map_or(0, |token| token.parse().unwrap());
            let what = match words[2] {
                "asks" => What::Asks,
                "granted" => What::Granted { token, abandoned: false },
                "marked" => What::Granted { token, abandoned: true },
                "acknowledged" => What::Acknowledged,
                "acts" => What::Accepted { token, at: t },
                "refused" => What::Refused { token, newest: token + 1 },
                "releases" => What::Releases { token },
                "released" => What::Released { token },
                "renews" => What::Renews,
                "lost" => What::Lost,
                "heard" => What::Heard { replies: 1, due: token },
                "fault" => What::Fault,
                "continues" => What::Continues,
                "restarts" => What::Restarts,
                other => panic!("{other}"),
            };
            lines.push(Line { t, who: words[1].to_owned(), what });
        }
        lines.sort_by_key(|line| line.t);
        lines
    }

    /// Judges a log without some lines (`- LINE`) and with others.
    fn wrong(cell: Cell, log: &str, changes: &str) -> String {
        let mut text = log.to_owned();
        for change in changes.lines().map(str::trim) {
            match change.strip_prefix("- ") {
                Some(line) => {
                    assert!(text.contains(line), "{line}");
                    text = text.replacen(line, "", 1);
                }
                None => text = format!("{text}\n{change}"),
            }
        }
        judge(cell, &lines(&text)).1.join("; ")
    }

    fn cell(step: Step, fault: Fault, transport: Transport) -> Cell {
        Cell { step, fault, transport, kind: Kind::Raw, jitter: None }
    }

    /// The holder is killed over a Unix socket.
    const KILLED: &str = "
        0 fisher asks
        1 fisher granted 1
        2 fisher acts 1
        3 runemaker asks
        3 eater asks
        10 director fault
        75 runemaker marked 2
        76 runemaker acknowledged
        77 runemaker acts 2
        78 runemaker releases 2
        79 runemaker released 2
        140 eater granted 3
        141 eater acts 3
        142 eater releases 3
        143 eater released 3
        150 fisher asks
        151 fisher granted 4
        152 fisher releases 4
        153 fisher released 4";

    #[test]
    fn a_killed_holder() {
        let cell = cell(Step::Holding, Fault::Kill, Transport::Unix);
        assert_eq!(wrong(cell, KILLED, ""), "");
        let judged = [
            ("- 10 director fault", "did not come to the fault"),
            ("- 75 runemaker marked 2\n69 runemaker marked 2", "given away 1ms early"),
            ("- 75 runemaker marked 2\n75 runemaker granted 2", "not told of a lost turn"),
            ("- 140 eater granted 3\n140 eater marked 3", "is told of a lost turn"),
            ("- 140 eater granted 3\n137 eater granted 3", "granted 1ms early"),
            ("80 fisher acts 1", "fisher acted under 1 in a turn of runemaker"),
            ("142 runemaker acts 2", "interleave"),
            ("77 runemaker refused 2", "refused under 2 although it was not late"),
            ("- 151 fisher granted 4\n151 fisher granted 3", "both had token 3"),
            ("- 153 fisher released 4", "fisher got no turn in the end"),
            ("- 143 eater released 3", "eater got no turn in the end"),
            ("- 78 runemaker releases 2", "runemaker lost token 2 for no reason"),
        ];
        for (changes, what) in judged {
            let wrong = wrong(cell, KILLED, changes);
            assert!(wrong.contains(what), "{changes}: {wrong}");
        }
        // At this step the first of the others is of the subject's group.
        let kin = super::Cell { step: Step::Acting, ..cell };
        let early = wrong(kin, KILLED, "- 75 runemaker marked 2\n69 runemaker marked 2");
        assert!(early.contains("runemaker 2 was granted 1ms early"), "{early}");
        let late =
            KILLED.replace("75 runemaker", "900 runemaker").replace("140 eater", "940 eater");
        assert!(wrong(cell, &late, "").contains("recovered 830ms late"));
        let older = KILLED.replace("granted 4", "granted 0");
        assert!(wrong(cell, &older, "").contains("tokens do not grow"));
        let half = super::Cell { fault: Fault::HalfClose, ..cell };
        assert!(wrong(half, KILLED, "20 fisher heard 2").contains("1 of 2 replies"));
    }

    /// The holder is stopped over TCP and wakes when others have had their turns.
    const STOPPED: &str = "
        0 fisher asks
        1 fisher granted 1
        2 fisher acts 1
        3 fisher renews
        4 runemaker asks
        4 eater asks
        10 director fault
        965 runemaker marked 2
        966 runemaker acknowledged
        967 runemaker acts 2
        968 runemaker releases 2
        969 runemaker released 2
        1030 eater granted 3
        1031 eater acts 3
        1032 eater releases 3
        1033 eater released 3
        1200 director continues
        1201 fisher refused 1
        1202 fisher lost
        1203 fisher asks
        1204 fisher granted 4
        1205 fisher releases 4
        1206 fisher released 4";

    #[test]
    fn a_stopped_holder_over_tcp() {
        let cell = cell(Step::Holding, Fault::Stop, Transport::Tcp);
        assert_eq!(wrong(cell, STOPPED, ""), "");
        let judged = [
            ("- 965 runemaker marked 2\n962 runemaker marked 2", "given away 1ms early"),
            ("- 1201 fisher refused 1", "the late subject was not refused"),
            ("- 1202 fisher lost", "did not find out"),
            ("- 1201 fisher refused 1\n1201 fisher acts 1", "interleave"),
        ];
        for (changes, what) in judged {
            let wrong = wrong(cell, STOPPED, changes);
            assert!(wrong.contains(what), "{changes}: {wrong}");
        }
    }

    #[test]
    fn a_stopped_holder_over_a_unix_socket() {
        let cell = cell(Step::Holding, Fault::Stop, Transport::Unix);
        let log = "
            0 fisher asks
            1 fisher granted 1
            2 fisher acts 1
            3 runemaker asks
            3 eater asks
            10 director fault
            300 director continues
            301 fisher acts 1
            302 fisher releases 1
            303 fisher released 1
            303 eater granted 2
            304 eater releases 2
            305 eater released 2
            366 runemaker granted 3
            367 runemaker releases 3
            368 runemaker released 3
            400 fisher asks
            428 fisher granted 4
            429 fisher releases 4
            430 fisher released 4";
        assert_eq!(wrong(cell, log, ""), "");
        let let_in = wrong(cell, log, "- 303 eater granted 2\n200 eater granted 2");
        assert!(let_in.contains("another was let in"), "{let_in}");
        let unused = wrong(cell, log, "- 303 fisher released 1");
        assert!(unused.contains("could not use its turn"), "{unused}");
    }

    #[test]
    fn a_killed_server() {
        let mut cell = cell(Step::Waiting, Fault::ServerKill, Transport::Unix);
        cell.kind = Kind::Library;
        let log = "
            0 runemaker asks
            1 runemaker granted 1
            2 fisher asks
            3 eater asks
            10 director fault
            20 director restarts
            85 fisher marked 100
            86 fisher acknowledged
            87 fisher releases 100
            88 fisher released 100
            88 eater granted 101
            89 eater releases 101
            90 eater released 101
            91 runemaker asks
            150 runemaker granted 102
            151 runemaker releases 102
            152 runemaker released 102";
        assert_eq!(wrong(cell, log, ""), "");
        let early = wrong(cell, log, "- 85 fisher marked 100\n79 fisher marked 100");
        assert!(early.contains("granted 1ms early"), "{early}");
        let older = wrong(cell, &log.replace("granted 1\n", "granted 200\n"), "");
        assert!(older.contains("tokens do not grow"), "{older}");
        let anew = wrong(cell, log, "12 fisher asks\n- 2 fisher asks");
        assert!(anew.contains("did not survive the server"), "{anew}");
    }

    #[test]
    fn a_lost_ask_holds_nobody_up() {
        let cell = cell(Step::Waiting, Fault::Kill, Transport::Tcp);
        let log = "
            0 runemaker asks
            1 runemaker granted 1
            2 fisher asks
            3 eater asks
            10 director fault
            11 runemaker releases 1
            12 runemaker released 1
            72 eater granted 2
            73 eater releases 2
            74 eater released 2
            80 fisher asks
            81 fisher granted 3
            82 fisher releases 3
            83 fisher released 3";
        assert_eq!(wrong(cell, log, ""), "");
        let late = log.replace("72 eater", "872 eater");
        assert!(wrong(cell, &late, "").contains("held the next one up"));
    }

    #[test]
    fn a_stopped_server_over_tcp() {
        let mut cell = cell(Step::Holding, Fault::ServerStop, Transport::Tcp);
        cell.kind = Kind::Library;
        let log = "
            0 fisher asks
            1 fisher granted 1
            2 runemaker asks
            3 eater asks
            10 director fault
            880 fisher lost
            1200 director continues
            1210 runemaker marked 2
            1211 runemaker acknowledged
            1212 runemaker releases 2
            1213 runemaker released 2
            1280 eater granted 3
            1281 eater releases 3
            1282 eater released 3
            1290 fisher asks
            1345 fisher granted 4
            1346 fisher releases 4
            1347 fisher released 4";
        assert_eq!(wrong(cell, log, ""), "");
        for changes in ["- 880 fisher lost", "- 880 fisher lost\n1205 fisher lost"] {
            let wrong = wrong(cell, log, changes);
            assert!(wrong.contains("did not stop itself"), "{changes}: {wrong}");
        }
    }
}
