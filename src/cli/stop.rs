//! `agentguard stop`

use clap::Args;

use super::{Global, Result};

/// Stop (being written)
#[derive(Debug, Args)]
pub struct StopArgs {}

/// Runs it.
pub fn main(global: &Global, args: StopArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
