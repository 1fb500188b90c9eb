//! `agentguard settle`

use clap::Args;

use super::{Global, Result};

/// Settle (being written)
#[derive(Debug, Args)]
pub struct SettleArgs {}

/// Runs it.
pub fn main(global: &Global, args: SettleArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
