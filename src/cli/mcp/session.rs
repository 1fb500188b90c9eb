//! A run whose agent is the session of an MCP client.
//!
//! The client starts `agentguard mcp … --task TASK` and knows nothing of runs. This
//! process becomes the supervisor, and the agent it starts is `agentguard mcp …`
//! once more, inside the run, with the client's stdin and stdout for its own.

use std::path::Path;

use serde_json::json;

use crate::channel::client;
use crate::channel::mcp::Link;
use crate::channel::method::Verbatim;
use crate::cli::error::{Failure, Kind};
use crate::cli::supervise::{Patience, Show, supervise};
use crate::cli::{Global, Result, open, run};
use crate::driver::host;
use crate::task::resolved::{InheritEnv, Launch, Protocol, Resolved};

/// Makes a run of `task` in which `agentguard` is started with `own` and `words`.
///
/// - `look`: sees the task first.
pub fn main(
    global: &Global,
    task: &Path,
    own: &[&str],
    words: &[&str],
    look: impl FnOnce(&Resolved),
) -> Result {
    let (mut resolved, base) = run::read(global, task)?;
    look(&resolved);
    let program =
        std::env::current_exe().map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let program = program.to_string_lossy().into_owned();
    let words = own.iter().chain(words).map(|word| (*word).to_owned());
    let agent = &mut resolved.agent;
    agent.launch = Launch::Command([program].into_iter().chain(words).collect());
    // The server is started where its client would have started it, with what it
    // would have found there.
    agent.cwd = std::env::current_dir().unwrap_or_else(|_| agent.cwd.clone());
    agent.inherit_env = InheritEnv::All;
    agent.protocol = Protocol::Socket;
    agent.preset = None;
    agent.has_our_stdio = true;
    let file = std::path::absolute(task).unwrap_or_else(|_| task.to_owned());
    let store = open::store(global)?;
    let patience = Patience::attached();
    supervise(global, &Show::quiet(true), &patience, store, async |host| {
        host::begin(host, resolved, &file, &base).await
    })
}

/// Says that the run is done: its client has ended its side. A run that is ending for
/// another reason ends for that.
pub async fn done(link: &Link) -> std::result::Result<(), client::Error> {
    let done = Verbatim::from_value(&json!({"done": true}));
    match link.ask("turn", &done).await {
        Ok(_) | Err(client::Error::Refused { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
