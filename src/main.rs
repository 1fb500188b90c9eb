//! The `agentguard` binary: arguments in, exit code out.

use std::process::ExitCode;

use agentguard::{cli, process::shim};

fn main() -> ExitCode {
    // The guardian of an agent is this same binary; it must start fast and take
    // nothing for an argument that is the agent's.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|argument| argument == shim::SHIM_ARGUMENT)
    {
        return shim::main();
    }
    cli::main()
}
