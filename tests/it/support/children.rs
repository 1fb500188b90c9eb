//! Folders, scripts and looks at real processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentguard::ids::RunId;
use agentguard::process::{ExecLimits, Launcher, OutputFiles, Spec};

/// Long enough for any machine; a test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A folder of its own, gone with it.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("agentguard-it-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn files(&self) -> OutputFiles {
        OutputFiles {
            stdout: self.0.join("stdout"),
            stderr: self.0.join("stderr"),
        }
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }

    /// Returns the pids that a script has written to `pids`, one a line.
    pub fn pids(&self) -> Vec<i32> {
        let text = self.read("pids");
        // A last line without its end is still being written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            .collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A run nobody else has.
pub fn run_id() -> RunId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    RunId::from_bits(u64::from(std::process::id()) << 12 | number)
}

pub fn launcher() -> Launcher {
    Launcher::at(env!("CARGO_BIN_EXE_agentguard"))
}

/// A shell script in `folder`, with the environment that tools need.
pub fn shell(folder: &Folder, script: &str) -> Spec {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Spec::new(["sh", "-c", script], folder.path()).env("PATH", path)
}

pub fn limits() -> ExecLimits {
    ExecLimits {
        timeout_ms: 60_000,
        grace_ms: 200,
        keep_bytes: 64 << 10,
        disk_bytes_max: u64::MAX,
    }
}

/// Waits for a condition; says which one when it does not come.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// As [`eventually`], for tests on a runtime.
pub async fn eventually_async(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns whether a process runs; a zombie does not.
pub fn is_alive(pid: i32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

fn state(pid: i32) -> Option<char> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 1..].trim_start().chars().next()
}

/// Returns the zombies among our own children.
pub fn own_zombies() -> Vec<i32> {
    let own = std::process::id().to_string();
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let rest = stat.rfind(')').map_or("", |end| &stat[end + 1..]);
        let fields: Vec<&str> = rest.split_whitespace().collect();
        fields.first() == Some(&"Z") && fields.get(1) == Some(&own.as_str())
    })
    .collect()
}

pub fn send(signal: &str, pid: i32) {
    let status = std::process::Command::new("kill")
        .args([signal, &pid.to_string()])
        .status();
    assert!(status.unwrap().success(), "kill {signal} {pid}");
}

/// Returns whether a program can be had; prints why a test is skipped.
pub fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join(program).is_file());
    if !found {
        println!("skipped: no `{program}` on this machine");
    }
    found
}
