//! `agentguard man`

use clap::Args;

use super::{Global, Result};

/// Man (being written)
#[derive(Debug, Args)]
pub struct ManArgs {}

/// Runs it.
pub fn main(global: &Global, args: ManArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
