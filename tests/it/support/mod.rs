//! What the end-to-end tests share: a sealed folder to run the real binary in.

pub mod children;
pub mod http_server;
pub mod mcp_client;
pub mod model;
pub mod tmpfs;

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_agentguard");

/// A folder with a home and a state of its own; gone when dropped.
pub struct Sandbox {
    root: PathBuf,
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Exit code; 128 + the signal that killed it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Sandbox {
    /// Makes one.
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("agentguard-it-{}-{number}", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir_all(root.join("home")).expect("a temporary folder");
        Self {
            root: root.canonicalize().expect("it was just made"),
        }
    }

    /// Returns the folder.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Returns the state folder.
    pub fn state(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Writes a file and returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root.join(name);
        fs::create_dir_all(path.parent().expect("a name below the folder")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    /// Reads a file; empty when there is none.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.root.join(name)).unwrap_or_default()
    }

    /// Makes a command of the binary that knows only this folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(args)
            .current_dir(&self.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.join("home"))
            .env("AGENTGUARD_STATE", self.state())
            .env("TMPDIR", std::env::temp_dir())
            .stdin(Stdio::null());
        command
    }

    /// Runs the binary to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        finish(&mut self.command(args))
    }

    /// Runs the binary with one variable more.
    pub fn run_with(&self, variable: (&str, &str), args: &[&str]) -> Ran {
        finish(self.command(args).env(variable.0, variable.1))
    }

    /// Starts the binary and lets it run.
    pub fn start(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("the binary starts")
    }

    /// Returns the latest run's report.
    pub fn report(&self) -> serde_json::Value {
        let ran = self.run(&["show", "latest", "--json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        serde_json::from_str(&ran.stdout).expect("show --json is JSON")
    }

    /// Returns the questions that wait for humans; `more` narrows or widens the list.
    pub fn questions(&self, more: &[&str]) -> Vec<serde_json::Value> {
        let ran = self.run(&[&["inbox", "--json"], more].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let mut document: serde_json::Value =
            serde_json::from_str(&ran.stdout).expect("inbox --json is JSON");
        let questions = document["escalations"].as_array_mut();
        std::mem::take(questions.expect("a list"))
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// Runs a command to its end.
pub fn finish(command: &mut Command) -> Ran {
    ran(&command.output().expect("the binary starts"))
}

/// Waits for the end of a child whose output is piped.
pub fn ended(child: Child) -> Ran {
    ran(&child.wait_with_output().expect("a child of ours"))
}

fn ran(output: &Output) -> Ran {
    let code = output.status.code();
    Ran {
        code: code.unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until `is_true`, for at most `seconds`.
pub fn wait_until(seconds: u64, what: &str, mut is_true: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(seconds);
    while !is_true() {
        assert!(Instant::now() < until, "waited {seconds} s for: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Replaces what differs from run to run: run ids, times, lengths of time, and
/// the folder.
pub fn masked(sandbox: &Sandbox, text: &str) -> String {
    let text = text.replace(&*sandbox.path().to_string_lossy(), "[DIR]");
    let patterns = [
        (r"r-[0-9a-hjkmnp-tv-z]{8}", "[RUN]"),
        (r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?Z", "[TIME]"),
        (r"\b\d+(\.\d+)?(ms|s)\b( \d+s)?", "[TOOK]"),
    ];
    patterns.iter().fold(text, |text, (pattern, with)| {
        regex::Regex::new(pattern)
            .expect("a constant")
            .replace_all(&text, *with)
            .into_owned()
    })
}
