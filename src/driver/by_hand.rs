//! Items of a run, done again because a human wants it, while no agent runs.
//!
//! The run is taken over, its own task says how, and everything that happens is an
//! event of its journal, as if the agent had asked; what was done is found by the
//! agent's next batch with the item. Limits of the run are not asked: a human decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::channel::method::{self, BatchItem};
use crate::drill::{Side, fault};
use crate::driver::batch;
use crate::driver::facts::Scene;
use crate::driver::host::{self, Error, Host, Setup};
use crate::driver::session::{self, Session};
use crate::driver::work::Work;
use crate::driver::{human, recover};
use crate::ids::RunId;
use crate::machine::batch::BatchAnswer;
use crate::machine::{Answer, Entry, Event, Phase};
use crate::policy::taxonomy::custom;

/// What came of it.
#[derive(Debug)]
pub enum Redone {
    /// The items ended, each as it says.
    Ended(Box<BatchAnswer>),
    /// Calls are in doubt, so many; they have to be settled first.
    InDoubt(usize),
    /// The run is neither ended nor alive: it has to be resumed first.
    NotEnded,
    /// Somebody stopped it. What had been done is recorded.
    Stopped,
}

/// Does items of one tool of `run` again.
///
/// - `ids`: the items' own ids; each was in a batch of the run.
pub async fn redo(host: Host, run: &RunId, tool: &str, ids: &[String]) -> Result<Redone, Error> {
    let record = host.store.find(run.as_str())?;
    let setup: Setup = serde_json::from_str(&record.new.body).map_err(|source| Error::Setup {
        run: run.clone(),
        source,
    })?;
    let rules = host::rules(&setup.task)?;
    let own = host.store.own(run, host.clock.now())?;
    let toolbox = host::toolbox(&host, run, &setup.task)?;
    let entries = recover::entries(host.store.as_ref(), run)?;
    let Host {
        store,
        clock,
        observers,
        mut outside,
    } = host;
    let task = Arc::new(setup.task);
    let mut session = recover::take_up(own, task, store, clock, observers)?;
    session.toolbox = Some(Arc::clone(&toolbox));
    recover::clear(&mut session).await?;
    human::catch_up(&mut session).await?;
    let doubt = recover::settle(&mut session, &toolbox, &rules).await?;
    if doubt.is_some() || !session.state().in_doubt.is_empty() {
        return Ok(Redone::InDoubt(session.state().in_doubt.len()));
    }
    if !matches!(session.state().phase, Phase::Ended { .. }) {
        return Ok(Redone::NotEnded);
    }
    let asked = method::Batch {
        tool: tool.to_owned(),
        items: items(&entries, tool, ids),
        policy: Some("optional".to_owned()),
        fail_fast: false,
        concurrency: None,
    };
    let scene = Scene {
        store: session.store.as_ref(),
        run: &session.run,
        task: &session.task,
        toolbox: &toolbox,
        state: session.state(),
    };
    let Ok(call) = batch::gather(&scene, 0, asked, true)? else {
        // The task knew the tool when the items were handed in.
        return Ok(Redone::Stopped);
    };
    session.feed(Event::BatchCalled(call))?;
    let mut work = Work::new(toolbox);
    let answer = tokio::select! {
        answer = see_through(&mut session, &mut work, &rules) => answer?,
        _ = outside.stops.recv() => None,
    };
    let Some(answer) = answer else {
        work.shutdown().await;
        // What was cut off is in doubt, as after a crash.
        while session.is_settling() {
            session.durable().await?;
        }
        recover::clear(&mut session).await?;
        return Ok(Redone::Stopped);
    };
    Ok(Redone::Ended(answer))
}

/// Carries out what the machine wants until it has the answer.
async fn see_through(
    session: &mut Session,
    work: &mut Work,
    rules: &[custom::Rule],
) -> Result<Option<Box<BatchAnswer>>, session::Error> {
    let mut answer = None;
    while answer.is_none() || session.is_settling() {
        tokio::select! {
            biased;
            released = session.durable() => {
                let released = released?;
                for effect in released.effects {
                    let rest = work.begin(session, effect, &released.committed).await?;
                    if let Some(crate::machine::Effect::Reply {
                        answer: Answer::Batch(batch),
                        ..
                    }) = rest
                    {
                        answer = Some(batch);
                    }
                }
                fault(released.boundary, Side::AfterRelease);
            }
            Some(came) = work.next() => match came {
                Ok(came) => work.came(session, rules, came).await?,
                Err(error) if error.is_cancelled() => return Ok(None),
                Err(error) => {
                    tracing::error!(%error, "a tool's task broke");
                    return Ok(None);
                }
            },
            else => return Ok(answer),
        }
    }
    Ok(answer)
}

/// Finds the arguments with which items were handed in last.
fn items(entries: &[Entry], tool: &str, ids: &[String]) -> Vec<BatchItem> {
    let mut known: BTreeMap<&str, &Value> = BTreeMap::new();
    for entry in entries {
        if let Event::BatchCalled(call) = &entry.event
            && call.tool == tool
        {
            let items = call.items.iter();
            known.extend(items.map(|item| (item.id.as_str(), &item.args)));
        }
    }
    let found = ids.iter().filter_map(|id| {
        let args = known.get(id.as_str())?.as_object()?.clone();
        Some(BatchItem {
            id: id.clone(),
            args,
        })
    });
    found.collect()
}
