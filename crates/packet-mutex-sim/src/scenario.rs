//! Scenarios: actions on a mutex and their expected results, as text. The format is in `scenarios/README.md`.

use crate::action::{Action, Ask, Query};
use crate::log::Name;
use crate::roster_text;
use crate::seconds::{Nanos, moment, parse_seconds};
use packet_mutex::English;
use packet_mutex_arbiter::{Below, Leave, Mode, Roster, RosterSpec, Steer};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where it was read from, for messages.
    pub file: PathBuf,
    /// What it shows.
    pub title: String,
    /// The rules that it cites, such as `S2`.
    pub rules: Vec<String>,
    /// The mutex's roster.
    pub roster: Roster,
    /// The first token (S17).
    pub first_token: u64,
    /// Whether the mutex starts as after an abandoned turn.
    pub restarted: bool,
    /// The abilities that a front must have to run it, derived from its steps.
    pub needs: BTreeSet<&'static str>,
    /// What happens.
    pub steps: Vec<Step>,
    header: Vec<String>,
    trailer: Vec<String>,
}

/// One line that does or asks something, and its expected results.
#[derive(Clone, Debug)]
pub struct Step {
    /// When.
    pub at: Nanos,
    /// Whether no timer fires between the step before and this one, so that all in between is done late.
    pub late: bool,
    /// Whether the clock was set back before it.
    pub back: bool,
    /// What is done.
    pub what: What,
    /// The lines that it must result in: `| event`, `! refusal` or `= answer`.
    pub expected: Vec<String>,
    /// The line's number in the file.
    pub line: usize,
    /// The line as it was written, and the lines before it: comments and blanks; for a reload also its roster lines.
    text: Vec<String>,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum What {
    /// It does something.
    Do(Action),
    /// It asks something.
    Ask(Query),
}

/// Why a file is not a scenario.
#[derive(Debug)]
pub struct ScenarioError {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.problem)
    }
}

impl std::error::Error for ScenarioError {}

impl Scenario {
    /// Reads a scenario from a file.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the file, with its line.
    pub fn read(file: &Path) -> Result<Scenario, ScenarioError> {
        let text = std::fs::read_to_string(file).map_err(|why| ScenarioError {
            file: file.to_path_buf(),
            line: 0,
            problem: format!("cannot be read: {why}"),
        })?;
        Scenario::parse(file, &text)
    }

    /// Reads a scenario from text.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with the text, with its line.
    pub fn parse(file: &Path, text: &str) -> Result<Scenario, ScenarioError> {
        let mut parser = Parser::new(file);
        let mut number = 0;
        for line in text.lines() {
            number += 1;
            let error = |problem| ScenarioError { file: file.to_path_buf(), line: number, problem };
            parser.line(number, line).map_err(error)?;
        }
        parser.finish().map_err(|(line, problem)| ScenarioError {
            file: file.to_path_buf(),
            line: if line == 0 { number } else { line },
            problem,
        })
    }

    /// Makes a scenario out of actions, with nothing expected yet.
    #[must_use]
    pub fn from_actions(title: &str, roster: Roster, actions: &[(Nanos, Action)]) -> Scenario {
        let mut header = vec![format!("title: {title}"), "rules: S18".to_string()];
        header.extend(roster_text::write(roster.spec()));
        header.push(String::new());
        let mut roster_now = roster.spec().clone();
        let step = |(at, action): &(Nanos, Action)| {
            let mut text = vec![format!("{} {action}", moment(*at))];
            if let Action::Steer(Steer::Reload(new)) = action {
                roster_now = new.spec().clone();
                text.extend(roster_text::write(&roster_now).iter().map(|l| format!("  + {l}")));
            }
            let what = What::Do(action.clone());
            Step { at: *at, late: false, back: false, what, expected: Vec::new(), line: 0, text }
        };
        let steps: Vec<Step> = actions.iter().map(step).collect();
        Scenario {
            file: PathBuf::from("generated"),
            title: title.to_string(),
            rules: vec!["S18".to_string()],
            roster,
            first_token: 1,
            restarted: false,
            needs: steps.iter().flat_map(needs).collect(),
            steps,
            header,
            trailer: Vec::new(),
        }
    }

    /// Returns the scenario's text, with these lines expected of each step in place of its own.
    #[must_use]
    pub fn text_with(&self, expected: &[Vec<String>]) -> String {
        let mut lines = self.header.clone();
        for (step, expected) in self.steps.iter().zip(expected) {
            lines.extend(step.text.iter().cloned());
            lines.extend(expected.iter().map(|line| format!("    {line}")));
        }
        lines.extend(self.trailer.iter().cloned());
        lines.join("\n") + "\n"
    }
}

impl Step {
    /// Returns the step's line as it was written.
    #[must_use]
    pub fn source(&self) -> &str {
        let said = |line: &&String| !line.trim().is_empty() && !line.trim().starts_with('#');
        self.text.iter().find(said).map_or("", |line| line.trim())
    }
}

/// Returns the abilities that a step needs beyond those that every front has.
fn needs(step: &Step) -> Vec<&'static str> {
    let mut needs = Vec::new();
    match &step.what {
        What::Do(Action::Ask(ask)) => {
            let own = ask.owner.as_ref() == Some(&ask.request);
            let wanted = [
                ("lease", ask.lease.is_some()),
                ("claim", ask.claim),
                ("requeued", ask.requeued),
                ("within", ask.within.is_some()),
                ("no owner", ask.owner.is_none()),
                ("owners", ask.owner.is_some() && !own),
            ];
            needs.extend(wanted.into_iter().filter(|(_, is)| *is).map(|(need, _)| need));
        }
        What::Do(Action::Heartbeat(_)) => needs.push("lease"),
        What::Do(Action::Claim(_)) => needs.push("claim"),
        What::Do(Action::EndModule { .. }) => needs.push("owners"),
        _ => {}
    }
    needs.extend(step.late.then_some("late"));
    needs.extend(step.back.then_some("back"));
    needs
}

struct Parser {
    file: PathBuf,
    title: Option<String>,
    rules: Vec<String>,
    needs: BTreeSet<&'static str>,
    spec: RosterSpec,
    roster: Option<Roster>,
    first_token: u64,
    restarted: bool,
    header: Vec<String>,
    /// Comments and blanks since the last step.
    lead: Vec<String>,
    steps: Vec<Step>,
    now: Nanos,
    /// The owners of the requests so far.
    owners: BTreeMap<Name, Option<Name>>,
}

impl Parser {
    fn new(file: &Path) -> Self {
        Parser {
            file: file.to_path_buf(),
            title: None,
            rules: Vec::new(),
            needs: BTreeSet::new(),
            spec: RosterSpec::default(),
            roster: None,
            first_token: 1,
            restarted: false,
            header: Vec::new(),
            lead: Vec::new(),
            steps: Vec::new(),
            now: 0,
            owners: BTreeMap::new(),
        }
    }

    fn line(&mut self, number: usize, raw: &str) -> Result<(), String> {
        let line = raw.trim();
        let starts_step = line.starts_with(|c: char| c.is_ascii_digit() || c == '?');
        if self.roster.is_none() && starts_step {
            let roster = Roster::new(self.spec.clone()).map_err(|why| why.to_string())?;
            self.roster = Some(roster);
        }
        if self.roster.is_none() {
            self.header.push(raw.trim_end().to_string());
            return self.header_line(line);
        }
        match line.as_bytes().first() {
            None | Some(b'#') => self.lead.push(raw.trim_end().to_string()),
            Some(b'|' | b'!' | b'=') => {
                let step = self.steps.last_mut().ok_or("a result before the first step")?;
                step.expected.push(line.to_string());
            }
            Some(b'+') => self.reload_line(number, raw, line[1..].trim())?,
            Some(b'0'..=b'9' | b'?') => {
                let (at, [late, back], what) = self.step_line(line)?;
                let mut text = std::mem::take(&mut self.lead);
                text.push(raw.trim_end().to_string());
                let expected = Vec::new();
                let step = Step { at, late, back, what, expected, line: number, text };
                self.needs.extend(needs(&step));
                self.steps.push(step);
            }
            _ => {
                return Err(format!(
                    "a line begins with a time or one of ? | ! = + #, not {line:?}"
                ));
            }
        }
        Ok(())
    }

    fn header_line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if let Some(title) = line.strip_prefix("title:") {
            self.title = Some(title.trim().to_string());
        } else if let Some(rules) = line.strip_prefix("rules:") {
            for rule in rules.split_whitespace() {
                let number = rule.strip_prefix('S').and_then(|n| n.parse::<u8>().ok());
                if !number.is_some_and(|n| (1..=20).contains(&n)) {
                    return Err(format!("not a rule of docs/RULES.md: {rule:?}"));
                }
                self.rules.push(rule.to_string());
            }
        } else if let Some(token) = line.strip_prefix("first token ") {
            self.first_token = roster_text::number(token)?;
        } else if line == "restarted" {
            self.restarted = true;
            self.needs.insert("restart");
        } else if roster_text::is_roster_line(line) {
            roster_text::apply(line, &mut self.spec)?;
        } else {
            return Err(format!("unknown header line: {line:?}"));
        }
        Ok(())
    }

    fn reload_line(&mut self, number: usize, raw: &str, line: &str) -> Result<(), String> {
        let spec = &mut self.spec;
        let step = self.steps.last_mut().filter(|step| step.expected.is_empty());
        let Some(Step { what: What::Do(Action::Steer(Steer::Reload(roster))), text, .. }) = step
        else {
            return Err("a + line belongs right under a reload".into());
        };
        roster_text::apply(line, spec)?;
        // The roster must be valid after every line, so a setting comes after what it depends on.
        match Roster::new(spec.clone()) {
            Ok(new) => **roster = new,
            Err(why) => return Err(format!("{} (line {number})", English(&why))),
        }
        text.push(raw.trim_end().to_string());
        Ok(())
    }

    fn step_line(&mut self, line: &str) -> Result<(Nanos, [bool; 2], What), String> {
        let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let mut rest = rest.trim();
        if first == "?" {
            return Ok((self.now, [false, false], What::Ask(query(rest)?)));
        }
        let at = parse_seconds(first).ok_or_else(|| format!("not a time: {first:?}"))?;
        let (mut late, mut back) = (false, false);
        if let Some(after) = rest.strip_prefix("late ") {
            (late, rest) = (true, after.trim());
        }
        if let Some(after) = rest.strip_prefix("back ") {
            // A clock that was set back: only on purpose, since a time out of order is most often a slip.
            if at >= self.now {
                return Err("`back`, but the time is not before the last".into());
            }
            (back, rest) = (true, after.trim());
        } else if at < self.now {
            return Err(
                "the time is before the last (write `back` if the clock is set back)".into()
            );
        }
        self.now = at;
        if let Some(rest) = rest.strip_prefix('?') {
            return Ok((at, [late, back], What::Ask(query(rest.trim())?)));
        }
        Ok((at, [late, back], What::Do(self.action(rest)?)))
    }

    fn action(&mut self, text: &str) -> Result<Action, String> {
        if let Some(rest) = text.strip_prefix("pause ") {
            return pause(rest);
        }
        if let Some(rest) = text.strip_prefix("resume ") {
            return Ok(Action::Steer(Steer::Resume { reason: Some(reason(rest)?) }));
        }
        if let Some(rest) = text.strip_prefix("revoke ") {
            return Ok(Action::Steer(Steer::Revoke { reason: reason(rest)? }));
        }
        let words: Vec<&str> = text.split_whitespace().collect();
        if let [name, module, "asks", options @ ..] = words.as_slice()
            && let Some(name) = name.strip_suffix(':')
        {
            return self.ask(name, module, options);
        }
        if let [name, hold, "yields", options @ ..] = words.as_slice()
            && let Some(name) = name.strip_suffix(':')
        {
            return self.yields(name, hold, options);
        }
        Ok(match words.as_slice() {
            ["tick"] => Action::Tick,
            ["close"] => Action::Steer(Steer::Close),
            ["resume"] => Action::Steer(Steer::Resume { reason: None }),
            ["reload"] => {
                let roster = Roster::new(self.spec.clone());
                let roster = roster.map_err(|why| English(&why).to_string())?;
                Action::Steer(Steer::Reload(Box::new(roster)))
            }
            ["reset", by @ ..] => match by {
                ["by", owner] => Action::Reset(owner_name(owner)),
                [] => Action::Reset(None),
                _ => return Err(format!("unknown action: {text:?}")),
            },
            ["lost", owner] => Action::OwnerLost((*owner).into()),
            ["cancel", module] => Action::Steer(Steer::Cancel { module: (*module).into() }),
            ["disable", module] => Action::Steer(Steer::Disable { module: (*module).into() }),
            ["enable", module] => Action::Steer(Steer::Enable { module: (*module).into() }),
            ["mode", module, mode] => {
                let mode =
                    Mode::from_name(mode).ok_or_else(|| format!("{mode:?} is not a mode"))?;
                Action::Steer(Steer::Mode { module: (*module).into(), mode })
            }
            ["end", module, "by", owner] => {
                Action::EndModule { module: (*module).into(), owner: (*owner).into() }
            }
            [name, "withdraws"] => Action::Withdraw(self.known(name)?),
            [name, "claims"] => Action::Claim(self.known(name)?),
            [name, "acknowledges"] => Action::Acknowledge(self.known(name)?),
            [name, "heartbeats"] => Action::Heartbeat(self.known(name)?),
            [hold, verb @ ("ends" | "panics" | "declines"), by @ ..] => {
                let how = match *verb {
                    "ends" => Leave::Released,
                    "panics" => Leave::Panicked,
                    _ => Leave::Declined,
                };
                let hold = self.known(hold)?;
                let owner = match by {
                    [] => self.owners[&hold].clone(),
                    ["by", owner] => owner_name(owner),
                    _ => return Err(format!("unknown action: {text:?}")),
                };
                Action::End { hold, owner, how }
            }
            _ => return Err(format!("unknown action: {text:?}")),
        })
    }

    fn ask(&mut self, name: &str, module: &str, mut options: &[&str]) -> Result<Action, String> {
        let mut ask = Ask::new(name, module);
        self.new_name(name)?;
        loop {
            options = match options {
                [] => break,
                ["by", owner, rest @ ..] => {
                    ask.owner = owner_name(owner);
                    rest
                }
                ["within", hold, rest @ ..] => {
                    ask.within = Some(self.known(hold)?);
                    rest
                }
                ["urgent", rest @ ..] => {
                    ask.urgent = true;
                    rest
                }
                ["timeout", t, rest @ ..] => {
                    ask.timeout = Some(time(t)?);
                    rest
                }
                ["lease", t, rest @ ..] => {
                    ask.lease = Some(time(t)?);
                    rest
                }
                ["claim", rest @ ..] => {
                    ask.claim = true;
                    rest
                }
                ["requeued", rest @ ..] => {
                    ask.requeued = true;
                    rest
                }
                [word, ..] => return Err(format!("unknown option of an ask: {word:?}")),
            }
        }
        self.owners.insert(name.into(), ask.owner.clone());
        Ok(Action::Ask(ask))
    }

    fn yields(&mut self, name: &str, hold: &str, mut options: &[&str]) -> Result<Action, String> {
        let hold = self.known(hold)?;
        self.new_name(name)?;
        let mut owner = self.owners[&hold].clone();
        let mut timeout = None;
        loop {
            options = match options {
                [] => break,
                ["by", by, rest @ ..] => {
                    owner = owner_name(by);
                    rest
                }
                ["timeout", t, rest @ ..] => {
                    timeout = Some(time(t)?);
                    rest
                }
                [word, ..] => return Err(format!("unknown option of a yield: {word:?}")),
            }
        }
        self.owners.insert(name.into(), owner.clone());
        Ok(Action::Yield { hold, owner, request: name.into(), timeout })
    }

    fn known(&self, name: &str) -> Result<Name, String> {
        match self.owners.get_key_value(name) {
            Some((name, _)) => Ok(name.clone()),
            None => Err(format!("there is no request {name:?} so far")),
        }
    }

    fn new_name(&self, name: &str) -> Result<(), String> {
        if self.owners.contains_key(name) {
            return Err(format!("there is a request {name:?} already"));
        }
        Ok(())
    }

    fn finish(self) -> Result<Scenario, (usize, String)> {
        let title = self.title.ok_or((1, "no `title:` line".to_string()))?;
        if self.rules.is_empty() {
            return Err((1, "no `rules:` line".into()));
        }
        let roster = self.roster.ok_or((0, "no steps".to_string()))?;
        Ok(Scenario {
            file: self.file,
            title,
            rules: self.rules,
            roster,
            first_token: self.first_token,
            restarted: self.restarted,
            needs: self.needs,
            steps: self.steps,
            header: self.header,
            trailer: self.lead,
        })
    }
}

fn owner_name(word: &str) -> Option<Name> {
    (word != "nobody").then(|| word.into())
}

fn time(text: &str) -> Result<Nanos, String> {
    parse_seconds(text).ok_or_else(|| format!("not a length of time: {text:?}"))
}

fn pause(text: &str) -> Result<Action, String> {
    let (reason, rest) = quoted(text)?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let ["below", below, lasts @ ..] = words.as_slice() else {
        return Err("a pause is: pause \"reason\" below PRIORITY|urgent [for SECONDS]".into());
    };
    let below = match *below {
        "urgent" => Below::Urgent,
        level => Below::Priority(roster_text::number(level)?),
    };
    let lasts = match lasts {
        [] => None,
        ["for", t] => Some(Duration::from_nanos(time(t)?)),
        _ => return Err(format!("left over: {rest:?}")),
    };
    Ok(Action::Steer(Steer::Pause { reason, below, lasts }))
}

/// Reads a text in double quotes, with nothing after it.
fn reason(text: &str) -> Result<String, String> {
    let (reason, rest) = quoted(text)?;
    if rest.is_empty() { Ok(reason) } else { Err(format!("left over: {rest:?}")) }
}

/// Reads a text in double quotes, with escapes such as `\n`. Returns it and what follows.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let Some(inner) = text.trim_start().strip_prefix('"') else {
        return Err(format!("a reason must be in double quotes, not {text:?}"));
    };
    let mut reason = String::new();
    let mut chars = inner.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((reason, inner[at + 1..].trim())),
            '\\' => match chars.next() {
                Some((_, 'n')) => reason.push('\n'),
                Some((_, c @ ('"' | '\\'))) => reason.push(c),
                _ => return Err("n, \" or \\ must follow \\".into()),
            },
            c => reason.push(c),
        }
    }
    Err("the closing quote is missing".into())
}

fn query(text: &str) -> Result<Query, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    Ok(match words.as_slice() {
        ["holder"] => Query::Holder,
        ["waiters"] => Query::Waiters,
        ["why"] => Query::Why,
        ["next"] => Query::Next,
        ["last"] => Query::Last,
        ["paused"] => Query::Paused,
        ["missed"] => Query::Missed,
        ["module", module] => Query::Module((*module).into()),
        ["name", ..] => {
            // In quotes, so that a name with blanks can be tried.
            let (name, rest) = quoted(text["name".len()..].trim())?;
            if !rest.is_empty() {
                return Err(format!("left over: {rest:?}"));
            }
            Query::Name(name)
        }
        [request, "told"] => Query::Told((*request).into()),
        [request, "should_yield"] => Query::ShouldYield((*request).into()),
        _ => return Err(format!("unknown question: {text:?}")),
    })
}
