//! agentguard supervises AI-agent runs.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::print_stdout))]

pub mod channel;
pub mod cli;
pub mod clock;
pub mod drill;
pub mod driver;
pub mod exit_code;
pub mod human;
pub mod ids;
pub mod machine;
pub mod money;
pub mod observe;
pub mod policy;
pub mod process;
pub mod staging;
pub mod store;
pub mod task;
pub mod tools;
pub mod verify;
