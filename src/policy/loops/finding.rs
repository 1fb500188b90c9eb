//! What the detector says: a level, a rung, and the evidence in plain words.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// How far the answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// An event in the journal; nobody is disturbed.
    Warn,
    /// A message to the model on its next turn.
    Steer,
    /// Pause for a human, or stop with the loop exit code.
    Stop,
}

/// The rule that matched. Order: which one is named when several match at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rung {
    /// The same call died with the process again and again.
    Deaths,
    /// Same call, permanent error, in a row.
    SameCallError,
    /// Same call, same result, in a row.
    SameCall,
    /// A file returns to a state it was in before.
    Reversal,
    /// Calls repeat in the same order with the same results.
    Cycle,
    /// Same tool, same error, any arguments.
    SameError,
    /// An argument grows by a piece of itself.
    Growth,
    /// Same failing call again and again between others, no progress.
    RecurrenceError,
    /// Same call and result again and again between others, no progress.
    Recurrence,
    /// Arguments move, the result stays.
    Stagnation,
    /// Most of the last calls are repeats.
    Density,
    /// Polls that bring nothing new.
    Polls,
    /// Infrastructure errors without end.
    Storm,
}

impl Rung {
    /// Returns the stable name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Deaths => "deaths",
            Self::SameCallError => "same_call_error",
            Self::SameCall => "same_call",
            Self::Reversal => "reversal",
            Self::Cycle => "cycle",
            Self::SameError => "same_error",
            Self::Growth => "growth",
            Self::RecurrenceError => "recurrence_error",
            Self::Recurrence => "recurrence",
            Self::Stagnation => "stagnation",
            Self::Density => "density",
            Self::Polls => "polls",
            Self::Storm => "storm",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One loop, seen at one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How far the answer goes.
    pub level: Level,
    /// The rule that matched.
    pub rung: Rung,
    /// Calls per lap, for cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// Names the loop; the same for every rotation of a cycle, and after a resume.
    pub identity: String,
    /// Number of the first call of the evidence; calls count from 1.
    pub first: u64,
    /// Number of the last call of the evidence.
    pub last: u64,
    /// How often: calls, laps, returns or deaths, as the rung counts.
    pub count: u32,
    /// One sentence for a person.
    pub why: String,
    /// The message for the model; present where the level is [`Level::Steer`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steer: Option<String>,
}

/// What a rung saw, before the ladder decides how far to go.
///
/// Plain numbers: most sightings lead to nothing, so their words are written
/// only when they are wanted (`words`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sighting {
    /// The rule that matched.
    pub rung: Rung,
    /// Calls per lap, for cycles.
    pub period: Option<u32>,
    /// Names the loop.
    pub identity: Identity,
    /// Number of the first call of the evidence.
    pub first: u64,
    /// How often, in the unit a person reads.
    pub count: u32,
    /// How far along, in the unit of `stop`.
    pub reached: u32,
    /// Where the run stops, in the unit of `reached`.
    pub stop: u32,
    /// Two waypoints before `stop`: the warning and the steer.
    pub warn: u32,
    /// See `warn`.
    pub steer: u32,
}

impl Sighting {
    /// Returns the sighting of `count` calls with the usual waypoints, or
    /// nothing where not even the warning is near.
    pub fn counted(
        rung: Rung,
        identity: Identity,
        first: u64,
        count: u32,
        stop: u32,
    ) -> Option<Self> {
        let (warn, steer) = waypoints(stop);
        (count >= warn).then_some(Self {
            rung,
            period: None,
            identity,
            first,
            count,
            reached: count,
            stop,
            warn,
            steer,
        })
    }
}

/// The name of a loop: what it is about, and a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// What the digest is of.
    pub about: About,
    /// A digest that is the same however the loop is met.
    pub digest: Digest,
}

/// What a loop is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum About {
    /// One call.
    Call,
    /// Several calls in one order.
    Cycle,
    /// One error of one tool.
    Error,
    /// One answer of one tool.
    Answer,
    /// One file.
    File,
    /// One piece of text.
    Piece,
    /// One tool.
    Tool,
    /// The most frequent of many calls.
    Many,
    /// One call that takes the process with it.
    Death,
}

impl Identity {
    /// Returns the name of a loop about `digest`.
    pub fn new(about: About, digest: Digest) -> Self {
        Self { about, digest }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let about = match self.about {
            About::Call => "call",
            About::Cycle => "cycle",
            About::Error => "error",
            About::Answer => "answer",
            About::File => "file",
            About::Piece => "piece",
            About::Tool => "tool",
            About::Many => "many",
            About::Death => "death",
        };
        write!(f, "{about}:{}", self.digest)
    }
}

/// Returns the usual waypoints before `stop`: half way and three quarters,
/// each below the next, and never before the second call.
fn waypoints(stop: u32) -> (u32, u32) {
    let steer = (stop.saturating_mul(3)).div_ceil(4).min(stop - 1).max(2);
    let warn = stop.div_ceil(2).min(steer.saturating_sub(1)).max(2);
    (warn, steer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waypoints_table() {
        for (stop, want) in [
            (3, (2, 2)),
            (4, (2, 3)),
            (5, (3, 4)),
            (6, (3, 5)),
            (10, (5, 8)),
            (20, (10, 15)),
        ] {
            assert_eq!(waypoints(stop), want, "stop at {stop}");
        }
    }
}
