//! Exit codes of the `agentguard` binary.
//!
//! One name per outcome, one file, never reused. The numbers are part of what
//! is promised to stay; scripts and CI branch on them. The man page section
//! EXIT STATUS and the README table are made from [`TABLE`].

/// The run ended and the agent said it was done.
pub const DONE: u8 = 0;
/// The agent failed, or ended without saying it was done.
pub const AGENT_FAILED: u8 = 1;
/// The command line or the task file is wrong; nothing was started.
pub const USAGE: u8 = 2;
/// A cost, token, step or tool-call limit was reached.
pub const BUDGET: u8 = 20;
/// The deadline passed, or the agent was idle for too long.
pub const DEADLINE: u8 = 21;
/// The agent was going round in circles.
pub const LOOP: u8 = 22;
/// A tool or an upstream the run needs is not available.
pub const UNAVAILABLE: u8 = 23;
/// The agent said done, and the verification disagreed.
pub const VERIFICATION: u8 = 24;
/// The run waits for a human.
pub const WAITING: u8 = 25;
/// A side effect may or may not have happened and must be settled first.
pub const IN_DOUBT: u8 = 26;
/// A rollback is through, and something that the run did could not be undone.
pub const NOT_UNDONE: u8 = 27;
/// The work is done, and others changed the same files meanwhile; nothing was written.
pub const CONFLICT: u8 = 28;
/// agentguard itself, or the machine below it, failed.
pub const INTERNAL: u8 = 70;
/// Interrupted by Ctrl-C (SIGINT).
pub const INTERRUPTED: u8 = 130;
/// Ended by SIGTERM.
pub const TERMINATED: u8 = 143;

/// Every code with its meaning, in ascending order.
pub const TABLE: [(u8, &str); 15] = [
    (DONE, "done"),
    (
        AGENT_FAILED,
        "the agent failed, or ended without saying done",
    ),
    (USAGE, "wrong usage or task file; nothing was started"),
    (
        BUDGET,
        "budget: a cost, token, step or tool-call limit was reached",
    ),
    (
        DEADLINE,
        "the deadline passed, or the agent was idle too long",
    ),
    (LOOP, "the agent was going round in circles"),
    (UNAVAILABLE, "a tool or an upstream is unavailable"),
    (VERIFICATION, "verification failed"),
    (WAITING, "waiting for a human"),
    (IN_DOUBT, "a side effect is in doubt and needs settling"),
    (NOT_UNDONE, "rolled back, but something could not be undone"),
    (
        CONFLICT,
        "conflict: others changed the same files; nothing was committed",
    ),
    (INTERNAL, "internal error, or the machine below failed"),
    (INTERRUPTED, "interrupted (SIGINT)"),
    (TERMINATED, "terminated (SIGTERM)"),
];

#[cfg(test)]
mod tests {
    use super::TABLE;

    #[test]
    fn codes_ascend_so_that_none_is_used_twice() {
        assert!(TABLE.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
