//! `agentguard why`

use clap::Args;

use super::{Global, Result};

/// Why (being written)
#[derive(Debug, Args)]
pub struct WhyArgs {}

/// Runs it.
pub fn main(global: &Global, args: WhyArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
