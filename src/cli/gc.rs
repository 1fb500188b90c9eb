//! `agentguard gc`

use clap::Args;

use super::{Global, Result};

/// Gc (being written)
#[derive(Debug, Args)]
pub struct GcArgs {}

/// Runs it.
pub fn main(global: &Global, args: GcArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
