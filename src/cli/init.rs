//! `agentguard init`

use clap::Args;

use super::{Global, Result};

/// Init (being written)
#[derive(Debug, Args)]
pub struct InitArgs {}

/// Runs it.
pub fn main(global: &Global, args: InitArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
