//! A sealed folder, the real binary in it, and the agent it supervises.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;

use crate::link::Link;

const BINARY: &str = env!("CARGO_BIN_EXE_agentguard");
/// The argument that makes this benchmark an agent.
pub const AGENT: &str = "--agent";

/// The agent: says when it began to run and where its socket is.
///
/// - `what`: a file with what to do then: `note` leaves, `hold` stays until it
///   is killed, `ask` stays too, but first asks for its whole conversation and
///   says when it had it. A file, since a run keeps its agent's arguments.
pub fn agent(what: &str) -> ExitCode {
    let began = now();
    let socket = std::env::var("AGENTGUARD_SOCKET").unwrap_or_default();
    println!("{} {socket}", began.as_nanos());
    match fs::read_to_string(what).unwrap_or_default().as_str() {
        "hold" => {}
        "ask" => {
            let answer = Link::to(&socket).ask("start", r#"{"messages":"all"}"#);
            let answer: Value = serde_json::from_str(&answer).unwrap();
            let messages = answer["result"]["messages"].as_array().unwrap().len();
            println!("{} {messages}", now().as_nanos());
        }
        _ => return ExitCode::SUCCESS,
    }
    loop {
        std::thread::park();
    }
}

/// Time on the clock that all processes share.
fn now() -> Duration {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn instant(nanos: &str) -> Duration {
    Duration::from_nanos(nanos.parse().unwrap())
}

/// A folder with a home, a journal and a task; gone when dropped.
pub struct Place {
    /// The folder.
    pub root: PathBuf,
}

impl Place {
    /// Makes one whose agent does `what`, see [`agent`].
    pub fn new(name: &str, what: &str) -> Self {
        let name = format!("agentguard-bench-{}-{name}", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir(&root).unwrap();
        let task = format!(
            "name: bench\n\
             agent: {{command: ['{}', {AGENT}, '{}'], grace: 1s}}\n\
             limits: {{cost_usd: 1000, steps: 100000, tool_calls: 100000, deadline: 1h, idle: 1h}}\n",
            std::env::current_exe().unwrap().display(),
            root.join("what").display()
        );
        fs::write(root.join("task.yaml"), task).unwrap();
        let place = Self { root };
        place.tell(what);
        place
    }

    /// Says what the agent does from its next start on.
    pub fn tell(&self, what: &str) {
        fs::write(self.root.join("what"), what).unwrap();
    }

    /// Starts the supervisor.
    pub fn start(&self, args: &[&str]) -> Supervised {
        let mut command = Command::new(BINARY);
        command.args(args).arg("--quiet");
        Supervised::start(&mut command, self)
    }

    /// Starts the agent alone and waits for it; returns how long its first
    /// instruction took.
    pub fn bare_agent(&self) -> Duration {
        let note = self.root.join("note");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(AGENT).arg(note);
        Supervised::start(&mut command, self).until_agent()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// A process that was started, and the output of the agent in it.
pub struct Supervised {
    child: Child,
    output: BufReader<ChildStdout>,
    began: Duration,
    errors: PathBuf,
}

/// What the agent said first.
pub struct Agent {
    /// When it began to run, after the start of the supervisor.
    pub began: Duration,
    /// When its first byte came out of the supervisor.
    pub heard: Duration,
    /// Where its socket is.
    pub socket: String,
}

impl Supervised {
    fn start(command: &mut Command, place: &Place) -> Self {
        let errors = place.root.join("errors");
        command
            .current_dir(&place.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &place.root)
            .env("AGENTGUARD_STATE", place.root.join("state"))
            .env("TMPDIR", std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&errors).unwrap());
        let began = now();
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self {
            child,
            output,
            began,
            errors,
        }
    }

    /// Waits for the agent to speak.
    pub fn agent(&mut self) -> Agent {
        let line = self.line();
        let heard = now() - self.began;
        let (at, socket) = line.split_once(' ').unwrap();
        let socket = socket.to_owned();
        Agent {
            began: instant(at) - self.began,
            heard,
            socket,
        }
    }

    /// Waits for the agent and then for the end of it all; returns when the
    /// agent began.
    pub fn until_agent(mut self) -> Duration {
        let agent = self.agent();
        self.child.wait().unwrap();
        agent.began
    }

    /// Waits for the agent to have its conversation; returns when that was, and
    /// how many messages.
    pub fn conversation(&mut self) -> (Duration, usize) {
        let line = self.line();
        let (at, messages) = line.split_once(' ').unwrap();
        (instant(at) - self.began, messages.parse().unwrap())
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let said = || fs::read_to_string(&self.errors).unwrap_or_default();
        assert!(line.ends_with('\n'), "the agent said nothing: {}", said());
        line.trim_end_matches('\n').to_owned()
    }

    /// Reads how much memory the supervisor and the agent's guardian hold.
    pub fn memory(&self) -> Memory {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        let guardian = children
            .split_whitespace()
            .next()
            .and_then(|pid| pid.parse().ok());
        let megabytes = |pid: u32, field: &str| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            let kilobytes = line.split_whitespace().nth(1).unwrap();
            kilobytes.parse::<f64>().unwrap() / 1024.0
        };
        Memory {
            resident_mb: megabytes(pid, "VmRSS:"),
            peak_mb: megabytes(pid, "VmHWM:"),
            anonymous_mb: megabytes(pid, "RssAnon:"),
            guardian_mb: guardian.map_or(0.0, |pid| megabytes(pid, "VmRSS:")),
        }
    }

    /// Kills the supervisor and waits until its agent is gone with it.
    pub fn pull_the_plug(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        // The agent holds the other end of the pipe, until it is gone.
        let since = Instant::now();
        let _ = std::io::copy(&mut self.output, &mut std::io::sink());
        assert!(
            since.elapsed() < Duration::from_secs(20),
            "the agent stayed"
        );
    }
}

/// Resident memory, in megabytes of 2^20 bytes.
pub struct Memory {
    /// Of the supervisor, now.
    pub resident_mb: f64,
    /// Of the supervisor, at most.
    pub peak_mb: f64,
    /// Of the supervisor, without files such as the binary itself.
    pub anonymous_mb: f64,
    /// Of the guardian.
    pub guardian_mb: f64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resident_mb,
            peak_mb,
            anonymous_mb,
            guardian_mb,
        } = self;
        write!(
            f,
            "{resident_mb:.1} MB ({anonymous_mb:.1} MB of its own), at most {peak_mb:.1} MB; \
             its guardian {guardian_mb:.1} MB"
        )
    }
}
