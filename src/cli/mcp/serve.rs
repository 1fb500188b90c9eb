//! `agentguard mcp serve`

use std::path::PathBuf;

use clap::Args;

use super::session;
use crate::channel::mcp::{self, Link};
use crate::cli::{Global, Result};

/// Inside a run: serve the task's guarded tools to an MCP client, over stdio
///
/// Every call is a call of the guarded tool: keys, retries, breakers and the
/// journal are as for `agentguard tool`. A tool that is down says so in the list.
/// Both eras of the protocol are spoken.
#[derive(Debug, Args)]
#[command(after_help = r#"Examples:
  claude -p "$TASK" --mcp-config '{"mcpServers":{"agentguard":{"command":"agentguard","args":["mcp","serve"]}}}'
  agentguard mcp serve --task task.yaml     a run of its own, for a client that is started elsewhere"#)]
pub struct ServeArgs {
    /// Outside of a run: make one of this task, which lasts as long as the client
    #[arg(long, value_name = "TASK")]
    task: Option<PathBuf>,
    /// Say that the run is done when the client ends
    #[arg(long, hide = true)]
    session: bool,
}

/// Runs it.
pub fn main(global: &Global, args: ServeArgs) -> Result {
    if let Some(task) = &args.task {
        return session::main(global, task, &["mcp", "serve", "--session"], &[], |_| ());
    }
    super::block_on(async |stopped| {
        let link = Link::from_env().await?;
        let client = super::our_side()?;
        let code = mcp::serve(link.clone(), client, stopped).await?;
        if args.session {
            session::done(&link).await?;
        }
        Ok(code)
    })
}
