//! The `agentguard` binary: arguments in, exit code out.

fn main() {}
