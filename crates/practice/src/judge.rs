//! The judge: counts what went wrong and what was done, from the logs alone.
//!
//! Others can count the same from the files of `--log`: the rule of each count is in the comment of its field.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use crate::wire::{Effect, Judged, Verdict};
use crate::world::RUNE_SPELL;

/// An action as the server saw it: one line of `frames.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// When, in seconds.
    pub t: f64,
    /// The number of the connection, if the character has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u32>,
    /// The number of the frame on its connection, from 0.
    pub n: u32,
    /// Its bytes, without the length.
    pub hex: String,
    /// The server's answer.
    pub verdict: Verdict,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<Effect>,
}

impl Frame {
    /// Returns what the server saw on this connection, with its time moved to another clock by an offset.
    pub(crate) fn new(judged: &Judged, connection: Option<u32>, offset_us: i64) -> Self {
        let time_us = i64::try_from(judged.time_us).unwrap_or(i64::MAX).saturating_add(offset_us);
        Frame {
            t: seconds(time_us),
            connection,
            n: judged.n,
            hex: judged.frame.iter().map(|byte| format!("{byte:02x}")).collect(),
            verdict: judged.verdict,
            effects: judged.effects.clone(),
        }
    }
}

/// Writes a line of a log in one write, so that a process that dies leaves no half lines.
pub(crate) fn write_line(file: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    file.write_all(&bytes)
}

/// Returns seconds. A float holds them to the microsecond for 285 years.
pub(crate) fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// An action as its sender recorded it: one line of `sends.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sent {
    /// When, in seconds.
    pub t: f64,
    /// The number of the connection, if the character has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<u32>,
    /// The number of the frame on its connection, from 0.
    pub n: u32,
    /// The module.
    pub module: String,
    /// The number of the module's cycle.
    pub cycle: u64,
    /// The turn's token, `None` without a turn. It is a string in JSON, since it may be larger than a float can hold exactly.
    pub token: Option<String>,
}

/// How long a granted request had waited.
#[derive(Debug, Clone, PartialEq)]
pub struct Waited {
    /// The module.
    pub module: &'static str,
    /// In seconds.
    pub seconds: f64,
}

/// The counts of one run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Frames that lie between the first and the last frame of another module's cycle.
    pub interleavings: u64,
    /// Frames with the verdict `exhausted` or `not_possible`.
    pub refusals: u64,
    /// Frames with the verdict `wrong_item`.
    pub wrong_items: u64,
    /// Effects `weapon_lost`.
    pub weapons_lost: u64,
    /// Effects `rune`.
    pub runes_made: u64,
    /// Frames that say the rune spell without that effect.
    pub runes_failed: u64,
    /// Effects `fish`.
    pub fish: u64,
    /// Effects `meal`.
    pub meals: u64,
    /// Effects `loot`.
    pub loot: u64,
    /// The least time between two neighbouring frames that were sent under turns of different groups.
    pub min_handover_s: Option<f64>,
    /// By module.
    pub modules: BTreeMap<String, Service>,
}

/// How a module was served.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Service {
    /// Its turns in which it sent something; without turns, its cycles in which it sent something.
    pub turns: u64,
    /// The median wait for a turn.
    pub wait_p50_s: f64,
    /// The longest wait for a turn.
    pub wait_max_s: f64,
}

impl Counts {
    /// Returns whether nothing went wrong.
    pub fn clean(&self) -> bool {
        self.wrongs().iter().all(|(_, count)| *count == 0)
    }

    /// Returns what can go wrong, by the names in the JSON, and how often it did.
    pub fn wrongs(&self) -> [(&'static str, u64); 5] {
        [
            ("interleavings", self.interleavings),
            ("refusals", self.refusals),
            ("wrong_items", self.wrong_items),
            ("weapons_lost", self.weapons_lost),
            ("runes_failed", self.runes_failed),
        ]
    }

    /// Returns what was made, by the names in the JSON, and how much of it.
    pub fn made(&self) -> [(&'static str, u64); 4] {
        [
            ("runes_made", self.runes_made),
            ("fish", self.fish),
            ("loot", self.loot),
            ("meals", self.meals),
        ]
    }
}

/// Returns the counts. `group` returns a module's group. The logs may be in any order. A frame without a sender, or that the
/// server never saw, counts as far as it is known.
pub fn judge(
    frames: &[Frame],
    sends: &[Sent],
    waits: &[Waited],
    group: impl Fn(&str) -> String,
) -> Counts {
    let effect = |wanted| count(frames.iter().flat_map(|f| &f.effects).filter(|e| **e == wanted));
    let verdict = |wanted| count(frames.iter().filter(|frame| frame.verdict == wanted));
    Counts {
        interleavings: count(interleaved(sends).iter()),
        refusals: verdict(Verdict::Exhausted) + verdict(Verdict::NotPossible),
        wrong_items: verdict(Verdict::WrongItem),
        weapons_lost: effect(Effect::WeaponLost),
        runes_made: effect(Effect::Rune),
        runes_failed: runes_failed(frames),
        fish: effect(Effect::Fish),
        meals: effect(Effect::Meal),
        loot: effect(Effect::Loot),
        min_handover_s: min_handover(frames, sends, group),
        modules: modules(sends, waits),
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u64 {
    items.count() as u64
}

/// Returns the frames that lie between the first and the last frame of another module's cycle.
pub fn interleaved(sends: &[Sent]) -> Vec<u32> {
    let mut cycles: BTreeMap<(&str, u64), (u32, u32)> = BTreeMap::new();
    for sent in sends {
        let (first, last) =
            cycles.entry((sent.module.as_str(), sent.cycle)).or_insert((sent.n, sent.n));
        *first = sent.n.min(*first);
        *last = sent.n.max(*last);
    }
    // In the order of their first frames. A frame is inside another module's cycle if one that began before it still runs.
    let mut spans: Vec<_> = cycles.iter().map(|((module, _), span)| (*span, *module)).collect();
    spans.sort_unstable();
    let mut ordered: Vec<_> = sends.iter().collect();
    ordered.sort_unstable_by_key(|sent| sent.n);
    let (mut next, mut open) = (0, Vec::new());
    let mut inside = Vec::new();
    for sent in ordered {
        while next < spans.len() && spans[next].0.0 < sent.n {
            open.push(spans[next]);
            next += 1;
        }
        open.retain(|((_, last), _)| *last > sent.n);
        if open.iter().any(|(_, module)| *module != sent.module) {
            inside.push(sent.n);
        }
    }
    inside
}

fn runes_failed(frames: &[Frame]) -> u64 {
    let hex: String = RUNE_SPELL.bytes().map(|byte| format!("{byte:02x}")).collect();
    // Bytes 0 to 3 are the code, the kind and the length of the text: eight hex digits.
    let said =
        |frame: &&Frame| frame.hex.starts_with("96") && frame.hex.get(8..) == Some(hex.as_str());
    count(frames.iter().filter(said).filter(|frame| !frame.effects.contains(&Effect::Rune)))
}

fn min_handover(frames: &[Frame], sends: &[Sent], group: impl Fn(&str) -> String) -> Option<f64> {
    let times: BTreeMap<u32, f64> = frames.iter().map(|frame| (frame.n, frame.t)).collect();
    let mut turns: Vec<_> = sends
        .iter()
        .filter(|sent| sent.token.is_some())
        .filter_map(|sent| Some((sent.n, *times.get(&sent.n)?, group(&sent.module))))
        .collect();
    turns.sort_unstable_by_key(|(n, ..)| *n);
    turns
        .windows(2)
        .filter(|pair| pair[0].2 != pair[1].2)
        // The logs are exact to the microsecond; the difference of two floats is not.
        .map(|pair| ((pair[1].1 - pair[0].1) * 1e6).round() / 1e6)
        .min_by(f64::total_cmp)
}

fn modules(sends: &[Sent], waits: &[Waited]) -> BTreeMap<String, Service> {
    let mut turns: BTreeMap<&str, std::collections::BTreeSet<(Option<&str>, u64)>> =
        BTreeMap::new();
    for sent in sends {
        // A turn is its token; a cycle without turns is its number.
        let turn = match &sent.token {
            Some(token) => (Some(token.as_str()), 0),
            None => (None, sent.cycle),
        };
        turns.entry(&sent.module).or_default().insert(turn);
    }
    let mut waited: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for wait in waits {
        waited.entry(wait.module).or_default().push(wait.seconds);
    }
    let mut all: BTreeMap<String, Service> = crate::modules::Module::ALL
        .iter()
        .map(|module| (module.name().to_owned(), Service::default()))
        .collect();
    for (module, turns) in turns {
        all.entry(module.to_owned()).or_default().turns = turns.len() as u64;
    }
    for (module, mut seconds) in waited {
        seconds.sort_unstable_by(f64::total_cmp);
        let service = all.entry(module.to_owned()).or_default();
        service.wait_p50_s = seconds[(seconds.len() - 1) / 2];
        service.wait_max_s = seconds[seconds.len() - 1];
    }
    all
}
