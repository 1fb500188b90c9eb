//! Processes by `/proc`, signals by pidfd.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Signal, geteuid, getpid, kill_process, pidfd_open, pidfd_send_signal,
    set_child_subreaper,
};

use super::{Process, Signalled};

/// The most that is read of one environment; the kernel takes about 6 MB for
/// arguments and environment together.
const ENVIRON_BYTES_MAX: u64 = 8 << 20;

/// Makes this process the parent of all orphans beneath it. Harmless to repeat.
pub(in crate::process) fn adopt_orphans() {
    // Refused by no kernel since 3.4 (2012).
    let _: Result<(), Errno> = set_child_subreaper(Some(getpid()));
}

/// Returns all processes there are; none when `/proc` is not mounted.
pub(super) fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(process).collect()
}

/// Looks at one process.
pub(in crate::process) fn process(pid: i32) -> Option<Process> {
    let mut stat = [0; 1024];
    let length = File::open(format!("/proc/{pid}/stat"))
        .ok()?
        .read(&mut stat)
        .ok()?;
    parse_stat(&stat[..length])
}

/// Returns the direct children of a process that has one thread, quickly: one
/// small file instead of all of `/proc`. Empty where the kernel has no such file.
pub(in crate::process) fn children_of(pid: i32) -> Vec<i32> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_ascii_whitespace()
        .filter_map(|child| child.parse().ok())
        .collect()
}

/// The environments that processes were started with.
pub(in crate::process) struct Environs;

impl Environs {
    /// Makes ready to read them; each is read when it is asked for.
    pub(in crate::process) fn take() -> Self {
        Self
    }

    /// Returns that of a process of this user, as entries that each end in a
    /// NUL; `None` for others, the kernel's own, and the dead.
    pub(in crate::process) fn of(&self, pid: i32) -> Option<Vec<u8>> {
        let file = File::open(format!("/proc/{pid}/environ")).ok()?;
        if file.metadata().ok()?.uid() != geteuid().as_raw() {
            return None;
        }
        let mut environ = Vec::new();
        let mut limited = file.take(ENVIRON_BYTES_MAX);
        limited.read_to_end(&mut environ).ok()?;
        Some(environ)
    }
}

/// Sends a signal to the process that had this number and started then.
pub(in crate::process) fn signal(pid: i32, start: u64, signal: Signal) -> Signalled {
    let Some(raw) = Pid::from_raw(pid.max(0)) else {
        return Signalled::Gone;
    };
    let same = || process(pid).is_some_and(|process| process.start == start && !process.zombie);
    let sent = match pidfd_open(raw, PidfdFlags::empty()) {
        // The descriptor stays with one process; so if the number means that
        // process now, the descriptor does too.
        Ok(pidfd) if same() => pidfd_send_signal(pidfd, signal),
        Ok(_) | Err(Errno::SRCH | Errno::INVAL) => return Signalled::Gone,
        // No pidfd here (Linux before 5.3, a strict sandbox, no descriptors
        // left): the window for a mix-up is the time between two system calls.
        Err(_) if same() => kill_process(raw, signal),
        Err(_) => return Signalled::Gone,
    };
    match sent {
        Ok(()) => Signalled::Sent,
        Err(Errno::PERM | Errno::ACCESS) => Signalled::Refused,
        Err(_) => Signalled::Gone,
    }
}

/// Reads `/proc/PID/stat`. The name in parentheses may itself hold spaces,
/// parentheses and newlines; it ends at the last closing one.
///
/// Source: proc_pid_stat(5); fields are counted from 1 there.
fn parse_stat(stat: &[u8]) -> Option<Process> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let pid = std::str::from_utf8(&stat[..open])
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let name = String::from_utf8_lossy(stat.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(&stat[close + 1..]).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3);
    let threads: i64 = field(20)?.parse().ok()?;
    // A process whose first thread ended looks like a zombie while others run.
    let zombie = matches!(*field(3)?, "Z" | "X" | "x") && threads <= 1;
    Some(Process {
        pid,
        parent: field(4)?.parse().ok()?,
        group: field(5)?.parse().ok()?,
        session: field(6)?.parse().ok()?,
        start: field(22)?.parse().ok()?,
        zombie,
        name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_lines_are_read_whatever_the_name_is() {
        let line = |name: &str, state: &str, threads: u32| {
            format!(
                "42 ({name}) {state} 7 41 40 0 -1 0 1 2 3 4 5 6 7 8 20 0 {threads} 0 9001 1 2 3\n"
            )
        };
        #[rustfmt::skip]
        let rows = [
            ("plain", line("sh", "S", 1), Some(("sh", false))),
            ("a name that looks like the rest", line("a) R 1 (b", "S", 1), Some(("a) R 1 (b", false))),
            ("a newline in the name", line("a\nb", "S", 1), Some(("a\nb", false))),
            ("a zombie", line("sh", "Z", 1), Some(("sh", true))),
            ("the first thread ended, others run", line("go", "Z", 4), Some(("go", false))),
            ("cut short", "42 (sh) S 7 42".into(), None),
            ("nothing", String::new(), None),
            ("no number", "x (sh) S 7".into(), None),
        ];
        for (name, stat, want) in rows {
            let found = parse_stat(stat.as_bytes());
            let seen = found
                .as_ref()
                .map(|process| (process.name.as_str(), process.zombie));
            assert_eq!(seen, want, "row: {name}");
            if let Some(process) = &found {
                let numbers = [process.pid, process.parent, process.group, process.session];
                assert_eq!(
                    (numbers, process.start),
                    ([42, 7, 41, 40], 9001),
                    "row: {name}"
                );
            }
        }
    }

    #[test]
    fn we_are_among_the_processes() {
        let own = i32::try_from(std::process::id()).unwrap();
        let found = processes()
            .into_iter()
            .find(|process| process.pid == own)
            .unwrap();
        assert!(!found.zombie && found.start > 0);
        assert!(Environs::take().of(own).is_some());
        assert_eq!(signal(own, found.start + 1, Signal::KILL), Signalled::Gone);
    }
}
