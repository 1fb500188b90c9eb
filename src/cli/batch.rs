//! `agentguard batch`: several items for one guarded tool, used inside a run.

use std::collections::HashSet;
use std::io::Write as _;

use clap::Args;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::error::{Failure, Kind};
use super::inside::{self, AnswerArgs, ask, say, stop_code, usage};
use super::{Global, Result, look};
use crate::channel::flags::{self, BatchFlags, Form, source};
use crate::exit_code;
use crate::task::template::Template;

/// Inside a run: hand several items to a guarded tool
///
/// Each line of FILE is one item: `{"id": "7", "args": {…}}`, or with --id or --id-from
/// the arguments alone. Items are done side by side, each once, however often it is
/// asked for; what fails below is tried again, what fails for good becomes a dead
/// letter. When all have ended, each is printed as one line of JSON, in the order of
/// the input, and a summary goes to stderr.
///
/// Exit code 0: enough items succeeded (--policy); 1: not enough; 20 and above: the run
/// is ending.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard batch mail invoices.jsonl --policy 95% | jq -c 'select(.status != \"succeeded\")'
  agentguard batch mail --id '{invoice}' < invoices.jsonl
  agentguard batch mail invoices.jsonl --policy required --fail-fast")]
pub struct BatchArgs {
    /// The tool's name in the task file
    #[arg(value_name = "TOOL")]
    tool: String,
    /// The items, one JSON object a line, or one JSON list; `-` is stdin
    #[arg(value_name = "FILE", default_value = "-")]
    file: String,
    /// Lines are arguments; this one of them is the item's id
    #[arg(long, value_name = "FIELD", conflicts_with = "id")]
    id_from: Option<String>,
    /// Lines are arguments; the item's id is made of them, such as `{customer}-{month}`
    #[arg(long, value_name = "TEMPLATE")]
    id: Option<String>,
    /// What has to succeed: `required` (all), `optional`, a count, or a share such as `95%`
    #[arg(long, value_name = "POLICY", default_value = "required")]
    policy: String,
    /// Begin nothing more once the policy cannot be met
    #[arg(long)]
    fail_fast: bool,
    /// Calls that may be out at once; no more than the task file allows
    #[arg(long, value_name = "N")]
    concurrency: Option<u64>,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// What of the answer is printed.
#[derive(Deserialize)]
struct Answer {
    met: bool,
    policy: String,
    counts: Map<String, Value>,
    items: Vec<Box<RawValue>>,
}

/// Hands the items over and prints how each ended.
pub fn main(_: &Global, args: BatchArgs) -> Result {
    let text = source(&args.file, Form::File, &mut std::io::stdin()).map_err(usage)?;
    let items = items(&args, text.trim_start_matches('\u{feff}'))?;
    let params = flags::batch(&BatchFlags {
        tool: args.tool,
        items,
        policy: args.policy,
        fail_fast: args.fail_fast,
        concurrency: args.concurrency,
    })
    .map_err(usage)?;
    let (told, answer) = ask("batch", &params, &args.answer)?;
    let read: Answer = serde_json::from_str(answer.get())
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let lines: String = read.items.iter().map(|item| format!("{item}\n")).collect();
    inside::print(&args.answer, &told, &answer, None)?;
    if !args.answer.json && !lines.is_empty() {
        say(&lines)?;
    }
    let summary = summary(&read);
    let _ = writeln!(std::io::stderr(), "agentguard: batch: {summary}");
    let code = if read.met {
        exit_code::DONE
    } else {
        exit_code::AGENT_FAILED
    };
    Ok(stop_code(&told).unwrap_or(code))
}

/// `100 items: 95 succeeded, 5 dead; required: not met`
fn summary(answer: &Answer) -> String {
    let count = |name: &str| answer.counts.get(name).and_then(Value::as_u64).unwrap_or(0);
    let names = ["succeeded", "queued", "dead", "in_doubt", "not_attempted"];
    let counted = names.iter().filter(|name| count(name) > 0);
    let counted: Vec<_> = counted
        .map(|name| format!("{} {}", count(name), name.replace('_', " ")))
        .collect();
    format!(
        "{}: {}; {}: {}",
        look::counted(count("items"), "item"),
        counted.join(", "),
        answer.policy,
        if answer.met { "met" } else { "not met" }
    )
}

/// Reads the items, each as the protocol takes it.
fn items(args: &BatchArgs, text: &str) -> std::result::Result<Vec<Value>, Failure> {
    let place = |line: usize| match args.file.as_str() {
        "-" => format!("line {line} of stdin"),
        file => format!("{file}:{line}"),
    };
    let read = match text.trim_start().starts_with('[') {
        true => serde_json::from_str::<Vec<Value>>(text)
            .map(|list| list.into_iter().enumerate().collect())
            .map_err(|error| bad(place(error.line()), &format!("is not JSON: {error}"))),
        false => text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(at, line)| match serde_json::from_str(line) {
                Ok(value) => Ok((at, value)),
                Err(error) => {
                    let text = error.to_string();
                    let why = text.rsplit_once(" at line ").map_or(&*text, |it| it.0);
                    let what = format!("is not JSON at column {}: {why}", error.column());
                    Err(bad(place(at + 1), &what))
                }
            })
            .collect::<std::result::Result<Vec<_>, _>>(),
    }?;
    if read.is_empty() {
        return Err(
            Failure::usage(format!("{} has no items", name_of(&args.file)))
                .hint("write one JSON object a line, such as {\"id\": \"7\", \"args\": {}}"),
        );
    }
    let template = template(args)?;
    let mut seen = HashSet::new();
    let mut items = Vec::with_capacity(read.len());
    for (at, value) in read {
        let item = match &template {
            None => whole(value, &place(at + 1))?,
            Some(template) => {
                let id = template
                    .render_key(&value)
                    .map_err(|error| bad(place(at + 1), &format!("gives no id: {error}")))?;
                serde_json::json!({"id": id, "args": value})
            }
        };
        // Lines that say the same twice are one item.
        if seen.insert(item.to_string()) {
            items.push(item);
        }
    }
    Ok(items)
}

/// Checks that a line has an id and nothing but arguments besides.
fn whole(value: Value, place: &str) -> std::result::Result<Value, Failure> {
    let known = |fields: &Map<String, Value>| {
        fields.contains_key("id") && fields.keys().all(|name| name == "id" || name == "args")
    };
    match &value {
        Value::Object(fields) if known(fields) => Ok(value),
        _ => Err(bad(
            place.to_owned(),
            "is no item, expected {\"id\": …, \"args\": {…}} and nothing else",
        )
        .hint("for lines that are arguments only, say --id-from FIELD")),
    }
}

fn template(args: &BatchArgs) -> std::result::Result<Option<Template>, Failure> {
    let text = match (&args.id, &args.id_from) {
        (Some(template), _) => template.clone(),
        (None, Some(field)) => format!("{{{field}}}"),
        (None, None) => return Ok(None),
    };
    let template = Template::parse(&text).map_err(|error| {
        Failure::usage(format!("the id `{text}` is no template: {error}")).hint(error.hint())
    })?;
    if template.is_literal() {
        return Err(
            Failure::usage(format!("the id `{text}` is the same for every item"))
                .hint("name an argument in braces, such as --id '{invoice}'"),
        );
    }
    Ok(Some(template))
}

fn bad(place: String, what: &str) -> Failure {
    Failure::usage(format!("{place} {what}"))
}

fn name_of(file: &str) -> &str {
    if file == "-" { "stdin" } else { file }
}
