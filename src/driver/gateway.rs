//! The gateway's side of the driver: what it is opened with, and what of its
//! answers is kept for an attempt after a crash.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::channel::Hub;
use crate::channel::gateway::upstream::Upstreams;
use crate::channel::gateway::volatile::Volatile;
use crate::channel::gateway::wire::Api;
use crate::channel::gateway::{self, Gateway, chain, script};
use crate::channel::method::WireReply;
use crate::driver::conversations::Conversations;
use crate::driver::launch::{Environment, Plan};
use crate::driver::recover::{self, ReadError};
use crate::driver::session::Session;
use crate::driver::supervise::Ports;
use crate::ids::StepNo;
use crate::machine::event::KeptReply;
use crate::machine::{Cause, Entry, Event, How, Policy, State, advance};
use crate::task::preset;
use crate::task::resolved::{Feature, Place, Provider, Resolved, Upstream, WireApi};
use crate::task::template::{self, Template};
use crate::tools;

/// Longest silence within a stream, in milliseconds; every provider sends signs of
/// life more often.
const IDLE_MS_MAX: u64 = 150_000;

/// Opens the gateway of an attempt.
///
/// Errors: a sentence for the user.
pub(super) async fn open(
    hub: &Hub,
    session: &Session,
    ports: &Ports,
    plan: &Plan,
) -> Result<Gateway, String> {
    // After a crash the agent does the same again, and gets the same answers;
    // after a failure of its own it has to find another way.
    let recorded = match ports.standing.cause {
        _ if ports.playback.is_some() => played(session, ports).map_err(|e| e.to_string())?,
        Cause::Verbatim if plan.how == How::Replay => {
            let entries = recover::entries(session.store.as_ref(), &session.run);
            let entries = entries.map_err(|error| error.to_string())?;
            recorded(entries, &session.policy, false, None)
        }
        Cause::Fresh | Cause::Verbatim | Cause::Reflection => vec![],
    };
    // Who takes up a session is told with it.
    let note = ports.standing.note.clone();
    let note = note.filter(|_| plan.how != How::Native);
    open_to(hub, session, ports, &session.task.upstreams, recorded, note).await
}

/// Opens the gateway by which checks of the work ask models.
///
/// The model that a check names is the one that is asked first: the first link's own
/// does not stand in its place. Links behind it answer as they are written.
///
/// Errors: a sentence for the user.
pub(super) async fn open_for_checks(
    hub: &Hub,
    session: &Session,
    ports: &Ports,
) -> Result<Gateway, String> {
    let mut upstreams = session.task.upstreams.clone();
    if let Some(first) = upstreams.first_mut() {
        first.model = None;
    }
    open_to(hub, session, ports, &upstreams, vec![], None).await
}

async fn open_to(
    hub: &Hub,
    session: &Session,
    ports: &Ports,
    upstreams: &[Upstream],
    recorded: Vec<gateway::Recorded>,
    note: Option<String>,
) -> Result<Gateway, String> {
    let (limits, environment) = (&session.task.limits, &ports.outside.environment);
    let client = tools::client(
        |name| environment.variable(name),
        |builder| builder.redirect(reqwest::redirect::Policy::none()),
    )?;
    let timeout_ms = limits.model_call_timeout_ms;
    let (mut chain, mut models) = (Vec::new(), Vec::new());
    for upstream in upstreams {
        let mut link = link(upstream, environment)?;
        if let Place::Script(file) = &upstream.place {
            let ledger = ports
                .folder
                .join(format!("{}.model.jsonl", models.len() + 1));
            let model = scripted(file, &ledger).await?;
            link.server = Some("script");
            link.counts = model.most_input();
            let base = format!("http://{}", model.address());
            link.place = chain::Place::Server { base, key: None };
            models.push(model);
        }
        chain.push(link);
    }
    let settings = gateway::Settings {
        upstreams: Upstreams::from_variables(|name| environment.variable(name))?,
        chain,
        models,
        client,
        // A little earlier than the run's own limit, so that it can be tried again.
        patience: Duration::from_millis(timeout_ms.saturating_sub(timeout_ms / 20)),
        idle: Duration::from_millis((timeout_ms / 2).min(IDLE_MS_MAX)),
        is_capped: limits.cost_nanousd.is_some() || limits.tokens.is_some(),
        recorded,
        reply: reply_of(session, ports),
        volatile: volatile(session)?,
        note,
    };
    Gateway::open(hub, settings)
        .await
        .map_err(|error| format!("the gateway cannot be opened: {error}"))
}

/// Returns what differs between requests of the agent that are the same.
///
/// Errors: a sentence about a pattern.
fn volatile(session: &Session) -> Result<Volatile, String> {
    let agent = &session.task.agent;
    let known = agent.preset.as_ref();
    let known = known.and_then(|known| preset::by_name(&known.preset));
    let own = known.map_or(&[][..], |preset| preset.volatile);
    let built_in = preset::VOLATILE.iter().chain(own).copied();
    let written = agent
        .volatile
        .iter()
        .map(|pattern| (pattern.as_str(), "VOLATILE"));
    Volatile::new(written.chain(built_in)).map_err(|error| format!("agent.volatile: {error}"))
}

/// Starts a scripted model.
///
/// Errors: a sentence about its file.
async fn scripted(file: &Path, ledger: &Path) -> Result<script::Model, String> {
    let script = read_script(file)?;
    script::Model::open(script, None, Some(ledger))
        .await
        .map_err(|error| format!("the scripted model cannot be opened: {error}"))
}

/// Reads a script.
///
/// Errors: a sentence about its file.
fn read_script(file: &Path) -> Result<script::Script, String> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file)
        .map_err(|error| format!("the script {name} cannot be read: {error}"))?;
    script::parse(&text, &name).map_err(|error| match error.hint() {
        Some(hint) => format!("{error}; {hint}"),
        None => error.to_string(),
    })
}

/// Looks whether every script of a task can be read.
///
/// Errors: a sentence about the first one that cannot.
pub fn check_scripts(task: &Resolved) -> Result<(), String> {
    let mut files = task.upstreams.iter().filter_map(|it| match &it.place {
        Place::Script(file) => Some(file),
        _ => None,
    });
    files.try_for_each(|file| read_script(file).map(drop))
}

/// Makes a link of the chain.
///
/// Errors: a sentence about what is missing.
fn link(upstream: &Upstream, environment: &Environment) -> Result<chain::Link, String> {
    let variable = |name: &str| environment.variable(name);
    let render = |key: &str, template: &Template| {
        template
            .render(template::Place::Word, &serde_json::Value::Null, &variable)
            .map_err(|error| format!("{key} of upstream `{}`: {error}", upstream.name))
    };
    let place = match &upstream.place {
        Place::Asked => chain::Place::Asked,
        Place::Provider(provider) => chain::Place::Provider(match provider {
            Provider::Anthropic => Api::Messages,
            Provider::OpenAi => Api::Chat,
            Provider::Google => Api::Gemini,
        }),
        Place::Url { url, key } => chain::Place::Server {
            base: render("url", url)?.trim_end_matches('/').to_owned(),
            key: key.as_ref().map(|key| render("key", key)).transpose()?,
        },
        Place::Reply(text) => chain::Place::Reply(text.clone()),
        Place::Script(_) => chain::Place::Asked,
    };
    let lacks = |feature| upstream.lacks.contains(&feature);
    Ok(chain::Link {
        name: upstream.name.clone(),
        place,
        server: None,
        api: upstream.api.map(|api| match api {
            WireApi::Messages => Api::Messages,
            WireApi::Chat => Api::Chat,
            WireApi::Responses => Api::Responses,
            WireApi::Gemini => Api::Gemini,
        }),
        model: upstream.model.clone(),
        models: upstream.models.clone(),
        lacks: chain::Lacks {
            tools: lacks(Feature::Tools),
            images: lacks(Feature::Images),
            json: lacks(Feature::Json),
        },
        context_tokens: upstream.context_tokens,
        counts: 0,
    })
}

/// Finds the answers that the run which is played was given.
fn played(session: &Session, ports: &Ports) -> Result<Vec<gateway::Recorded>, ReadError> {
    let Some(playback) = &ports.playback else {
        return Ok(vec![]);
    };
    let entries = recover::entries(session.store.as_ref(), &playback.source)?;
    // What led to a failure is just what is to be gone through again.
    Ok(recorded(
        entries,
        &session.policy,
        true,
        playback.live_after,
    ))
}

/// Reads the bytes of answers of this run, or of the one that is played.
fn reply_of(session: &Session, ports: &Ports) -> gateway::Replies {
    let played = ports.playback.as_ref().map(|playback| &playback.source);
    let run = played.unwrap_or(&session.run).clone();
    let store = Arc::clone(&session.store);
    Box::new(move |event| store.reply(&run, event).ok().flatten())
}

/// Takes up the conversations of the attempts before.
pub(super) fn conversations(session: &Session) -> Conversations {
    // Patterns that cannot be compiled are told of where the gateway is opened.
    let volatile = volatile(session).unwrap_or_default();
    Conversations::of(session.state(), |api, head| {
        // A conversation that cannot be read is taken for a new one.
        let bodies = session.store.conversation(head).unwrap_or_default();
        let read = bodies.into_iter().map(|body| {
            let (meaning, speaker) = gateway::read_message(api, &body, &volatile);
            (body, meaning, speaker)
        });
        read.collect()
    })
}

/// Finds the answers that earlier attempts were given, in their order.
///
/// - `policy`: of the run, since its steps are counted by it;
/// - `with_failures`: whether those that led to a failure count, too;
/// - `up_to`: the last step whose answers count; `None`: all.
fn recorded(
    entries: impl IntoIterator<Item = Entry>,
    policy: &Policy,
    with_failures: bool,
    up_to: Option<StepNo>,
) -> Vec<gateway::Recorded> {
    let mut found: Vec<(StepNo, gateway::Recorded)> = Vec::new();
    let mut state: Option<State> = None;
    for entry in entries {
        let (after, _) = advance(state, entry.at, entry.event.clone(), policy);
        match entry.event {
            Event::TurnReported(turn) if turn.error.is_none() => {
                let cost = turn.usage.cost;
                let conversation = (!with_failures).then_some(turn.conversation);
                found.extend(turn.reply.map(|reply| {
                    let recorded = gateway::Recorded {
                        request: reply.request,
                        event: entry.seq,
                        content_type: reply.content_type,
                        cost_nano_usd: cost.0,
                        conversation,
                    };
                    (after.step, recorded)
                }));
            }
            // What led to a failure is not to be gone through again.
            Event::AttemptStarted {
                cause: Cause::Reflection,
                ..
            } if !with_failures => found.clear(),
            Event::Branched { step: back, .. } => found.retain(|(at, _)| *at <= back),
            _ => {}
        }
        state = Some(after);
    }
    let counts = |(at, _): &(StepNo, _)| up_to.is_none_or(|last| *at <= last);
    let found = found.into_iter().filter(counts);
    found.map(|(_, recorded)| recorded).collect()
}

/// What of a model's answer is in the event of its turn, and what beside it.
pub(super) fn kept(reply: WireReply) -> (KeptReply, Vec<u8>) {
    let kept = KeptReply {
        request: reply.request,
        content_type: reply.content_type,
    };
    (kept, reply.body)
}
