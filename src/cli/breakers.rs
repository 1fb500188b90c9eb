//! `agentguard breakers`

use clap::Args;

use super::{Global, Result};

/// Breakers (being written)
#[derive(Debug, Args)]
pub struct BreakersArgs {}

/// Runs it.
pub fn main(global: &Global, args: BreakersArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
