//! What comes between the agent's last process and the end of the run.
//!
//! ```text
//!  swept, done ──► Verifying ──passed──────────────────► Ended: done, verified
//!                   ▲     │ failed
//!                   │     ├─ tries left ──► Returning ──► the agent again, told
//!                   │     └─ none left ───────────────► Ended: rejected
//!             the agent is done again
//!
//!  any end that the task says ──► RollingBack ──► Ended (see `saga`)
//!  a staged folder is committed between "passed", or "done", and the end
//! ```
//! A part begins with an event of its own and ends with another. Between the two
//! everything may stop: the part is found in the state and is begun anew. One that
//! a signal or a time limit cuts off stays in [`State::unconcluded`], so that a
//! resume takes it up instead of the agent.
//!
//! A further part is a variant of [`Part`], an event for each of its ends, and a
//! line in [`conclude`] or [`verified`]; `driver::conclude` carries it out.

use crate::clock::UnixMs;
use crate::machine::advance::{run_note, unexpected};
use crate::machine::event::{CheckEnd, CheckVerdict, TimeLimit};
use crate::machine::{Effect, Outcome, Phase, Policy, State, escalation, saga};
use crate::policy::budget::Hit;

/// Longest text of findings that a model is told, in bytes.
const FINDINGS_BYTES_MAX: usize = 16 * 1024;

/// A part of the end of a run.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// The work is checked.
    Verifying {
        /// Which round of checks it is, from 1.
        round: u32,
    },
    /// The change is put into the folder that was staged.
    Committing {
        /// Whether the work was checked.
        verified: bool,
        /// Whether files may be in place already.
        is_started: bool,
    },
    /// The checks found something; the agent is to be started again with it.
    Returning,
    /// What the run did is taken back.
    RollingBack {
        /// How the run ends then.
        then: Outcome,
    },
}

impl Part {
    /// Returns what is being done, in words.
    pub fn describe(&self) -> String {
        match self {
            Self::Verifying { round: 1 } => "verifying".into(),
            Self::Verifying { round } => format!("verifying, round {round}"),
            Self::Committing { .. } => "committing".into(),
            Self::Returning => "to be corrected".into(),
            Self::RollingBack { then } => format!("rolling back ({})", then.describe()),
        }
    }
}

impl State {
    /// Returns what is left to do before the run has ended, if something is.
    pub fn part(&self) -> Option<&Part> {
        match &self.phase {
            Phase::Concluding { part } => Some(part),
            Phase::Ended { .. } => self.unconcluded.as_ref(),
            Phase::Created | Phase::Running | Phase::Ending { .. } => None,
        }
    }
}

/// The attempt is over and nothing of it runs any more.
pub(super) fn conclude(
    state: &mut State,
    at: UnixMs,
    outcome: Outcome,
    policy: &Policy,
) -> Vec<Effect> {
    match outcome {
        Outcome::Done { .. } if policy.verify_tries.is_some() => {
            let round = state.rejections.saturating_add(1);
            begin(state, at, Part::Verifying { round });
            vec![]
        }
        Outcome::Done { verified } => done(state, at, verified, policy),
        outcome => finish(state, at, outcome, policy),
    }
}

/// The work is done and as good as it is known to be: only its commit is left.
fn done(state: &mut State, at: UnixMs, verified: bool, policy: &Policy) -> Vec<Effect> {
    if !policy.stages {
        return finish(state, at, Outcome::Done { verified }, policy);
    }
    let part = Part::Committing {
        verified,
        is_started: false,
    };
    begin(state, at, part);
    vec![]
}

/// Ends the run, once what it did is taken back where the task wants it.
pub(super) fn finish(
    state: &mut State,
    at: UnixMs,
    outcome: Outcome,
    policy: &Policy,
) -> Vec<Effect> {
    if saga::is_wanted(state, &outcome, policy) {
        return saga::begin_rollback(state, at, outcome, "rollback.on");
    }
    end(state, at, outcome)
}

/// Ends the run for now. The only way into [`Phase::Ended`] once it was swept.
pub(super) fn end(state: &mut State, at: UnixMs, outcome: Outcome) -> Vec<Effect> {
    state.active_ms = state.active_until(at);
    state.ended_at = Some(at);
    if !matches!(outcome, Outcome::Done { .. } | Outcome::Waiting { .. }) {
        state.last_error = Some(outcome.describe());
    }
    state.phase = Phase::Ended {
        outcome: outcome.clone(),
    };
    let mut effects = match outcome {
        Outcome::Done { .. } => escalation::withdrawn(state, at),
        _ => vec![],
    };
    effects.push(Effect::Finish { outcome });
    effects
}

/// The run is stopped in the middle of a part.
pub(super) fn cut_off(
    state: &mut State,
    at: UnixMs,
    outcome: Outcome,
    policy: &Policy,
) -> Vec<Effect> {
    over(state);
    state.unconcluded = state.part().cloned();
    let note = run_note(state, "stop", "conclude.cut_off", &outcome.describe());
    let mut effects = vec![Effect::Note(note)];
    effects.extend(match state.unconcluded {
        // A commit may be in place already, and is finished by the next resume.
        Some(Part::RollingBack { .. } | Part::Committing { .. }) => end(state, at, outcome),
        _ => finish(state, at, outcome, policy),
    });
    effects
}

pub(super) fn begin(state: &mut State, at: UnixMs, part: Part) {
    state.active_ms = state.active_until(at);
    state.attempt_at = at;
    state.phase = Phase::Concluding { part };
}

/// The checks of a round begin, for the first time or after they were cut off.
pub(super) fn verify_started(state: &mut State, at: UnixMs, round: u32) -> Vec<Effect> {
    let part = Part::Verifying { round };
    if state.part() != Some(&part) {
        return unexpected(state, "the start of checks that are not due");
    }
    // What was cut off ran no longer than until the last thing that is known.
    begin(state, state.seen_at, part);
    over(state);
    state.attempt_at = at;
    state.unconcluded = None;
    state.ended_at = None;
    vec![]
}

/// No check of a round is under way any more: what it had asked of a model counts as
/// spent. Returns the limit that kept one from asking.
fn over(state: &mut State) -> Option<Hit> {
    state.spend.forfeit_reservations();
    state.check_hit.take()
}

/// The checks of a round ended.
pub(super) fn verified(
    state: &mut State,
    at: UnixMs,
    round: u32,
    checks: &[CheckEnd],
    policy: &Policy,
) -> Vec<Effect> {
    let part = Part::Verifying { round };
    if state.phase != (Phase::Concluding { part: part.clone() }) {
        return unexpected(state, "the end of checks that are not under way");
    }
    let hit = over(state);
    let ended = |verdict| checks.iter().filter(move |check| check.verdict == verdict);
    let count = |verdict| ended(verdict).count();
    if count(CheckVerdict::Passed) == checks.len() {
        state.rejections = 0;
        state.findings = None;
        let mut note = run_note(state, "verify", "verify.passed", "every check passed");
        note.evidence = names(checks.iter());
        let mut effects = vec![Effect::Note(note)];
        effects.extend(done(state, at, true, policy));
        return effects;
    }
    let tries = policy.verify_tries.unwrap_or_default();
    let (outcome, rule) = if count(CheckVerdict::Failed) == 0 {
        // Nothing says that the agent did wrong: the checks are taken up again.
        state.unconcluded = Some(part);
        let why = format!(
            "could not be checked: {}",
            whys(ended(CheckVerdict::Unchecked))
        );
        let outcome = match hit {
            Some(hit) => Outcome::Budget { hit },
            None => Outcome::Rejected { why },
        };
        (Some(outcome), "verify.unchecked")
    } else {
        state.rejections = state.rejections.saturating_add(1);
        state.findings = Some(findings(checks));
        let why = format!(
            "{} of {} checks failed in round {round}: {}",
            count(CheckVerdict::Failed),
            checks.len(),
            whys(ended(CheckVerdict::Failed))
        );
        let limit = hit.map(|hit| Outcome::Budget { hit });
        match limit.or_else(|| limit_reached(state, at)) {
            _ if state.rejections > tries => (Some(Outcome::Rejected { why }), "verify.no_tries"),
            Some(limit) => (Some(limit), "verify.failed"),
            None => {
                state.last_error = Some(why);
                (None, "verify.failed")
            }
        }
    };
    let (action, why, otherwise) = match &outcome {
        Some(outcome) => ("reject", outcome.describe(), ""),
        None => (
            "send_back",
            format!("the agent is told what the checks found (try {round} of {tries})"),
            "work that fails its checks would have been taken as done",
        ),
    };
    let mut note = run_note(state, action, rule, &why);
    note.evidence = whys(
        checks
            .iter()
            .filter(|it| it.verdict != CheckVerdict::Passed),
    );
    note.otherwise = otherwise.into();
    let mut effects = vec![Effect::Note(note)];
    match outcome {
        Some(outcome) => effects.extend(finish(state, at, outcome, policy)),
        None => begin(state, at, Part::Returning),
    }
    effects
}

/// Returns the limit that leaves no room for another attempt, if one does.
pub(super) fn limit_reached(state: &State, at: UnixMs) -> Option<Outcome> {
    if let Some(hit) = state.spend.next_turn(&state.limits) {
        return Some(Outcome::Budget { hit });
    }
    (state.left_ms(at) == Some(0)).then_some(Outcome::TimeUp {
        limit: TimeLimit::Deadline,
    })
}

fn names<'a>(checks: impl Iterator<Item = &'a CheckEnd>) -> String {
    checks
        .map(|it| it.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

fn whys<'a>(checks: impl Iterator<Item = &'a CheckEnd>) -> String {
    let whys: Vec<String> = checks.map(|it| format!("{} {}", it.name, it.why)).collect();
    whys.join("; ")
}

/// Returns what the model is told.
fn findings(checks: &[CheckEnd]) -> String {
    let mut text =
        String::from("Your work was checked, and it is not accepted yet. What was found:\n");
    for check in checks
        .iter()
        .filter(|it| it.verdict != CheckVerdict::Passed)
    {
        let how = match check.verdict {
            CheckVerdict::Unchecked => " (this says nothing about your work)",
            CheckVerdict::Failed | CheckVerdict::Passed => "",
        };
        text.push_str(&format!("\n- {} {}{how}", check.name, check.why));
        for line in check.findings.lines() {
            text.push_str("\n    ");
            text.push_str(line);
        }
    }
    if text.len() > FINDINGS_BYTES_MAX {
        text.truncate(text.floor_char_boundary(FINDINGS_BYTES_MAX));
        text.push('…');
    }
    text.push_str(
        "\n\nThe work up to here is kept. Correct what was found, then finish as before.",
    );
    text
}
