//! `agentguard replay`

use clap::Args;
use serde::Serialize;

use super::supervise::{self, Patience, Show};
use super::{Global, Result, look, open};
use crate::driver::replay::{self, How, Replayed};
use crate::exit_code;
use crate::ids::{RunId, StepNo};
use crate::machine::Outcome;

/// Play a past run again with the answers it got, and say where it parts from it
///
/// The agent starts from the input snapshot, in a copy of its folder. Model and
/// guarded tools answer what they answered then, free of charge; what was not
/// recorded is refused, so nothing goes out. The replay is a run of its own and
/// stays in the journal. A run that failed of itself and was told so is played up
/// to that failure. What the agent's own tools do, they do, in the copy.
///
/// A run that was cut off (killed, stopped, at a limit) is compared up to there.
///
/// Exit codes: 0 the replay did what the run did; 1 it did something else; 2 wrong
/// usage; 130 or 143 it was interrupted or terminated, and nothing was compared.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReplayArgs {
    /// The run: its id, the start of its id, or `latest`
    #[arg(value_name = "RUN")]
    run: String,

    /// Begin at the checkpoint after this step
    ///
    /// An agent that knows nothing of agentguard begins at its beginning all the
    /// same, and is answered from the record up to there.
    #[arg(
        long,
        value_name = "STEP",
        default_value = "0",
        hide_default_value = true
    )]
    from_step: u64,

    /// After this step, let calls of models and tools really go out
    #[arg(long, value_name = "STEP")]
    live_after: Option<u64>,

    #[command(flatten)]
    show: Show,
}

const EXAMPLES: &str = "Examples:
  agentguard replay latest
  agentguard replay r-7f3a --from-step 12
  agentguard replay r-7f3a --live-after 12";

/// What `--json` prints last.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    replay_of: &'a RunId,
    run_id: &'a RunId,
    same: bool,
    steps: usize,
    /// Whether the recording ends where something else cut the run off.
    cut_off: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    parts_at_step: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recorded: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replayed: Option<&'a str>,
    outcome_then: Option<String>,
}

/// Runs it.
pub fn main(global: &Global, args: ReplayArgs) -> Result {
    let store = open::store(global)?;
    let how = How {
        from_step: StepNo(args.from_step),
        live_after: args.live_after.map(StepNo),
    };
    let mut replayed: Option<Replayed> = None;
    let ended = supervise::supervise(
        global,
        &args.show,
        &Patience::detached(),
        store,
        async |host| {
            let (played, finished) = replay::play(host, &args.run, how).await?;
            replayed = Some(played);
            Ok(finished)
        },
    )?;
    let Some(replayed) = replayed else {
        return Ok(ended);
    };
    if [exit_code::INTERRUPTED, exit_code::TERMINATED].contains(&ended) {
        return Ok(ended);
    }
    let parting = replayed.parting.as_ref();
    if args.show.is_json() {
        look::print_json(&Document {
            v: look::JSON_VERSION,
            replay_of: &replayed.source,
            run_id: &replayed.run,
            same: parting.is_none(),
            steps: replayed.steps,
            cut_off: replayed.is_cut_off,
            parts_at_step: parting.map(|it| it.step),
            recorded: parting.map(|it| it.recorded.as_str()),
            replayed: parting.map(|it| it.replayed.as_str()),
            outcome_then: replayed.then.as_ref().map(Outcome::describe),
        })?;
    } else {
        look::say(&sentence(&replayed));
    }
    Ok(match parting {
        Some(_) => exit_code::AGENT_FAILED,
        None => exit_code::DONE,
    })
}

fn sentence(replayed: &Replayed) -> String {
    let source = &replayed.source;
    let then = replayed.then.as_ref();
    let then = then.map_or_else(
        || "has no end".into(),
        |it| format!("ended: {}", it.describe()),
    );
    let up_to = match replayed.is_cut_off {
        true => ", as far as it is recorded",
        false => "",
    };
    match &replayed.parting {
        None => format!(
            "the replay does what {source} did{up_to}, {} (which {then})",
            look::counted(replayed.steps as u64, "step")
        ),
        Some(parting) => format!(
            "the replay parts from {source} in step {}: the recording {}, the replay {}",
            parting.step, parting.recorded, parting.replayed
        ),
    }
}
