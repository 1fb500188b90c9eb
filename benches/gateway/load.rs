//! The load: agents whose conversations grow, one call behind the other.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::table::quantile;
use crate::wire::{Wire, find};

/// Turns after which an agent with a short history begins another conversation.
const TURNS_MAX: usize = 10;
/// Length of a message in a long history.
const MESSAGE_BYTES: usize = 1024;

/// What is asked of a target.
pub struct Cell {
    /// Agents that ask at once, each with a connection of its own.
    pub at_once: usize,
    /// What their conversations begin with.
    pub history_bytes: usize,
    /// Answers come as events.
    pub is_stream: bool,
}

/// What came of a cell.
#[derive(Default)]
pub struct Seen {
    took: Duration,
    ends: Vec<Duration>,
    firsts: Vec<Duration>,
}

impl Seen {
    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.ends.len() as f64 / self.took.as_secs_f64()
    }

    /// Time to the end of an answer.
    pub fn end(&self, at: f64) -> Duration {
        quantile(&self.ends, at)
    }

    /// Time to the first words of an answer.
    pub fn first(&self, at: f64) -> Duration {
        quantile(&self.firsts, at)
    }

    /// Keeps the round in which more was answered.
    pub fn keep_better(&mut self, other: Self) {
        if self.ends.is_empty() || other.per_second() > self.per_second() {
            *self = other;
        }
    }

    /// Reads what [`agent`] wrote.
    pub fn from_line(line: &str) -> Self {
        let seen: Value = serde_json::from_str(line).expect("a line of figures");
        assert_eq!(seen["bad"], json!(null), "the target answered badly");
        let times = |name: &str| {
            let times = seen[name].as_array().unwrap().iter();
            times
                .map(|time| Duration::from_nanos(time.as_u64().unwrap()))
                .collect()
        };
        Self {
            took: Duration::from_nanos(seen["took"].as_u64().unwrap()),
            ends: times("ends"),
            firsts: times("firsts"),
        }
    }
}

impl Cell {
    /// Writes what [`agent`] reads.
    pub fn to_line(&self, time: Duration) -> String {
        let Self {
            at_once,
            history_bytes,
            is_stream,
        } = self;
        json!({"at_once": at_once, "bytes": history_bytes, "stream": is_stream, "ms": time.as_millis()})
            .to_string()
    }
}

/// What one turn brings that is new, as it is stored.
pub fn turn_text(number: usize) -> String {
    user(number, 0)
        + &assistant(&format!(
            "Answer {number}: the file has been read, and its next part is due."
        ))
}

/// The agent: does what it is told at `control`, of the model it finds in its
/// environment as agents do.
pub fn agent(control: &str) -> ExitCode {
    let mut told = BufReader::new(TcpStream::connect(control).unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut conversations = 0;
    let mut line = String::new();
    while told.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        let asked: Value = serde_json::from_str(&line).unwrap();
        let cell = Cell {
            at_once: asked["at_once"].as_u64().unwrap() as usize,
            history_bytes: asked["bytes"].as_u64().unwrap() as usize,
            is_stream: asked["stream"] == json!(true),
        };
        let time = Duration::from_millis(asked["ms"].as_u64().unwrap());
        let seen = runtime.block_on(run(&cell, time, conversations));
        conversations += 1_000_000;
        writeln!(told.get_mut(), "{seen}").unwrap();
        line.clear();
    }
    ExitCode::SUCCESS
}

async fn run(cell: &Cell, time: Duration, first: usize) -> Value {
    let start = Instant::now();
    let until = start + time;
    let agents: Vec<_> = (0..cell.at_once)
        .map(|number| {
            tokio::spawn(talk(
                first + number * 10_000,
                cell.history_bytes,
                cell.is_stream,
                until,
            ))
        })
        .collect();
    let (mut ends, mut firsts, mut bad) = (vec![], vec![], None);
    for agent in agents {
        match agent.await.unwrap() {
            Ok((its_ends, its_firsts)) => {
                ends.extend(its_ends);
                firsts.extend(its_firsts);
            }
            Err(why) => bad = Some(why),
        }
    }
    json!({"took": start.elapsed().as_nanos() as u64, "ends": ends, "firsts": firsts, "bad": bad})
}

/// One agent. Returns the times of its calls in nanoseconds: to the end and, of a
/// stream, to the first words.
async fn talk(
    mut conversation: usize,
    history_bytes: usize,
    is_stream: bool,
    until: Instant,
) -> Result<(Vec<u64>, Vec<u64>), String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let (base, key) = (
        variable("ANTHROPIC_BASE_URL"),
        variable("ANTHROPIC_API_KEY"),
    );
    let address = base.trim_start_matches("http://").to_owned();
    let stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let mut wire = Wire::new(stream);
    let (mut ends, mut firsts) = (vec![], vec![]);
    while Instant::now() < until {
        conversation += 1;
        let mut messages = history(conversation, history_bytes);
        for turn in 0.. {
            if Instant::now() >= until || history_bytes == 0 && turn == TURNS_MAX {
                break;
            }
            messages += &user(conversation, turn);
            let request = request(&address, &key, is_stream, &messages);
            let start = Instant::now();
            let mut first = None;
            wire.send(&request)
                .await
                .map_err(|error| error.to_string())?;
            let answered = wire.message(|body| {
                if is_stream && first.is_none() && find(body, b"text_delta").is_some() {
                    first = Some(start.elapsed());
                }
            });
            let (head, body) = match answered.await {
                Ok(Some(answer)) => answer,
                Ok(None) => return Err("the connection ended".to_owned()),
                Err(error) => return Err(error.to_string()),
            };
            ends.push(start.elapsed().as_nanos() as u64);
            firsts.extend(first.map(|first| first.as_nanos() as u64));
            let said = words(&body);
            if !head.contains(" 200 ") || said.is_empty() {
                return Err(format!("{head}{}", String::from_utf8_lossy(&body)));
            }
            messages += &assistant(&said);
        }
    }
    Ok((ends, firsts))
}

fn request(address: &str, key: &str, is_stream: bool, messages: &str) -> Vec<u8> {
    let stream = if is_stream { r#""stream":true,"# } else { "" };
    let start = format!(r#"{{"model":"claude-sonnet-4-5","max_tokens":1024,{stream}"messages":["#);
    let messages = messages.trim_end_matches(',');
    let body_bytes = start.len() + messages.len() + 2;
    let mut request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: {address}\r\nx-api-key: {key}\r\nanthropic-version: 2023-06-01\r\n\
         content-type: application/json\r\nuser-agent: bench\r\ncontent-length: {body_bytes}\r\n\r\n{start}"
    );
    request += messages;
    request += "]}";
    request.into_bytes()
}

/// All texts of an answer, plain or of a stream.
fn words(body: &[u8]) -> String {
    let body = String::from_utf8_lossy(body);
    let texts = body.split(r#""text":""#).skip(1);
    texts.filter_map(|text| text.split('"').next()).collect()
}

fn user(conversation: usize, turn: usize) -> String {
    format!(
        r#"{{"role":"user","content":"Conversation {conversation}, turn {turn}: read the next part of the file, please."}},"#
    )
}

fn assistant(said: &str) -> String {
    format!(r#"{{"role":"assistant","content":[{{"type":"text","text":"{said}"}}]}},"#)
}

fn history(conversation: usize, bytes: usize) -> String {
    let mut messages = String::with_capacity(bytes + 64 * 1024);
    let filling = "The quick brown fox jumps over the lazy dog, and reads another file. ";
    for number in 0.. {
        if messages.len() >= bytes {
            break;
        }
        let text = filling.repeat(MESSAGE_BYTES / 2 / filling.len());
        let role = if number % 2 == 0 { "user" } else { "assistant" };
        messages +=
            &format!(r#"{{"role":"{role}","content":"{conversation}.{number} {text}{text}"}},"#);
    }
    messages
}
