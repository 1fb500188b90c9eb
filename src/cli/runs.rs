//! `agentguard runs`

use clap::Args;

use super::{Global, Result};

/// Runs (being written)
#[derive(Debug, Args)]
pub struct RunsArgs {}

/// Runs it.
pub fn main(global: &Global, args: RunsArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
