//! How a process ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a process ended. What that means is for others to say: several agents
/// exit with 0 after their last model call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It ended by itself, with this status, `0..=255`.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// It is gone and nobody can say how: its guardian was killed and, dying,
    /// took the status along. Nearly always that was SIGKILL.
    Lost,
}

impl Exit {
    /// Returns whether the status is 0.
    pub fn is_zero(self) -> bool {
        self == Self::Code(0)
    }

    /// Returns the status a shell would show: the code, or 128 and the signal.
    /// `None` for [`Exit::Lost`].
    pub fn shell_code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal(signal) => Some(128 + signal),
            Self::Lost => None,
        }
    }

    /// Reads the kernel's status; `None` when the process only stopped or went on.
    pub(super) fn from_wait(status: rustix::process::WaitStatus) -> Option<Self> {
        let code = status.exit_status().map(Self::Code);
        code.or_else(|| status.terminating_signal().map(Self::Signal))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "killed by {name}"),
                None => write!(f, "killed by signal {signal}"),
            },
            Self::Lost => f.write_str("gone, status unknown"),
        }
    }
}

/// Returns the name of a signal whose number is the same on all our systems.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_read_as_people_say_them() {
        #[rustfmt::skip]
        let rows = [
            (Exit::Code(0), "exit status 0", Some(0)),
            (Exit::Code(3), "exit status 3", Some(3)),
            (Exit::Signal(9), "killed by SIGKILL", Some(137)),
            (Exit::Signal(64), "killed by signal 64", Some(192)),
            (Exit::Lost, "gone, status unknown", None),
        ];
        for (exit, text, shell_code) in rows {
            assert_eq!(
                (exit.to_string().as_str(), exit.shell_code()),
                (text, shell_code)
            );
        }
    }
}
