//! The only `unsafe` of this room: two things that std offers no other way for.

use std::io;
use std::os::fd::BorrowedFd;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};

/// Makes the command's child die when we do. Linux only; elsewhere nothing.
///
/// The signal comes when the *thread* that starts the command ends, so that
/// must be a thread that lives as long as the process.
pub fn die_with_us(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt;

        let parent = rustix::process::getpid();
        let before_exec = move || {
            let kill = Some(rustix::process::Signal::KILL);
            rustix::process::set_parent_process_death_signal(kill)?;
            // The parent may have died before the line above took effect.
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::Error::from(rustix::io::Errno::SRCH))
            }
        };
        #[expect(
            unsafe_code,
            reason = "runs between fork and exec: two system calls, no allocation"
        )]
        // SAFETY: the closure only makes system calls and takes no lock.
        unsafe {
            command.pre_exec(before_exec);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Sees to it that no descriptor but 0, 1 and 2 is inherited by what we start.
/// Ours are marked so already; these come from whoever started us.
pub(super) fn keep_descriptors_to_ourselves() {
    let folder = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let numbers = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for number in numbers.filter(|number: &i32| *number > 2) {
        #[expect(unsafe_code, reason = "a descriptor known by its number only")]
        // SAFETY: it is used for one call; one that is closed meanwhile is refused.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let _: Result<(), _> = fcntl_setfd(descriptor, FdFlags::CLOEXEC);
    }
}
