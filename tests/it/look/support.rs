//! A sealed folder with its own home and journal, and the binary in it.
//!
//! Start with [`Sandbox`]. What a command prints is compared as one text, with
//! what changes from run to run masked ([`mask`]).

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use regex::Regex;

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder of one test, removed when the test passes.
pub struct Sandbox {
    folder: PathBuf,
    variables: Vec<(String, String)>,
}

impl Sandbox {
    /// Makes an empty one; `name` must be the test's own.
    pub fn new(name: &str) -> Self {
        // The temporary folder, not `target`: a socket's path has about a
        // hundred characters.
        let folder = std::env::temp_dir().join(format!("agentguard-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        for inner in ["home", "work"] {
            fs::create_dir_all(folder.join(inner)).expect("a temporary folder");
        }
        Self {
            folder,
            variables: vec![],
        }
    }

    /// Returns the state folder, which only the binary makes.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Returns the working folder.
    pub fn work(&self) -> PathBuf {
        self.folder.join("work")
    }

    /// Writes a file in the working folder.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.work().join(name), text).expect("the folder is ours");
    }

    /// Reads a file in the working folder; empty when it is not there.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.work().join(name)).unwrap_or_default()
    }

    /// Writes `task.yaml` with a shell script as its agent.
    ///
    /// - `rest`: further keys of the task file.
    pub fn task(&self, script: &str, rest: &str) {
        let script: String = script
            .trim()
            .lines()
            .map(|line| format!("    {}\n", line.trim()))
            .collect();
        self.write(
            "task.yaml",
            &format!(
                "agent:\n  interpreter: [sh]\n  grace: 1s\n  script: |\n    set -e\n{script}{rest}"
            ),
        );
    }

    /// Sets a variable for the commands that follow.
    pub fn set(&mut self, name: &str, value: &str) {
        self.unset(name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a variable back.
    pub fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    /// Returns the binary, sealed in.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agentguard"));
        command
            .args(args)
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.join("home"))
            .env("AGENTGUARD_STATE", self.state())
            .env("TZ", "UTC")
            .envs(self.variables.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, args: &[&str]) -> Output {
        let child = self.command(args).spawn().expect("the binary starts");
        Running(Some(child)).finish()
    }

    /// Starts a command and lets it run.
    pub fn spawn(&self, args: &[&str]) -> Running {
        Running(Some(self.command(args).spawn().expect("the binary starts")))
    }

    /// Returns the id of the latest run.
    pub fn latest(&self) -> String {
        let listing = self.run(&["runs", "--json", "--limit", "1"]).json();
        let id = listing["runs"][0]["run_id"].as_str();
        id.expect("there is a run").to_owned()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // A failed test leaves its folder to be looked at.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// A command that runs; killed when dropped.
pub struct Running(Option<Child>);

impl Running {
    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.0.as_ref().expect("it runs").id()
    }

    /// Takes its stdout.
    pub fn stdout(&mut self) -> std::process::ChildStdout {
        let child = self.0.as_mut().expect("it runs");
        child.stdout.take().expect("it is piped")
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Output {
        let mut child = self.0.take().expect("it runs");
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let until = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().expect("it is ours to wait for") {
                Some(status) => break status,
                None if Instant::now() > until => {
                    let _ = child.kill();
                    break child.wait().expect("it is ours to wait for");
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let text = |reader: std::thread::JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().expect("a reader does not panic")).into_owned()
        };
        Output {
            stdout: text(stdout),
            stderr: text(stderr),
            status,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn drain(from: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            let _ = from.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Output {
    pub stdout: String,
    pub stderr: String,
    pub status: ExitStatus,
}

impl Output {
    /// Returns the exit code; -1 for a signal.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Returns stdout as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document ({error}): {self:#?}"))
    }

    /// Returns stdout, stderr and status as one masked text.
    pub fn masked(&self) -> String {
        let mut text = String::new();
        for (name, stream) in [("", &self.stdout), ("--- stderr\n", &self.stderr)] {
            if !stream.is_empty() {
                text.push_str(name);
                text.push_str(&mask(stream));
                if !text.ends_with('\n') {
                    text.push('\n');
                }
            }
        }
        text.push_str(&format!("--- exit {}\n", self.code()));
        text
    }
}

/// Compares what was printed with what should have been.
#[track_caller]
pub fn check(name: &str, output: &Output, want: &str) {
    let (got, want) = (output.masked(), want.trim_start_matches('\n'));
    if got != want {
        panic!("{name}\n=== printed\n{got}=== expected\n{want}===");
    }
}

/// Replaces what differs from run to run; runs of blanks become two.
pub fn mask(text: &str) -> String {
    static MASKS: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        [
            (r"r-[0-9a-hjkmnp-tv-z]{8}\b", "[RUN]"),
            (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "[TIME]"),
            (r"\b[0-9a-f]{16,64}\b", "[HASH]"),
            (r"\b\d+[smhd] ago\b", "[AGO]"),
            (r"\b(\d+h \d+m|\d+m \d+s|\d+\.\ds|\d+ms)\b", "[SPAN]"),
            (r"\bprocess \d+", "process [PID]"),
            (r"\brunning \(\d+\)", "running ([PID])"),
            (r"(?m) {2,}", "  "),
        ]
        .map(|(pattern, with)| (Regex::new(pattern).expect("a constant"), with))
        .into()
    });
    MASKS.iter().fold(text.to_owned(), |text, (pattern, with)| {
        pattern.replace_all(&text, *with).into_owned()
    })
}

/// Waits until `holds`, and fails the test when that never comes.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "never came: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
