//! The task as the machine needs it: limits, and what each tool may do.
//!
//! Built once from the resolved task; plain data, so that a test writes its
//! own.

use std::collections::{BTreeMap, BTreeSet};

use crate::machine::Status;
use crate::policy::budget::Limits;
use crate::policy::degrade::{Link, RestConfig};
use crate::policy::escalation;
use crate::policy::loops;
use crate::policy::retry;

/// The rules of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// The limits of the task file; a raised limit is in the state.
    pub limits: Limits,
    /// The guarded tools, by name.
    pub tools: BTreeMap<String, ToolPolicy>,
    /// Who answers model calls, and how they are retried.
    pub models: ModelPolicy,
    /// How many retries the run may use up.
    pub retry_budget: retry::Budget,
    /// How loops are found; `None` where nobody looks for them.
    pub loops: Option<loops::Config>,
    /// When humans are asked.
    pub escalation: escalation::Config,
    /// Whether the agent has a way to say that it is done.
    pub speaks: bool,
    /// How often the agent may try again after its work failed the checks; `None`
    /// where nothing is checked.
    pub verify_tries: Option<u32>,
    /// Ends after which what the run did is taken back.
    pub rollback_on: BTreeSet<Status>,
    /// Whether the agent works in a copy, whose change is committed at the end.
    pub stages: bool,
}

/// Who answers model calls, and how they are retried.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelPolicy {
    /// The chain, in the order in which links are asked.
    pub chain: Vec<Link>,
    /// How often and when a link is asked again.
    pub retry: retry::Config,
    /// How long a link rests that was left.
    pub rest: RestConfig,
}

/// What a guarded tool may do, and how it is kept from doing it twice.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolPolicy {
    /// What a second execution would do.
    pub risk: Risk,
    /// How often and when it is tried again.
    pub retry: retry::Config,
    /// How an in-doubt call is settled.
    pub settle: Settle,
    /// Whether its calls wait for an approval.
    pub approve: escalation::Approve,
    /// What the loop detector is told about it.
    pub traits: loops::ToolTraits,
    /// How a call is taken back; `None` where it cannot be.
    pub undo: Option<UndoPolicy>,
}

/// How a call is taken back.
#[derive(Clone, Debug, PartialEq)]
pub struct UndoPolicy {
    /// How often and when it is tried again.
    pub retry: retry::Config,
    /// Whether a repetition of the undo does no harm.
    pub is_repeatable: bool,
}

/// What a second execution of a tool would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Risk {
    /// Nothing.
    Read,
    /// Its effect a second time.
    Write,
    /// Its effect a second time, and it cannot be taken back.
    Irreversible,
}

/// How it is found out whether an unanswered call had happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// The tool itself recognises a repeated key: call it again.
    NativeKey,
    /// The tool recognises a repeated key, and only the loop can call it: once the
    /// loop calls again, all is well.
    CallAgain,
    /// A probe tells.
    Probe,
    /// Only a human can tell.
    Human,
}

impl Settle {
    /// Returns whether the tool itself recognises a repeated key.
    pub fn is_native(self) -> bool {
        matches!(self, Self::NativeKey | Self::CallAgain)
    }
}

impl Default for retry::Budget {
    fn default() -> Self {
        Self { run: 60, tool: 20 }
    }
}
