//! `agentguard resume`

use clap::Args;

use super::supervise::{self, Patience, Show};
use super::{Global, Result, look, open};
use crate::driver::host::{self, GoOn, Raise, Setup};
use crate::ids::StepNo;
use crate::money::NanoUsd;
use crate::policy::budget::Resource;
use crate::store::Store;
use crate::task::{self, units};

/// Go on with a run where it stopped
///
/// What the dead attempt left running is ended first, calls that may or may not
/// have happened are settled, then the agent is started again with its
/// conversation. Finished work, its cost and its side effects are not repeated.
/// After a loop or a failure of the agent itself it is told what went wrong. The
/// task is the one that the run began with, also where its file was edited since.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ResumeArgs {
    /// The run: its id, the start of its id, or `latest`
    #[arg(value_name = "RUN")]
    run: String,

    /// Raise a limit to a value, or by one: `cost_usd=5`, `cost_usd=+1`,
    /// `steps=60`, `tokens=+200k`, `deadline=2h`
    #[arg(long, value_name = "LIMIT=VALUE", value_parser = raise)]
    raise: Vec<(Option<Resource>, Raise)>,

    /// Go back to the checkpoint after this step; later ones stay in the journal
    #[arg(long, value_name = "STEP")]
    from_step: Option<u64>,

    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    show: Show,
}

const EXAMPLES: &str = "Examples:
  agentguard resume latest
  agentguard resume r-7f3a --raise cost_usd=5
  agentguard resume r-7f3a --from-step 12";

/// A run goes on with its task as it was; who edited the file is told so.
fn say_if_edited(store: &dyn Store, asked: &str) {
    let now = || {
        let record = store.find(asked).ok()?;
        let setup: Setup = serde_json::from_str(&record.new.body).ok()?;
        let (bytes, name, base) = open::task_file(&setup.task_file).ok()?;
        let mut now = task::load_bytes(&bytes, &name).ok()?.anchored(&base);
        // Of the session of an MCP client, the agent was none of the file's.
        if setup.task.agent.has_our_stdio {
            now.agent = setup.task.agent.clone();
        }
        // Looked for on the disk, where it may be gone.
        now.workspace
            .beside
            .clone_from(&setup.task.workspace.beside);
        (now != setup.task).then_some(setup.task_file)
    };
    if let Some(file) = now() {
        look::say(&format!(
            "{} was edited since the run began; the run goes on with the task as it was \
             (`agentguard run` begins one with the new)",
            file.display()
        ));
    }
}

/// Runs it.
pub fn main(global: &Global, args: ResumeArgs) -> Result {
    let store = super::open::store(global)?;
    say_if_edited(store.as_ref(), &args.run);
    let how = GoOn {
        raise: args.raise,
        from_step: args.from_step.map(StepNo),
    };
    supervise::supervise(global, &args.show, &args.patience, store, async |host| {
        host::go_on(host, &args.run, &how).await
    })
}

/// Reads `LIMIT=VALUE`.
fn raise(text: &str) -> std::result::Result<(Option<Resource>, Raise), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or("expected LIMIT=VALUE, such as cost_usd=5")?;
    let resource = Resource::ALL
        .into_iter()
        .find(|resource| resource.key() == key);
    if resource.is_none() && key != "deadline" {
        let known = Resource::ALL.map(Resource::key).join(", ");
        return Err(format!(
            "unknown limit `{key}`, expected one of {known}, deadline"
        ));
    }
    let (by, amount) = match value.strip_prefix('+') {
        Some(amount) => (true, amount),
        None => (false, value),
    };
    let amount = match resource {
        Some(Resource::CostUsd) => NanoUsd::from_usd_text(amount)
            .map(|usd| usd.0)
            .map_err(|error| format!("`{amount}` is {error}"))?,
        Some(_) => {
            amount
                .parse::<units::Count>()
                .map_err(|error| error.to_string())?
                .0
        }
        None => {
            amount
                .parse::<units::Duration>()
                .map_err(|error| error.to_string())?
                .0
        }
    };
    Ok((
        resource,
        if by {
            Raise::By(amount)
        } else {
            Raise::To(amount)
        },
    ))
}
