//! `agentguard classify`

use clap::Args;

use super::{Global, Result};

/// Classify (being written)
#[derive(Debug, Args)]
pub struct ClassifyArgs {}

/// Runs it.
pub fn main(global: &Global, args: ClassifyArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
