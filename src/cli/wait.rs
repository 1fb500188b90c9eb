//! `agentguard wait`

use clap::Args;

use super::supervise::{self, Patience, Show};
use super::{Global, Result};
use crate::driver::host;

/// Wait until a human has decided, then go on with the run
///
/// For a run that was suspended (exit code 25). The answer, or the default when the
/// deadline passes, starts the agent again, as `agentguard resume` would. A run that
/// another process holds is waited for first; one that needs nobody is left as it
/// is, and the exit code says how it ended.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard run --detach task.yaml || agentguard wait latest")]
pub struct WaitArgs {
    /// The run: its id, the start of its id, or `latest`
    #[arg(value_name = "RUN")]
    run: String,

    #[command(flatten)]
    show: Show,
}

/// Waits.
pub fn main(global: &Global, args: WaitArgs) -> Result {
    let store = super::open::store(global)?;
    let patience = Patience::attached();
    supervise::supervise(global, &args.show, &patience, store, async |host| {
        host::wait(host, &args.run).await
    })
}
