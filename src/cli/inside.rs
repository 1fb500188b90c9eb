//! `agentguard turn`, `tool`, `report`, `state`: the line protocol for shell
//! scripts, used inside a run.
//!
//! Each prints what the loop needs next on stdout and says the rest by its exit
//! code: 0 go on; for `tool` 1, the tool answered with an error; 20 to 26, 130
//! and 143, the run is ending, and why.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::error::{Failure, Kind};
use super::{Global, Result};
use crate::channel::client::{self, Client, Told};
use crate::channel::flags::{self, Form, ReportFlags, TurnFlags, source};
use crate::channel::frame::Code;
use crate::channel::method::Verbatim;
use crate::exit_code;

/// Inside a run: commit a turn, and hear whether to go on
///
/// When it returns, the turn is durable. Prints the text for the model if there
/// is one (a steer), nothing otherwise. Exit code 0: go on; any other: stop,
/// with the exit code that the run will have.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard turn --role assistant --content \"$reply\" --cost-usd 0.012
  agentguard turn --message '{\"role\":\"user\",\"content\":\"hi\"}' --input-tokens 812 --output-tokens 96 --model gpt-x
  agentguard turn --done --result 'report.md written' || exit")]
pub struct TurnArgs {
    /// A new message, as a JSON object; may be repeated
    #[arg(long, value_name = "JSON")]
    message: Vec<String>,
    /// The role of a new message; one for each --content
    #[arg(long, value_name = "ROLE")]
    role: Vec<String>,
    /// The text of a new message
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    content: Vec<String>,
    /// The whole conversation instead of what is new: a file, or `-` for stdin
    #[arg(long, value_name = "FILE")]
    history: Option<String>,
    /// The model that answered
    #[arg(long)]
    model: Option<String>,
    /// Input tokens of the model call
    #[arg(long, value_name = "N")]
    input_tokens: Option<u64>,
    /// Output tokens of the model call
    #[arg(long, value_name = "N")]
    output_tokens: Option<u64>,
    /// Input tokens that were read from a cache
    #[arg(long, value_name = "N")]
    cached_input_tokens: Option<u64>,
    /// Input tokens that were written to a cache
    #[arg(long, value_name = "N")]
    cache_write_tokens: Option<u64>,
    /// What the model call cost, in US dollars
    #[arg(long, value_name = "USD")]
    cost_usd: Option<String>,
    /// The number of this turn; the same number again changes nothing
    #[arg(long, value_name = "N")]
    step: Option<u64>,
    /// The reservation that this turn settles
    #[arg(long, value_name = "ID")]
    reservation: Option<u64>,
    /// The model call failed, and how
    #[arg(long, value_name = "TEXT")]
    error: Option<String>,
    /// The work is done
    #[arg(long)]
    done: bool,
    /// What came of it, as text
    #[arg(long, value_name = "TEXT")]
    result: Option<String>,
    /// What came of it, as JSON
    #[arg(long, value_name = "JSON")]
    result_json: Option<String>,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Inside a run: call a guarded tool
///
/// Prints what the tool gave. Exit code 0: it worked; 1: it answered with an
/// error, whose text is printed for the model; 20 and above: the run is ending.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard tool fetch_weather --arg city=Oslo
  agentguard tool charge --arg user_id=u1 --arg-json amount=42.5
  agentguard tool search --args @query.json --json")]
pub struct ToolArgs {
    /// The tool's name in the task file
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    args: ArgArgs,
    /// The loop's own id of this call, for the journal
    #[arg(long)]
    id: Option<String>,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Inside a run: tell of a tool that the loop ran itself
///
/// The call is classed, counted, and watched for loops. Prints the class.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  out=$(make test 2>&1); agentguard report make --arg target=test --exit-code $? --result \"$out\"")]
pub struct ReportArgs {
    /// The tool's name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    args: ArgArgs,
    /// What the tool gave, as text
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    result: Option<String>,
    /// What the tool gave, as JSON
    #[arg(long, value_name = "JSON")]
    result_json: Option<String>,
    /// It failed
    #[arg(long)]
    is_error: bool,
    /// Exit status of a command
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    exit_code: Option<i64>,
    /// HTTP status of a request; 0 is no response
    #[arg(long, value_name = "N")]
    status: Option<i64>,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Inside a run: ask where the run stands, as JSON
///
/// Step, attempt, note, tools and their availability, limits left, and the
/// conversation. Changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard state --messages none | jq .step
  agentguard state --get step")]
pub struct StateArgs {
    /// How much of the conversation: `all`, `none`, or how many of the last messages
    #[arg(long, value_name = "WHICH", default_value = "all")]
    messages: String,
    /// Print one value only, by its path (`step`, `limits.cost_usd.left`); nothing when it is absent
    #[arg(long, value_name = "KEY")]
    get: Option<String>,
}

/// Arguments of a tool.
#[derive(Debug, Args)]
struct ArgArgs {
    /// An argument as text; may be repeated
    #[arg(long = "arg", short = 'a', value_name = "NAME=TEXT")]
    texts: Vec<String>,
    /// An argument as JSON; may be repeated
    #[arg(long = "arg-json", value_name = "NAME=JSON")]
    values: Vec<String>,
    /// All arguments as a JSON object: the text itself, `@FILE`, or `-` for stdin
    #[arg(long = "args", value_name = "JSON")]
    whole: Option<String>,
}

/// How the answer is printed.
#[derive(Debug, Args)]
pub(super) struct AnswerArgs {
    /// Print the whole answer as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Give up after this many seconds; the request may still be carried out
    #[arg(long, value_name = "SECONDS")]
    patience: Option<u64>,
}

/// Commits a turn.
pub fn turn(_: &Global, args: TurnArgs) -> Result {
    let history = args
        .history
        .as_deref()
        .map(|name| source(name, Form::File, &mut std::io::stdin()))
        .transpose()
        .map_err(usage)?;
    let params = flags::turn(&TurnFlags {
        messages: args.message,
        roles: args.role,
        contents: args.content,
        history,
        model: args.model,
        input_tokens: args.input_tokens,
        output_tokens: args.output_tokens,
        cached_input_tokens: args.cached_input_tokens,
        cache_write_tokens: args.cache_write_tokens,
        cost_usd: args.cost_usd,
        step: args.step,
        reservation: args.reservation,
        error: args.error,
        done: args.done,
        result: args.result,
        result_json: args.result_json,
    })
    .map_err(usage)?;
    let (told, answer) = ask("turn", &params, &args.answer)?;
    let text = match told.verdict.as_deref() {
        Some("steer") => told.text.clone(),
        _ => None,
    };
    print(&args.answer, &told, &answer, text.as_deref())?;
    Ok(stop_code(&told).unwrap_or(exit_code::DONE))
}

/// Calls a guarded tool.
pub fn tool(_: &Global, args: ToolArgs) -> Result {
    let params = flags::tool(&args.name, arguments(&args.args)?, args.id.as_deref());
    let (told, answer) = ask("tool", &params.map_err(usage)?, &args.answer)?;
    print(&args.answer, &told, &answer, told.content.as_deref())?;
    let failed = if told.is_error == Some(true) {
        exit_code::AGENT_FAILED
    } else {
        exit_code::DONE
    };
    Ok(stop_code(&told).unwrap_or(failed))
}

/// Tells of a tool call.
pub fn report(_: &Global, args: ReportArgs) -> Result {
    let params = flags::report(&ReportFlags {
        tool: args.name,
        args: arguments(&args.args)?,
        result: args.result,
        result_json: args.result_json,
        is_error: args.is_error.then_some(true),
        exit_code: args.exit_code,
        status: args.status,
    })
    .map_err(usage)?;
    let (told, answer) = ask("report", &params, &args.answer)?;
    let class = serde_json::from_str::<serde_json::Value>(answer.get())
        .ok()
        .and_then(|answer| answer.get("class")?.as_str().map(str::to_owned));
    print(&args.answer, &told, &answer, class.as_deref())?;
    Ok(stop_code(&told).unwrap_or(exit_code::DONE))
}

/// What `state` can be asked for; some of it may be absent.
const STATE_KEYS: [&str; 11] = [
    "protocol",
    "run_id",
    "attempt",
    "step",
    "cause",
    "note",
    "messages",
    "input",
    "tools",
    "limits",
    "unfinished",
];

/// Says where the run stands.
pub fn state(_: &Global, args: StateArgs) -> Result {
    let params = flags::state(Some(&args.messages)).map_err(usage)?;
    let answer = Client::from_env()
        .and_then(|mut client| client.ask("state", &params, None))
        .map_err(failure)?;
    let Some(key) = args.get else {
        say(answer.get())?;
        return Ok(exit_code::DONE);
    };
    let value: serde_json::Value = serde_json::from_str(answer.get())
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let pointer = match key.starts_with('/') {
        true => key,
        false => format!("/{}", key.replace('.', "/")),
    };
    let first = pointer.split('/').nth(1).unwrap_or_default();
    if !STATE_KEYS.contains(&first) {
        let known = STATE_KEYS.join(", ");
        return Err(Failure::usage(format!(
            "`{first}` is no part of the state, expected one of {known}"
        )));
    }
    match value.pointer(&pointer) {
        Some(serde_json::Value::String(text)) => say(text)?,
        Some(value) => say(&value.to_string())?,
        // Absent: a note that was not given, a limit that is not set.
        None => {}
    }
    Ok(exit_code::DONE)
}

fn arguments(
    args: &ArgArgs,
) -> std::result::Result<serde_json::Map<String, serde_json::Value>, Failure> {
    let whole = args
        .whole
        .as_deref()
        .map(|text| source(text, Form::TextOrFile, &mut std::io::stdin()))
        .transpose()
        .map_err(usage)?;
    flags::build_args(&args.texts, &args.values, whole.as_deref()).map_err(usage)
}

pub(super) fn ask(
    method: &str,
    params: &Verbatim,
    how: &AnswerArgs,
) -> std::result::Result<(Told, Verbatim), Failure> {
    let patience = how.patience.map(Duration::from_secs);
    let answer = Client::from_env()
        .and_then(|mut client| client.ask(method, params, patience))
        .map_err(failure)?;
    let told = serde_json::from_str(answer.get())
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    Ok((told, answer))
}

pub(super) fn print(
    how: &AnswerArgs,
    told: &Told,
    answer: &Verbatim,
    text: Option<&str>,
) -> std::result::Result<(), Failure> {
    if how.json {
        return say(answer.get());
    }
    if let Some(reason) = told.reason.as_deref().filter(|_| stop_code(told).is_some()) {
        let _ = writeln!(std::io::stderr(), "agentguard: stop: {reason}");
    }
    text.map_or(Ok(()), say)
}

pub(super) fn say(text: &str) -> std::result::Result<(), Failure> {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes())
        .and_then(|()| {
            if text.ends_with('\n') {
                Ok(())
            } else {
                out.write_all(b"\n")
            }
        })
        .and_then(|()| out.flush())
        .map_err(|error| Failure::from_error(Kind::Environment, &error))
}

pub(super) fn stop_code(told: &Told) -> Option<u8> {
    (told.verdict.as_deref() == Some("stop"))
        .then(|| told.exit_code.unwrap_or(exit_code::AGENT_FAILED))
}

pub(super) fn usage(error: flags::Error) -> Failure {
    Failure::from_error(Kind::Usage, &error)
}

fn failure(error: client::Error) -> Failure {
    let ending = match &error {
        client::Error::Refused { code, data, .. } => {
            let code = (*code == i64::from(Code::Stopping.number()))
                .then(|| data.get("exit_code").and_then(serde_json::Value::as_u64));
            code.flatten().and_then(|code| u8::try_from(code).ok())
        }
        _ => None,
    };
    let kind = match (&error, ending) {
        (_, Some(code)) => Kind::Stopping(code),
        (client::Error::Refused { .. } | client::Error::NotInRun, None) => Kind::Usage,
        (_, None) => Kind::Environment,
    };
    Failure::from_error(kind, &error).maybe_hint(error.hint().map(str::to_owned))
}
