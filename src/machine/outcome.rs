//! How a run ends, and which exit code says so.

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;
use crate::exit_code;
use crate::ids::{CallId, EscalationId};
use crate::machine::event::{Exit, StoppedBy, TimeLimit};
use crate::policy::budget::Hit;

/// How a run, or one attempt of it, ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The agent did its work.
    Done {
        /// Whether a verification agreed; without one nothing is known.
        verified: bool,
    },
    /// The agent failed, in a way that a second try of the same would repeat.
    Failed {
        /// Why, as a clause.
        why: String,
    },
    /// The agent process was killed or lost; nothing says that it did wrong.
    Crashed {
        /// How it ended.
        exit: Exit,
    },
    /// A limit was reached.
    Budget {
        /// Which, and where it stood.
        hit: Hit,
    },
    /// The agent said that it was done, and the verification disagreed.
    Rejected {
        /// What was found, as a clause.
        why: String,
    },
    /// The work is done, and others changed the same files of the staged folder.
    Conflict {
        /// Which, as a clause.
        why: String,
    },
    /// A time limit passed.
    TimeUp {
        /// Which.
        limit: TimeLimit,
    },
    /// The agent was going round in circles.
    Loop {
        /// What was found, as a sentence.
        why: String,
    },
    /// A tool that the agent needs is not available.
    Unavailable {
        /// The tool.
        tool: String,
        /// What is wrong with it.
        why: String,
    },
    /// The model is not to be had for longer than the agent's client waits; the
    /// run goes on by itself.
    Parked {
        /// When.
        until: UnixMs,
        /// What it waits for.
        why: String,
    },
    /// A side effect may or may not have happened.
    InDoubt {
        /// The call.
        call: CallId,
        /// Its tool.
        tool: String,
    },
    /// A human is asked, and nobody waits here for the answer.
    Waiting {
        /// The question.
        escalation: EscalationId,
        /// In words.
        question: String,
    },
    /// Somebody stopped it.
    Stopped {
        /// Who.
        by: StoppedBy,
    },
    /// The supervisor could not go on.
    Broke {
        /// What broke.
        error: String,
    },
}

/// The status of a run in lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// A process holds it.
    Running,
    /// No process holds it, and it has no end: something was killed.
    Crashed,
    /// Ended: done.
    Done,
    /// Ended: the agent failed.
    Failed,
    /// Ended: the verification disagreed.
    Rejected,
    /// Ended: the change collides with that of others.
    Conflict,
    /// Ended: a budget was reached.
    Budget,
    /// Ended: deadline or idle.
    Deadline,
    /// Ended: loop.
    Loop,
    /// Ended: tool or upstream unavailable.
    Unavailable,
    /// Ended: an effect is in doubt.
    InDoubt,
    /// Ended for now: a human is asked.
    Waiting,
    /// Ended: interrupted, terminated or stopped.
    Interrupted,
    /// Ended: the supervisor failed.
    Internal,
}

impl Status {
    /// Every status, in the order of the enum.
    pub const ALL: [Self; 14] = [
        Self::Running,
        Self::Crashed,
        Self::Done,
        Self::Failed,
        Self::Rejected,
        Self::Conflict,
        Self::Budget,
        Self::Deadline,
        Self::Loop,
        Self::Unavailable,
        Self::InDoubt,
        Self::Waiting,
        Self::Interrupted,
        Self::Internal,
    ];

    /// Returns the status as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Crashed => "crashed",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Conflict => "conflict",
            Self::Budget => "budget",
            Self::Deadline => "deadline",
            Self::Loop => "loop",
            Self::Unavailable => "unavailable",
            Self::InDoubt => "in_doubt",
            Self::Waiting => "waiting",
            Self::Interrupted => "interrupted",
            Self::Internal => "internal",
        }
    }
}

impl Outcome {
    /// Returns the exit code of a run that ends so.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Done { .. } => exit_code::DONE,
            Self::Failed { .. } | Self::Crashed { .. } => exit_code::AGENT_FAILED,
            Self::Rejected { .. } => exit_code::VERIFICATION,
            Self::Conflict { .. } => exit_code::CONFLICT,
            Self::Budget { .. } => exit_code::BUDGET,
            Self::TimeUp { .. } => exit_code::DEADLINE,
            Self::Loop { .. } => exit_code::LOOP,
            Self::Unavailable { .. } | Self::Parked { .. } => exit_code::UNAVAILABLE,
            Self::InDoubt { .. } => exit_code::IN_DOUBT,
            Self::Waiting { .. } => exit_code::WAITING,
            Self::Stopped {
                by: StoppedBy::Interrupt,
            } => exit_code::INTERRUPTED,
            Self::Stopped {
                by: StoppedBy::Terminate | StoppedBy::User,
            } => exit_code::TERMINATED,
            Self::Broke { .. } => exit_code::INTERNAL,
        }
    }

    /// Returns the status of a run that ended so.
    pub fn status(&self) -> Status {
        match self {
            Self::Done { .. } => Status::Done,
            Self::Failed { .. } => Status::Failed,
            Self::Crashed { .. } => Status::Crashed,
            Self::Rejected { .. } => Status::Rejected,
            Self::Conflict { .. } => Status::Conflict,
            Self::Budget { .. } => Status::Budget,
            Self::TimeUp { .. } => Status::Deadline,
            Self::Loop { .. } => Status::Loop,
            Self::Unavailable { .. } | Self::Parked { .. } => Status::Unavailable,
            Self::InDoubt { .. } => Status::InDoubt,
            Self::Waiting { .. } => Status::Waiting,
            Self::Stopped { .. } => Status::Interrupted,
            Self::Broke { .. } => Status::Internal,
        }
    }

    /// Whether the run only stands still: it goes on when a human has answered, or a
    /// model is back.
    pub fn goes_on(&self) -> bool {
        matches!(self, Self::Waiting { .. } | Self::Parked { .. })
    }

    /// Returns what happened, as a sentence without its full stop.
    pub fn describe(&self) -> String {
        match self {
            Self::Done { verified: true } => "done, verified".into(),
            Self::Done { verified: false } => "done (unverified)".into(),
            Self::Failed { why } => format!("the agent failed: {why}"),
            Self::Crashed { exit } => format!("the agent {}", exit.as_clause()),
            Self::Rejected { why } => format!("verification failed: {why}"),
            Self::Conflict { why } => format!("conflict, nothing was committed: {why}"),
            Self::Budget { hit } => format!("budget reached: {}", hit.describe()),
            Self::TimeUp {
                limit: TimeLimit::Deadline,
            } => "the deadline passed".into(),
            Self::TimeUp {
                limit: TimeLimit::Idle,
            } => "the agent was idle for too long".into(),
            Self::TimeUp {
                limit: TimeLimit::ModelCall,
            } => "a model call took too long".into(),
            Self::Loop { why } => format!("loop: {why}"),
            Self::Unavailable { tool, why } => format!("`{tool}` is unavailable: {why}"),
            Self::Parked { until, why } => format!("parked until {}: {why}", clock_text(*until)),
            Self::InDoubt { call, tool } => {
                format!("call {call} of `{tool}` may or may not have happened")
            }
            Self::Waiting {
                escalation,
                question,
            } => format!("waiting for a human ({escalation}): {question}"),
            Self::Stopped {
                by: StoppedBy::Interrupt,
            } => "interrupted".into(),
            Self::Stopped {
                by: StoppedBy::Terminate,
            } => "terminated".into(),
            Self::Stopped {
                by: StoppedBy::User,
            } => "stopped by the user".into(),
            Self::Broke { error } => format!("agentguard could not go on: {error}"),
        }
    }
}

/// Returns an instant as people read it.
fn clock_text(at: UnixMs) -> String {
    jiff::Timestamp::from_millisecond(at.0).map_or_else(|_| "later".into(), |at| format!("{at:.0}"))
}

impl Exit {
    /// Returns how a process ended, as a clause.
    pub fn as_clause(self) -> String {
        match self {
            Self::Code(code) => format!("exited with code {code}"),
            Self::Signal(signal) => format!("was killed by signal {signal}"),
            Self::Lost => "was lost".into(),
            Self::MachineDown => "went down with the machine".into(),
        }
    }
}
