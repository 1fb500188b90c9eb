//! `agentguard check`

use clap::Args;

use super::{Global, Result};

/// Check (being written)
#[derive(Debug, Args)]
pub struct CheckArgs {}

/// Runs it.
pub fn main(global: &Global, args: CheckArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
