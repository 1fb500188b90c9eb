//! `agentguard why`

use clap::Args;
use serde::Serialize;

use super::look::{self, Seen};
use super::{Global, Result, open};
use crate::clock::UnixMs;
use crate::exit_code;
use crate::ids::{CallId, RunId, Seq, StepNo};
use crate::machine::{About, Decision};
use crate::observe::plain;
use crate::observe::timeline::span;

/// Say why: every decision with its rule and its evidence
///
/// What was decided, when, about what; the class of the result; the rule and
/// what it saw; and what would have happened otherwise.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct WhyArgs {
    /// The run: its id, the start of its id, or `latest`
    #[arg(value_name = "RUN")]
    run: String,

    /// Only decisions made while so many steps were done
    #[arg(value_name = "STEP")]
    step: Option<u64>,

    /// Only decisions about this tool call
    #[arg(long, value_name = "N")]
    call: Option<u64>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard why latest
  agentguard why r-7f3a 12
  agentguard why latest --call 3
  agentguard why latest --json | jq '.decisions[] | select(.action == \"retry\")'";

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    run_id: &'a RunId,
    decisions: &'a [Row],
}

/// A decision and the event that led to it.
#[derive(Serialize)]
struct Row {
    seq: Seq,
    at: UnixMs,
    /// Milliseconds since the run began.
    since_ms: u64,
    event: String,
    #[serde(flatten)]
    decision: Decision,
}

/// Longest evidence that is shown, in characters.
const EVIDENCE_CHARS_MAX: usize = 500;

/// Prints decisions.
pub fn main(global: &Global, args: WhyArgs) -> Result {
    let (store, record) = look::find(global, &args.run)?;
    let run = &record.new.run;
    let mut rows = Vec::new();
    let mut foreign = 0;
    let mut made = 0_u64;
    for stored in store.events(run, Seq(1))? {
        for note in &stored.notes {
            made += 1;
            let Ok(decision) = serde_json::from_str::<Decision>(note) else {
                foreign += 1;
                continue;
            };
            if asked_for(&args, &decision) {
                rows.push(Row {
                    seq: stored.seq,
                    at: stored.at,
                    since_ms: stored.at.since(record.new.at),
                    event: stored.kind.clone(),
                    decision,
                });
            }
        }
    }
    if foreign > 0 {
        look::say(&format!(
            "{} left out: another version of agentguard made them",
            look::counted(foreign, "decision")
        ));
    }
    if args.json {
        look::print_json(&Document {
            v: look::JSON_VERSION,
            run_id: run,
            decisions: &rows,
        })?;
        return Ok(exit_code::DONE);
    }
    Seen::look(store.as_ref(), record.clone())?.say_if_crashed();
    if rows.is_empty() {
        let all = look::counted(made, "decision");
        look::say(&format!("none of run {run} ({all} in all)"));
    }
    look::print(&rows.iter().map(text).collect::<String>())?;
    Ok(exit_code::DONE)
}

fn asked_for(args: &WhyArgs, decision: &Decision) -> bool {
    let about = match &decision.about {
        About::Call { call, .. } => Some(*call),
        About::Batch { .. } | About::Run | About::Turn => None,
    };
    args.step.is_none_or(|step| decision.step == StepNo(step))
        && args.call.is_none_or(|call| about == Some(CallId(call)))
}

/// ```text
/// +1m 3s  step 4  call 7 charge: retry
///   class      transient
///   rule       http.503
///   because    the other side is overloaded for a moment
///   evidence   HTTP 503
///   otherwise  the model would have seen a failure that passes by itself
/// ```
fn text(row: &Row) -> String {
    let decision = &row.decision;
    let about = match &decision.about {
        About::Run => "the run".to_owned(),
        About::Turn => "the turn".to_owned(),
        About::Call { call, tool } => format!("call {call} {}", plain::excerpt(tool, 80)),
        About::Batch { batch, tool } => format!("batch {batch} {}", plain::excerpt(tool, 80)),
    };
    let mut text = format!(
        "+{}  step {}  {about}: {}   {}\n",
        span(row.since_ms),
        decision.step,
        plain::excerpt(&decision.action, 40),
        open::instant(row.at),
    );
    let class = decision.class.map_or("", |class| class.name());
    for (name, value) in [
        ("class", class),
        ("rule", &decision.rule),
        ("because", &decision.why),
        ("evidence", &decision.evidence),
        ("otherwise", &decision.otherwise),
    ] {
        if !value.is_empty() {
            let value = plain::excerpt(value, EVIDENCE_CHARS_MAX);
            text.push_str(&format!("  {name:<9}  {value}\n"));
        }
    }
    text
}
