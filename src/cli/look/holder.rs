//! Signals to the process that holds a run, and to no other.
//!
//! A lock file names its holder by number, and numbers are given out again. So
//! the process is pinned first (a pidfd), then it must have this very lock file
//! open, and only then it is signalled through the pin. A process that does not
//! catch the signal would die of it; it is left alone.

use std::path::Path;

use rustix::process::{Pid, Signal};

use crate::store::Holder;

/// How asking a holder to stop went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The signal is on its way.
    Sent,
    /// It does not listen for signals (yet): it holds the run for a moment
    /// only, or is about to begin. Look again.
    NotListening,
    /// The lock file does not say who it is yet, or it is gone. Look again.
    Unclear,
    /// Another machine's process, or one that cannot be seen from here.
    Elsewhere(String),
}

/// Asks the holder of the lock at `lock` to stop its run.
pub fn ask_to_stop(holder: &Holder, lock: &Path) -> Asked {
    let here = host_name();
    if let Some(host) = holder.host.as_ref().filter(|host| **host != here) {
        return Asked::Elsewhere(format!("it is held on `{host}`"));
    }
    let Some(pid) = holder
        .pid
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw)
    else {
        return Asked::Unclear;
    };
    signal(pid, lock)
}

#[cfg(target_os = "linux")]
fn signal(pid: Pid, lock: &Path) -> Asked {
    use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
    let pin = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pin) => pin,
        Err(rustix::io::Errno::SRCH) => return Asked::Unclear,
        // A kernel before 5.3, or a sandbox that forbids it.
        Err(error) => return Asked::Elsewhere(format!("process {pid} cannot be pinned: {error}")),
    };
    match linux::has_open(pid, lock) {
        Some(true) => {}
        Some(false) => return Asked::Unclear,
        None => {
            return Asked::Elsewhere(format!(
                "process {pid}, which its lock names, cannot be seen from here"
            ));
        }
    }
    if !linux::catches(pid, Signal::USR1) {
        return Asked::NotListening;
    }
    match pidfd_send_signal(&pin, Signal::USR1) {
        Ok(()) => Asked::Sent,
        Err(rustix::io::Errno::SRCH) => Asked::Unclear,
        Err(error) => Asked::Elsewhere(format!("process {pid} cannot be signalled: {error}")),
    }
}

/// Without `/proc` the lock is all there is: whoever it names held it a moment
/// ago.
#[cfg(not(target_os = "linux"))]
fn signal(pid: Pid, _: &Path) -> Asked {
    match rustix::process::kill_process(pid, Signal::USR1) {
        Ok(()) => Asked::Sent,
        Err(rustix::io::Errno::SRCH) => Asked::Unclear,
        Err(error) => Asked::Elsewhere(format!("process {pid} cannot be signalled: {error}")),
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::Path;

    use rustix::process::{Pid, Signal};

    /// Whether a process has the file at `path` open; `None` when its files
    /// cannot be seen.
    pub(super) fn has_open(pid: Pid, path: &Path) -> Option<bool> {
        let wanted = fs::metadata(path).ok()?;
        let open = fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
        let same = open.flatten().any(|entry| {
            fs::metadata(entry.path())
                .is_ok_and(|file| (file.dev(), file.ino()) == (wanted.dev(), wanted.ino()))
        });
        Some(same)
    }

    /// Whether a process has a handler for `signal`.
    pub(super) fn catches(pid: Pid, signal: Signal) -> bool {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let caught = status
            .lines()
            .find_map(|line| line.strip_prefix("SigCgt:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        caught.is_some_and(|mask| mask & (1 << (signal.as_raw() - 1)) != 0)
    }
}

/// Returns the name of this machine.
fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_the_process_that_has_the_lock_open_is_signalled() {
        let path = std::env::temp_dir().join(format!("agentguard-lock-{}", std::process::id()));
        let held = std::fs::File::create(&path).unwrap();
        let me = Holder {
            pid: Some(std::process::id()),
            since: None,
            host: None,
        };
        // This process holds it and has no handler: it must survive.
        assert_eq!(ask_to_stop(&me, &path), Asked::NotListening);
        drop(held);
        assert_eq!(ask_to_stop(&me, &path), Asked::Unclear);
        let nobody = Holder::default();
        assert_eq!(ask_to_stop(&nobody, &path), Asked::Unclear);
        let other = Holder {
            host: Some("elsewhere.test".into()),
            ..me
        };
        assert!(matches!(ask_to_stop(&other, &path), Asked::Elsewhere(_)));
        std::fs::remove_file(path).unwrap();
    }
}
