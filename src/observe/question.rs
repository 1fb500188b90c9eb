//! A question as programs are shown it: `--json`, notifications.

use serde::Serialize;

use crate::clock::UnixMs;
use crate::ids::{CallId, EscalationId, RunId, StepNo};
use crate::machine::escalation::{Choice, Escalation, Ruling, Seen};

/// A question. Field names are promised to stay.
#[derive(Clone, Debug, Serialize)]
pub struct View<'a> {
    /// Its number.
    pub id: &'a EscalationId,
    /// The run that asks.
    pub run_id: &'a RunId,
    /// What leads to it.
    pub kind: &'static str,
    /// `open`, `overdue` (the default stands as soon as anybody looks) or `decided`.
    pub status: &'static str,
    /// The question.
    pub question: &'a str,
    /// What the asker would do.
    pub recommendation: Option<&'a str>,
    /// What should be seen first.
    pub evidence: &'a str,
    /// The smallest decision that is needed.
    pub decision: &'a str,
    /// What can be chosen.
    pub options: &'a [Choice],
    /// What stands without an answer.
    pub default: Option<&'a str>,
    /// Whether what follows can be taken back.
    pub reversible: bool,
    /// The money at stake, in US dollars as text, exact.
    pub cost_usd: Option<String>,
    /// How sure the asker is, from 0 to 1.
    pub confidence: Option<f64>,
    /// When it was asked.
    pub opened_at: UnixMs,
    /// When the default stands.
    pub deadline: Option<UnixMs>,
    /// The step that was under way.
    pub step: StepNo,
    /// The tool call it is about.
    pub call: Option<CallId>,
    /// Who has seen it first.
    pub seen: Option<&'a Seen>,
    /// What was decided.
    pub ruling: Option<&'a Ruling>,
}

impl<'a> View<'a> {
    /// Shows a question of `run_id` as it is at `now`.
    pub fn of(
        run_id: &'a RunId,
        what: &'a Escalation,
        seen: Option<&'a Seen>,
        ruling: Option<&'a Ruling>,
        now: UnixMs,
    ) -> Self {
        let ask = &what.ask;
        Self {
            id: &what.id,
            run_id,
            kind: ask.kind.as_str(),
            status: match ruling {
                Some(_) => "decided",
                None if what.deadline.is_some_and(|deadline| deadline <= now) => "overdue",
                None => "open",
            },
            question: &ask.question,
            recommendation: ask.recommendation.as_deref(),
            evidence: &ask.evidence,
            decision: &ask.decision,
            options: &ask.options,
            default: ask.default.as_deref(),
            reversible: ask.reversible,
            cost_usd: ask.cost.map(|cost| cost.to_string()),
            confidence: ask.confidence,
            opened_at: what.opened_at,
            deadline: what.deadline,
            step: what.step,
            call: ask.call,
            seen,
            ruling,
        }
    }
}
