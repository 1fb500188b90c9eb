//! agentguard supervises AI-agent runs.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::print_stdout))]

pub mod clock;
pub mod exit_code;
pub mod ids;
