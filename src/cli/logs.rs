//! `agentguard logs`

use clap::Args;

use super::{Global, Result};

/// Logs (being written)
#[derive(Debug, Args)]
pub struct LogsArgs {}

/// Runs it.
pub fn main(global: &Global, args: LogsArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
