//! The fault points: a closed list, one on each side of every save.
//!
//! ```text
//! event ──► BeforeSave ──► commit ──► AfterSave ──► effect leaves ──► AfterRelease
//! ```
//! Setting `AGENTGUARD_FAULT=tool_ended.after_save` in the supervisor's
//! environment kills it (SIGKILL, to itself) the first time it gets there;
//! `tool_ended.after_save:3` the third time. Without the variable a point costs
//! one comparison.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::machine::Event;

/// The variable that arms a fault point.
pub const VARIABLE: &str = "AGENTGUARD_FAULT";

macro_rules! boundaries {
    ($($name:ident = $text:literal),+; $($other:ident = $other_text:literal),+ $(,)?) => {
        /// A save, named after the event that is saved, or after what else is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[expect(missing_docs, reason = "named as the events they save")]
        pub enum Boundary { $($name,)+ $($other),+ }

        impl Boundary {
            /// Every boundary.
            pub const ALL: &[Self] = &[$(Self::$name,)+ $(Self::$other),+];

            /// Returns the boundary's name.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ $(Self::$other => $other_text),+ }
            }

            /// Returns the boundary at which `event` is saved.
            pub fn of(event: &Event) -> Self {
                match event { $(Event::$name { .. } => Self::$name),+ }
            }
        }
    };
}

boundaries! {
    Created = "created",
    AttemptStarted = "attempt_started",
    AgentSpawned = "agent_spawned",
    Greeted = "greeted",
    Replayed = "replayed",
    TurnReported = "turn_reported",
    Reserved = "reserved",
    CallRefused = "call_refused",
    ToolCalled = "tool_called",
    ToolEnded = "tool_ended",
    RetryDue = "retry_due",
    BatchCalled = "batch_called",
    BatchDue = "batch_due",
    Settled = "settled",
    ToolReported = "tool_reported",
    Raised = "raised",
    Branched = "branched",
    TimeUp = "time_up",
    StopRequested = "stop_requested",
    AgentExited = "agent_exited",
    Swept = "swept",
    VerifyStarted = "verify_started",
    CheckReserved = "check_reserved",
    CheckAnswered = "check_answered",
    Verified = "verified",
    RollbackStarted = "rollback_started",
    UndoStarted = "undo_started",
    UndoEnded = "undo_ended",
    UndoSettled = "undo_settled",
    RolledBack = "rolled_back",
    Staged = "staged",
    CommitStarted = "commit_started",
    Committed = "committed",
    CommitRefused = "commit_refused",
    Escalated = "escalated",
    Decided = "decided",
    Acknowledged = "acknowledged",
    Suspended = "suspended",
    Broke = "broke";
    LetterSent = "letter_sent",
    QuestionDecided = "question_decided",
}

/// Where at a boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The event happened and is nowhere yet.
    BeforeSave,
    /// The event is durable and nobody was told.
    AfterSave,
    /// Everybody was told.
    AfterRelease,
}

impl Side {
    /// Every side, in the order in which they are passed.
    pub const ALL: [Self; 3] = [Self::BeforeSave, Self::AfterSave, Self::AfterRelease];

    /// Returns the side's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeSave => "before_save",
            Self::AfterSave => "after_save",
            Self::AfterRelease => "after_release",
        }
    }
}

/// The armed point.
struct Armed {
    name: String,
    passes_left: AtomicU32,
}

/// A moment between two saves in which files are half changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Between {
    /// The stage is there, and nothing is in it: git knows of its worktree.
    StageMade,
    /// The stage has all of its files, and nobody knows that it is whole.
    StageFilled,
    /// Half of the files of a commit are in place.
    CommitHalf,
    /// All of them are, or the folders are exchanged.
    CommitInPlace,
}

impl Between {
    /// Every moment.
    pub const ALL: [Self; 4] = [
        Self::StageMade,
        Self::StageFilled,
        Self::CommitHalf,
        Self::CommitInPlace,
    ];

    /// Returns the moment's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::StageMade => "stage.made",
            Self::StageFilled => "stage.filled",
            Self::CommitHalf => "commit.half",
            Self::CommitInPlace => "commit.in_place",
        }
    }
}

/// Dies here if this moment is armed.
pub fn fault_between(moment: Between) {
    reach(moment.as_str());
}

/// Dies here if this point is armed.
pub fn fault(boundary: Boundary, side: Side) {
    if armed().is_some() {
        reach(&Point(boundary, side).to_string());
    }
}

fn armed() -> Option<&'static Armed> {
    static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
    let armed = ARMED.get_or_init(|| std::env::var(VARIABLE).ok().map(|text| parse(&text)));
    armed.as_ref()
}

fn reach(here: &str) {
    let Some(armed) = armed() else { return };
    if armed.name == here && armed.passes_left.fetch_sub(1, Ordering::SeqCst) == 1 {
        die();
    }
}

/// A point, written as in the variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point(pub Boundary, pub Side);

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.as_str(), self.1.as_str())
    }
}

fn parse(text: &str) -> Armed {
    let (name, count) = text.split_once(':').unwrap_or((text, "1"));
    Armed {
        name: name.to_owned(),
        passes_left: AtomicU32::new(count.parse().unwrap_or(1)),
    }
}

/// Ends this process as the kernel would on SIGKILL: no destructor, no flush.
fn die() {
    let own = rustix::process::getpid();
    // A process can always signal itself; should it fail, abort is as sudden.
    let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    std::process::abort();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_named_apart() {
        let mut names: Vec<String> = Boundary::ALL
            .iter()
            .flat_map(|boundary| Side::ALL.map(|side| Point(*boundary, side).to_string()))
            .collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
        assert!(names.contains(&"tool_ended.after_save".to_owned()));
    }
}
