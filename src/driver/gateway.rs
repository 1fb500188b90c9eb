//! The gateway's side of the driver: what it is opened with, and what of its
//! answers is kept for an attempt after a crash.

use std::path::Path;

use crate::channel::Hub;
use crate::channel::gateway::upstream::Upstreams;
use crate::channel::gateway::{self, Gateway};
use crate::channel::method::WireReply;
use crate::driver::recover::{self, ReadError};
use crate::driver::session::{Error, Session};
use crate::driver::supervise::Ports;
use crate::ids::StepNo;
use crate::machine::event::{KeptReply, RequestNo};
use crate::machine::{Cause, Event};
use crate::tools::client_builder;

/// Opens the gateway of an attempt.
///
/// Errors: a sentence for the user.
pub(super) async fn open(hub: &Hub, session: &Session, ports: &Ports) -> Result<Gateway, String> {
    let client = client_builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| format!("the gateway's client cannot be made: {error}"))?;
    let (limits, environment) = (&session.task.limits, &ports.outside.environment);
    // After a crash the agent does the same again, and gets the same answers;
    // after a failure of its own it has to find another way.
    let recorded = match ports.standing.cause {
        Cause::Verbatim => recorded(session, &ports.folder).map_err(|error| error.to_string())?,
        Cause::Fresh | Cause::Reflection => vec![],
    };
    let settings = gateway::Settings {
        upstreams: Upstreams::from_variables(|name| environment.variable(name))?,
        client,
        is_capped: limits.cost_nanousd.is_some() || limits.tokens.is_some(),
        recorded,
        note: ports.standing.note.clone(),
    };
    Gateway::open(hub, settings)
        .await
        .map_err(|error| format!("the gateway cannot be opened: {error}"))
}

/// Finds the answers that earlier attempts were given, in their order.
fn recorded(session: &Session, folder: &Path) -> Result<Vec<gateway::Recorded>, ReadError> {
    let mut found: Vec<(StepNo, gateway::Recorded)> = Vec::new();
    let mut step = StepNo::default();
    for entry in recover::entries(session.store.as_ref(), &session.run)? {
        match entry.event {
            Event::TurnReported(turn) if turn.error.is_none() => {
                step = step.next();
                found.extend(turn.reply.map(|reply| {
                    let recorded = gateway::Recorded {
                        request: reply.request,
                        file: folder.join(reply.file),
                        content_type: reply.content_type,
                    };
                    (step, recorded)
                }));
            }
            // What led to a failure is not to be gone through again.
            Event::AttemptStarted {
                cause: Cause::Reflection,
                ..
            } => found.clear(),
            Event::Branched { step: back, .. } => {
                step = back;
                found.retain(|(at, _)| *at <= back);
            }
            _ => {}
        }
    }
    Ok(found.into_iter().map(|(_, recorded)| recorded).collect())
}

/// Keeps a model's answer, before the turn that names it.
pub(super) fn keep(
    session: &Session,
    request: RequestNo,
    reply: WireReply,
) -> Result<KeptReply, Error> {
    let (paths, attempt) = (session.store.paths(), session.state().attempt);
    let name = format!("{attempt}-{request}");
    let file = paths.keep_reply(&session.run, &name, &reply.body)?;
    Ok(KeptReply {
        request: reply.request,
        file: file.to_string_lossy().into_owned(),
        content_type: reply.content_type,
    })
}
