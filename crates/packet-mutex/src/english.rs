//! What happened, in sentences for people. The arbiter knows no language, and this is the only place that speaks for it.
//!
//! A message says who is concerned, what happened, and what to do.

use packet_mutex_arbiter::{
    AHEAD_MAX, DURATION_MAX, EVENT_NAMES, Failure, InvalidName, NAME_MAX, NameError, REASON_MAX,
    Reason, Refusal, RosterError, RosterErrors, RosterProblem, TimedOut,
};
use std::fmt::{self, Display, Formatter};

/// Shows a value of the arbiter as a sentence, or as part of one.
///
/// ```
/// use packet_mutex::{English, Reason};
/// use std::time::Duration;
///
/// let left = Some(Duration::from_millis(400));
/// let reason = Reason::Handover { from: Some("fisher".into()), left };
/// assert_eq!(format!("waits {}", English(&reason)), "waits 0.4 s for the handover from fisher");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct English<'a, T>(pub &'a T);

impl Display for English<'_, Failure> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Failure::TimedOut(why) => English(why).fmt(f),
            Failure::WouldDeadlock { holds, asked } => write!(
                f,
                "would deadlock: this owner holds a turn of `{holds}` and asks for `{asked}`, which is in another \
                 group; end the turn first, or put both modules into one group"
            ),
            Failure::Refused(why) => write!(f, "refused: {}", English(why)),
            Failure::Cancelled => {
                f.write_str("cancelled: an operator cancelled the module's waiting requests")
            }
            Failure::Withdrawn => f.write_str("withdrawn by the asker"),
            Failure::Disabled { module } => {
                write!(f, "disabled: `{module}` is refused until it is enabled again")
            }
            Failure::Closed => f.write_str("closed: this mutex takes no more requests"),
            Failure::NotHolder { holder: Some(holder) } => {
                write!(f, "not the holder: `{holder}` holds the turn; nothing was changed")
            }
            Failure::NotHolder { holder: None } => {
                f.write_str("not the holder: no such turn is open; nothing was changed")
            }
            Failure::QueueFull { limit } => write!(
                f,
                "queue full: {limit} requests are waiting already (`limits.waiters` in the roster)"
            ),
            Failure::Lost => {
                f.write_str("lost: the asker was gone or did not claim its grant in time")
            }
        }
    }
}

impl Display for English<'_, TimedOut> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let TimedOut { waited, holder, ahead, delay_left, paused } = self.0;
        write!(f, "timed out after {:.3} s", waited.as_secs_f64())?;
        if let Some((module, held)) = holder {
            write!(f, "; `{module}` has held the turn for {:.3} s", held.as_secs_f64())?;
        }
        if *ahead > 0 {
            let more = if *ahead >= AHEAD_MAX { " or more" } else { "" };
            write!(f, "; {ahead}{more} ahead")?;
        }
        if !delay_left.is_zero() {
            write!(f, "; {:.3} s of the handover delay left", delay_left.as_secs_f64())?;
        }
        if let Some(reason) = paused {
            write!(f, "; paused: {reason}")?;
        }
        Ok(())
    }
}

impl Display for English<'_, Refusal> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Refusal::UrgencyDenied { module } => {
                write!(f, "the roster does not let `{module}` ask urgently")
            }
            Refusal::TooLong => write!(f, "the duration is longer than {} h", hours()),
            Refusal::NoLease => f.write_str("a lease must be longer than zero"),
            Refusal::NestedOpen => f.write_str("nested turns are open; end them before yielding"),
            Refusal::BadReason => {
                write!(f, "a reason has 1 to {REASON_MAX} bytes and no control characters")
            }
            Refusal::TooManyPauses { limit } => write!(f, "{limit} pauses are set already"),
            Refusal::NoSuchPause => f.write_str("no pause has this reason"),
            Refusal::TooManyModules { limit } => too_many_modules(f, *limit),
            Refusal::Other(why) => f.write_str(why),
        }
    }
}

impl Display for English<'_, NameError> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            NameError::Invalid(why) => English(why).fmt(f),
            NameError::UnknownModule { name, nearest } => {
                write!(f, "the roster is strict and has no module `{name}`")?;
                nearest.as_ref().map_or(Ok(()), |n| write!(f, "; did you mean `{n}`?"))
            }
            NameError::TooManyModules { limit } => too_many_modules(f, *limit),
        }
    }
}

/// Never shows the raw text: bad input must not reach a log as it came (S14).
impl Display for English<'_, InvalidName> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            InvalidName::Empty => f.write_str("a name must not be empty"),
            InvalidName::TooLong { length } => {
                write!(f, "a name has at most {NAME_MAX} characters; this one has {length} bytes")
            }
            InvalidName::BadCharacter { character, position } => write!(
                f,
                "character {position} of the name is {:?}; allowed are a-z 0-9 _ . -",
                character.escape_default().to_string()
            ),
            InvalidName::NearMiss { name, meant } => {
                write!(f, "there is no module `{name}`; did you mean `{meant}`?")
            }
        }
    }
}

impl Display for English<'_, RosterErrors> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (at, RosterError { field, problem }) in self.0.0.iter().enumerate() {
            let before = if at == 0 { "" } else { "; " };
            write!(f, "{before}{field}: {}", English(problem))?;
        }
        Ok(())
    }
}

impl Display for English<'_, RosterProblem> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            RosterProblem::Name(why) => English(why).fmt(f),
            RosterProblem::Duplicate => f.write_str("is defined twice"),
            RosterProblem::TooAlike { other } => {
                write!(f, "differs from `{other}` only in `- _ .`; choose a name that stands apart")
            }
            RosterProblem::TooLong => write!(f, "must be at most {} h", hours()),
            RosterProblem::Zero => f.write_str("must be more than zero"),
            RosterProblem::TooManyModules { limit } => {
                write!(f, "there are more than {limit} modules; raise `limits.modules`")
            }
        }
    }
}

/// Shows what follows the word "waits".
impl Display for English<'_, Reason> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Reason::Turn { of, delay } => {
                write!(f, "for {of}'s turn to end")?;
                if delay.is_zero() {
                    return Ok(());
                }
                write!(f, ", then {:.1} s for the handover", delay.as_secs_f64())
            }
            Reason::Handover { from, left } => {
                if let Some(left) = left {
                    write!(f, "{:.1} s ", left.as_secs_f64())?;
                }
                match from {
                    Some(module) => write!(f, "for the handover from {module}"),
                    None => f.write_str("for the first turn to begin"),
                }
            }
            Reason::Behind { first, ahead: 1 } => write!(f, "behind {first}"),
            Reason::Behind { first, ahead: 2 } => write!(f, "behind {first} and another"),
            Reason::Behind { first, ahead } => write!(f, "behind {first} and {} others", ahead - 1),
            Reason::Paused { reason, left: None } => write!(f, "until the pause {reason:?} ends"),
            Reason::Paused { reason, left: Some(left) } => {
                write!(f, "{:.1} s until the pause {reason:?} ends", left.as_secs_f64())
            }
        }
    }
}

/// The meaning of each event, in the order of [`EVENT_NAMES`]. `docs/EVENTS.md` is generated from it.
pub const EVENT_MEANINGS: [(&str, &str); EVENT_NAMES.len()] = [
    ("requested", "A module asks for a turn. It waits for at most `timeout`."),
    ("requeued", "The request waited before and was made again because its connection was lost."),
    (
        "granted",
        "The request got a turn, or a pass if `pass` is set. It had waited for `waited`, while `others` other turns ended. \
         `predecessor_abandoned`: an earlier turn was abandoned and nobody has acknowledged that.",
    ),
    ("refused", "The request was refused at once; `error` says why."),
    ("timed_out", "The request's timeout passed before its turn came."),
    ("cancelled", "An operator cancelled the module's waiting requests."),
    ("withdrawn", "The asker no longer wants the turn."),
    ("closed", "The mutex was closed while the request waited."),
    ("lost", "The asker was gone, or did not claim its grant in time."),
    ("nested", "A nested turn began. `depth` holds of the turn are open."),
    ("released", "The hold ended normally, after `held`. At `depth` 0 the turn is over."),
    ("panicked", "A panic or an exception ended the hold."),
    ("yielded", "The holder gave its turn away and asked again."),
    (
        "declined",
        "The holder did nothing in its turn. The handover delay counts from the turn before it.",
    ),
    (
        "abandoned",
        "The holder was lost, for instance because its process died. The delay holds for every group.",
    ),
    (
        "revoked",
        "The turn's lease ran out, or an operator took the turn away. The delay holds for every group.",
    ),
    ("not_holder", "Somebody tried to end a turn that it does not hold. Nothing was changed."),
    ("overrun", "The turn has lasted longer than its module's `longest_turn`."),
    ("starving", "The request has waited for longer than `starving_after`. `by` keeps it out."),
    ("conflict", "A pass overlaps a turn or another pass, that of the module `with`."),
    (
        "short_gap",
        "A module acted too soon after the module `after`: `missing` was left of the delay.",
    ),
    (
        "paused",
        "A pause was set. It holds back requests below the priority `below`, or all that are not urgent. It \
         ends at `until`, if that is given.",
    ),
    ("resumed", "The pause with this `reason` ended."),
    ("disabled", "The module's requests are refused from now on."),
    ("enabled", "The module's requests are no longer refused."),
    ("mode", "The module's mode was switched to `mode`."),
    ("acknowledged", "A holder acknowledged that an earlier turn was abandoned."),
    (
        "revoking",
        "An operator takes the turn away, for this `reason`. The event `revoked` follows.",
    ),
    ("closing", "The mutex takes no more requests."),
    ("reloaded", "The roster was replaced."),
    ("reset", "The mutex was reset, for a test."),
    ("dropped", "The reader was too slow: `count` events are gone, up to this one's `seq`."),
];

fn too_many_modules(f: &mut Formatter<'_>, limit: usize) -> fmt::Result {
    write!(f, "there can be at most {limit} distinct modules; raise `limits.modules` in the roster")
}

fn hours() -> u64 {
    DURATION_MAX.as_secs() / 3600
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_a_meaning() {
        assert_eq!(EVENT_MEANINGS.map(|(name, _)| name), EVENT_NAMES.map(|(name, _)| name));
    }
}
