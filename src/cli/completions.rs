//! `agentguard completions`

use clap::Args;
use clap_complete::Shell;

use super::{Global, Result, jsonl};
use crate::exit_code;

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard completions bash > ~/.local/share/bash-completion/completions/agentguard
  agentguard completions zsh > \"${fpath[1]}/_agentguard\"
  agentguard completions fish > ~/.config/fish/completions/agentguard.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Runs it.
pub fn main(_: &Global, args: CompletionsArgs) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "agentguard", &mut script);
    jsonl::print(&String::from_utf8_lossy(&script))?;
    Ok(exit_code::DONE)
}
