//! `agentguard run`

use std::path::PathBuf;

use clap::Args;

use super::error::{Failure, Kind};
use super::supervise::{self, Patience, Show};
use super::{Global, Result};
use crate::driver::host;
use crate::task;
use crate::task::problem::{Finding, Problems, Severity};

/// Start an agent and supervise it to its end
///
/// Reads the task file, snapshots the input, starts the agent, and holds its
/// limits until nothing of it runs any more. The exit code says how it ended
/// (see EXIT STATUS). After a crash, `agentguard resume` goes on.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArgs {
    /// The task file (YAML); `-` reads it from stdin
    #[arg(value_name = "TASK")]
    task: PathBuf,

    #[command(flatten)]
    patience: Patience,
    #[command(flatten)]
    show: Show,

    /// The file is a task as the journal keeps it, in JSON
    #[arg(long, hide = true)]
    resolved: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard run task.yaml
  agentguard run --json task.yaml | jq -c 'select(.event).event.event'
  agentguard run task.yaml || agentguard resume latest --raise cost_usd=+1";

/// Runs it.
pub fn main(global: &Global, args: RunArgs) -> Result {
    let (task, base) = match args.resolved {
        true => read_resolved(&args.task)?,
        false => read(global, &args.task)?,
    };
    // Where it is found again, whatever folder the run is resumed in.
    let file = match args.task.as_os_str() == "-" {
        true => args.task,
        false => std::path::absolute(&args.task).unwrap_or(args.task),
    };
    if !args.resolved {
        say_if_beside_its_stage(&task);
    }
    let store = super::open::store(global)?;
    supervise::supervise(global, &args.show, &args.patience, store, async |host| {
        host::begin(host, task, &file, &base).await
    })
}

/// Reads a task that a drill made ready.
fn read_resolved(
    file: &std::path::Path,
) -> std::result::Result<(task::resolved::Resolved, PathBuf), Failure> {
    let read = std::fs::read(file).map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let task =
        serde_json::from_slice(&read).map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let base =
        std::env::current_dir().map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    Ok((task, base))
}

/// Reads a task file; the paths in it are joined to its folder.
pub fn read(
    global: &Global,
    file: &std::path::Path,
) -> std::result::Result<(task::resolved::Resolved, PathBuf), Failure> {
    let (text, name, base) = super::open::task_file(file)?;
    let colour = super::error::colour(global);
    let refused = |problems: Problems| Failure::task(problems, colour);
    let text = task::decode(&text, &name).map_err(refused)?;
    let (resolved, problems, findings) = task::check(text, &name);
    let resolved = resolved.ok_or_else(|| refused(Problems(problems)))?;
    for finding in findings {
        if finding.severity == Severity::Error {
            let Finding {
                rule, message, fix, ..
            } = finding;
            super::look::say(&format!("warning: {message} [{rule}]; {fix}"));
        }
    }
    let mut resolved = resolved.anchored(&base);
    crate::driver::beside::find(&mut resolved, &base);
    crate::driver::gateway::check_scripts(&resolved).map_err(Failure::usage)?;
    Ok((resolved, base))
}

/// An agent that works beside the copy may reach the folder itself.
fn say_if_beside_its_stage(task: &task::resolved::Resolved) {
    let real = |path: &std::path::Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let cwd = real(&task.agent.cwd);
    let Some(stage) = task.workspace.stage.as_deref().map(real) else {
        return;
    };
    if !cwd.starts_with(&stage) {
        super::look::say(&format!(
            "warning: the agent works in {}, which is not in the staged folder: what it writes there \
             is not held back; without `cwd` under `agent` it works in the copy, which \
             AGENTGUARD_WORKSPACE names",
            cwd.display(),
        ));
    }
}
