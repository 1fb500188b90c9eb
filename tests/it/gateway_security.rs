//! The gateway against strangers: who gets in, what is let through, what a hostile
//! upstream can do, and that the keys are nowhere to be read.
//!
//! The agents here do nothing: they tell where the gateway is and wait, so that
//! the tests can be the agent, or somebody who is not.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::http_server::{Reply, Server};
use crate::support::{Ran, Sandbox, finish, wait_until};

/// The provider's key, and that of an upstream of the task file.
const KEY: &str = "sk-ant-planted-0123456789abcdef";
const OTHER_KEY: &str = "sk-other-planted-fedcba9876543210";
/// Somebody else on this machine.
const NOBODY: u32 = 65_534;
/// Most memory that a supervisor may ever have taken, in kB.
const MEMORY_KB_MAX: u64 = 120_000;

/// A run whose agent waits.
struct Run {
    sandbox: Sandbox,
    supervisor: Option<Child>,
    address: String,
    token: String,
    /// The agent.
    agent: u32,
}

impl Run {
    /// Starts one, with `rest` in its task file.
    fn start(upstream: &str, rest: &str) -> Self {
        Self::start_with(upstream, rest, &[], None, |_, _| {})
    }

    /// Starts one with more arguments and with a fault, of a `command` that was
    /// changed last.
    fn start_with(
        upstream: &str,
        rest: &str,
        args: &[&str],
        fault: Option<&str>,
        change: impl Fn(&Sandbox, &mut Command),
    ) -> Self {
        let sandbox = Sandbox::new();
        // `exec` would be another process than the one that is named.
        let script = "echo \"$ANTHROPIC_BASE_URL $ANTHROPIC_API_KEY $$\" > door.new\n\
                      mv door.new door; until [ -e leave ]; do sleep 0.02; done";
        let argv = json!(["sh", "-c", script]);
        sandbox.write(
            "task.yaml",
            &format!("agent: {{command: {argv}, protocol: gateway, grace: 1s}}\n{rest}"),
        );
        let mut command = sandbox.command(&[&["run", "task.yaml"], args].concat());
        command
            .env("ANTHROPIC_BASE_URL", upstream)
            .env("ANTHROPIC_API_KEY", KEY)
            .env("MY_KEY", OTHER_KEY)
            .env("RUST_LOG", "trace")
            .env("RUST_BACKTRACE", "full")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(fault) = fault {
            command.env("AGENTGUARD_FAULT", fault);
        }
        change(&sandbox, &mut command);
        let mut supervisor = command.spawn().expect("the binary starts");
        let door = sandbox.path().join("door");
        wait_until(30, "the agent", || {
            door.exists() || supervisor.try_wait().is_ok_and(|it| it.is_some())
        });
        let door = fs::read_to_string(door).expect("the agent tells where the gateway is");
        let words: Vec<&str> = door.split_whitespace().collect();
        Self {
            address: words[0].trim_start_matches("http://").to_owned(),
            token: words[1].to_owned(),
            agent: words[2].parse().expect("a process"),
            supervisor: Some(supervisor),
            sandbox,
        }
    }

    fn pid(&self) -> u32 {
        self.supervisor.as_ref().expect("it runs").id()
    }

    /// The supervisor, the guardian of its agent, and the agent.
    fn tree(&self) -> [u32; 3] {
        let status = fs::read_to_string(format!("/proc/{}/status", self.agent)).expect("it runs");
        let parent = status.lines().find_map(|it| it.strip_prefix("PPid:"));
        let guardian = parent.and_then(|it| it.trim().parse().ok());
        [self.pid(), guardian.expect("a parent"), self.agent]
    }

    /// Most memory that the supervisor has taken so far, in kB.
    fn memory_kb(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let most = status.lines().find_map(|it| it.strip_prefix("VmHWM:"));
        let most = most.and_then(|it| it.trim().strip_suffix(" kB"));
        most.and_then(|it| it.parse().ok()).expect("a number")
    }

    /// The head of a call of Messages that is let in.
    fn head(&self, more: &str) -> String {
        format!(
            "POST /v1/messages HTTP/1.1\r\nHost: {}\r\nx-api-key: {}\r\n{more}",
            self.address, self.token
        )
    }

    /// A good call, whole; every one is another.
    fn call(&self, is_stream: bool) -> Vec<u8> {
        let body = body(is_stream);
        let head = self.head("Connection: close\r\n");
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into()
    }

    /// Sends bytes, and reads until the gateway closes.
    fn send(&self, bytes: &[u8]) -> Answer {
        let Ok(mut stream) = TcpStream::connect(&self.address) else {
            return Answer::default();
        };
        // It may have refused long before the end.
        let _ = stream.write_all(bytes);
        Answer::read(stream)
    }

    /// Sends bytes and hangs up behind them.
    fn send_and_end(&self, bytes: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).expect("the gateway listens");
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        Answer::read(stream)
    }

    /// Lets the agent leave, and returns what the run printed.
    fn leave(&mut self) -> Ran {
        fs::write(self.sandbox.path().join("leave"), "").expect("a file");
        self.end()
    }

    fn end(&mut self) -> Ran {
        let supervisor = self.supervisor.take().expect("it runs");
        let output = supervisor.wait_with_output().expect("it ends");
        use std::os::unix::process::ExitStatusExt as _;
        let status = output.status;
        Ran {
            code: status.code().or(status.signal()).unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.kill();
            let _ = supervisor.wait();
        }
    }
}

/// What came back.
#[derive(Debug, Default)]
struct Answer {
    /// The status of every answer, in order.
    statuses: Vec<u16>,
    text: String,
}

impl Answer {
    fn read(mut stream: TcpStream) -> Self {
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a time");
        let mut bytes = Vec::new();
        // A reset is an end, too.
        let end = stream.read_to_end(&mut bytes);
        let is_late = end.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(!is_late, "the gateway does not close: {text}");
        let statuses = text.split("HTTP/1.1 ").skip(1);
        let statuses = statuses.filter_map(|it| it.get(..3)?.parse().ok());
        Self {
            statuses: statuses.collect(),
            text,
        }
    }

    fn status(&self) -> u16 {
        self.statuses.first().copied().unwrap_or(0)
    }
}

/// A request; every one is another.
fn body(is_stream: bool) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let words = format!("question {}", NEXT.fetch_add(1, Ordering::Relaxed));
    json!({"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": is_stream,
        "messages": [{"role": "user", "content": words}]})
    .to_string()
}

fn answer() -> String {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "Hello."}], "stop_reason": "end_turn",
        "usage": {"input_tokens": 10, "output_tokens": 10}})
    .to_string()
}

fn good(times: usize) -> Server {
    Server::start((0..times).map(|_| Reply::json(200, &answer())).collect())
}

/// Gives a folder to a user.
fn give(folder: &Path, user: u32) {
    let given = Command::new("chown")
        .arg("-R")
        .arg(user.to_string())
        .arg(folder)
        .status();
    assert!(given.is_ok_and(|it| it.success()), "chown");
}

/// Whether another user can be played here, who can reach the binary; says why not.
fn can_be_nobody() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    let reaches = || {
        let mut command = Command::new(crate::support::BINARY);
        command.arg("--version").stdout(Stdio::null());
        let ran = command.uid(NOBODY).gid(NOBODY).current_dir("/").status();
        ran.is_ok_and(|it| it.success())
    };
    let can = is_root && reaches();
    if !can {
        println!("left out: needs root, and a build that all users can reach");
    }
    can
}

#[test]
fn only_the_token_of_the_run_gets_in() {
    let upstream = good(5);
    let run = Run::start(&upstream.url(""), "");
    let other = Run::start(&upstream.url(""), "");
    let (token, address) = (run.token.as_str(), run.address.as_str());
    assert_ne!(token, other.token);
    let ask = |path: &str, header: &str| {
        let body = body(false);
        let header = match header {
            "" => String::new(),
            header => format!("{header}\r\n"),
        };
        run.send(
            format!(
                "POST {path} HTTP/1.1\r\nHost: {address}\r\n{header}Connection: close\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    };
    let path = "/v1/messages";
    assert_eq!(ask(path, "").status(), 401, "none");
    let wrong = [
        "guess".to_owned(),
        String::new(),
        "Bearer".to_owned(),
        other.token.clone(),
        token[..token.len() - 1].to_owned(),
        format!("{token}0"),
        token.to_uppercase(),
        format!("Bearer Bearer {token}"),
        format!("{token}, {token}"),
    ];
    for wrong in &wrong {
        for place in ["x-api-key: ", "Authorization: Bearer ", "x-goog-api-key: "] {
            let seen = ask(path, &format!("{place}{wrong}"));
            assert_eq!(seen.status(), 401, "{place}{wrong}: {seen:?}");
            assert!(!seen.text.contains(token), "{seen:?}");
        }
        if !wrong.contains(' ') {
            let seen = ask(&format!("{path}?key={wrong}"), "");
            assert_eq!(seen.status(), 401, "?key={wrong}: {seen:?}");
        }
    }
    for elsewhere in [
        format!("Cookie: key={token}"),
        format!("Proxy-Authorization: Bearer {token}"),
        format!("api-key: {token}"),
        format!("Authorization: Basic {token}"),
    ] {
        assert_eq!(ask(path, &elsewhere).status(), 401, "{elsewhere}");
    }
    assert_eq!(upstream.received().len(), 0, "nobody got through");
    for place in [
        "x-api-key: ",
        "Authorization: Bearer ",
        "Authorization: ",
        "x-goog-api-key: ",
    ] {
        assert_eq!(
            ask(path, &format!("{place}{token}")).status(),
            200,
            "{place}"
        );
    }
    assert_eq!(ask(&format!("{path}?beta=1&key={token}"), "").status(), 200);
    let received = upstream.received();
    assert_eq!(received.len(), 5);
    for request in received {
        let all = format!("{request:?}");
        assert!(!all.contains(token), "the token stays here: {all}");
        assert_eq!(request.header("x-api-key"), Some(KEY), "{all}");
    }
}

#[test]
fn only_our_own_names_are_answered_to() {
    let upstream = good(4);
    let run = Run::start(&upstream.url(""), "");
    let (_, port) = run.address.split_once(':').expect("a port");
    let ask = |target: &str, hosts: &[&str]| {
        let body = body(false);
        let hosts: String = hosts.iter().map(|it| format!("Host: {it}\r\n")).collect();
        let head = format!(
            "POST {target} HTTP/1.1\r\n{hosts}x-api-key: {}\r\nConnection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            run.token,
            body.len()
        );
        run.send(head.as_bytes()).status()
    };
    let path = "/v1/messages";
    let own = run.address.as_str();
    let strange = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        format!("127.0.0.1.evil.example:{port}"),
        format!("evil.example@127.0.0.1:{port}"),
        format!("127.0.0.1:{port}@evil.example"),
        format!("127.0.0.1:{port}.evil.example"),
        format!("[::1]:{port}"),
        format!("[::ffff:127.0.0.1]:{port}"),
        format!("0.0.0.0:{port}"),
        format!("2130706433:{port}"),
        format!("localhost.:{port}"),
        "127.0.0.1".to_owned(),
        "127.0.0.1:1".to_owned(),
        "localhost".to_owned(),
        format!("{own} evil.example"),
        format!("{own},evil.example"),
        String::new(),
    ];
    for host in &strange {
        assert_eq!(ask(path, &[host]), 401, "{host}");
    }
    assert_eq!(ask(path, &[]), 401, "no name");
    assert_eq!(ask(path, &[own, "evil.example"]), 401, "two names");
    assert_eq!(ask(path, &["evil.example", own]), 401, "two names");
    assert_eq!(ask(path, &[own, own]), 401, "twice the same name");
    let absolute = |name: &str| format!("http://{name}{path}");
    assert_eq!(ask(&absolute("evil.example"), &[own]), 401);
    assert_eq!(ask(&absolute(own), &["evil.example"]), 401);
    assert_eq!(ask(&absolute(&format!("u:p@{own}")), &[own]), 401);
    assert_eq!(
        ask(&absolute("api.anthropic.com"), &["api.anthropic.com"]),
        401
    );
    // A page that looks whether anybody is there learns nothing either.
    let probe = "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert_eq!(run.send(probe.as_bytes()).status(), 401);
    assert_eq!(upstream.received().len(), 0, "nobody got through");
    let local = format!("localhost:{port}");
    assert_eq!(ask(path, &[own]), 200);
    assert_eq!(ask(path, &[&local]), 200);
    assert_eq!(ask(&absolute(own), &[own]), 200);
    assert_eq!(ask(&absolute(&local), &[own]), 200);
}

#[test]
fn nothing_is_smuggled_past() {
    let run_of = |upstream: &Server| Run::start(&upstream.url(""), "");
    let upstream = good(40);
    let run = run_of(&upstream);
    let good = body(false);
    let length = good.len();
    let chunks = format!("{length:x}\r\n{good}\r\n0\r\n\r\n");
    // Behind the body of the first request stands another, without the token.
    let stowaway = format!(
        "POST /v1/messages HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{good}",
        run.address
    );
    let with = |headers: &str, body: &str| format!("{}{headers}\r\n{body}", run.head(""));
    #[rustfmt::skip]
    let rows = [
        // What, bytes, status of the first answer, requests at the upstream.
        ("both lengths, chunks first",    with(&format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", chunks.len() + stowaway.len()), &format!("{chunks}{stowaway}")), 200, 1),
        ("both lengths, chunks last",     with("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", &format!("{chunks}{stowaway}")), 200, 1),
        ("two lengths",                   with(&format!("Content-Length: {length}\r\nContent-Length: 0\r\n"), &good), 400, 0),
        ("two lengths in one",            with(&format!("Content-Length: {length}, 0\r\n"), &good), 400, 0),
        ("a length with a sign",          with(&format!("Content-Length: +{length}\r\n"), &good), 400, 0),
        ("a length below nothing",        with("Content-Length: -1\r\n", &good), 400, 0),
        ("a length in hex",               with("Content-Length: 0x10\r\n", &good), 400, 0),
        ("a length beyond all numbers",   with("Content-Length: 99999999999999999999\r\n", &good), 400, 0),
        ("a length as large as can be",   with(&format!("Content-Length: {}\r\n", u64::MAX), &good), 431, 0),
        ("an encoding nobody knows",      with("Transfer-Encoding: xchunked\r\n", &chunks), 400, 0),
        ("chunks that are not the last",  with("Transfer-Encoding: chunked, identity\r\n", &chunks), 400, 0),
        ("an encoding that is none",      with(&format!("Transfer-Encoding: identity\r\nContent-Length: {length}\r\n"), &good), 400, 0),
        ("chunks and then not",           with("Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", &chunks), 400, 0),
        ("a name with a blank",           with("Transfer-Encoding : chunked\r\n", &chunks), 400, 0),
        ("a folded line",                 with("X-A: b\r\n Transfer-Encoding: chunked\r\n", &chunks), 400, 0),
        ("a folded encoding",             with("Transfer-Encoding:\r\n chunked\r\n", &chunks), 400, 0),
        ("a NUL",                         with(&format!("X-A: b\0c\r\nContent-Length: {length}\r\n"), &good), 400, 0),
        ("a bare CR",                     with(&format!("X-A: b\rContent-Length: {length}\r\n"), &good), 400, 0),
        ("junk as a chunk's length",      with("Transfer-Encoding: chunked\r\n", "zz\r\nabc\r\n0\r\n\r\n"), 400, 0),
        ("a chunk's length beyond all",   with("Transfer-Encoding: chunked\r\n", "fffffffffffffffff\r\nabc\r\n0\r\n\r\n"), 400, 0),
        ("a chunk that is too long",      with("Transfer-Encoding: chunked\r\n", "1\r\nabc\r\n0\r\n\r\n"), 400, 0),
        ("HTTP/1.0 with chunks",          with("Transfer-Encoding: chunked\r\n", &chunks).replacen("HTTP/1.1", "HTTP/1.0", 1), 400, 0),
        ("another request behind it",     with(&format!("Content-Length: {length}\r\n"), &format!("{good}{stowaway}")), 200, 1),
        ("HTTP/2",                        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 400, 0),
        ("no HTTP",                       "\x16\x03\x01\x02\x00\x01\x00\x01\u{fc}\x03\x03".to_owned(), 400, 0),
        ("HTTP/0.9",                      "GET /v1/models\r\n\r\n".to_owned(), 400, 0),
    ];
    for (name, bytes, status, passed) in rows {
        let before = upstream.received().len();
        let seen = run.send(bytes.as_bytes());
        // What is no HTTP at all may be left without a word.
        let is_closed = status == 400 && seen.statuses.is_empty();
        assert!(is_closed || seen.status() == status, "{name}: {seen:?}");
        let mut rest = seen.statuses.iter().skip(1);
        assert!(rest.all(|it| matches!(it, 400 | 401)), "{name}: {seen:?}");
        let received = upstream.received();
        assert_eq!(received.len() - before, passed, "{name}");
        for request in &received[before..] {
            assert_eq!(request.body, good, "{name}: what was meant, and no more");
            assert_eq!(request.header("transfer-encoding"), None, "{name}");
            assert_eq!(
                request.head.matches("ontent-").count(),
                1,
                "{name}: {request:?}"
            );
        }
    }
    let before = upstream.received().len();
    for cut in [
        with(
            "Transfer-Encoding: chunked\r\n",
            &format!("{length:x}\r\n{good}"),
        ),
        with(&format!("Content-Length: {}\r\n", length + 1), &good),
        run.head("X-A: b"),
    ] {
        let status = run.send_and_end(cut.as_bytes()).status();
        assert!(matches!(status, 0 | 400), "{status}: {cut}");
    }
    assert_eq!(
        upstream.received().len(),
        before,
        "what was cut is no request"
    );
    // Two good requests on one connection are two.
    let two = [
        with(&format!("Content-Length: {length}\r\n"), &good).into_bytes(),
        run.call(false),
    ];
    let seen = run.send(&two.concat());
    assert_eq!(seen.statuses, [200, 200], "{seen:?}");
    let seen = run.send(&run.call(false));
    assert_eq!(seen.status(), 200, "still there: {seen:?}");
}

#[test]
fn only_known_paths_and_methods_lead_out() {
    let upstream = good(40);
    let run = Run::start(&upstream.url(""), "");
    let ask = |line: &str, headers: &str| {
        let body = body(false);
        let head = format!(
            "{line} HTTP/1.1\r\nHost: {}\r\nx-api-key: {}\r\n{headers}Connection: close\r\n\
             Content-Length: {}\r\n\r\n{body}",
            run.address,
            run.token,
            body.len()
        );
        run.send(head.as_bytes()).status()
    };
    for path in [
        "/v1/../messages",
        "/v1/./messages",
        "/v1/x/../../admin",
        "/v1/%2e%2e/messages",
        "/v1/models/..%2fusers",
        "/v1/models/%2e%2e/users",
        "/v1\\messages",
        "/v1/models/..\\users",
        "/v1/messages;x",
        "/v1/messages@evil.example",
        "/@evil.example/v1/messages",
        "/v1/organizations",
        "/v1/files",
        "/v1/messages/batches",
        "/v1/messages%00",
        "/",
        "/_script/ledger",
    ] {
        let status = ask(&format!("POST {path}"), "");
        assert!(matches!(status, 400 | 404), "POST {path}: {status}");
    }
    for target in [
        "@evil.example/v1/messages",
        "*",
        "v1/messages",
        "evil.example:443",
        "///",
    ] {
        let status = ask(&format!("POST {target}"), "");
        assert!(matches!(status, 400 | 401 | 404), "POST {target}: {status}");
    }
    for method in [
        "CONNECT", "TRACE", "OPTIONS", "PUT", "PATCH", "DELETE", "get", "PROPFIND",
    ] {
        let status = ask(&format!("{method} /v1/messages"), "");
        assert!(matches!(status, 400 | 401 | 404), "{method}: {status}");
    }
    let connect = format!("CONNECT {}", run.address);
    assert!(matches!(ask(&connect, ""), 400 | 404), "CONNECT to us");
    let upgrade = "Upgrade: websocket\r\n";
    assert_eq!(ask("GET /v1/responses", upgrade), 426);
    let upgrade = "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    assert_eq!(ask("POST /v1/messages", upgrade), 426);
    assert_eq!(upstream.received().len(), 0, "nothing led out");
}

#[test]
fn what_is_too_large_is_refused_without_being_kept() {
    const BODY_MAX: usize = agentguard::channel::gateway::wire::bounds::BODY_BYTES_MAX;
    let upstream = good(1);
    let run = Run::start(&upstream.url(""), "");
    let long = "a".repeat(200_000);
    let heads = [
        ("a long value", run.head(&format!("X-A: {long}\r\n\r\n"))),
        ("a long name", run.head(&format!("{long}: a\r\n\r\n"))),
        (
            "many headers",
            run.head(&format!("{}\r\n", "X-A: b\r\n".repeat(200))),
        ),
        ("no end", run.head(&"X-A: b\r\n".repeat(20_000))),
        (
            "a long address",
            run.head("\r\n").replacen("messages", &long, 1),
        ),
        ("a long method", long),
    ];
    for (name, head) in heads {
        let status = run.send(head.as_bytes()).status();
        assert!(matches!(status, 0 | 400 | 414 | 431), "{name}: {status}");
    }
    // A length that is never sent is refused at once.
    for length in [BODY_MAX + 1, usize::MAX / 4] {
        let seen = run.send(
            run.head(&format!("Content-Length: {length}\r\n\r\n"))
                .as_bytes(),
        );
        assert_eq!(seen.status(), 413, "{length}: {seen:?}");
    }
    // A stranger's body is not read at all.
    let token = format!("x-api-key: {}", run.token);
    let head = run.head(&format!("Content-Length: {BODY_MAX}\r\n\r\n"));
    let head = head.replace(&token, "x-api-key: guess");
    assert_eq!(run.send(head.as_bytes()).status(), 401);
    let before = run.memory_kb();
    // One that says no length is read as far as the bound.
    let mut stream = TcpStream::connect(&run.address).expect("the gateway listens");
    let head = run.head("Transfer-Encoding: chunked\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it reads");
    let megabyte = [b"100000\r\n", &vec![b' '; 1 << 20][..], b"\r\n"].concat();
    let mut sent = 0;
    while sent < 2 * BODY_MAX && stream.write_all(&megabyte).is_ok() {
        sent += 1 << 20;
    }
    assert!(sent < 2 * BODY_MAX, "it was not read to its end");
    let memory = run.memory_kb();
    assert!(memory < MEMORY_KB_MAX, "{before} and then {memory} kB");
    assert_eq!(upstream.received().len(), 0, "nothing of it went out");
    assert_eq!(run.send(&run.call(false)).status(), 200, "still there");
}

#[test]
fn strangers_who_hold_connections_keep_nobody_out() {
    let upstream = good(12);
    let run = Run::start(&upstream.url(""), "");
    let connect = || TcpStream::connect(&run.address).expect("the gateway listens");
    let ask = |what: &str| {
        let began = Instant::now();
        let seen = run.send(&run.call(false));
        assert_eq!(seen.status(), 200, "{what}: {seen:?}");
        assert!(began.elapsed() < Duration::from_secs(5), "{what}: at once");
    };
    let mut idle: Vec<TcpStream> = Vec::new();
    for number in 0..300 {
        let mut stream = connect();
        // Half of them say something, and never all of it.
        if number % 2 == 0 {
            let _ = stream.write_all(b"POST /v1/messages HTTP/1.1\r\nHost: a");
        }
        idle.push(stream);
    }
    ask("300 that are silent");
    for round in 0..5 {
        for stream in &mut idle {
            let _ = stream.write_all(b"b");
        }
        idle.extend((0..40).map(|_| connect()));
        ask(&format!("slow ones, round {round}"));
    }
    // Who has shown the token is not turned out for them.
    let mut kept = connect();
    let first = String::from_utf8(run.call(false)).expect("text");
    let first = first.replace("Connection: close\r\n", "");
    kept.write_all(first.as_bytes()).expect("it reads");
    let mut head = [0; 12];
    kept.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 200");
    idle.extend((0..300).map(|_| connect()));
    ask("300 more");
    kept.write_all(&run.call(false)).expect("it is still open");
    let rest = Answer::read(kept);
    assert_eq!(rest.status(), 200, "{rest:?}");
}

#[test]
fn it_listens_on_the_loopback_alone_and_needs_no_port_of_its_choice() {
    let upstream = good(0);
    let run = Run::start(&upstream.url(""), "");
    let (host, port) = run.address.split_once(':').expect("a port");
    assert_eq!(host, "127.0.0.1");
    let port = format!(":{:04X}", port.parse::<u16>().expect("a number"));
    let mut listening = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let Ok(table) = fs::read_to_string(table) else {
            continue;
        };
        let rows = table.lines().map(str::split_whitespace);
        let rows =
            rows.filter_map(|mut row| Some((row.nth(1)?.to_owned(), row.nth(1)?.to_owned())));
        let rows = rows.filter(|(local, state)| local.ends_with(&port) && state == "0A");
        listening.extend(rows.map(|(local, _)| local));
    }
    if listening.is_empty() {
        println!("left out: the system does not tell who listens");
        return;
    }
    assert_eq!(listening, [format!("0100007F{port}")]);
}

/// Runs a shell script as another user.
fn as_nobody(script: &str) -> Ran {
    let mut command = Command::new("bash");
    command.args(["-c", script]).current_dir("/");
    finish(command.uid(NOBODY).gid(NOBODY).stdin(Stdio::null()))
}

#[test]
fn another_user_of_the_machine_gets_nothing() {
    if !can_be_nobody() {
        return;
    }
    let upstream = good(1);
    let run = Run::start(&upstream.url(""), "");
    assert_eq!(run.send(&run.call(false)).status(), 200);
    let (host, port) = run.address.split_once(':').expect("a port");
    let ran = as_nobody(&format!(
        "exec 3<>/dev/tcp/{host}/{port}; printf 'POST /v1/messages HTTP/1.1\\r\\nHost: {host}:{port}\
         \\r\\nx-api-key: guess\\r\\nConnection: close\\r\\nContent-Length: 2\\r\\n\\r\\n{{}}' >&3; cat <&3"
    ));
    assert!(ran.stdout.starts_with("HTTP/1.1 401"), "{ran:?}");
    for process in run.tree() {
        let ran = as_nobody(&format!("cat /proc/{process}/environ /proc/{process}/mem"));
        assert!(ran.code != 0 && ran.stdout.is_empty(), "{ran:?}");
        let ran = as_nobody(&format!("cat /proc/{process}/cmdline"));
        assert!(!ran.stdout.contains(&run.token), "{ran:?}");
    }
    let state = run.sandbox.state();
    let ran = as_nobody(&format!("cat {0}/* {0}/*/* {0}/*/*/*", state.display()));
    assert_eq!(ran.stdout, "", "the state folder is its owner's");
    assert_eq!(upstream.received().len(), 1);
}

#[test]
fn the_agent_cannot_look_into_the_supervisor() {
    if !can_be_nobody() {
        return;
    }
    let upstream = good(0);
    let rest = "fallbacks: [{url: 'http://localhost:1', api: chat, key: '{env.MY_KEY}'}]\n";
    let run = Run::start_with(&upstream.url(""), rest, &[], None, |sandbox, command| {
        give(sandbox.path(), NOBODY);
        command.uid(NOBODY).gid(NOBODY);
    });
    let [supervisor, guardian, agent] = run.tree();
    // The agent can read its own, so the others were readable if we let them be.
    let own = as_nobody(&format!("tr '\\0' '\\n' </proc/{agent}/environ"));
    assert!(own.stdout.contains(&run.token), "{own:?}");
    assert!(!own.stdout.contains("planted"), "{own:?}");
    for file in ["environ", "mem", "maps", "auxv", "fd/0"] {
        let ran = as_nobody(&format!("head -c 1 /proc/{supervisor}/{file}"));
        assert!(ran.code != 0 && ran.stdout.is_empty(), "{file}: {ran:?}");
    }
    let ran = as_nobody(&format!("cat /proc/{guardian}/environ"));
    assert!(!ran.stdout.contains("planted"), "{ran:?}");
}

/// What a hostile upstream sends, once per connection.
type Wild = Box<dyn Fn(&mut TcpStream) -> std::io::Result<()> + Send + Sync>;

/// A server that does what no server does; returns its address and a count of
/// the requests that it saw.
fn wild(reply: Wild) -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let (count, reply) = (Arc::new(AtomicU32::new(0)), Arc::new(reply));
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (Ok(mut stream), reply, seen) = (stream, Arc::clone(&reply), Arc::clone(&seen))
            else {
                return;
            };
            std::thread::spawn(move || {
                let mut bytes = [0; 65_536];
                // Requests here are small, and come at once.
                if stream.read(&mut bytes).is_ok_and(|length| length > 0) {
                    seen.fetch_add(1, Ordering::Relaxed);
                    // The other side hangs up: that is what these tests are about.
                    let _ = reply(&mut stream);
                }
            });
        }
    });
    (format!("http://{address}"), count)
}

const EVENTS: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
const WHOLE: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n";

/// Sends a head, and then the same piece so many times.
fn flood(head: String, piece: Vec<u8>, times: usize, end: &'static str) -> Wild {
    Box::new(move |stream| {
        stream.write_all(head.as_bytes())?;
        for _ in 0..times {
            stream.write_all(&piece)?;
        }
        stream.write_all(end.as_bytes())
    })
}

#[test]
fn a_hostile_upstream_takes_neither_the_supervisor_nor_its_memory() {
    let start = "event: message_start\ndata: {\"type\": \"message_start\", \"message\": {\"id\": \"m\", \
                 \"role\": \"assistant\", \"model\": \"m\", \"content\": [], \"usage\": {\"input_tokens\": 1}}}\n\n\
                 event: content_block_start\ndata: {\"type\": \"content_block_start\", \"index\": 0, \
                 \"content_block\": {\"type\": \"text\", \"text\": \"\"}}\n\n";
    let delta = "event: content_block_delta\ndata: {\"type\": \"content_block_delta\", \"index\": 0, \
                 \"delta\": {\"type\": \"text_delta\", \"text\": \"x\"}}\n\n";
    let events = |more: &str| format!("{EVENTS}{more}");
    let digits = "9".repeat(1 << 18);
    let deep = "[".repeat(1 << 18);
    let megabyte = vec![b'a'; 1 << 20];
    let many = 1_024;
    #[rustfmt::skip]
    let rows: Vec<(&str, Wild)> = vec![
        ("a head of 1 GB",          flood("HTTP/1.1 200 OK\r\nX-A: ".to_owned(), megabyte.clone(), many, "")),
        ("headers without end",     flood("HTTP/1.1 200 OK\r\n".to_owned(), b"X-A: b\r\n".repeat(1 << 15), many, "")),
        ("a reason of 1 GB",        flood("HTTP/1.1 200 ".to_owned(), megabyte.clone(), many, "")),
        ("a body of 1 GB",          flood(WHOLE.to_owned(), megabyte.clone(), many, "")),
        ("an error of 1 GB",        flood(WHOLE.replace("200 OK", "500 No"), megabyte.clone(), many, "")),
        ("a length that is a lie",  flood(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", u64::MAX / 2), b"{}".to_vec(), 1, "")),
        ("an event of 1 GB",        flood(events("data: "), megabyte.clone(), many, "")),
        ("a comment of 64 MB",      flood(events(": "), megabyte.clone(), 64, "")),
        ("empty lines without end", flood(events(""), b"\n".repeat(1 << 16), 3, "")),
        ("10,000 words",            flood(events(start), delta.repeat(1_000).into_bytes(), 10, "")),
        ("100,000 empty frames",    flood(events(start), b"data: {}\n\n".repeat(1_000), 100, "")),
        ("no UTF-8",                flood(events(start), b"data: {\"type\": \"\xff\xfe\xc0\x80\"}\n\nevent: \xff\n\n\xff\xff\n".to_vec(), 1_000, "")),
        ("NUL bytes",               flood(events(start), b"data: \0\0\0\n\n\0".to_vec(), 1_000, "")),
        ("gigantic numbers",        flood(events(start), format!("data: {{\"type\": \"message_delta\", \"usage\": {{\"output_tokens\": {digits}}}}}\n\n").into_bytes(), 8, "data: {\"type\": \"message_stop\"}\n\n")),
        ("gigantic exponents",      flood(events(start), b"data: {\"type\": \"message_delta\", \"usage\": {\"output_tokens\": 1e999999999, \"input_tokens\": -1e400}}\n\n".to_vec(), 8, "data: {\"type\": \"message_stop\"}\n\n")),
        ("numbers of a whole body", flood(format!("{WHOLE}{{\"usage\": {{\"output_tokens\": {digits}}}, \"content\": ["), format!("{digits},").into_bytes(), 8, "1]}")),
        ("deep nesting",            flood(events(start), format!("data: {{\"type\": {deep}\n\n").into_bytes(), 4, "")),
        ("deep nesting, whole",     flood(WHOLE.to_owned(), deep.into_bytes(), 8, "")),
        ("indices beyond all",      flood(events(start), b"data: {\"type\": \"content_block_start\", \"index\": 18446744073709551615, \"content_block\": {\"type\": \"tool_use\"}}\n\n".to_vec(), 100, "")),
        ("a chunk beyond all",      flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(), b"a".to_vec(), 1, "")),
        ("100 Continue without end", flood(String::new(), b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1_000), 10, "")),
        ("no HTTP",                 flood(String::new(), b"\x16\x03\x01\x00".to_vec(), 100, "")),
        ("a status that is none",   flood("HTTP/1.1 999 Hm\r\nContent-Length: 0\r\n\r\n".to_owned(), vec![], 0, "")),
        ("a head with a NUL",       flood("HTTP/1.1 200 OK\r\nX-A: a\0b\r\n\r\n".to_owned(), vec![], 0, "")),
    ];
    let rest = "retry: {attempts: 1}\nbreaker: false\nlimits: {model_call_timeout: 4s}\n";
    let (turn, replies) = (Arc::<AtomicUsize>::default(), Arc::new(rows));
    let (at, of) = (Arc::clone(&turn), Arc::clone(&replies));
    let (upstream, count) = wild(Box::new(move |stream| {
        of[at.load(Ordering::SeqCst)].1(stream)
    }));
    let mut run = Run::start(&upstream, rest);
    for (number, (name, _)) in replies.iter().enumerate() {
        turn.store(number, Ordering::SeqCst);
        let before = count.load(Ordering::SeqCst);
        let is_stream = !name.contains("whole") && !name.contains("body");
        let seen = run.send(&run.call(is_stream));
        assert_ne!(seen.status(), 0, "{name}: {seen:?}");
        assert!(
            count.load(Ordering::SeqCst) > before,
            "{name}: it was asked"
        );
        let memory = run.memory_kb();
        assert!(memory < MEMORY_KB_MAX, "{name}: {memory} kB");
    }
    let ran = run.leave();
    assert!(!ran.stderr.contains("panicked"), "{ran:?}");
    assert!(ran.code < 64, "{ran:?}");
}

#[test]
fn no_redirect_is_followed_and_none_reaches_the_agent() {
    let elsewhere = Server::start(vec![Reply::json(200, &answer())]);
    for status in [301, 302, 303, 307, 308] {
        let head = vec![("Location", elsewhere.url("/v1/messages"))];
        let reply = || Reply::Answer(status, head.clone(), b"{}".to_vec());
        let upstream = Server::start((0..4).map(|_| reply()).collect());
        let run = Run::start(&upstream.url(""), "retry: {attempts: 1}\n");
        let models = run.head("Connection: close\r\n\r\n");
        let models = models.replacen("POST /v1/messages", "GET /v1/models", 1);
        let models = models.replacen("x-api-key", "anthropic-version: 1\r\nx-api-key", 1);
        for call in [run.call(false), run.call(true), models.into_bytes()] {
            let seen = run.send(&call);
            assert_ne!(seen.status(), 0, "{status}");
            assert!(!seen.text.contains("ocation:"), "{status}: {seen:?}");
            assert!(
                !seen.text.contains(&elsewhere.address()),
                "{status}: {seen:?}"
            );
        }
        assert_eq!(upstream.received()[0].header("x-api-key"), Some(KEY));
    }
    assert_eq!(elsewhere.received().len(), 0);
}

/// Every file below a folder that holds one of the keys.
fn files_with_keys(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files_with_keys(&path)),
            Ok(kind) if kind.is_file() => {
                let bytes = fs::read(&path).unwrap_or_default();
                let holds = |key: &str| bytes.windows(key.len()).any(|it| it == key.as_bytes());
                if holds(KEY) || holds(OTHER_KEY) {
                    found.push(path);
                }
            }
            _ => {}
        }
    }
    found
}

fn has_no_key(what: &str, text: &str) {
    for key in [KEY, OTHER_KEY] {
        assert!(!text.contains(key), "{what}: {text}");
    }
}

/// An upstream that tells everybody which keys there are: in the body, a
/// header and, where it is to be a stream, an event.
fn chatterbox(status: u16, is_stream: bool) -> (String, Arc<AtomicU32>) {
    let told = format!("wrong keys {KEY} and Bearer {OTHER_KEY}");
    let error = json!({"type": "error", "error": {"type": "api_error", "message": told}});
    let head = format!("HTTP/1.1 {status} No\r\nX-Debug: {told}\r\nConnection: close\r\n");
    let reply = match is_stream {
        true => format!(
            "{head}Content-Type: text/event-stream\r\n\r\n: {told}\n\nevent: error\ndata: {error}\n\n"
        ),
        false => format!("{head}Content-Type: application/json\r\n\r\n{error}"),
    };
    wild(flood(reply, vec![], 0, ""))
}

/// What both keys are planted in, and everything that could show them.
fn planted(name: &str, upstream: &str, second: &str, args: &[&str], faults: &[&str]) {
    let rest = format!(
        "limits: {{cost_usd: 1}}\nretry: {{attempts: 2, base: 1ms}}\nfallbacks:\n  \
         - {{url: '{second}/v1', api: chat, key: '{{env.MY_KEY}}', model: gpt-5-mini, level: other}}\n"
    );
    for fault in std::iter::once(None).chain(faults.iter().copied().map(Some)) {
        let mut run = Run::start_with(upstream, &rest, args, fault, |_, _| {});
        let [supervisor, guardian, agent] = run.tree();
        for process in [supervisor, guardian, agent] {
            let shown = |file: &str| {
                let bytes = fs::read(format!("/proc/{process}/{file}")).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            has_no_key(name, &shown("cmdline"));
            if process != supervisor {
                has_no_key(name, &shown("environ"));
            }
        }
        for is_stream in [false, true] {
            has_no_key(name, &run.send(&run.call(is_stream)).text);
        }
        let models = run.head("Connection: close\r\n\r\n");
        let models = models.replacen("POST /v1/messages", "GET /v1/models", 1);
        let models = models.replacen("x-api-key", "anthropic-version: 1\r\nx-api-key", 1);
        has_no_key(name, &run.send(models.as_bytes()).text);
        let ran = run.leave();
        has_no_key(name, &format!("{ran:?}"));
        assert_eq!(ran.code == 9, fault.is_some(), "{name}, {fault:?}: {ran:?}");
        for command in [
            &["show", "latest"][..],
            &["show", "latest", "--json"],
            &["why", "latest"],
            &["logs", "latest"],
        ] {
            has_no_key(name, &format!("{:?}", run.sandbox.run(command)));
        }
        let found = files_with_keys(run.sandbox.path());
        assert_eq!(found, Vec::<PathBuf>::new(), "{name}, {fault:?}");
        let folder = fs::metadata(run.sandbox.state()).expect("a folder");
        assert_eq!(folder.permissions().mode() & 0o077, 0, "for its owner only");
    }
}

#[test]
fn keys_are_nowhere_to_be_read() {
    let faults = ["turn_reported.before_save:1", "turn_reported.after_save:1"];
    for status in [401, 500] {
        let ((first, asked), (second, also)) = (chatterbox(status, false), chatterbox(400, false));
        planted("errors that repeat the key", &first, &second, &[], &faults);
        assert!(asked.load(Ordering::Relaxed) > 0);
        assert!(also.load(Ordering::Relaxed) > 0, "the fallback was asked");
    }
    let ((first, _), (second, _)) = (chatterbox(200, true), chatterbox(200, true));
    planted(
        "events that repeat the key",
        &first,
        &second,
        &["--json"],
        &[],
    );
    let closed = TcpListener::bind("127.0.0.1:0").expect("a port");
    let nobody = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    planted("nobody is there", &nobody, &nobody, &[], &faults[..1]);
    let named = nobody.replace("http://", &format!("http://user:{OTHER_KEY}@"));
    planted(
        "a password in the address",
        &named,
        &nobody,
        &["--json"],
        &[],
    );
}
