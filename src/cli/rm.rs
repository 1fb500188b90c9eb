//! `agentguard rm`

use clap::Args;

use super::{Global, Result};

/// Rm (being written)
#[derive(Debug, Args)]
pub struct RmArgs {}

/// Runs it.
pub fn main(global: &Global, args: RmArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
