//! Work on guarded tools that was begun: tries, probes, and waits before a retry.
//!
//! [`Work::begin`] takes the machine's effects about tools, once they are durable;
//! [`Work::next`] gives back what came of them, and [`Work::came`] feeds it to the run.
//! Used by an attempt (`supervise`) and where a human has items done again (`by_hand`).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};

use crate::channel::{self, Answers, frame, method};
use crate::driver::session::{Error, Session};
use crate::driver::{batch, facts, judge, lent, translate};
use crate::ids::{BatchNo, CallId};
use crate::machine::event::{RequestNo, SettledBy, Settlement};
use crate::machine::{Effect, Event};
use crate::policy::breaker::Admission;
use crate::policy::taxonomy::custom;
use crate::store::{Committed, RetryAsk, Ticket, Turn};
use crate::tools::{Job, Toolbox, Tried};

/// Retries of one tool that may be out at once, over all runs.
const RETRY_SLOTS: u32 = 4;

/// How often a retry that waits for its turn asks again, in milliseconds.
const TURN_ASK_MS: u64 = 50;

/// Probes that run at once.
const PROBES_MAX: usize = 8;

/// What comes back from work that was begun.
pub(super) enum Came {
    /// A try of a tool ended.
    Tried {
        call: CallId,
        attempt: u32,
        tried: Box<Tried>,
    },
    /// A try that was lent out ended.
    Returned {
        job: Box<Job>,
        returned: lent::Returned,
    },
    /// A probe answered.
    Probed {
        call: CallId,
        settlement: Settlement,
    },
    /// A retry may go.
    RetryReady { call: CallId, attempt: u32 },
}

/// What is under way.
pub(super) struct Work {
    toolbox: Arc<Toolbox>,
    running: JoinSet<Came>,
    /// A call of many items that broke asks about each: not about all at once.
    probes: Arc<Semaphore>,
    /// Places in the shared retry queue.
    tickets: HashMap<CallId, Ticket>,
    /// Tries that others carry out.
    loans: lent::Loans,
}

impl Work {
    /// Has nothing under way yet.
    pub(super) fn new(toolbox: Arc<Toolbox>) -> Self {
        Self {
            toolbox,
            running: JoinSet::new(),
            probes: Arc::new(Semaphore::new(PROBES_MAX)),
            tickets: HashMap::new(),
            loans: lent::Loans::default(),
        }
    }

    /// Returns whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Cuts off what is under way, without waiting for it.
    pub(super) fn abort_all(&mut self) {
        self.running.abort_all();
    }

    /// Cuts off what is under way and waits until it is gone.
    pub(super) async fn shutdown(&mut self) {
        self.running.shutdown().await;
    }

    /// Returns the next thing that came of it; `None` while nothing is under way.
    ///
    /// Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Result<Came, JoinError>> {
        self.running.join_next().await
    }

    /// Begins what an effect asks for; returns the effect if it is not about tools.
    ///
    /// - `committed`: what the journal answered to the effect's event.
    pub(super) async fn begin(
        &mut self,
        session: &mut Session,
        effect: Effect,
        committed: &Committed,
    ) -> Result<Option<Effect>, Error> {
        match effect {
            Effect::Execute { call, attempt } => {
                let lost = judge::lost_keys(session, call, attempt, None, &committed.lost)?;
                match lost {
                    Some(ended) => session.feed(Event::ToolEnded(ended))?,
                    None => self.execute(session, call, attempt),
                }
            }
            Effect::Probe { call } => self.probe(session, call),
            Effect::Wait {
                call,
                attempt,
                delay_ms,
            } => self.wait(session, call, attempt, delay_ms).await?,
            Effect::Admit { batch } => admit_items(session, batch).await?,
            other => return Ok(Some(other)),
        }
        Ok(None)
    }

    /// Tells the run what came of its work.
    pub(super) async fn came(
        &mut self,
        session: &mut Session,
        rules: &[custom::Rule],
        came: Came,
    ) -> Result<(), Error> {
        match came {
            Came::Tried {
                call,
                attempt,
                tried,
            } => self.tried(session, rules, (call, attempt), None, *tried),
            Came::Returned { job, returned } => {
                self.loans.forget(job.call);
                let lent::Returned {
                    request,
                    back,
                    took_ms,
                } = returned;
                let tried = self.toolbox.took_back(&job, back, took_ms);
                self.tried(session, rules, (job.call, job.attempt), request, tried)
            }
            Came::Probed { call, settlement } => session.feed(Event::Settled {
                call,
                settlement,
                by: SettledBy::Probe,
            }),
            Came::RetryReady { call, attempt } => retry_ready(session, call, attempt).await,
        }
    }

    /// - `request`: the one that told of it, where the try was lent.
    fn tried(
        &mut self,
        session: &mut Session,
        rules: &[custom::Rule],
        (call, attempt): (CallId, u32),
        request: Option<RequestNo>,
        tried: Tried,
    ) -> Result<(), Error> {
        if let Some(ticket) = self.tickets.remove(&call) {
            let own = session.own();
            drop(session.store.leave(&own, ticket));
        }
        let ended = judge::ended(session, rules, call, attempt, request, tried);
        session.feed(Event::ToolEnded(ended))
    }

    /// Tells whoever asked to carry a try out; its end comes as other work does.
    ///
    /// - `answers`: the way back; `None`: nobody is left to tell.
    pub(super) fn lend(
        &mut self,
        session: &Session,
        answers: Option<&Answers>,
        request: RequestNo,
        call: CallId,
        attempt: u32,
    ) {
        let Some(job) = job(session, call, attempt) else {
            return;
        };
        let lent = translate::lent(&job, session.task.tool(&job.tool));
        let timeout_ms = lent.timeout_ms;
        let answer = Ok(method::Answer::Lent(lent));
        let peer = answers.and_then(|it| it.send_to_peer(channel::RequestNo(request), answer));
        let returned = self.loans.lend(call, attempt, timeout_ms, peer);
        self.running.spawn(async move {
            Came::Returned {
                job: Box::new(job),
                returned: returned.await,
            }
        });
    }

    /// Takes in what came of a try that was lent out.
    pub(super) fn lend_end(
        &mut self,
        request: RequestNo,
        end: method::LendEnd,
    ) -> Result<(), frame::Error> {
        self.loans.end(request, end)
    }

    fn execute(&mut self, session: &Session, call: CallId, attempt: u32) {
        let Some(job) = job(session, call, attempt) else {
            return;
        };
        let toolbox = Arc::clone(&self.toolbox);
        self.running.spawn(async move {
            let tried = Box::new(toolbox.try_once(&job).await);
            Came::Tried {
                call,
                attempt,
                tried,
            }
        });
    }

    fn probe(&mut self, session: &Session, call: CallId) {
        let Some(open) = session.state().calls.get(&call) else {
            return;
        };
        // A probe is asked about one item, whatever the tool itself takes.
        let job = Job {
            call,
            tool: open.tool.clone(),
            args: open.args.clone(),
            key: open.key.clone(),
            attempt: 1,
        };
        let toolbox = Arc::clone(&self.toolbox);
        let probes = Arc::clone(&self.probes);
        self.running.spawn(async move {
            let _turn = probes.acquire().await;
            let settlement = toolbox.probe(&job).await;
            Came::Probed { call, settlement }
        });
    }

    /// Waits for the time of a retry, and for its turn among all runs.
    async fn wait(
        &mut self,
        session: &Session,
        call: CallId,
        attempt: u32,
        delay_ms: u64,
    ) -> Result<(), Error> {
        let Some(open) = session.state().calls.get(&call) else {
            return Ok(());
        };
        let clock = Arc::clone(&session.clock);
        let due = clock.now().plus(delay_ms);
        let ask = RetryAsk {
            tool: open.tool.clone(),
            call,
            due,
        };
        let (store, own) = (Arc::clone(&session.store), session.own());
        let ticket = store.enqueue(&own, ask).await?;
        self.tickets.insert(call, ticket);
        self.running.spawn(async move {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            // A queue that cannot be asked holds nobody up.
            while let Ok(Turn::Wait { .. }) = store
                .take_turn(&own, ticket, clock.now(), RETRY_SLOTS)
                .await
            {
                tokio::time::sleep(Duration::from_millis(TURN_ASK_MS)).await;
            }
            Came::RetryReady { call, attempt }
        });
        Ok(())
    }
}

fn job(session: &Session, call: CallId, attempt: u32) -> Option<Job> {
    let open = session.state().calls.get(&call)?;
    Some(batch::job(
        &session.task,
        session.state(),
        call,
        open,
        attempt,
    ))
}

async fn retry_ready(session: &mut Session, call: CallId, attempt: u32) -> Result<(), Error> {
    let Some(open) = session.state().calls.get(&call) else {
        return Ok(());
    };
    let admission = admission(session, &open.tool.clone()).await?;
    session.feed(Event::RetryDue {
        call,
        attempt,
        admission,
    })
}

async fn admit_items(session: &mut Session, batch: BatchNo) -> Result<(), Error> {
    let Some(open) = session.state().batches.get(&batch) else {
        return Ok(());
    };
    let admission = admission(session, &open.tool.clone()).await?;
    session.feed(Event::BatchDue { batch, admission })
}

async fn admission(session: &Session, name: &str) -> Result<Admission, Error> {
    let now = session.clock.now();
    Ok(match session.task.tool(name) {
        Some(tool) => facts::admit(session.store.as_ref(), tool, name, now).await?,
        None => Admission::Go,
    })
}
