//! Where a run stands: the fold of its journal.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::clock::UnixMs;
use crate::ids::{
    AttemptNo, BatchNo, CallId, ConversationNo, EscalationId, IdempotencyKey, StepNo,
};
use crate::machine::batch::{Batch, DeadItem, Members};
use crate::machine::escalation::{Question, Waits};
use crate::machine::event::{Content, RequestNo};
use crate::machine::keys::StepKeys;
use crate::machine::{
    Conversation, Effect, Outcome, Part, Policy, Risk, Saga, ToolPolicy, Workspace,
};
use crate::money::NanoUsd;
use crate::policy::budget::{Hit, Limits, Resource, Spend, Usage};
use crate::policy::loops;
use crate::policy::retry;
use crate::policy::taxonomy::{Class, History};

/// A run. Made by the first event, changed by [`super::advance`] only.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// Name of the task.
    pub name: String,
    /// SHA-256 over the resolved task and the input snapshot.
    pub input_hash: String,
    /// Seeds every draw of the run.
    pub seed: u64,
    /// When the run was created.
    pub created_at: UnixMs,
    /// When the last event happened.
    pub seen_at: UnixMs,
    /// What it is doing.
    pub phase: Phase,
    /// Times the agent was started.
    pub attempt: AttemptNo,
    /// When the present attempt was started, or the present part of its end.
    pub attempt_at: UnixMs,
    /// Names the time since the machine was started, as of the attempt's agent.
    pub boot: Option<String>,
    /// Time in which the agent ran or its work was checked, without the present
    /// attempt or part, in milliseconds.
    pub active_ms: u64,
    /// Turns committed on the present branch.
    pub step: StepNo,
    /// Times the user went back to an earlier checkpoint.
    pub branch: u64,
    /// Its conversations, by their numbers.
    pub conversations: BTreeMap<ConversationNo, Conversation>,
    /// Whether a model was offered tools.
    pub offers_tools: bool,
    /// How loops are looked for; `None` where that is switched off.
    pub loops: Option<loops::Config>,
    /// The limits, with what was raised.
    pub limits: Limits,
    /// What was used.
    pub spend: Spend,
    /// Calls that have not been answered yet.
    pub calls: BTreeMap<CallId, Call>,
    /// The loop's own ids of calls that came to us: what else tells of them is not
    /// counted a second time.
    pub guarded: BTreeSet<String>,
    /// Calls of a dead attempt that may or may not have happened.
    pub in_doubt: BTreeMap<CallId, Call>,
    /// Writes that happened within the present step, for an attempt that does
    /// the step again.
    pub done_in_step: Vec<DoneCall>,
    /// What it did that lasts.
    pub saga: Saga,
    /// Batches that are under way, or have an item in doubt.
    pub batches: BTreeMap<BatchNo, Batch>,
    /// Items that failed for good within the present step, for an attempt that does
    /// the step again: what does not go is not tried again by a crash.
    pub dead_in_step: BTreeMap<IdempotencyKey, DeadItem>,
    /// Number of the next batch.
    pub next_batch: BatchNo,
    /// Number of the next call.
    pub next_call: CallId,
    /// Keys made within the present step.
    pub step_keys: StepKeys,
    /// Number of the next reservation.
    pub next_reservation: u64,
    /// When each open reservation was made.
    pub reserved_at: BTreeMap<u64, UnixMs>,
    /// The conversation that each open reservation is of.
    pub reserved_of: BTreeMap<u64, ConversationNo>,
    /// The session of an agent that has its own.
    pub session: Session,
    /// Who answers model calls.
    pub models: Models,
    /// Retries used.
    pub retries: retry::Used,
    /// How the last tries of each tool went; for the taxonomy.
    pub histories: BTreeMap<String, History>,
    /// Soft thresholds that were warned of.
    pub warned: BTreeSet<Resource>,
    /// Whether the loop has spoken in this attempt.
    pub spoke: bool,
    /// Whether the loop has said hello in this attempt, and so speaks for itself.
    pub greeted: bool,
    /// Whether it counts its model calls itself in this attempt.
    pub counts_itself: bool,
    /// What the gateway has counted since the loop last told what it used: not
    /// counted again when it does.
    pub wire_credit: Usage,
    /// Whether a turn of this attempt was read from the agent's model calls.
    pub on_wire: bool,
    /// The result of the loop's word, in this attempt, that it is done.
    pub done: Option<Value>,
    /// The step of that word.
    pub done_at: StepNo,
    /// Times in a row that its work failed the checks.
    pub rejections: u32,
    /// What the last checks found, for the model, until they pass.
    pub findings: Option<String>,
    /// The part of the end that was cut off and is still to be done.
    pub unconcluded: Option<Part>,
    /// The conversation of the last turn.
    pub last_of: ConversationNo,
    /// The limit that kept a check of this round from asking its model.
    pub check_hit: Option<Hit>,
    /// The folder that the agent works on, where it is staged.
    pub workspace: Workspace,
    /// Why the last model call failed, if it did.
    pub model_error: Option<String>,
    /// The last tool that was concluded, if it is down.
    pub down: Option<(String, String)>,
    /// The last thing that went wrong, for lists.
    pub last_error: Option<String>,
    /// When the last turn was committed.
    pub checkpoint_at: Option<UnixMs>,
    /// When the run ended for now.
    pub ended_at: Option<UnixMs>,
    /// What humans were asked, in order.
    pub questions: Vec<Question>,
    /// How long it has waited for them.
    pub waits: Waits,
    /// Spending up to here needs no further question.
    pub cost_gate: NanoUsd,
    /// Counts for reports.
    pub counters: Counters,
}

/// What a run is doing.
#[derive(Clone, Debug, PartialEq)]
pub enum Phase {
    /// No agent runs; the first attempt has not begun.
    Created,
    /// An agent runs.
    Running,
    /// The agent is ending or has ended; what it left is being cleared away.
    Ending {
        /// How the attempt ends.
        outcome: Outcome,
    },
    /// The agent is gone; what it did is checked, or taken back.
    Concluding {
        /// What is being done.
        part: Part,
    },
    /// Nothing of the run is alive.
    Ended {
        /// How the attempt ended.
        outcome: Outcome,
    },
}

/// The session of an agent that knows nothing of us, as far as it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Session {
    /// The attempt that began it.
    pub attempt: AttemptNo,
    /// The branch it belongs to.
    pub branch: u64,
    /// Whether it has a turn: then it can be taken up.
    pub has_turns: bool,
}

/// Who answers model calls, as a run knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Models {
    /// The link that answered last, by its place in the chain.
    pub link: usize,
    /// Its name, if it is not the first one.
    pub name: Option<String>,
    /// Why it is not the first one, if it is not.
    pub why: Option<String>,
    /// What is left alone: a link, or one model of it.
    pub rests: BTreeMap<(usize, Option<String>), Rest>,
}

/// How long a link is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest {
    /// When it may be asked again.
    pub until: UnixMs,
    /// Rests in a row.
    pub times: u32,
}

impl Models {
    /// Returns until when the link at `place` is left alone, if it is at `now`; the
    /// whole of it, or `model`.
    pub fn rests(&self, place: usize, model: Option<&str>, now: UnixMs) -> Option<UnixMs> {
        let of = |model: Option<&str>| self.rests.get(&(place, model.map(str::to_owned)));
        let until = of(None)
            .into_iter()
            .chain(model.and_then(|it| of(Some(it))));
        until
            .map(|rest| rest.until)
            .filter(|until| now < *until)
            .max()
    }
}

/// A guarded call that is under way.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Its tool.
    pub tool: String,
    /// Its arguments.
    pub args: Value,
    /// Hash of the normalised arguments.
    pub identity: String,
    /// Its key.
    pub key: Option<IdempotencyKey>,
    /// The step it belongs to.
    pub step: StepNo,
    /// The present try, from 1.
    pub attempt: u32,
    /// The wait before the present try, in milliseconds.
    pub waited_ms: u64,
    /// What it is waiting for.
    pub stage: Stage,
    /// The requests to answer; several when the loop asked twice at once.
    pub requests: Vec<RequestNo>,
    /// When the loop asked.
    pub called_at: UnixMs,
    /// The items of a batch that it carries; `None` for a call of its own.
    pub batch: Option<Members>,
    /// Whoever asks carries the tries out. While one does, the request for it is
    /// answered, and not among `requests`.
    pub is_lent: bool,
}

impl Call {
    /// Lets the present try go out; `None` for a lent call that nobody waits for.
    pub(super) fn go(&mut self, call: CallId) -> Option<Effect> {
        self.stage = Stage::Executing;
        let attempt = self.attempt;
        if !self.is_lent {
            return Some(Effect::Execute { call, attempt });
        }
        let is_waited_for = !self.requests.is_empty();
        is_waited_for.then(|| Effect::Lend {
            request: self.requests.remove(0),
            call,
            attempt,
        })
    }
}

/// What a guarded call is waiting for.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// The tool; it may be doing its work.
    Executing,
    /// The time of the next try.
    Waiting,
    /// The probe's answer.
    Probing,
    /// A human's approval.
    Approving {
        /// The question.
        escalation: EscalationId,
    },
}

/// A key that a call executes under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    /// The call, or the number of the item that it carries.
    pub call: CallId,
    /// The key.
    pub key: IdempotencyKey,
    /// Hash of the normalised arguments.
    pub identity: String,
}

/// A write that happened within the present step.
#[derive(Clone, Debug, PartialEq)]
pub struct DoneCall {
    /// The call.
    pub call: CallId,
    /// Its tool.
    pub tool: String,
    /// Its arguments.
    pub args: Value,
    /// Hash of the normalised arguments.
    pub identity: String,
    /// Its key.
    pub key: Option<IdempotencyKey>,
    /// What it gave.
    pub content: Content,
    /// Whether it belongs to a former attempt and nobody has asked for it yet.
    pub unclaimed: bool,
}

/// Counts for reports and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Tries of guarded tools, first tries included.
    pub tries: u64,
    /// Tries after the first.
    pub retries: u64,
    /// Calls that succeeded after at least one retry.
    pub retried_to_success: u64,
    /// Time waited before retries, in milliseconds.
    pub retry_wait_ms: u64,
    /// Calls answered from the record of an earlier execution.
    pub from_record: u64,
    /// Calls refused by an open breaker.
    pub refused_by_breaker: u64,
    /// Concluded calls by class.
    pub classes: BTreeMap<Class, u64>,
    /// Loops found, by rung.
    pub loops: BTreeMap<String, u64>,
    /// Steers given.
    pub steers: u64,
    /// Model calls answered from the record.
    pub replayed: u64,
    /// What these cost when they were new.
    pub saved: NanoUsd,
}

impl State {
    /// Makes the state of a run that was just created.
    pub(super) fn new(
        name: String,
        input_hash: String,
        seed: u64,
        at: UnixMs,
        policy: &Policy,
    ) -> Self {
        Self {
            name,
            input_hash,
            seed,
            created_at: at,
            seen_at: at,
            phase: Phase::Created,
            attempt: AttemptNo(0),
            attempt_at: at,
            boot: None,
            active_ms: 0,
            step: StepNo(0),
            branch: 0,
            conversations: BTreeMap::new(),
            offers_tools: false,
            loops: policy.loops.clone(),
            limits: policy.limits.clone(),
            spend: Spend::default(),
            calls: BTreeMap::new(),
            guarded: BTreeSet::new(),
            in_doubt: BTreeMap::new(),
            done_in_step: Vec::new(),
            saga: Saga::default(),
            batches: BTreeMap::new(),
            dead_in_step: BTreeMap::new(),
            next_batch: BatchNo(1),
            next_call: CallId(1),
            step_keys: StepKeys::default(),
            next_reservation: 1,
            reserved_at: BTreeMap::new(),
            reserved_of: BTreeMap::new(),
            session: Session::default(),
            models: Models::default(),
            retries: retry::Used::default(),
            histories: BTreeMap::new(),
            warned: BTreeSet::new(),
            spoke: false,
            greeted: false,
            counts_itself: false,
            wire_credit: Usage::default(),
            on_wire: false,
            done: None,
            done_at: StepNo::default(),
            rejections: 0,
            findings: None,
            unconcluded: None,
            last_of: ConversationNo::FIRST,
            check_hit: None,
            workspace: Workspace::default(),
            model_error: None,
            down: None,
            last_error: None,
            checkpoint_at: None,
            ended_at: None,
            questions: Vec::new(),
            waits: Waits::default(),
            cost_gate: policy.escalation.cost_step.unwrap_or_default(),
            counters: Counters::default(),
        }
    }

    /// Returns the time in which the agent ran until `now`, in milliseconds, without
    /// that in which it waited for a human.
    pub fn active_until(&self, now: UnixMs) -> u64 {
        let present = match self.phase {
            Phase::Running | Phase::Ending { .. } | Phase::Concluding { .. } => {
                let waited = self.waits.in_attempt(self.attempt_at, now);
                now.since(self.attempt_at).saturating_sub(waited)
            }
            Phase::Created | Phase::Ended { .. } => 0,
        };
        self.active_ms.saturating_add(present)
    }

    /// Returns the milliseconds until the deadline; `None` is no deadline.
    pub fn left_ms(&self, now: UnixMs) -> Option<u64> {
        let used = if self.limits.deadline_active {
            self.active_until(now)
        } else {
            let waited = self.waits.until(now);
            now.since(self.created_at).saturating_sub(waited)
        };
        self.limits
            .deadline_ms
            .map(|deadline| deadline.saturating_sub(used))
    }

    /// Returns how the run ended or is ending, if it is.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Ending { outcome } | Phase::Ended { outcome } => Some(outcome),
            Phase::Created | Phase::Running | Phase::Concluding { .. } => None,
        }
    }

    /// Returns the keys that the call `id` executes under, each with the number of
    /// the call or item it belongs to; `None` for a call that is not under way.
    pub fn key_uses(&self, id: CallId) -> Option<Vec<Used>> {
        let call = self.calls.get(&id)?;
        let used = |call: CallId, key: &Option<IdempotencyKey>, identity: &str| {
            let (key, identity) = (key.clone()?, identity.to_owned());
            Some(Used {
                call,
                key,
                identity,
            })
        };
        let Some(members) = &call.batch else {
            return Some(used(id, &call.key, &call.identity).into_iter().collect());
        };
        let batch = self.batches.get(&members.batch)?;
        let items = members.items.iter().filter_map(|at| batch.items.get(*at));
        Some(
            items
                .filter_map(|item| used(item.call, &item.key, &item.identity))
                .collect(),
        )
    }

    /// Returns the call under way that has `key`, if there is one.
    pub fn call_with_key(&self, key: &IdempotencyKey) -> Option<CallId> {
        self.calls
            .iter()
            .find(|(_, call)| call.key.as_ref() == Some(key))
            .map(|(id, _)| *id)
    }
}

impl Policy {
    /// Returns what a second execution of `tool` would do; an unknown tool is
    /// taken for a write.
    pub fn risk(&self, tool: &str) -> Risk {
        self.tool(tool).map_or(Risk::Write, |tool| tool.risk)
    }

    /// Returns the rules of `tool`; one of an MCP server, `SERVER/TOOL`, may be meant
    /// by `SERVER/*` or `*/*`.
    pub fn tool(&self, tool: &str) -> Option<&ToolPolicy> {
        self.tools.get(tool).or_else(|| {
            let (server, _) = tool.split_once('/')?;
            let others = self.tools.get(&format!("{server}/*"));
            others.or_else(|| self.tools.get("*/*"))
        })
    }
}
