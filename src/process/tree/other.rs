//! Processes by `ps`, for systems without `/proc`: macOS.
//!
//! Best effort. There is no subreaper, so an orphan's descent is lost; the mark
//! finds it as long as `ps` shows environments to their owner, and the process
//! group tells of those that stayed in it.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::{Process, Signalled};

/// There is nothing to ask for here.
pub(in crate::process) fn adopt_orphans() {}

/// Returns all processes there are.
pub(super) fn processes() -> Vec<Process> {
    ps(&["-A", "-o", "pid=,ppid=,pgid=,stat=,lstart=,comm="])
        .lines()
        .filter_map(parse)
        .collect()
}

/// Looks at one process.
pub(in crate::process) fn process(pid: i32) -> Option<Process> {
    processes().into_iter().find(|process| process.pid == pid)
}

/// There is no quick way here.
pub(in crate::process) fn children_of(_pid: i32) -> Vec<i32> {
    Vec::new()
}

/// What `ps -E` shows of all: the command line and the environment, divided by
/// spaces. A value with a space is cut; a mark has none.
pub(in crate::process) struct Environs(BTreeMap<i32, Vec<u8>>);

impl Environs {
    /// Reads them all at once: each `ps` takes some milliseconds.
    pub(in crate::process) fn take() -> Self {
        let text = ps(&["-x", "-E", "-ww", "-o", "pid=,command="]);
        let parse = |line: &str| {
            let (pid, rest) = line.trim_start().split_once(' ')?;
            Some((pid.parse().ok()?, rest.replace(' ', "\0").into_bytes()))
        };
        Self(text.lines().filter_map(parse).collect())
    }

    /// Returns that of a process of this user, as entries that each end in a NUL.
    pub(in crate::process) fn of(&self, pid: i32) -> Option<Vec<u8>> {
        self.0.get(&pid).cloned()
    }
}

/// Sends a signal, if the number still means the process that started then.
pub(in crate::process) fn signal(pid: i32, start: u64, signal: Signal) -> Signalled {
    let same = process(pid).is_some_and(|process| process.start == start && !process.zombie);
    let Some(raw) = Pid::from_raw(pid.max(0)).filter(|_| same) else {
        return Signalled::Gone;
    };
    match kill_process(raw, signal) {
        Ok(()) => Signalled::Sent,
        Err(Errno::PERM) => Signalled::Refused,
        Err(_) => Signalled::Gone,
    }
}

fn ps(arguments: &[&str]) -> String {
    let output = Command::new("/bin/ps")
        .args(arguments)
        .stdin(Stdio::null())
        .output();
    output
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default()
}

/// Reads one line: pid, parent, group, state, five words of start time, name.
fn parse(line: &str) -> Option<Process> {
    let mut words = line.split_ascii_whitespace();
    let pid = words.next()?.parse().ok()?;
    let parent = words.next()?.parse().ok()?;
    let group = words.next()?.parse().ok()?;
    let zombie = words.next()?.starts_with('Z');
    let start = words.by_ref().take(5).flat_map(str::bytes);
    // The text is only compared with itself.
    let start = start.fold(0_u64, |sum, byte| {
        sum.wrapping_mul(257).wrapping_add(byte.into())
    });
    Some(Process {
        pid,
        parent,
        group,
        session: group,
        start,
        zombie,
        name: words.collect::<Vec<_>>().join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ps_are_read() {
        let process = parse("  42  7  42 S+   Sat Nov 22 06:55:00 2025 /bin/some tool").unwrap();
        assert_eq!(
            (process.pid, process.parent, process.zombie),
            (42, 7, false)
        );
        assert_eq!(process.name, "/bin/some tool");
        assert!(
            parse("42 7 42 Z Sat Nov 22 06:55:00 2025 x")
                .unwrap()
                .zombie
        );
        assert!(parse("").is_none() && parse("a b c").is_none());
    }
}
