//! `agentguard mcp proxy`

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args;

use super::session;
use crate::channel::mcp::{self, Link};
use crate::cli::error::Failure;
use crate::cli::{Global, Result, look};
use crate::task::resolved::Resolved;

/// Guard the tools of an MCP server: stands between it and its client, over stdio
///
/// Calls of tools go out under the same guard as the task's own: key, intent,
/// retries, breaker, classification, journal. Everything else passes as it is.
/// What each tool does to the world stands in the task file, under `mcp.NAME`; a
/// tool that is not named there counts as a write. The server's own hints are not
/// believed.
///
/// Ends as the server ends. When the client ends, calls under way may finish.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard mcp proxy --name files -- npx -y @modelcontextprotocol/server-filesystem .
  agentguard mcp proxy --task task.yaml --name time -- mcp-server-time     a run of its own")]
pub struct ProxyArgs {
    /// The server's name in the task file
    #[arg(long, value_name = "NAME", default_value = "server", value_parser = name)]
    name: String,
    /// Outside of a run: make one of this task, which lasts as long as the client
    #[arg(long, value_name = "TASK")]
    task: Option<PathBuf>,
    /// Say that the run is done when the client ends
    #[arg(long, hide = true)]
    session: bool,
    /// The server's program and its arguments
    #[arg(last = true, required = true, value_name = "SERVER")]
    server: Vec<OsString>,
}

fn name(text: &str) -> std::result::Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    match (1..=64).contains(&text.len()) && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 64 of `a-z`, `A-Z`, `0-9`, `_`, `-`".to_owned()),
    }
}

/// Runs it.
pub fn main(global: &Global, args: ProxyArgs) -> Result {
    if let Some(task) = &args.task {
        let own = ["mcp", "proxy", "--session", "--name", &args.name, "--"];
        let server: std::result::Result<Vec<&str>, _> = args
            .server
            .iter()
            .map(|word| word.to_str().ok_or_else(|| not_text(word)))
            .collect();
        let look = |task: &Resolved| say_if_unknown(task, &args.name);
        return session::main(global, task, &own, &server?, look);
    }
    super::block_on(async |stopped| {
        let link = Link::from_env().await?;
        let client = super::our_side()?;
        let code = mcp::relay(link.clone(), &args.name, &args.server, client, stopped).await?;
        if args.session && code == 0 {
            session::done(&link).await?;
        }
        Ok(code)
    })
}

fn not_text(word: &OsString) -> Failure {
    Failure::usage(format!("`{}` is not UTF-8", word.to_string_lossy()))
}

/// A name that the task file does not have is most likely misspelt.
fn say_if_unknown(task: &Resolved, name: &str) {
    let servers = task.lent.keys().filter_map(|tool| tool.split_once('/'));
    let mut known: Vec<&str> = servers.map(|(server, _)| server).collect();
    known.retain(|server| *server != "*");
    known.dedup();
    if !known.is_empty() && !known.contains(&name) {
        look::say(&format!(
            "warning: the task file says nothing of an MCP server `{name}`, so each of its tools is \
             a write; it names: {} (--name says which one this is)",
            known.join(", ")
        ));
    }
}
