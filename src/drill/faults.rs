//! What a drill can let go wrong: a closed list.
//!
//! Each fault has a name that stays, and says which pattern has to answer it.
//! How it is injected is in `rehearsal`, whether the pattern fired in `judge`.

use std::fmt;

use crate::drill::point::{Between, Boundary};

/// One fault, injected into one rehearsal of the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The model.
    Model(ModelFault),
    /// A guarded tool.
    Tool(ToolKind, String),
    /// The money is used up half-way.
    Budget,
    /// The time is used up half-way.
    Deadline,
    /// The model asks for the same thing again and again.
    Loop,
    /// What the agent made does not pass the task's checks.
    Verification,
    /// Whoever is asked.
    Human(HumanFault),
    /// Somebody else changes the staged folder meanwhile.
    Conflict,
    /// The supervisor is killed on each side of a save.
    Crash(Boundary),
    /// It is killed while a commit is half done.
    CrashBetween(Between),
}

/// What goes wrong with whoever is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HumanFault {
    /// Nobody answers by the deadline.
    Silent,
    /// The answer comes while no process of the run is there.
    Early,
    /// What tells people is down.
    Webhook,
}

/// What goes wrong with the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelFault {
    /// Overloaded twice, then well.
    Transient,
    /// A limit of the rate, with a second to wait.
    RateLimit,
    /// Out of order for good.
    Persistent,
    /// Its key is not accepted.
    Credentials,
    /// An empty answer, then a good one.
    Quality,
    /// An answer that breaks off in the middle.
    Cut,
}

/// What goes wrong with a tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToolKind {
    /// Twice no connection, then well.
    Transient,
    /// A limit of the rate, with a second to wait.
    RateLimit,
    /// Its key is not accepted, for good.
    Persistent,
    /// An answer that breaks its schema.
    Quality,
    /// One part of the work done, the other not.
    Partial,
    /// It wants a human.
    Unrecoverable,
    /// It does its work and does not come back.
    Timeout,
}

impl HumanFault {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Silent, Self::Early, Self::Webhook];

    fn name(self) -> &'static str {
        match self {
            Self::Silent => "deadline",
            Self::Early => "early",
            Self::Webhook => "webhook",
        }
    }
}

impl ModelFault {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Transient,
        Self::RateLimit,
        Self::Persistent,
        Self::Credentials,
        Self::Quality,
        Self::Cut,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::RateLimit => "rate-limit",
            Self::Persistent => "persistent",
            Self::Credentials => "credentials",
            Self::Quality => "quality",
            Self::Cut => "cut",
        }
    }
}

impl ToolKind {
    /// Every one.
    pub const ALL: [Self; 7] = [
        Self::Transient,
        Self::RateLimit,
        Self::Persistent,
        Self::Quality,
        Self::Partial,
        Self::Unrecoverable,
        Self::Timeout,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Transient => "transient",
            Self::RateLimit => "rate-limit",
            Self::Persistent => "persistent",
            Self::Quality => "quality",
            Self::Partial => "partial",
            Self::Unrecoverable => "unrecoverable",
            Self::Timeout => "timeout",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(kind) => write!(f, "model.{}", kind.name()),
            Self::Tool(kind, tool) => write!(f, "tool.{}:{tool}", kind.name()),
            Self::Budget => f.write_str("budget"),
            Self::Deadline => f.write_str("deadline"),
            Self::Loop => f.write_str("loop"),
            Self::Verification => f.write_str("verification"),
            Self::Human(kind) => write!(f, "human.{}", kind.name()),
            Self::Conflict => f.write_str("staging.conflict"),
            Self::Crash(boundary) => write!(f, "crash.{}", boundary.as_str()),
            Self::CrashBetween(moment) => write!(f, "crash.{}", moment.as_str()),
        }
    }
}

impl Fault {
    /// Returns every fault that a task with these tools can meet, in the order in
    /// which they are drilled.
    pub fn all<'a>(tools: impl IntoIterator<Item = &'a String>) -> Vec<Self> {
        let mut all: Vec<Self> = ModelFault::ALL.map(Self::Model).into();
        for tool in tools {
            all.extend(ToolKind::ALL.map(|kind| Self::Tool(kind, tool.clone())));
        }
        all.extend([Self::Budget, Self::Deadline, Self::Loop, Self::Verification]);
        all.extend(HumanFault::ALL.map(Self::Human));
        all.push(Self::Conflict);
        all.extend(Boundary::ALL.iter().copied().map(Self::Crash));
        all.extend(Between::ALL.map(Self::CrashBetween));
        all
    }

    /// Whether `pattern` names it: its whole name, or the beginning of it up to a
    /// `.` or `:`.
    pub fn is_named(&self, pattern: &str) -> bool {
        let name = self.to_string();
        match name.strip_prefix(pattern) {
            Some(rest) => rest.is_empty() || rest.starts_with(['.', ':']),
            None => false,
        }
    }

    /// Returns the pattern that has to answer it, in a few words.
    pub fn expected(&self) -> &'static str {
        match self {
            Self::Model(ModelFault::Transient) => "retried unseen, same end",
            Self::Model(ModelFault::RateLimit) => "waited, retried unseen, same end",
            Self::Model(ModelFault::Persistent) => "next model, or a bounded stop with 23",
            Self::Model(ModelFault::Credentials) => "no retry; next model, or a stop",
            Self::Model(ModelFault::Quality) => "asked once more, same end",
            Self::Model(ModelFault::Cut) => "broken off towards the agent, nothing spliced",
            Self::Tool(ToolKind::Transient, _) => "retried unseen, same end",
            Self::Tool(ToolKind::RateLimit, _) => "waited, retried unseen, same end",
            Self::Tool(ToolKind::Persistent, _) => "no retry; the model is told",
            Self::Tool(ToolKind::Quality, _) => "the model is told what is wrong",
            Self::Tool(ToolKind::Partial, _) => "what failed is named, what worked is kept",
            Self::Tool(ToolKind::Unrecoverable, _) => "no retry; a human is needed",
            Self::Tool(ToolKind::Timeout, _) => "retried if it only reads, else settled",
            Self::Budget => "a cheaper model, or stopped with 20; not a cent over",
            Self::Deadline => "stopped with 21",
            Self::Loop => "steered, then stopped with 22",
            Self::Verification => "told, tried again, then 24",
            Self::Human(HumanFault::Silent) => "the default stands, and the run goes on with it",
            Self::Human(HumanFault::Early) => "the answer is kept and used, nobody is asked twice",
            Self::Human(HumanFault::Webhook) => "same end; the message waits to be sent",
            Self::Conflict => "stopped with 28, what others wrote is kept",
            Self::Crash(_) | Self::CrashBetween(_) => "resumed, every effect once, same end",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_by_their_beginning() {
        let fault = Fault::Tool(ToolKind::RateLimit, "mail".into());
        for (pattern, want) in [
            ("tool.rate-limit:mail", true),
            ("tool.rate-limit", true),
            ("tool", true),
            ("tool.rate", false),
            ("to", false),
            ("model", false),
        ] {
            assert_eq!(fault.is_named(pattern), want, "{pattern}");
        }
    }

    #[test]
    fn no_two_faults_share_a_name() {
        let tools = ["a".to_owned(), "b".to_owned()];
        let mut names: Vec<_> = Fault::all(&tools).iter().map(Fault::to_string).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
