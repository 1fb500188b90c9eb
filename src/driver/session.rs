//! One owned run: its state, its journal, and the rule that joins them.
//!
//! [`Session::feed`] is the only way by which anything happens to a run: the
//! machine advances, the event goes into the journal with what must be stored
//! beside it, and what leaves the supervisor is queued behind the commit. Many
//! events may be on their way to the disk; they become durable in order, and
//! [`Session::durable`] hands out their effects in that order.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::clock::{Clock, UnixMs};
use crate::drill::{Boundary, Side, fault};
use crate::driver::facts::{put_breaker, read_breaker};
use crate::driver::notify::{self, Notifier};
use crate::driver::policy::breaker_config;
use crate::human::inbox;
use crate::ids::{RunId, Seq};
use crate::machine::batch::ItemRow;
use crate::machine::{
    Decision, Effect, Escalation, Event, Outcome, Phase, Policy, State, Status, advance,
};
use crate::observe::{Moment, Observer, Report, plain};
use crate::policy::breaker::{self, Breaker};
use crate::store::{
    BreakerEdit, Committed, Draft, Head, ItemEdit, KeyChange, KeyUse, Message, Ownership, Pending,
    QuestionChange, Store, Summary,
};
use crate::task::resolved::Resolved;
use crate::tools::Toolbox;

/// Longest arguments that the lists over all runs keep of an item, in characters.
const ITEM_ARGS_CHARS_MAX: usize = 2_000;

/// A run that this process owns.
pub struct Session {
    /// The run.
    pub run: RunId,
    /// Its task, as it was when the run began.
    pub task: Arc<Resolved>,
    /// The machine's rules.
    pub policy: Policy,
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// What hides secrets in the lists over all runs; where it is `None`, they show no
    /// arguments.
    pub toolbox: Option<Arc<Toolbox>>,
    own: Arc<Ownership>,
    /// `None` only while [`advance`] has it.
    state: Option<State>,
    in_flight: VecDeque<InFlight>,
    observers: Vec<Box<dyn Observer>>,
    notifier: Option<Notifier>,
}

/// An event on its way to the disk, and what waits behind it.
struct InFlight {
    pending: Pending<Committed>,
    at: UnixMs,
    boundary: Boundary,
    event: Event,
    notes: Vec<Decision>,
    /// What humans are asked with it.
    asked: Vec<Escalation>,
    /// Breakers it moves, in the order of the journal's answer.
    breakers: Vec<String>,
    effects: Vec<Effect>,
}

/// A durable event, as the observers are told of it.
struct Told<'a> {
    event: &'a Event,
    at: UnixMs,
    seq: Seq,
    notes: &'a [Decision],
    asked: &'a [Escalation],
    opened: &'a [String],
    ended: Option<&'a Outcome>,
}

/// What goes into the journal with a turn besides the event.
#[derive(Default)]
pub struct Beside {
    /// New messages.
    pub messages: Vec<Message>,
    /// The tip of the conversation.
    pub head: Option<Head>,
    /// The bytes of the model's answer.
    pub reply: Option<Vec<u8>>,
    /// What the event lets out need not wait for the disk, only for the system.
    pub may_lag: bool,
}

/// Why a run cannot be carried on in this process.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The journal refused a write; what it has is intact.
    #[error("the journal cannot be written")]
    Store(#[from] crate::store::Error),

    /// An event could not be written as JSON.
    #[error("an event of the run cannot be written as JSON")]
    Encode(#[source] serde_json::Error),
}

impl Session {
    /// Takes up a run whose state is known.
    pub fn new(
        own: Ownership,
        task: Arc<Resolved>,
        policy: Policy,
        state: State,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        observers: Vec<Box<dyn Observer>>,
    ) -> Self {
        Self {
            run: own.run().clone(),
            task,
            policy,
            store,
            clock,
            toolbox: None,
            own: Arc::new(own),
            state: Some(state),
            in_flight: VecDeque::new(),
            observers,
            notifier: None,
        }
    }

    /// From now on events tell people.
    pub fn notify(&mut self, notifier: Option<Notifier>) {
        self.notifier = notifier;
    }

    /// Returns where the run stands, with events that are still on their way.
    pub fn state(&self) -> &State {
        self.state
            .as_ref()
            .expect("the state is only away within feed_with")
    }

    /// Returns the right to write.
    pub fn own(&self) -> Arc<Ownership> {
        Arc::clone(&self.own)
    }

    /// Takes in one event.
    pub fn feed(&mut self, event: Event) -> Result<(), Error> {
        self.feed_with(event, Beside::default())
    }

    /// Takes in one event with messages.
    pub fn feed_with(&mut self, event: Event, beside: Beside) -> Result<(), Error> {
        let at = self.clock.now().max(self.state().seen_at);
        let boundary = Boundary::of(&event);
        fault(boundary, Side::BeforeSave);
        let body = serde_json::to_string(&event).map_err(Error::Encode)?;
        let (state, effects) = advance(self.state.take(), at, event.clone(), &self.policy);
        self.state = Some(state);
        let (stored, effects): (Vec<_>, Vec<_>) = effects.into_iter().partition(Effect::is_stored);
        let mut draft = Draft::new(event.kind(), at, body);
        draft.messages = beside.messages;
        draft.head = beside.head;
        draft.reply = beside.reply;
        draft.may_lag = beside.may_lag;
        draft.keys = claims(self.state(), &effects);
        draft.summary = self.summary(&event);
        let breakers = stored.iter().filter_map(|effect| match effect {
            Effect::Breaker { name, .. } => Some(name),
            _ => None,
        });
        let has_breaker = |name: &&String| breaker_config(name, &self.task).is_some();
        let breakers: Vec<String> = breakers.filter(has_breaker).cloned().collect();
        let mut notes = Vec::new();
        let asked = stored.iter().filter_map(|effect| match effect {
            Effect::Escalate(what) => Some(Escalation::clone(what)),
            _ => None,
        });
        let asked: Vec<Escalation> = asked.collect();
        for effect in stored {
            self.store_beside(&mut draft, &mut notes, effect, at)?;
        }
        if let Some(notifier) = &self.notifier {
            let about = notify::About {
                run: &self.run,
                seq: self.own.last_seq().next(),
                at,
                notes: &notes,
                asked: &asked,
                ended: ended(&effects),
                breakers: &breakers,
                state: self.state(),
            };
            draft.letters = notifier.letters(&about, opened_now);
        }
        let pending = self.store.append(&self.own, draft);
        self.in_flight.push_back(InFlight {
            pending,
            at,
            boundary,
            event,
            notes,
            asked,
            breakers,
            effects,
        });
        Ok(())
    }

    /// Returns whether events are on their way to the disk.
    pub fn is_settling(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Waits until the next event is durable and returns what it releases.
    ///
    /// Cancel safe. Waits for ever while nothing is on its way.
    pub async fn durable(&mut self) -> Result<Released, Error> {
        let Some(first) = self.in_flight.front_mut() else {
            return std::future::pending().await;
        };
        let committed = (&mut first.pending).await?;
        let Some(InFlight {
            at,
            boundary,
            event,
            notes,
            asked,
            breakers,
            effects,
            ..
        }) = self.in_flight.pop_front()
        else {
            return std::future::pending().await;
        };
        fault(boundary, Side::AfterSave);
        let opened = opened(&breakers, &committed, at);
        self.tell(Told {
            event: &event,
            at,
            seq: committed.seq,
            notes: &notes,
            asked: &asked,
            opened: &opened,
            ended: ended(&effects),
        });
        Ok(Released {
            boundary,
            effects,
            committed,
            event,
        })
    }

    /// Takes in an event and waits until it is durable; its effects that leave
    /// the supervisor are returned.
    pub async fn feed_and_wait(&mut self, event: Event) -> Result<Vec<Effect>, Error> {
        self.feed(event)?;
        let mut effects = Vec::new();
        while self.is_settling() {
            effects.extend(self.durable().await?.effects);
        }
        Ok(effects)
    }

    /// Lets the observers look, though nothing happened.
    pub fn tick(&mut self) {
        let now = self.clock.now();
        let Self {
            state: Some(state),
            observers,
            ..
        } = self
        else {
            return;
        };
        for observer in observers {
            observer.tick(state, now);
        }
    }

    fn tell(&mut self, told: Told<'_>) {
        let Self {
            run,
            state: Some(state),
            observers,
            ..
        } = self
        else {
            return;
        };
        let moment = Moment {
            run,
            seq: told.seq,
            at: told.at,
            event: told.event,
            notes: told.notes,
            asked: told.asked,
            opened: told.opened,
            ended: told.ended,
            state,
        };
        for observer in observers {
            observer.on(&moment);
        }
    }

    fn store_beside(
        &self,
        draft: &mut Draft,
        notes: &mut Vec<Decision>,
        effect: Effect,
        at: UnixMs,
    ) -> Result<(), Error> {
        match effect {
            Effect::Note(decision) => {
                draft
                    .notes
                    .push(serde_json::to_string(&decision).map_err(Error::Encode)?);
                notes.push(decision);
            }
            Effect::Record {
                call,
                key,
                step,
                tool,
                identity,
                class,
                content,
            } => {
                let text = serde_json::to_string(&content).map_err(Error::Encode)?;
                let result = self.store.paths().keep_result(&self.run, call, text)?;
                let key_use = KeyUse {
                    key,
                    call,
                    step,
                    tool,
                    args_hash: identity,
                };
                let verdict = class.name().to_owned();
                draft.keys.push(KeyChange::Execute {
                    key_use,
                    verdict,
                    result,
                });
            }
            Effect::Free { call, key } => draft.keys.push(KeyChange::Free { key, call }),
            Effect::Unrecord { call, key } => draft.keys.push(KeyChange::Undo { key, call }),
            Effect::Breaker { name, outcome } => {
                if let Some(config) = breaker_config(&name, &self.task) {
                    draft.breakers.push(breaker_edit(name, config, outcome, at));
                }
            }
            Effect::Item(row) => draft.items.push(self.item_edit(*row)),
            Effect::Escalate(what) => {
                draft
                    .questions
                    .push(inbox::opened(&what).map_err(Error::Encode)?);
            }
            Effect::Close { escalation, ruling } => {
                draft.questions.push(QuestionChange::Close {
                    id: escalation,
                    ruling: inbox::stored(&ruling, None),
                });
            }
            Effect::Reply { .. }
            | Effect::Admit { .. }
            | Effect::Execute { .. }
            | Effect::Lend { .. }
            | Effect::Probe { .. }
            | Effect::Wait { .. }
            | Effect::EndAgent { .. }
            | Effect::Finish { .. }
            | Effect::Unexpected { .. } => {}
        }
        Ok(())
    }

    /// Bounds what the lists over all runs keep of an item, and hides its secrets.
    fn item_edit(&self, row: ItemRow) -> ItemEdit {
        let hidden = |text: String| match &self.toolbox {
            Some(toolbox) => toolbox.hide(&text),
            None => text,
        };
        let args = self.toolbox.as_ref().map(|_| hidden(row.args.to_string()));
        ItemEdit {
            batch: row.batch,
            tool: row.tool,
            item: row.id,
            call: row.call,
            status: row.status.as_str().to_owned(),
            class: row.judged.class.name().to_owned(),
            rule: row.judged.rule,
            why: row.judged.why,
            evidence: hidden(row.judged.evidence),
            attempts: row.attempts,
            args: args.map(|args| plain::excerpt(&args, ITEM_ARGS_CHARS_MAX)),
            due: row.due,
            first_at: row.first_at,
        }
    }

    /// The run's row for lists is written where its status changes.
    fn summary(&self, event: &Event) -> Option<Summary> {
        let ended = match event {
            Event::AttemptStarted { .. } => None,
            Event::RollbackStarted | Event::UndoStarted { .. } => None,
            Event::Swept { .. }
            | Event::Settled { .. }
            | Event::Verified { .. }
            | Event::UndoEnded(_)
            | Event::UndoSettled { .. }
            | Event::RolledBack
            | Event::Committed { .. }
            | Event::CommitRefused { .. }
            | Event::Broke { .. }
            | Event::TimeUp { .. }
            | Event::Decided { .. }
            | Event::StopRequested { .. } => match &self.state().phase {
                Phase::Ended { outcome } => Some(outcome),
                _ => return None,
            },
            _ => return None,
        };
        let status = ended.map_or(Status::Running, Outcome::status);
        Some(Summary {
            status: status.as_str().to_owned(),
            exit_code: ended.map(Outcome::exit_code),
            ended: ended.and(self.state().ended_at),
            body: serde_json::to_string(&Report::of(&self.run, self.state())).unwrap_or_default(),
        })
    }
}

/// What a durable event lets out.
pub struct Released {
    /// Which boundary it was.
    pub boundary: Boundary,
    /// What to carry out, in order.
    pub effects: Vec<Effect>,
    /// What the journal answered.
    pub committed: Committed,
    /// The event.
    pub event: Event,
}

/// Breakers that went from closed to open with this event; tools by their name.
fn opened(names: &[String], committed: &Committed, at: UnixMs) -> Vec<String> {
    names
        .iter()
        .enumerate()
        .filter(|(place, _)| opened_now(committed, *place, at))
        .map(|(_, name)| name.strip_prefix("tool:").unwrap_or(name).to_owned())
        .collect()
}

/// How the run ends with these effects, if it does.
fn ended(effects: &[Effect]) -> Option<&Outcome> {
    effects.iter().find_map(|effect| match effect {
        Effect::Finish { outcome } => Some(outcome),
        _ => None,
    })
}

/// Whether the event opened its breaker at `place`.
fn opened_now(committed: &Committed, place: usize, at: UnixMs) -> bool {
    let row = committed.breakers.get(place).and_then(Option::as_deref);
    let breaker = row.and_then(read_breaker);
    breaker.is_some_and(
        |breaker| matches!(breaker.state, breaker::State::Open { since, .. } if since == at),
    )
}

/// A write's key is claimed in the transaction of its intent. Claiming again for
/// another try changes nothing.
fn claims(state: &State, effects: &[Effect]) -> Vec<KeyChange> {
    let mut claims = Vec::new();
    for effect in effects {
        let (Effect::Execute { call, .. } | Effect::Lend { call, .. }) = effect else {
            continue;
        };
        let (Some(open), Some(keys)) = (state.calls.get(call), state.key_uses(*call)) else {
            continue;
        };
        claims.extend(keys.into_iter().map(|used| {
            KeyChange::Claim(KeyUse {
                key: used.key,
                call: used.call,
                step: open.step,
                tool: open.tool.clone(),
                args_hash: used.identity,
            })
        }));
    }
    claims
}

fn breaker_edit(
    name: String,
    config: breaker::Config,
    outcome: breaker::Outcome,
    at: UnixMs,
) -> BreakerEdit {
    BreakerEdit::new(name, at, move |row| {
        let present = row.and_then(read_breaker).unwrap_or_default();
        // A healthy breaker that sees a success need not be written each time.
        if outcome == breaker::Outcome::Up && present == Breaker::default() {
            return crate::store::Change::Keep;
        }
        let next = present.clone().record(&config, &outcome, at);
        if next == present {
            crate::store::Change::Keep
        } else {
            put_breaker(&next)
        }
    })
}
