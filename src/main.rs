//! The `agentguard` binary: arguments in, exit code out.

use std::process::ExitCode;

use agentguard::cli;
use agentguard::drill::rehearsal::STAND_IN_ARGUMENT;
use agentguard::process::shim;

fn main() -> ExitCode {
    // The guardian of an agent is this same binary; it must start fast and take
    // nothing for an argument that is the agent's.
    let first = std::env::args_os().nth(1);
    if first.as_ref().is_some_and(|it| it == shim::SHIM_ARGUMENT) {
        return shim::main();
    }
    // What takes the place of a guarded tool in a drill is no command of a user.
    if first.is_some_and(|it| it == STAND_IN_ARGUMENT) {
        return cli::drill::stand_in::main();
    }
    cli::main()
}
