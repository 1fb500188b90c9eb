//! A loop's end of the line protocol, as plain as one is; and its floor.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::floor::bare_journal;

/// Messages per turn and bytes per message, as in design.md §8.
pub const MESSAGES: usize = 2;
const MESSAGE_BYTES: usize = 2048;
/// Turns sent before their answers are read, while a run is made long.
const BATCH: usize = 32;

/// One connection, and how many turns went over it.
pub struct Link {
    wire: BufReader<UnixStream>,
    /// Turns so far.
    pub turns: usize,
}

impl Link {
    /// Connects to a supervisor.
    pub fn to(socket: &str) -> Self {
        Self::over(UnixStream::connect(socket).unwrap())
    }

    /// Connects to the floor: a thread that commits each frame with one insert,
    /// under the journal's pragmas, and answers it.
    pub fn bare(journal: &Path) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let journal = bare_journal(journal);
        std::thread::spawn(move || {
            let mut insert = journal.prepare("INSERT INTO t (body) VALUES (?1)").unwrap();
            let mut answers = theirs.try_clone().unwrap();
            for line in BufReader::new(theirs).lines() {
                insert.execute([line.unwrap()]).unwrap();
                answers.write_all(b"{\"result\":{}}\n").unwrap();
            }
        });
        Self::over(ours)
    }

    fn over(stream: UnixStream) -> Self {
        let wire = BufReader::new(stream);
        Self { wire, turns: 0 }
    }

    /// Sends one request and returns the line that answers it.
    pub fn ask(&mut self, method: &str, params: &str) -> String {
        self.send(&frame(method, params));
        self.answer()
    }

    /// Reports a call, then commits a turn; returns how long both took.
    pub fn turn(&mut self) -> Duration {
        let (report, turn) = (reported(self.turns), said(self.turns));
        self.turns += 1;
        let start = Instant::now();
        self.ask("report", &report);
        self.ask("turn", &turn);
        start.elapsed()
    }

    /// Makes the run longer by `count` turns, fast: many are on their way at once.
    pub fn make_longer(&mut self, count: usize) {
        let until = self.turns + count;
        while self.turns < until {
            let batch = self.turns..until.min(self.turns + BATCH);
            let frames: String = batch
                .clone()
                .map(|turn| frame("report", &reported(turn)) + &frame("turn", &said(turn)))
                .collect();
            self.send(&frames);
            for _ in batch.clone() {
                self.answer();
                self.answer();
            }
            self.turns = batch.end;
        }
    }

    fn send(&mut self, frames: &str) {
        self.wire.get_mut().write_all(frames.as_bytes()).unwrap();
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.wire.read_line(&mut line).unwrap();
        assert!(line.contains("\"result\":"), "refused: {line}");
        assert!(!line.contains("\"verdict\":\"stop\""), "stopped: {line}");
        line
    }
}

fn frame(method: &str, params: &str) -> String {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}\n")
}

/// Parameters of `report`: a call that reads another part of another file; each
/// tenth fails in words that no table knows, so that all of the classifier runs.
pub fn reported(turn: usize) -> String {
    if turn % 10 == 7 {
        return format!(
            r#"{{"tool":"bash","args":{{"command":"make room_{turn}"}},"result":"room_{turn}: the widget has no shape for {turn}\n","exit_code":2}}"#
        );
    }
    format!(
        r#"{{"tool":"bash","args":{{"command":"sed -n {turn}p src/file_{turn}.rs"}},"result":"let value_{turn} = {turn};\n","exit_code":0}}"#
    )
}

/// Parameters of `turn`: two messages and what they used.
pub fn said(turn: usize) -> String {
    let messages = ["assistant", "user"]
        .map(|role| message(role, turn))
        .join(",");
    format!(
        r#"{{"messages":[{messages}],"usage":{{"input_tokens":1200,"output_tokens":80,"cost_usd":0.0048}}}}"#
    )
}

fn message(role: &str, turn: usize) -> String {
    let mut body = format!(r#"{{"role":"{role}","content":"turn {turn} "#);
    let filling =
        (body.len()..MESSAGE_BYTES - 2).map(|at| (b'a' + ((at * 7 + turn) % 26) as u8) as char);
    body.extend(filling);
    body.push_str("\"}");
    body
}
