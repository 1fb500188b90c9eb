//! `agentguard completions`

use clap::Args;

use super::{Global, Result};

/// Completions (being written)
#[derive(Debug, Args)]
pub struct CompletionsArgs {}

/// Runs it.
pub fn main(global: &Global, args: CompletionsArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
