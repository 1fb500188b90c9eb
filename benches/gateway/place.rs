//! A sealed folder, the processes in it, and what they are told.

use std::fmt;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::load::{Cell, Seen};

const BINARY: &str = env!("CARGO_BIN_EXE_agentguard");
/// Arguments that make this benchmark one of its parts.
pub const LOAD: &str = "--load";
pub const STUB: &str = "--stub";
pub const RELAY: &str = "--relay";

/// A folder with a home and a journal, and a provider; gone when dropped.
pub struct Place {
    /// The folder.
    pub root: PathBuf,
    provider: Running,
}

/// A process; ended when dropped.
struct Running {
    child: Child,
    address: String,
}

/// Something that a model can be asked of.
pub struct Target {
    load: BufReader<TcpStream>,
    /// Kept for their drop, the last first.
    processes: Vec<Running>,
}

impl Place {
    /// Makes the folder and starts the provider.
    pub fn new() -> Self {
        let name = format!("agentguard-bench-{}-gateway", std::process::id());
        let root = std::env::temp_dir().join(name);
        fs::create_dir(&root).unwrap();
        let provider = server(&[STUB]);
        Self { root, provider }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server of this benchmark, which says its port.
fn server(arguments: &[&str]) -> Running {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut port = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut port).unwrap();
    let address = format!("127.0.0.1:{}", port.trim());
    Running { child, address }
}

impl Target {
    /// The provider itself.
    pub fn direct(place: &Place) -> Self {
        Self::of_server(&place.provider.address, vec![])
    }

    /// The bare relay before it.
    pub fn relay(place: &Place) -> Self {
        let relay = server(&[RELAY, &place.provider.address]);
        let address = relay.address.clone();
        Self::of_server(&address, vec![relay])
    }

    /// Agentguard before it: a run whose agent is the load.
    pub fn agentguard(place: &Place) -> Self {
        let control = TcpListener::bind("127.0.0.1:0").unwrap();
        let exe = std::env::current_exe().unwrap();
        let task = format!(
            "name: bench\n\
             agent: {{command: ['{}', {LOAD}, '{}'], grace: 1s}}\n\
             limits: {{cost_usd: 100000, steps: 100000000, deadline: 1h, idle: 1h}}\n",
            exe.display(),
            control.local_addr().unwrap()
        );
        fs::write(place.root.join("task.yaml"), task).unwrap();
        let errors = place.root.join("errors");
        let mut command = Command::new(BINARY);
        command
            .args(["run", "task.yaml", "--quiet"])
            .current_dir(&place.root)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &place.root)
            .env("AGENTGUARD_STATE", place.root.join("state"))
            .env("TMPDIR", std::env::temp_dir())
            .env(
                "ANTHROPIC_BASE_URL",
                format!("http://{}", place.provider.address),
            )
            .env("ANTHROPIC_API_KEY", "sk-bench-0123456789")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(errors).unwrap());
        let child = command.spawn().unwrap();
        let address = String::new();
        let (load, _) = control.accept().unwrap();
        Self {
            load: BufReader::new(load),
            processes: vec![Running { child, address }],
        }
    }

    fn of_server(address: &str, mut processes: Vec<Running>) -> Self {
        let control = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([LOAD, &control.local_addr().unwrap().to_string()])
            .env("ANTHROPIC_BASE_URL", format!("http://{address}"))
            .env("ANTHROPIC_API_KEY", "sk-bench-0123456789")
            .stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let address = String::new();
        processes.push(Running { child, address });
        let (load, _) = control.accept().unwrap();
        let load = BufReader::new(load);
        Self { load, processes }
    }

    /// Has the load do a cell.
    pub fn run(&mut self, cell: &Cell, time: Duration) -> Seen {
        writeln!(self.load.get_mut(), "{}", cell.to_line(time)).unwrap();
        let mut line = String::new();
        self.load.read_line(&mut line).unwrap();
        Seen::from_line(&line)
    }

    /// Reads how much memory its first process holds.
    pub fn memory(&self) -> Memory {
        let pid = self.processes[0].child.id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let megabytes = |field: &str| {
            let line = status.lines().find(|line| line.starts_with(field)).unwrap();
            let kilobytes = line.split_whitespace().nth(1).unwrap();
            kilobytes.parse::<f64>().unwrap() / 1024.0
        };
        Memory {
            resident_mb: megabytes("VmRSS:"),
            own_mb: megabytes("RssAnon:"),
            peak_mb: megabytes("VmHWM:"),
        }
    }
}

/// Resident memory, in megabytes of 2^20 bytes.
pub struct Memory {
    resident_mb: f64,
    /// Without files such as the binary itself.
    own_mb: f64,
    /// At most so far.
    pub peak_mb: f64,
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            resident_mb,
            own_mb,
            peak_mb,
        } = self;
        write!(
            f,
            "{resident_mb:.1} MB ({own_mb:.1} MB of its own), at most {peak_mb:.1} MB"
        )
    }
}
