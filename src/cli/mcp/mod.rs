//! `agentguard mcp`

mod proxy;
mod serve;
mod session;

use std::os::fd::{AsFd as _, BorrowedFd};

use clap::{Args, Subcommand};
use tokio::fs::File;

use super::error::{Failure, Kind};
use super::{Global, Result};
use crate::channel::{client, mcp};

/// Speak MCP: serve the tools of the task, or guard those of a server
///
/// Agents that speak the Model Context Protocol need nothing else to be guarded:
/// `serve` gives them the task's tools, `proxy` stands before a server of theirs.
#[derive(Debug, Args)]
#[command(
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:
  agentguard mcp serve
  agentguard mcp proxy --name files -- npx -y @modelcontextprotocol/server-filesystem ."
)]
pub struct McpArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Proxy(proxy::ProxyArgs),
}

/// Runs it.
pub fn main(global: &Global, args: McpArgs) -> Result {
    match args.command {
        Command::Serve(args) => serve::main(global, args),
        Command::Proxy(args) => proxy::main(global, args),
    }
}

/// Runs `work` until it is over. It is told when this process is asked to end.
fn block_on<F>(work: F) -> Result
where
    F: AsyncFnOnce(Stopped) -> std::result::Result<u8, mcp::Error>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let done = runtime.block_on(async { work(stopped()).await });
    // Reading stdin cannot be cancelled, and holds nobody up.
    runtime.shutdown_background();
    done.map_err(failure)
}

/// Returns our stdin and stdout, where the client is.
fn our_side() -> std::result::Result<(File, File), mcp::Error> {
    let file = |fd: BorrowedFd<'_>| {
        let fd = fd.try_clone_to_owned().map_err(mcp::Error::Stdio);
        fd.map(|fd| File::from_std(fd.into()))
    };
    Ok((
        file(std::io::stdin().as_fd())?,
        file(std::io::stdout().as_fd())?,
    ))
}

type Stopped = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// Waits until this process is asked to end.
fn stopped() -> Stopped {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return Box::pin(std::future::pending());
    };
    Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

fn failure(error: mcp::Error) -> Failure {
    match error {
        mcp::Error::Client(client::Error::NotInRun) => Failure::usage(
            "not inside a run: AGENTGUARD_SOCKET is not set",
        )
        .hint(
            "let the agent that `agentguard run TASK` starts use this as its MCP server, or add \
             `--task TASK` for a run that lasts as long as the client",
        ),
        error @ mcp::Error::Stdio(_) => Failure::from_error(Kind::Environment, &error),
        mcp::Error::Client(error) => {
            let hint = error.hint().map(str::to_owned);
            Failure::from_error(Kind::Environment, &error).maybe_hint(hint)
        }
        error @ mcp::Error::Start { .. } => Failure::from_error(Kind::Usage, &error).hint(
            "what stands behind `--` is the server's command line, as its client would start it",
        ),
    }
}
