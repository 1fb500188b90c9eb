//! Tells people: what an event says to those whom the task file names.
//!
//! Makes messages, which go into the outbox in the event's own transaction;
//! `human::outbox` sends them once it is durable.

use serde_json::{Value, json};

use crate::clock::UnixMs;
use crate::human::inbox::Entry;
use crate::human::letter::{self, Action, Letter, Message};
use crate::human::token::Secret;
use crate::ids::{RunId, Seq};
use crate::machine::{Decision, Escalation, Outcome, State};
use crate::observe::Report;
use crate::policy::escalation::Kind;
use crate::store::{self, Committed, Paths};
use crate::task::resolved::{Notify, Occasion};

/// Whom to tell, and what answers are signed with.
pub struct Notifier {
    rules: Vec<Notify>,
    secret: Option<Secret>,
}

/// An event on its way into the journal.
pub struct About<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Its place.
    pub seq: Seq,
    /// When it happened.
    pub at: UnixMs,
    /// The decisions it led to.
    pub notes: &'a [Decision],
    /// What humans are asked with it.
    pub asked: &'a [Escalation],
    /// How the run ended, if it did with this event.
    pub ended: Option<&'a Outcome>,
    /// The breakers it moves, in the order of the journal's answer.
    pub breakers: &'a [String],
    /// The state after it.
    pub state: &'a State,
}

/// Tells by a breaker's place and state in the journal's answer whether it opened.
pub type HasOpened = fn(&Committed, usize, UnixMs) -> bool;

impl Notifier {
    /// Makes one; `None` where nobody wants to be told.
    pub fn new(rules: &[Notify], paths: &Paths) -> Option<Self> {
        if rules.is_empty() {
            return None;
        }
        let secret = match Secret::load(paths) {
            Ok(secret) => Some(secret),
            Err(error) => {
                tracing::warn!(%error, "answers cannot be signed; notifications have no tokens");
                None
            }
        };
        let rules = rules.to_vec();
        Some(Self { rules, secret })
    }

    /// Returns what is told of an event.
    pub fn letters(&self, about: &About<'_>, has_opened: HasOpened) -> Vec<store::Letter> {
        let run = about.run;
        let mut letters = Vec::new();
        for note in about.notes {
            if note.rule.starts_with("limit.") && note.rule.ends_with(".soft") {
                let text = format!("run {run}: {}", note.evidence);
                self.tell(&mut letters, about, Occasion::Soft, text, None);
            }
        }
        for (place, breaker) in about.breakers.iter().enumerate() {
            let first = letters.len();
            let name = breaker.strip_prefix("tool:").unwrap_or(breaker);
            let text = format!("run {run}: the breaker of `{name}` opened");
            self.tell(&mut letters, about, Occasion::Breaker, text, None);
            let at = about.at;
            for letter in &mut letters[first..] {
                letter.only_if = Some(Box::new(move |committed| has_opened(committed, place, at)));
            }
        }
        for what in about.asked {
            let occasion = match what.ask.kind {
                Kind::InDoubt => Occasion::InDoubt,
                _ => Occasion::Waiting,
            };
            let text = format!("run {run} ({}): {}", about.state.name, what.ask.question);
            let entry = Entry {
                run: run.clone(),
                what: what.clone(),
                seen: None,
                ruling: None,
                token: None,
            };
            let question = letter::question(&entry, about.at);
            let actions = letter::actions(&entry, self.secret.as_ref());
            self.tell(
                &mut letters,
                about,
                occasion,
                text,
                Some((question, actions)),
            );
        }
        if let Some(outcome) = about.ended.filter(|it| !is_told(it, about.state)) {
            let text = format!("run {run} ({}): {}", about.state.name, outcome.describe());
            self.tell(&mut letters, about, occasion(outcome), text, None);
        }
        letters
    }

    fn tell(
        &self,
        letters: &mut Vec<store::Letter>,
        about: &About<'_>,
        occasion: Occasion,
        text: String,
        question: Option<(Value, Vec<Action>)>,
    ) {
        let (escalation, actions) = question.map_or((None, vec![]), |(it, more)| (Some(it), more));
        for rule in self.rules.iter().filter(|rule| rule.on.contains(&occasion)) {
            // By its place: the same event in another attempt to store it is the same.
            let id = format!("n-{}-{}-{}", about.run, about.seq, letters.len());
            let letter = Letter {
                to: rule.target.clone(),
                message: Message {
                    v: 1,
                    id: id.clone(),
                    occasion,
                    text: text.clone(),
                    report: json!(Report::of(about.run, about.state)),
                    escalation: escalation.clone(),
                    actions: actions.clone(),
                },
            };
            match serde_json::to_string(&letter) {
                Ok(body) => letters.push(store::Letter {
                    id,
                    due: about.at,
                    body,
                    only_if: None,
                }),
                Err(error) => tracing::warn!(%error, "a notification cannot be written"),
            }
        }
    }
}

/// Whether a question has told of this end already.
fn is_told(outcome: &Outcome, state: &State) -> bool {
    match outcome {
        Outcome::Waiting { .. } => true,
        Outcome::InDoubt { call, .. } => state.question_about(*call).is_some(),
        _ => false,
    }
}

fn occasion(outcome: &Outcome) -> Occasion {
    match outcome {
        Outcome::Done { .. } => Occasion::Done,
        Outcome::Failed { .. } | Outcome::Crashed { .. } | Outcome::Broke { .. } => {
            Occasion::Failed
        }
        Outcome::Rejected { .. } => Occasion::Rejected,
        Outcome::Conflict { .. } => Occasion::Conflict,
        Outcome::Budget { .. } => Occasion::Budget,
        Outcome::TimeUp { .. } => Occasion::Deadline,
        Outcome::Loop { .. } => Occasion::Loop,
        Outcome::Unavailable { .. } | Outcome::Parked { .. } => Occasion::Unavailable,
        Outcome::InDoubt { .. } => Occasion::InDoubt,
        Outcome::Waiting { .. } => Occasion::Waiting,
        Outcome::Stopped { .. } => Occasion::Interrupted,
    }
}
