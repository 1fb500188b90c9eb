//! `agentguard schema`

use clap::Args;

use super::{Global, Result};

/// Schema (being written)
#[derive(Debug, Args)]
pub struct SchemaArgs {}

/// Runs it.
pub fn main(global: &Global, args: SchemaArgs) -> Result {
    let _ = (global, args);
    Ok(0)
}
