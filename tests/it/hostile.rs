//! Runs in bad company: agents that speak badly, disks that fill up, journals
//! that others hold. Each has a clear end, and nothing that was stored is lost.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::tmpfs::Tmpfs;
use crate::support::{Sandbox, wait_until};

/// Runs this test binary's `name` as the agent of a run.
fn agent(name: &str, rest: &str) -> Sandbox {
    let sandbox = Sandbox::new();
    let command = json!([
        std::env::current_exe().expect("this test binary"),
        "--exact",
        format!("hostile::{name}"),
        "--ignored",
        "--nocapture"
    ]);
    sandbox.write(
        "task.yaml",
        &format!("agent: {{command: {command}}}\n{rest}"),
    );
    sandbox
}

/// A connection to the supervisor above this process.
struct Line(BufReader<UnixStream>);

impl Line {
    /// `None` outside a run.
    fn open() -> Option<Self> {
        let path = std::env::var_os("AGENTGUARD_SOCKET")?;
        let stream = UnixStream::connect(path).expect("the supervisor listens");
        let patience = Some(Duration::from_secs(30));
        stream.set_read_timeout(patience).expect("a timeout");
        Some(Self(BufReader::new(stream)))
    }

    /// Sends bytes; a supervisor that has hung up is no failure.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self.0.get_mut().write_all(bytes);
    }

    /// Reads one answer; `None` when the supervisor has hung up.
    fn answer(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(serde_json::from_str(&line).expect("an answer is JSON")),
        }
    }

    fn ask(&mut self, frame: &str) -> Value {
        self.send(format!("{frame}\n").as_bytes());
        self.answer().expect("an answer")
    }

    fn turn(&mut self, said: &str) -> Value {
        let message = json!({"role": "assistant", "content": said});
        let params = json!({"messages": [message]});
        let frame = json!({"jsonrpc": "2.0", "id": 1, "method": "turn", "params": params});
        let answer = self.ask(&frame.to_string());
        answer["result"]["step"].clone()
    }
}

const DONE: &str = r#"{"jsonrpc":"2.0","id":9,"method":"turn","params":{"done":true}}"#;

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_that_speaks_badly() {
    let (Some(mut good), Some(mut bad)) = (Line::open(), Line::open()) else {
        return;
    };
    assert_eq!(good.turn("one"), 1);
    // Garbage is told so, and the same connection still works.
    for (line, code) in [
        ("no json", -32700),
        (r#"{"jsonrpc":"2.0","id":1,"method":"trun"}"#, -32601),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"turn","params":{"mesages":[]}}"#,
            -32602,
        ),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"state"}]"#, -32600),
    ] {
        assert_eq!(bad.ask(line)["error"]["code"], code, "{line}");
    }
    bad.send(b"\xff\xfe\x00 not text\n");
    assert_eq!(bad.answer().expect("an answer")["error"]["code"], -32700);
    // A hundred megabytes without an end of line, while the other one works.
    let block = vec![b'x'; 1 << 20];
    for megabyte in 0..100 {
        bad.send(&block);
        if megabyte % 25 == 0 {
            assert_eq!(good.turn("meanwhile"), 2 + megabyte / 25);
        }
    }
    bad.send(b"\n");
    let refused = bad.answer().expect("an answer")["error"]["code"].clone();
    assert_eq!(refused, -32001, "too long");
    // Half a turn, then gone: it did not happen.
    bad.send(br#"{"jsonrpc":"2.0","id":1,"method":"turn","params":{"mess"#);
    drop(bad);
    // A flood whose answers nobody reads.
    let flood = Line::open().expect("within a run");
    let state = b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"state\"}\n".repeat(2000);
    let told = flood.0.get_ref().try_clone().expect("a second handle");
    let sender = std::thread::spawn(move || (&told).write_all(&state));
    assert_eq!(good.turn("under a flood"), 6);
    drop(flood);
    let _ = sender.join();
    // More connections than are allowed, and silence on all of them.
    let silent: Vec<_> = (0..200)
        .filter_map(|_| UnixStream::connect(std::env::var_os("AGENTGUARD_SOCKET")?).ok())
        .collect();
    assert_eq!(good.turn("among the silent"), 7);
    drop(silent);
    let supervisor = std::fs::read_to_string(format!(
        "/proc/{}/status",
        std::fs::read_to_string("supervisor")
            .expect("the test wrote it")
            .trim()
    ))
    .expect("it is alive");
    let peak = supervisor.lines().find(|line| line.starts_with("VmHWM"));
    let peak: u64 = peak
        .and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .expect("the kernel says it");
    assert!(peak < 150 << 10, "the supervisor took {peak} KB");
    assert!(good.ask(DONE)["error"].is_null());
}

#[test]
fn an_agent_that_speaks_badly_hurts_nobody_else() {
    let sandbox = agent("an_agent_that_speaks_badly", "");
    let run = sandbox
        .command(&["run", "task.yaml"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the binary starts");
    sandbox.write("supervisor", &run.id().to_string());
    let ended = run.wait_with_output().expect("it ends");
    let log = sandbox.run(&["logs", "latest"]).stdout;
    assert_eq!(ended.status.code(), Some(0), "{ended:?}\n{log}");
    let report = sandbox.report();
    assert_eq!(report["completed_steps"], 8, "{report}");
    assert_eq!(sandbox.run(&["why", "latest"]).code, 0);
}

#[test]
#[ignore = "the agent of the test below"]
fn an_agent_that_hangs_up() {
    let Some(mut line) = Line::open() else { return };
    assert_eq!(line.turn("one"), 1);
    line.0
        .get_ref()
        .shutdown(std::net::Shutdown::Write)
        .expect("it is open");
    let mut rest = String::new();
    line.0
        .read_to_string(&mut rest)
        .expect("the supervisor closes its side");
    // And exits 0 without having said that it was done.
}

#[test]
fn an_agent_that_hangs_up_and_leaves_is_not_done() {
    let sandbox = agent("an_agent_that_hangs_up", "");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("without saying that it was done"),
        "{ran:?}"
    );
}

/// 60 turns of 60 KB, one after the other.
const BIG_TURNS: &str = "agent:
  script: |
    big=$(head -c 45000 /dev/urandom | base64 -w0)
    for i in $(seq 1 60); do
      agentguard turn --role assistant --content \"$i $big\" --cost-usd 0.01 || exit 9
    done
    agentguard turn --done
";

#[test]
fn a_disk_that_fills_up_costs_no_stored_turn() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.state()).expect("a folder");
    let Some(disk) = Tmpfs::mount(&sandbox.state(), "size=2m") else {
        return;
    };
    sandbox.write("task.yaml", BIG_TURNS);
    let full = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(full.code, 70, "{full:?}");
    assert!(
        full.stderr.contains("no space left") && full.stderr.contains("agentguard resume"),
        "{full:?}"
    );
    let stored = sandbox.report()["completed_steps"]
        .as_u64()
        .expect("a number");
    assert!((1..60).contains(&stored), "{stored}");
    let still = sandbox.run(&["resume", "latest"]);
    assert_eq!(still.code, 70, "{still:?}");
    disk.remount("size=64m");
    let ran = sandbox.run(&["resume", "latest"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    // The script knows nothing of the first attempt and does all of its turns again.
    assert_eq!(sandbox.report()["completed_steps"], stored + 61);
    drop(disk);
}

#[test]
fn a_disk_that_cannot_be_written_is_said_before_anything_starts() {
    let sandbox = Sandbox::new();
    std::fs::create_dir_all(sandbox.state()).expect("a folder");
    let Some(disk) = Tmpfs::mount(&sandbox.state(), "size=8m") else {
        return;
    };
    sandbox.write(
        "task.yaml",
        "agent: {script: \"touch started; agentguard turn --done\"}\n",
    );
    disk.remount("ro");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 70, "{ran:?}");
    assert!(ran.stderr.contains("AGENTGUARD_STATE"), "{ran:?}");
    assert!(
        !sandbox.path().join("started").exists(),
        "nothing was started"
    );
    drop(disk);
}

#[test]
fn a_journal_held_by_another_program_is_waited_for_and_then_said() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "agent: {script: \"touch started; agentguard turn --done\"}\n",
    );
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    std::fs::remove_file(sandbox.path().join("started")).expect("it was started");
    let other =
        rusqlite::Connection::open(sandbox.state().join("journal.db")).expect("it is there");
    other
        .execute_batch("BEGIN EXCLUSIVE")
        .expect("nobody else has it");
    let ran = sandbox.run(&["run", "task.yaml"]);
    assert_eq!(ran.code, 70, "{ran:?}");
    assert!(
        ran.stderr.contains("locked") && ran.stderr.contains("fuser"),
        "{ran:?}"
    );
    assert!(
        !sandbox.path().join("started").exists(),
        "nothing was started"
    );
    other.execute_batch("ROLLBACK").expect("it was begun");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
}

#[test]
fn a_newer_journal_is_left_alone() {
    let sandbox = Sandbox::new();
    sandbox.write("task.yaml", "agent: {script: \"agentguard turn --done\"}\n");
    assert_eq!(sandbox.run(&["run", "task.yaml"]).code, 0);
    let file = sandbox.state().join("journal.db");
    let newer = rusqlite::Connection::open(&file).expect("it is there");
    newer
        .execute_batch("PRAGMA user_version = 9999; PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("it can be written");
    drop(newer);
    let before = std::fs::read(&file).expect("it can be read");
    for command in [&["run", "task.yaml"][..], &["runs"], &["resume", "latest"]] {
        let ran = sandbox.run(command);
        assert_eq!(ran.code, 70, "{command:?}: {ran:?}");
        assert!(
            ran.stderr.contains("has schema 9999") && ran.stderr.contains("upgrade"),
            "{command:?}: {ran:?}"
        );
    }
    assert_eq!(std::fs::read(&file).expect("it can be read"), before);
}

#[test]
fn one_run_has_one_supervisor() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "task.yaml",
        "agent: {script: \"agentguard turn; touch started; sleep 60\", grace: 1s}\n",
    );
    let mut first = sandbox
        .command(&["run", "task.yaml"])
        .spawn()
        .expect("the binary starts");
    wait_until(30, "the agent", || sandbox.path().join("started").exists());
    let second = sandbox.run(&["resume", "latest"]);
    assert_ne!(second.code, 0, "{second:?}");
    assert!(
        second.stderr.contains(&first.id().to_string()),
        "names the holder: {second:?}"
    );
    assert_eq!(sandbox.run(&["stop", "latest"]).code, 0);
    assert_eq!(first.wait().expect("it ends").code(), Some(143));
}
