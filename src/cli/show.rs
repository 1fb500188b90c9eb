//! `agentguard show`

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::Failure;
use super::look::{self, Seen, doubt::in_doubt};
use super::{Global, Result, open};
use crate::clock::UnixMs;
use crate::driver::policy::policy;
use crate::driver::recover;
use crate::exit_code;
use crate::ids::CallId;
use crate::machine::event::CheckEnd;
use crate::machine::{Policy, State};
use crate::observe::Report;
use crate::observe::batches::Batch;
use crate::observe::history::{Attempt, Call, History, Stands, history};
use crate::observe::timeline::Line;
use crate::store::Store;

mod conversation;
mod page;

/// Show a run: what it is at, what it used, what happened
///
/// Without a choice: its figures, its limits, its attempts, and the end of its
/// tool calls and of its timeline. With choices those parts only, in full.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ShowArgs {
    /// The run: its id, the start of its id, or `latest`
    #[arg(value_name = "RUN")]
    run: String,

    /// Show every event, with the time since the run began
    #[arg(long)]
    timeline: bool,

    /// Show every tool call
    #[arg(long)]
    tools: bool,

    /// Show the conversations: the main one, then sub-agents and side calls; or the
    /// one of this name, such as `main` or `sub-3`
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "all"
    )]
    conversation: Option<String>,

    /// Print one JSON document with everything; the conversation only with
    /// --conversation
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard show latest
  agentguard show r-7f3a --timeline
  agentguard show latest --conversation | less
  agentguard show latest --conversation=main
  agentguard show latest --json | jq '.tools[] | select(.class != \"success\")'";

/// What `--json` prints. Times are Unix milliseconds; arguments and texts are
/// as they came.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    #[serde(flatten)]
    report: &'a Report,
    /// The process that holds it.
    pid: Option<u32>,
    deadline: Option<&'a Deadline>,
    /// Calls that may or may not have happened.
    in_doubt: Vec<CallId>,
    attempt_list: &'a [Attempt],
    tools: Vec<&'a Call>,
    batches: Vec<&'a Batch>,
    /// How the checks of the last round ended.
    checks: &'a [CheckEnd],
    timeline: &'a [Line],
    conversations: Vec<conversation::Document>,
    /// The main one, or the one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    conversation: Option<Vec<Box<RawValue>>>,
}

/// The limit in time and what is used of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Deadline {
    /// In milliseconds.
    limit_ms: u64,
    /// In milliseconds.
    used_ms: u64,
    /// Share used, in percent.
    percent: u64,
    /// Whether only time counts in which the agent ran.
    active: bool,
}

/// Everything there is to show.
pub(super) struct Page {
    seen: Seen,
    report: Report,
    deadline: Option<Deadline>,
    history: History,
    now: UnixMs,
}

/// Shows a run.
pub fn main(global: &Global, args: ShowArgs) -> Result {
    let (store, record) = look::find(global, &args.run)?;
    let store = store.as_ref();
    let page = page(store, Seen::look(store, record)?)?;
    let asked = args.conversation.as_deref();
    let chosen_ones = conversation::choose(&page.history.state, asked)?;
    if args.json {
        let state = &page.history.state;
        let with_messages = asked.is_some();
        let conversations = conversation::documents(store, state, &chosen_ones, with_messages)?;
        let conversation = with_messages.then(|| conversation::first(&conversations));
        look::print_json(&Document {
            v: look::JSON_VERSION,
            report: &page.report,
            pid: page.seen.holder.as_ref().and_then(|holder| holder.pid),
            deadline: page.deadline.as_ref(),
            in_doubt: page.in_doubt().map(|call| call.call).collect(),
            attempt_list: &page.history.attempts,
            tools: page.history.calls.values().collect(),
            batches: page.history.batches.values().collect(),
            checks: &page.history.checks,
            timeline: &page.history.lines,
            conversations,
            conversation,
        })?;
        return Ok(exit_code::DONE);
    }
    let chosen = args.timeline || args.tools || asked.is_some();
    let mut text = String::new();
    if !chosen {
        text.push_str(&page.overview());
        text.push_str(&page.checks());
    }
    if args.tools || !chosen {
        text.push_str(&page.batches());
        text.push_str(&page.tools(args.tools));
    }
    if args.timeline || !chosen {
        text.push_str(&page.timeline(args.timeline));
    }
    if asked.is_some() {
        let state = &page.history.state;
        text.push_str(&conversation::transcript(store, state, &chosen_ones)?);
    }
    page.seen.say_if_crashed();
    if text.is_empty() {
        look::say(&format!("run {} has none of it", page.seen.run()));
    }
    look::print(text.trim_start_matches('\n'))?;
    Ok(exit_code::DONE)
}

fn page(store: &dyn Store, seen: Seen) -> std::result::Result<Page, Failure> {
    let rules = policy(&seen.setup()?.task);
    let run = seen.run().clone();
    let entries = recover::entries(store, &run).map_err(|error| look::unreadable(&error))?;
    let mut history = history(entries, &rules)
        .ok_or_else(|| look::unreadable(&recover::ReadError::Empty { run }))?;
    if seen.holder.is_none() {
        close(&mut history.calls, &history.state, &rules);
    }
    let report = seen.as_seen(store, Report::of(seen.run(), &history.state))?;
    let now = open::clock().now();
    let until = match seen.holder {
        Some(_) => now,
        None => history.state.ended_at.unwrap_or(seen.record.last_at),
    };
    Ok(Page {
        deadline: deadline(&history.state, until),
        report,
        seen,
        history,
        now,
    })
}

/// Calls that were open when a run crashed are in doubt or cut off.
fn close(calls: &mut BTreeMap<CallId, Call>, state: &State, rules: &Policy) {
    let doubt = in_doubt(state.clone(), rules);
    for call in calls.values_mut() {
        if call.stands == Stands::UnderWay {
            call.stands = if doubt.contains_key(&call.call) {
                Stands::InDoubt
            } else {
                Stands::CutOff
            };
        }
    }
}

fn deadline(state: &State, until: UnixMs) -> Option<Deadline> {
    let limit_ms = state.limits.deadline_ms?;
    let used_ms = if state.limits.deadline_active {
        state.active_until(until)
    } else {
        until.since(state.created_at)
    };
    let percent = u128::from(used_ms) * 100 / u128::from(limit_ms.max(1));
    Some(Deadline {
        limit_ms,
        used_ms,
        percent: u64::try_from(percent).unwrap_or(u64::MAX),
        active: state.limits.deadline_active,
    })
}
