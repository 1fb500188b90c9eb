//! What comes before another attempt.
//!
//! In order: nothing of the dead attempt may still run; its end is written
//! down; what it left in doubt is settled; only then is there a cause and a
//! note to start with. Each step is an event, so that a crash in here is found
//! by the next resume.

use std::sync::Arc;

use crate::clock::Clock;
use crate::driver::human;
use crate::driver::policy::policy;
use crate::driver::session::{Error, Session};
use crate::driver::{batch, judge};
use crate::ids::{CallId, RunId, Seq};
use crate::machine::escalation::{Escalation, HAPPENED, NOT_HAPPENED, about_doubt};
use crate::machine::event::{Content, Delivery, Exit, SettledBy, Settlement};
use crate::machine::{Call, Cause, Entry, Event, Outcome, Phase, Policy, Resume, Settle, State};
use crate::machine::{replay, resume};
use crate::observe::Observer;
use crate::policy::taxonomy::{Class, History, classify, custom};
use crate::process::{Mark, sweep_marked};
use crate::store::{Ownership, Store};
use crate::task::resolved::Resolved;
use crate::tools::{Job, Toolbox};

/// What a run needs before its agent can be started.
#[derive(Debug, PartialEq)]
pub enum Ready {
    /// Nothing more: start the agent.
    Start {
        /// Why.
        cause: Cause,
        /// What it is told.
        note: Option<String>,
    },
    /// The end of the run was cut off: take it up, without the agent.
    Conclude,
    /// The run is done.
    Done {
        /// How it ended.
        outcome: Outcome,
    },
    /// The same limit would stop it at once.
    Refused {
        /// Which.
        outcome: Outcome,
    },
    /// A human has to decide this first.
    Waiting {
        /// The question.
        question: Box<Escalation>,
    },
    /// A human has to say whether this call happened.
    InDoubt {
        /// The call.
        call: CallId,
        /// Its tool and arguments.
        what: Box<Call>,
        /// Why nothing else can tell.
        why: String,
    },
}

/// Why the journal of a run cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The journal cannot be read.
    #[error(transparent)]
    Store(#[from] crate::store::Error),

    /// An event is not one that this build knows.
    #[error("event {seq} of run {run} cannot be read: {source}")]
    Event {
        /// The run.
        run: RunId,
        /// Its place.
        seq: Seq,
        /// Why.
        #[source]
        source: serde_json::Error,
    },

    /// The run has no events.
    #[error("run {run} has no events")]
    Empty {
        /// The run.
        run: RunId,
    },
}

/// Reads the events of a run.
pub fn entries(store: &dyn Store, run: &RunId) -> Result<Vec<Entry>, ReadError> {
    store
        .events(run, Seq(1))?
        .into_iter()
        .map(|stored| {
            let event = serde_json::from_str(&stored.body).map_err(|source| ReadError::Event {
                run: run.clone(),
                seq: stored.seq,
                source,
            })?;
            Ok(Entry {
                seq: stored.seq,
                at: stored.at,
                event,
            })
        })
        .collect()
}

/// Reads where a run stands.
pub fn state(store: &dyn Store, run: &RunId, policy: &Policy) -> Result<State, ReadError> {
    let entries = entries(store, run)?;
    replay(entries, policy).ok_or_else(|| ReadError::Empty { run: run.clone() })
}

/// Takes up a run that is owned.
pub fn take_up(
    own: Ownership,
    task: Arc<Resolved>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    observers: Vec<Box<dyn Observer>>,
) -> Result<Session, ReadError> {
    let policy = policy(&task);
    let state = state(store.as_ref(), own.run(), &policy)?;
    Ok(Session::new(
        own, task, policy, state, store, clock, observers,
    ))
}

/// Clears away what a dead attempt left: its processes, then its open end.
pub async fn clear(session: &mut Session) -> Result<(), Error> {
    let mark = Mark::run(session.run.clone());
    let swept = sweep_marked(&mark, session.task.agent.grace_ms).await;
    if session.state().phase == Phase::Running {
        let then = session.state().boot.clone();
        let exit = match then.is_some() && then != session.clock.boot() {
            true => Exit::MachineDown,
            false => Exit::Lost,
        };
        session
            .feed_and_wait(Event::AgentExited {
                exit,
                tail: String::new(),
            })
            .await?;
    }
    let is_cut = session
        .state()
        .batches
        .values()
        .any(|it| it.request.is_some());
    if is_cut || matches!(session.state().phase, Phase::Ending { .. }) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let (asked, killed) = (count(swept.asked), count(swept.killed));
        session
            .feed_and_wait(Event::Swept { asked, killed })
            .await?;
    }
    Ok(())
}

/// Brings a run to where its agent can be started, or says why it cannot.
///
/// The attempt before must be [`clear`]ed away.
pub async fn ready(
    session: &mut Session,
    toolbox: &Toolbox,
    rules: &[custom::Rule],
) -> Result<Ready, Error> {
    loop {
        let before = session.state().outcome().cloned();
        human::catch_up(session).await?;
        let after = session.state().outcome().cloned();
        if let Some(outcome) = after.filter(|after| before.as_ref() != Some(after)) {
            // A human has ended it.
            return Ok(Ready::Refused { outcome });
        }
        let now = session.clock.now();
        match resume(session.state(), now, &session.policy) {
            Resume::Close => clear(session).await?,
            Resume::Nothing => {
                let outcome = session.state().outcome().cloned();
                let outcome = outcome.unwrap_or(Outcome::Done { verified: false });
                return Ok(Ready::Done { outcome });
            }
            Resume::Refuse { outcome } => return Ok(Ready::Refused { outcome }),
            Resume::Conclude => return Ok(Ready::Conclude),
            Resume::Wait { escalation } => {
                let question = session.state().question(&escalation).cloned();
                return match question {
                    Some(question) => Ok(Ready::Waiting {
                        question: Box::new(question.what),
                    }),
                    None => Ok(Ready::Start {
                        cause: Cause::Verbatim,
                        note: None,
                    }),
                };
            }
            Resume::Start { cause, note } => return Ok(Ready::Start { cause, note }),
            Resume::Settle { calls } => {
                if let Some(doubt) = settle_all(session, toolbox, rules, calls).await? {
                    return Ok(doubt);
                }
            }
        }
    }
}

/// Settles the calls that a dead attempt left in doubt, as far as their tools can
/// tell. Returns the first that only a human can settle.
///
/// The attempt before must be [`clear`]ed away.
pub async fn settle(
    session: &mut Session,
    toolbox: &Toolbox,
    rules: &[custom::Rule],
) -> Result<Option<Ready>, Error> {
    match resume(session.state(), session.clock.now(), &session.policy) {
        Resume::Settle { calls } => settle_all(session, toolbox, rules, calls).await,
        _ => Ok(None),
    }
}

async fn settle_all(
    session: &mut Session,
    toolbox: &Toolbox,
    rules: &[custom::Rule],
    calls: Vec<(CallId, Settle)>,
) -> Result<Option<Ready>, Error> {
    for (call, settle) in calls {
        let Some(what) = session.state().in_doubt.get(&call).cloned() else {
            continue;
        };
        let (settlement, by) = match said_by_human(session.state(), call) {
            Some(settlement) => (settlement, SettledBy::Human),
            None => settle_by(session, toolbox, rules, call, &what, settle).await,
        };
        if let Settlement::Unknown { why } = settlement {
            if session.state().question_about(call).is_none() {
                let ask = Box::new(about_doubt(call, &what, &why));
                session
                    .feed_and_wait(Event::Escalated {
                        request: None,
                        ask,
                        played: None,
                    })
                    .await?;
            }
            return Ok(Some(Ready::InDoubt {
                call,
                what: Box::new(what),
                why,
            }));
        }
        session
            .feed_and_wait(Event::Settled {
                call,
                settlement,
                by,
            })
            .await?;
    }
    Ok(None)
}

/// What the agent is told where nobody says what the call gave.
pub const NO_RESULT: &str = "This call was made before an interruption, and a human has confirmed \
                             that it took effect. Its output was lost. Do not repeat it.";

/// Returns what a human has answered about a call in doubt.
fn said_by_human(state: &State, call: CallId) -> Option<Settlement> {
    let ruling = state.question_about(call)?.ruling.as_ref()?;
    match ruling.option.as_str() {
        HAPPENED => {
            let text = ruling.note.clone();
            let content = Content {
                text: text.unwrap_or_else(|| NO_RESULT.to_owned()),
                ..Content::default()
            };
            Some(Settlement::Happened { content })
        }
        NOT_HAPPENED => Some(Settlement::NotHappened),
        _ => None,
    }
}

async fn settle_by(
    session: &Session,
    toolbox: &Toolbox,
    rules: &[custom::Rule],
    call: CallId,
    what: &Call,
    settle: Settle,
) -> (Settlement, SettledBy) {
    let job = Job {
        call,
        tool: what.tool.clone(),
        args: what.args.clone(),
        key: what.key.clone(),
        attempt: what.attempt + 1,
    };
    match settle {
        Settle::Probe => (toolbox.probe(&job).await, SettledBy::Probe),
        Settle::NativeKey => {
            let job = batch::job(&session.task, session.state(), call, what, job.attempt);
            (
                again(toolbox, rules, &job, what).await,
                SettledBy::NativeKey,
            )
        }
        Settle::CallAgain => {
            let why = "only the agent can call it again".into();
            (Settlement::Unknown { why }, SettledBy::Human)
        }
        Settle::Human => {
            let why = "the tool has neither a native key nor a probe".into();
            (Settlement::Unknown { why }, SettledBy::Human)
        }
    }
}

/// Carries the call out once more under its own key: the tool answers a
/// repetition with what the first one did.
async fn again(toolbox: &Toolbox, rules: &[custom::Rule], job: &Job, what: &Call) -> Settlement {
    let tried = toolbox.try_once(job).await;
    let verdict = classify(&tried.observation, rules, &History::default());
    let content: Content = tried.judged(verdict.class, &verdict.why);
    let (class, why, evidence, content) = match judge::only_item(rules, job, what, &tried) {
        Some(only) => {
            let judged = only.judged;
            (judged.class, judged.why, judged.evidence, only.content)
        }
        None => (verdict.class, verdict.why, verdict.evidence, content),
    };
    match (class, tried.delivery) {
        (Class::Success | Class::Partial, _) => Settlement::Happened { content },
        (Class::Semantic | Class::Quality, Delivery::Answered) => Settlement::NotHappened,
        (_, Delivery::Answered | Delivery::NeverSent | Delivery::Unknown) => Settlement::Unknown {
            why: format!("{why}: {evidence}"),
        },
    }
}
