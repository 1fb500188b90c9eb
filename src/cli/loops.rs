//! `agentguard loops`

use clap::Args;

use super::{Global, Result};

/// Loops (being written)
#[derive(Debug, Args)]
pub struct LoopsArgs {}

/// Runs it.
pub fn main(global: &Global, args: LoopsArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
