//! `agentguard show`

use clap::Args;

use super::{Global, Result};

/// Show (being written)
#[derive(Debug, Args)]
pub struct ShowArgs {}

/// Runs it.
pub fn main(global: &Global, args: ShowArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
