//! What stands in for a guarded tool in a drill.
//!
//! A tool of the task is replaced by this binary, started as the tool would be:
//! a real process with real output, so that the guard around it is the real one.
//! It does nothing to the world but write a line into a ledger, which tells
//! afterwards how often its effect would have happened.
//!
//! What it does comes from a [`Plan`] beside the ledger.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Name of the plan within the folder of a rehearsal.
pub const PLAN: &str = "tools.json";

/// Name of the ledger beside it.
pub const LEDGER: &str = "ledger.jsonl";

/// How the tools of a rehearsal behave.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// By the tool's name.
    pub tools: BTreeMap<String, StandIn>,
}

/// How one tool behaves.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StandIn {
    /// What it prints when nothing is wrong.
    pub answer: String,
    /// What it was seen to answer in a past run, by its arguments.
    #[serde(default)]
    pub recorded: Vec<(Value, String)>,
    /// Whether it recognises a repeated idempotency key.
    #[serde(default)]
    pub knows_keys: bool,
    /// Whether it is handed many items at once.
    #[serde(default)]
    pub takes_many: bool,
    /// What goes wrong.
    #[serde(default)]
    pub fault: Option<ToolFault>,
}

/// What goes wrong with a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolFault {
    /// In how many tries, from the first.
    pub times: u32,
    /// How.
    pub how: How,
}

/// How a tool goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Its server refuses the connection.
    Refused,
    /// Its server limits the rate.
    RateLimit,
    /// Its key is not accepted.
    Unauthorized,
    /// It answers with something that is not what was asked for.
    Garbage,
    /// It wants a human to approve.
    Approval,
    /// It did its work and does not come back.
    Hangs,
    /// It did one part of its work and not the other.
    Partly,
}

impl How {
    /// Whether the effect happens all the same.
    fn has_effect(self) -> bool {
        matches!(self, Self::Hangs | Self::Garbage | Self::Partly)
    }
}

/// A line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// The tool.
    pub tool: String,
    /// The idempotency key it was given.
    pub key: Option<String>,
    /// The arguments.
    pub args: Value,
    /// Whether its effect happened; else it was a try that failed, or a
    /// repetition that it recognised.
    pub effect: bool,
    /// Whether it is the first item of a call that carries many.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub first: bool,
}

/// What the stand-in does as a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Act {
    /// For stdout.
    pub out: String,
    /// For stderr.
    pub err: String,
    /// How long it stays before it ends.
    pub stays: Duration,
    /// Its exit code.
    pub code: u8,
}

/// Plays `tool` once.
///
/// - `folder`: where plan and ledger are.
///
/// Errors: the plan cannot be read, the ledger cannot be written.
pub fn play(folder: &Path, tool: &str, key: Option<String>, args: Value) -> io::Result<Act> {
    let plan = read_plan(folder)?;
    let Some(stand_in) = plan.tools.get(tool) else {
        return Err(io::Error::other(format!("the plan has no tool `{tool}`")));
    };
    let lines = read_ledger(folder)?;
    if stand_in.takes_many {
        return play_many(folder, tool, stand_in, &lines, &args);
    }
    let tries = lines.iter().filter(|line| line.tool == tool).count();
    let fault = stand_in.fault.as_ref();
    let fault = fault.filter(|fault| tries < fault.times as usize);
    let is_known = stand_in.knows_keys
        && key.is_some()
        && lines.iter().any(|line| line.effect && line.key == key);
    let effect = fault.is_none_or(|fault| fault.how.has_effect()) && !is_known;
    let line = Line {
        tool: tool.to_owned(),
        key,
        args: args.clone(),
        effect,
        first: false,
    };
    write_line(folder, &line)?;
    Ok(match fault {
        Some(fault) => wrong(fault.how),
        None => Act {
            out: stand_in.answer_to(&args).to_owned(),
            ..Act::default()
        },
    })
}

/// Plays a tool once that is handed many items; each has a line of its own.
fn play_many(
    folder: &Path,
    tool: &str,
    stand_in: &StandIn,
    lines: &[Line],
    args: &Value,
) -> io::Result<Act> {
    let text = |item: &Value, name: &str| item.get(name).and_then(Value::as_str).map(str::to_owned);
    let items = args.get("items").and_then(Value::as_array);
    let items = items.map(Vec::as_slice).unwrap_or_default();
    // A time is a call, whatever it carries: its first item says when it began.
    let calls = lines
        .iter()
        .filter(|it| it.tool == tool && it.first)
        .count();
    let fault = stand_in.fault.as_ref();
    let fault = fault.filter(|fault| calls < fault.times as usize);
    let done = match fault.map(|fault| fault.how) {
        Some(How::Partly) => items.len() / 2,
        Some(how) if !how.has_effect() => 0,
        _ => items.len(),
    };
    let mut results = Vec::with_capacity(items.len());
    for (place, item) in items.iter().enumerate() {
        let key = text(item, "key");
        let is_known = stand_in.knows_keys
            && key.is_some()
            && lines.iter().any(|line| line.effect && line.key == key);
        let line = Line {
            tool: tool.to_owned(),
            key,
            args: item.get("args").cloned().unwrap_or_default(),
            effect: place < done && !is_known,
            first: place == 0,
        };
        write_line(folder, &line)?;
        let id = text(item, "id").unwrap_or_default();
        results.push(match place < done {
            true => json!({"id": id, "ok": true, "result": stand_in.answer_to(&line.args)}),
            false => {
                let error = json!({"code": "unavailable", "status": 503, "message": "try again"});
                json!({"id": id, "ok": false, "error": error})
            }
        });
    }
    Ok(match fault.map(|fault| fault.how) {
        None | Some(How::Partly) => Act {
            out: format!("{}\n", json!({ "results": results })),
            ..Act::default()
        },
        Some(how) => wrong(how),
    })
}

/// Tells whether the effect with `key` happened, as the tool's probe would;
/// returns what the tool would have answered.
pub fn probe(folder: &Path, tool: &str, key: Option<&str>) -> io::Result<Option<String>> {
    let plan = read_plan(folder)?;
    let happened = read_ledger(folder)?.into_iter().find(|line| {
        line.effect && line.tool == tool && key.is_some() && line.key.as_deref() == key
    });
    Ok(happened.and_then(|line| {
        let stand_in = plan.tools.get(tool)?;
        Some(stand_in.answer_to(&line.args).to_owned())
    }))
}

impl StandIn {
    fn answer_to(&self, args: &Value) -> &str {
        let known = self.recorded.iter().find(|(seen, _)| seen == args);
        known.map_or(&self.answer, |(_, answer)| answer)
    }
}

/// The words are those of real tools, so that they are classed as these are.
fn wrong(how: How) -> Act {
    let fails = |code, err: &str| Act {
        err: format!("{err}\n"),
        code,
        ..Act::default()
    };
    match how {
        How::Refused => fails(7, "curl: (7) Failed to connect: Connection refused"),
        How::RateLimit => fails(22, "HTTP 429 Too Many Requests; try again in 1 second"),
        How::Unauthorized => fails(22, "HTTP 401 Unauthorized: the API key is not valid"),
        How::Approval => fails(
            1,
            r#"{"error":{"code":"approval_required","message":"This action requires approval by an administrator."}}"#,
        ),
        How::Garbage => Act {
            out: "<html><body>It works!</body></html>\n".into(),
            ..Act::default()
        },
        How::Partly => Act {
            out: concat!(
                r#"{"results":[{"id":"drill-1","ok":true,"result":"done"},"#,
                r#"{"id":"drill-2","ok":false,"error":{"code":"unavailable","status":503,"message":"try again"}}]}"#,
                "\n"
            )
            .into(),
            ..Act::default()
        },
        How::Hangs => Act {
            stays: Duration::from_secs(3_600),
            ..Act::default()
        },
    }
}

fn read_plan(folder: &Path) -> io::Result<Plan> {
    let text = fs::read(folder.join(PLAN))?;
    serde_json::from_slice(&text).map_err(io::Error::other)
}

/// Reads what happened so far; a line that was cut off by a kill is none.
pub fn read_ledger(folder: &Path) -> io::Result<Vec<Line>> {
    match fs::read_to_string(folder.join(LEDGER)) {
        Ok(text) => Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn write_line(folder: &Path, line: &Line) -> io::Result<()> {
    let path: PathBuf = folder.join(LEDGER);
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    // One write: what is killed in between leaves the whole line or none.
    file.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, stand_in: StandIn) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("drill-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a temporary folder");
        let plan = Plan {
            tools: [("mail".to_owned(), stand_in)].into(),
        };
        let text = serde_json::to_vec(&plan).expect("plain data");
        fs::write(folder.join(PLAN), text).expect("a file");
        folder
    }

    #[test]
    fn a_fault_passes_and_only_what_worked_is_an_effect() {
        let fault = ToolFault {
            times: 2,
            how: How::Refused,
        };
        let folder = folder(
            "fault",
            StandIn {
                answer: "sent".into(),
                fault: Some(fault),
                ..StandIn::default()
            },
        );
        let codes: Vec<u8> = (0..3)
            .map(|_| play(&folder, "mail", Some("k".into()), json!({})).expect("it plays"))
            .map(|act| act.code)
            .collect();
        assert_eq!(codes, [7, 7, 0]);
        let effects: Vec<bool> = read_ledger(&folder)
            .expect("a ledger")
            .iter()
            .map(|line| line.effect)
            .collect();
        assert_eq!(effects, [false, false, true]);
        assert_eq!(
            probe(&folder, "mail", Some("k")).expect("a ledger"),
            Some("sent".into())
        );
        assert_eq!(
            probe(&folder, "mail", Some("other")).expect("a ledger"),
            None
        );
        let _ = fs::remove_dir_all(folder);
    }

    #[test]
    fn a_tool_that_knows_keys_has_its_effect_once() {
        let folder = folder(
            "keys",
            StandIn {
                answer: "sent".into(),
                knows_keys: true,
                ..StandIn::default()
            },
        );
        for _ in 0..3 {
            let act = play(&folder, "mail", Some("k".into()), json!({"to": 1})).expect("it plays");
            assert_eq!(act.out, "sent");
        }
        let lines = read_ledger(&folder).expect("a ledger");
        assert_eq!(lines.iter().filter(|line| line.effect).count(), 1);
        let _ = fs::remove_dir_all(folder);
    }
}
