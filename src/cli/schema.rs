//! `agentguard schema`

use clap::Args;

use super::{Global, Result, jsonl};
use crate::exit_code;
use crate::task::schema;

/// Print the JSON Schema of the task file
///
/// Editors with a YAML language server complete and check task files with it;
/// the files of `agentguard init` name it in their first line. It is made from
/// the same types that read task files, and two builds of one version print the
/// same bytes.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard schema > task.schema.json
  agentguard schema | jq '.properties.limits'")]
pub struct SchemaArgs {}

/// Runs it.
pub fn main(_: &Global, _: SchemaArgs) -> Result {
    jsonl::print(&schema::text())?;
    Ok(exit_code::DONE)
}
