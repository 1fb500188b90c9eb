//! What a run amounts to, in the fields that lists, `show` and CI print.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::UnixMs;
use crate::ids::{AttemptNo, EscalationId, RunId, StepNo};
use crate::machine::escalation::{Ruling, Seen};
use crate::machine::event::FileCounts;
use crate::machine::{Outcome, Phase, Question, State, Status};
use crate::money::NanoUsd;
use crate::policy::budget::Resource;

/// A run in figures. Field names are part of `--json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The run.
    pub run_id: RunId,
    /// Name of the task.
    pub task_id: String,
    /// How it stands.
    pub status: Status,
    /// Exit code, once it ended.
    #[serde(default)]
    pub exit_code: Option<u8>,
    /// What happened, as a sentence, once it ended.
    #[serde(default)]
    pub outcome: Option<String>,
    /// Whether the work was checked and passed, once the run is done.
    #[serde(default)]
    pub verified: Option<bool>,
    /// Class of the failure, if it failed.
    #[serde(default)]
    pub error_class: Option<String>,
    /// When it began.
    pub start_time: UnixMs,
    /// When it ended.
    #[serde(default)]
    pub end_time: Option<UnixMs>,
    /// SHA-256 over task and input.
    pub input_hash: String,
    /// SHA-256 over the conversation's tip and the loop's result.
    pub output_hash: String,
    /// Times the agent was started.
    pub attempts: AttemptNo,
    /// Turns committed.
    pub completed_steps: StepNo,
    /// Turns left under the limit, if there is one.
    #[serde(default)]
    pub pending_steps: Option<u64>,
    /// Tokens of every kind.
    pub tokens_used: u64,
    /// Money, in US dollars as text, exact.
    pub cost_usd: String,
    /// Guarded and reported tool calls.
    pub tool_calls: u64,
    /// Tries after the first.
    pub retry_count: u64,
    /// Calls that succeeded after a retry.
    pub retried_to_success: u64,
    /// Mean wait before a retry, in milliseconds.
    pub retry_delay_mean_ms: u64,
    /// Calls answered from the record of an earlier execution.
    pub from_record: u64,
    /// Writes that were taken back since the agent last ran.
    #[serde(default)]
    pub undone: u64,
    /// Writes whose undo failed, or is in doubt.
    #[serde(default)]
    pub not_undone: u64,
    /// Calls refused by an open breaker.
    pub refused_by_breaker: u64,
    /// Steers given.
    pub steers: u64,
    /// Model calls answered from the record of an earlier attempt.
    #[serde(default)]
    pub replayed: u64,
    /// What these had cost, in US dollars as text, exact.
    #[serde(default)]
    pub saved_usd: String,
    /// Concluded calls by class.
    pub classes: BTreeMap<String, u64>,
    /// The last thing that went wrong.
    #[serde(default)]
    pub last_error: Option<String>,
    /// When the last turn was committed.
    #[serde(default)]
    pub last_checkpoint: Option<UnixMs>,
    /// What the loop gave as its result.
    #[serde(default)]
    pub result: Option<serde_json::Value>,
    /// Who answers in the place of the first model, if somebody does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub degraded: Option<Degraded>,
    /// The folder that the agent works on, where it is staged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// What humans were asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub questions: Vec<Asked>,
    /// How long the run waited for them, in milliseconds.
    #[serde(default)]
    pub waited_ms: u64,
    /// Limits and what is used of them, in the limit's unit.
    pub limits: BTreeMap<String, Used>,
}

/// A folder that the agent works on in a copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// The folder.
    pub target: String,
    /// The copy, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// SHA-256 over what the folder was when it was copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_hash: Option<String>,
    /// What was committed, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<FileCounts>,
}

impl Workspace {
    fn of(state: &State) -> Option<Self> {
        let workspace = &state.workspace;
        let staged = workspace.staged.as_ref();
        let target = staged
            .map(|it| it.target.clone())
            .or_else(|| Some(workspace.committed.as_ref()?.1.clone()))?;
        Some(Self {
            target,
            stage: staged.map(|it| it.stage.clone()),
            base_hash: staged.map(|it| it.hash.clone()),
            committed: match staged {
                Some(_) => None,
                None => workspace.committed.as_ref().map(|(counts, _)| *counts),
            },
        })
    }

    /// Returns it in words.
    pub fn describe(&self) -> String {
        match (&self.committed, &self.stage) {
            (Some(counts), _) => format!("{}; committed, {}", self.target, counts.describe()),
            (None, Some(stage)) => format!("{}; not committed, staged in {stage}", self.target),
            (None, None) => self.target.clone(),
        }
    }
}

/// Who answers in the place of the first model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Degraded {
    /// The name of the link.
    pub link: String,
    /// Why.
    pub why: String,
}

/// What a human was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The question's number.
    pub id: EscalationId,
    /// What led to it.
    pub kind: String,
    /// The question.
    pub question: String,
    /// Whether the run stands still until it is decided.
    #[serde(default)]
    pub holds_the_run: bool,
    /// What was decided.
    #[serde(default)]
    pub option: Option<String>,
    /// By whom.
    #[serde(default)]
    pub by: Option<String>,
    /// How it came: an answer, the deadline.
    #[serde(default)]
    pub source: Option<String>,
    /// Who has seen it first.
    #[serde(default)]
    pub seen_by: Option<String>,
}

impl Asked {
    /// Takes in what a human did.
    pub fn hear(&mut self, seen: Option<&Seen>, ruling: Option<&Ruling>) {
        self.seen_by = seen.map(|seen| seen.by.clone());
        self.option = ruling.map(|ruling| ruling.option.clone());
        self.by = ruling.map(|ruling| ruling.by.clone());
        self.source = ruling.map(|ruling| ruling.source.as_str().to_owned());
    }

    /// Returns what came of it, in words.
    pub fn answer(&self) -> String {
        match (&self.option, &self.by, &self.seen_by) {
            (Some(_), _, _) if self.source.as_deref() == Some("withdrawn") => "withdrawn".into(),
            (Some(option), Some(by), _) => format!("{option}, by {by}"),
            (Some(option), None, _) => option.clone(),
            (None, _, Some(seen)) => format!("open, seen by {seen}"),
            (None, _, None) => "open".into(),
        }
    }
}

/// A limit and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The limit, as people write it.
    pub limit: String,
    /// Used or held back.
    pub used: String,
    /// Share used, in percent.
    pub percent: u64,
}

impl Report {
    /// Returns the status for people: of a run that is done, whether its work was
    /// verified, too.
    pub fn status_text(&self) -> &str {
        match (self.status, &self.outcome) {
            (Status::Done, Some(outcome)) => outcome,
            (status, _) => status.as_str(),
        }
    }

    /// Whether the run stands still until a human has decided.
    pub fn waits_for_human(&self) -> bool {
        let mut open = self.questions.iter().filter(|it| it.option.is_none());
        open.any(|it| it.holds_the_run)
    }

    /// Reports on a run that this process or nobody holds.
    pub fn of(run: &RunId, state: &State) -> Self {
        let ended = match &state.phase {
            Phase::Ended { outcome } => Some(outcome),
            Phase::Created | Phase::Running | Phase::Ending { .. } | Phase::Concluding { .. } => {
                None
            }
        };
        let counters = &state.counters;
        Self {
            run_id: run.clone(),
            task_id: state.name.clone(),
            status: ended.map_or(Status::Running, Outcome::status),
            exit_code: ended.map(Outcome::exit_code),
            outcome: ended.map(Outcome::describe),
            verified: ended.and_then(|outcome| match outcome {
                Outcome::Done { verified } => Some(*verified),
                Outcome::Rejected { .. } => Some(false),
                _ => None,
            }),
            error_class: ended.and_then(error_class),
            start_time: state.created_at,
            end_time: state.ended_at,
            input_hash: state.input_hash.clone(),
            output_hash: output_hash(state),
            attempts: state.attempt,
            completed_steps: state.step,
            pending_steps: state
                .limits
                .steps
                .map(|limit| limit.saturating_sub(state.spend.steps)),
            tokens_used: state.spend.of(Resource::Tokens),
            cost_usd: NanoUsd(state.spend.of(Resource::CostUsd)).to_string(),
            tool_calls: state.spend.tool_calls,
            retry_count: counters.retries,
            retried_to_success: counters.retried_to_success,
            retry_delay_mean_ms: counters.retry_wait_ms / counters.retries.max(1),
            from_record: counters.from_record,
            undone: state.saga.counts().0,
            not_undone: state.saga.counts().1,
            refused_by_breaker: counters.refused_by_breaker,
            steers: counters.steers,
            replayed: counters.replayed,
            saved_usd: counters.saved.to_string(),
            classes: counters
                .classes
                .iter()
                .map(|(class, count)| (class.name().to_owned(), *count))
                .collect(),
            last_error: state.last_error.clone(),
            last_checkpoint: state.checkpoint_at,
            result: state.done.clone().filter(|result| !result.is_null()),
            degraded: degraded(state),
            workspace: Workspace::of(state),
            questions: state.questions.iter().map(asked).collect(),
            waited_ms: state.waits.until(state.seen_at),
            limits: limits(state),
        }
    }
}

fn asked(question: &Question) -> Asked {
    let what = &question.what;
    let mut asked = Asked {
        id: what.id.clone(),
        kind: what.ask.kind.as_str().to_owned(),
        question: what.ask.question.clone(),
        holds_the_run: what.ask.kind.holds_the_run(),
        option: None,
        by: None,
        source: None,
        seen_by: None,
    };
    asked.hear(question.seen.as_ref(), question.ruling.as_ref());
    asked
}

fn degraded(state: &State) -> Option<Degraded> {
    let models = &state.models;
    Some(Degraded {
        link: models.name.clone()?,
        why: models.why.clone().unwrap_or_default(),
    })
}

fn limits(state: &State) -> BTreeMap<String, Used> {
    Resource::ALL
        .into_iter()
        .filter_map(|resource| {
            let limit = state.limits.of(resource)?;
            let used = state.spend.of(resource);
            let percent = u128::from(used) * 100 / u128::from(limit.max(1));
            let shown = Used {
                limit: resource.show(limit),
                used: resource.show(used),
                percent: u64::try_from(percent).unwrap_or(u64::MAX),
            };
            Some((resource.key().to_owned(), shown))
        })
        .collect()
}

fn output_hash(state: &State) -> String {
    let mut hash = Sha256::new();
    hash.update(state.head().unwrap_or_default());
    hash.update([0]);
    hash.update(
        state
            .done
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    );
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// The run-level class of a failure.
fn error_class(outcome: &Outcome) -> Option<String> {
    let class = match outcome {
        Outcome::Done { .. } => return None,
        Outcome::Failed { .. } => "agent",
        Outcome::Crashed { .. } => "crash",
        Outcome::Rejected { .. } => "rejected",
        Outcome::Conflict { .. } => "conflict",
        Outcome::Budget { .. } => "cost_pressure",
        Outcome::TimeUp { .. } => "deadline",
        Outcome::Loop { .. } => "loop",
        Outcome::Parked { .. } => "transient",
        Outcome::Unavailable { .. } => "persistent",
        Outcome::InDoubt { .. } => "in_doubt",
        Outcome::Waiting { .. } => "waiting",
        Outcome::Stopped { .. } => "interrupted",
        Outcome::Broke { .. } => "internal",
    };
    Some(class.to_owned())
}
