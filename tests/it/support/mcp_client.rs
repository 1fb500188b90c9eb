//! An MCP client that says what it is told, byte for byte, and keeps all it hears.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A process that speaks MCP, from its client's side.
pub struct Client {
    pub child: Child,
    stdin: Option<ChildStdin>,
    heard: Receiver<String>,
    /// Everything that came and was not what was waited for.
    pub besides: Vec<String>,
    next_id: u64,
}

impl Client {
    /// Starts it.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stdout = child.stdout.take().expect("it is piped");
        let (sender, heard) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            stdin: child.stdin.take(),
            child,
            heard,
            besides: Vec::new(),
            next_id: 100,
        }
    }

    /// Says a line.
    pub fn say(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("it was not closed");
        // One that is gone is noticed by what it does not say.
        let _ = stdin.write_all(format!("{line}\n").as_bytes());
        let _ = stdin.flush();
    }

    /// Waits for the next line.
    pub fn next(&mut self) -> Option<String> {
        self.heard.recv_timeout(PATIENCE).ok()
    }

    /// Waits for the first line that `is_it`; the others are kept.
    pub fn wait(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let read = |line: &String| serde_json::from_str(line).ok().filter(&is_it);
        // Answers come in any order.
        if let Some(place) = self.besides.iter().position(|line| read(line).is_some()) {
            let line = self.besides.remove(place);
            return read(&line).expect("it was just found");
        }
        loop {
            let Some(line) = self.next() else {
                let log = self.stderr();
                panic!(
                    "waited for {what}; besides: {:?}; stderr: {log}",
                    self.besides
                );
            };
            match serde_json::from_str(&line) {
                Ok(message) if is_it(&message) => return message,
                _ => self.besides.push(line),
            }
        }
    }

    /// Waits for the answer to `id`.
    pub fn answer(&mut self, id: &Value) -> Value {
        self.wait(&format!("the answer to {id}"), |it| {
            &it["id"] == id && it.get("method").is_none()
        })
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.next_id += 1;
        let id = json!(self.next_id);
        self.say(
            &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string(),
        );
        self.answer(&id)
    }

    /// Calls a tool; returns the result.
    pub fn call(&mut self, name: &str, args: &Value) -> Value {
        let answer = self.ask("tools/call", &json!({"name": name, "arguments": args}));
        assert!(answer.get("result").is_some(), "{answer}");
        answer["result"].clone()
    }

    /// Does the handshake.
    pub fn initialize(&mut self) -> Value {
        let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "test", "version": "1"}});
        let answer = self.ask("initialize", &hello);
        self.say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        answer["result"].clone()
    }

    /// Ends our side, and waits for the end; returns the exit code.
    pub fn end(&mut self) -> i32 {
        self.stdin = None;
        let status = self.child.wait().expect("a child of ours");
        status.code().unwrap_or(-1)
    }

    /// Returns what it said on stderr; waits for its end.
    pub fn stderr(&mut self) -> String {
        self.stdin = None;
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut text);
        }
        text
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text of a result.
pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}
