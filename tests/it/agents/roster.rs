//! The agents: where they come from, how they are started, what they can do.

use super::Behaviour;
use super::install::Package;

/// One agent, or one loop of ours on an SDK that is not.
pub struct Agent {
    /// Its name in the table and, with a preset, in a task file.
    pub name: &'static str,
    pub version: &'static str,
    pub package: Package,
    pub start: Start,
    /// The models it asks, for the price list.
    pub models: &'static [&'static str],
    /// The script of the small repair.
    pub repair: &'static str,
    /// The same for a run that is resumed.
    pub repair_again: &'static str,
    /// The turn of it at which something goes wrong.
    pub fault_turn: u64,
    /// The calls that the repair takes, and those beside it.
    pub calls: u64,
    pub sides: u64,
    /// A script that spends without an end.
    pub spend: &'static str,
    /// Tokens that a call uses there: less than half of the bytes of its first
    /// request, so that no call costs more than can be held back for it.
    pub spend_tokens: u64,
    pub fan: Fan,
    /// What it does when a stream breaks in the middle.
    pub on_cut: OnCut,
    /// Whether it calls tools, and so can go in circles with them.
    pub has_tools: bool,
    /// What is run where not everything is.
    pub cheap: &'static [Behaviour],
}

/// How an agent is started.
pub enum Start {
    /// As its preset says.
    Preset,
    /// Under its preset with these words; `{prompt}` is the task's text.
    Command(&'static [&'static str]),
    /// A loop of ours in `fixtures/agents`.
    Loop(&'static str),
}

/// How an agent makes several calls at once.
pub enum Fan {
    /// It does not.
    No,
    /// The loop takes the turn and the number as arguments.
    Flag,
    /// By a tool that asks another agent: its name, and its arguments as YAML.
    Tool(&'static str, &'static str),
}

/// What an agent does when a stream breaks in the middle.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnCut {
    /// Nothing: it asks for whole answers, and the gateway asks again by itself.
    Unseen,
    /// It asks again.
    AsksAgain,
    /// It ends with a failure, and is resumed.
    GivesUp,
}

use Behaviour::{Busy, Cap, Cut, Kill, Loop, Overload, Plain};

const EVERYTHING: &[Behaviour] = &[Plain, Busy, Overload, Cut, Cap, Loop, Kill];
const SOME: &[Behaviour] = &[Plain, Busy, Kill];

#[rustfmt::skip]
pub const AGENTS: &[Agent] = &[
    Agent {
        name: "anthropic-sdk", version: "2.12.0",
        package: Package::Python(&["anthropic==2.12.0"]),
        start: Start::Loop("anthropic_loop.py"),
        models: &["claude-sonnet-4-5"],
        repair: "repair.yaml", repair_again: "repair-again.yaml", fault_turn: 2, calls: 4, sides: 0,
        spend: "spend.yaml", spend_tokens: 1000,
        fan: Fan::Flag, on_cut: OnCut::GivesUp, has_tools: true, cheap: EVERYTHING,
    },
    Agent {
        name: "openai-sdk", version: "3.54.0",
        package: Package::Python(&["openai==3.54.0"]),
        start: Start::Loop("openai_loop.py"),
        models: &["gpt-4o"],
        repair: "repair.yaml", repair_again: "repair-again.yaml", fault_turn: 2, calls: 4, sides: 0,
        spend: "spend.yaml", spend_tokens: 1000,
        fan: Fan::Flag, on_cut: OnCut::Unseen, has_tools: true, cheap: EVERYTHING,
    },
    Agent {
        name: "claude-code", version: "2.1.330",
        package: Package::Npm("@anthropic-ai/claude-code"),
        start: Start::Command(&["claude", "-p", "{prompt}", "--dangerously-skip-permissions", "--output-format", "json",
            "--disallowedTools=WebSearch"]),
        models: &["claude-opus-5-5"],
        repair: "repair.yaml", repair_again: "repair-again.yaml", fault_turn: 2, calls: 4, sides: 0,
        spend: "spend.yaml", spend_tokens: 12_000,
        fan: Fan::Tool("Agent", "{description: ask, prompt: This is opinion NUMBER., subagent_type: general-purpose}"),
        on_cut: OnCut::AsksAgain, has_tools: true, cheap: SOME,
    },
    Agent {
        name: "codex", version: "0.169.0",
        package: Package::Npm("@openai/codex"),
        start: Start::Command(&["codex", "exec", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox",
            "--json", "-m", "gpt-5-codex", "-c", "web_search=\"disabled\"", "{prompt}"]),
        models: &["gpt-5-codex"],
        repair: "repair.yaml", repair_again: "repair-again.yaml", fault_turn: 2, calls: 4, sides: 0,
        spend: "spend.yaml", spend_tokens: 12_000,
        fan: Fan::No,
        on_cut: OnCut::AsksAgain, has_tools: true, cheap: SOME,
    },
    Agent {
        name: "gemini-cli", version: "0.61.0",
        package: Package::Npm("@google/gemini-cli"),
        start: Start::Preset,
        models: &["gemini-2.5-flash"],
        repair: "repair.yaml", repair_again: "repair-again.yaml", fault_turn: 2, calls: 4, sides: 0,
        spend: "spend.yaml", spend_tokens: 12_000,
        fan: Fan::No,
        on_cut: OnCut::GivesUp, has_tools: true, cheap: &[],
    },
    Agent {
        name: "opencode", version: "1.18.33",
        package: Package::Npm("opencode-ai"),
        start: Start::Preset,
        models: &["claude-sonnet-4-5", "claude-haiku-4-5-20251001"],
        repair: "repair.yaml", repair_again: "repair-again.yaml", fault_turn: 2, calls: 4, sides: 1,
        spend: "spend.yaml", spend_tokens: 5_000,
        fan: Fan::Tool("task", "{description: ask, prompt: This is opinion NUMBER., subagent_type: general}"),
        on_cut: OnCut::AsksAgain, has_tools: true, cheap: &[],
    },
    Agent {
        name: "mini-swe-agent", version: "2.4.6",
        package: Package::Python(&["mini-swe-agent==2.4.6", "mcp"]),
        start: Start::Preset,
        models: &["gpt-4o"],
        repair: "repair-mini.yaml", repair_again: "repair-mini.yaml", fault_turn: 2, calls: 4, sides: 0,
        spend: "spend.yaml", spend_tokens: 2700,
        fan: Fan::No,
        on_cut: OnCut::Unseen, has_tools: true, cheap: &[],
    },
    Agent {
        name: "aider", version: "0.86.2",
        package: Package::Python(&["aider-chat==0.86.2"]),
        start: Start::Command(&["aider", "--model", "openai/gpt-4o", "--yes-always", "--no-pretty",
            "--test-cmd", "sh test.sh", "--auto-test", "--message", "{prompt}"]),
        models: &["gpt-4o", "gpt-4o-mini"],
        repair: "repair-aider.yaml", repair_again: "repair-aider.yaml", fault_turn: 1, calls: 2, sides: 2,
        spend: "wrong-aider.yaml", spend_tokens: 6000,
        fan: Fan::No,
        on_cut: OnCut::AsksAgain, has_tools: false, cheap: &[],
    },
];
