//! A tool that is a program.
//!
//! Each word of the command line is one template, so a value never becomes two
//! words or an operator of a shell. The program finds:
//!
//! - the inherited environment, then the tool's own variables, then the key in
//!   the variable that it declares as its native key;
//! - `AGENTGUARD_IDEMPOTENCY_KEY` when the call has a key, and never one of an
//!   outer run; `AGENTGUARD_RUN_ID` and `AGENTGUARD_CALL_ID` always (the mark
//!   of `process`);
//! - the arguments as one line of JSON on stdin, or nothing.
//!
//! # Delivery
//!
//! | what happened | delivery | the taxonomy sees |
//! |---|---|---|
//! | it exited by itself | answered | its exit code |
//! | it could not be started | never sent | 125, and an error with a code, see [`not_started`] |
//! | time-out, killed by a signal, lost | unknown | `timed_out`, `signal` |
//!
//! Whatever a tool writes goes to disk whole; secrets are hidden in everything
//! else that leaves here.

use std::error::Error as _;
use std::fs;
use std::time::Instant;

use serde_json::{Map, Value, json};

use crate::machine::event::Delivery;
use crate::policy::taxonomy::Kind;
use crate::process::{self, Captured, ExecLimits, Executed, Exit, Mark, Spec, Stdin, exec};
use crate::task::resolved::{Action, NativeKey, Stdin as Reads, Tool};
use crate::task::template::{Place, RenderError, Template};

use super::Job;
use super::content::{self, Stream};
use super::home::Home;
pub use super::home::KEY_VARIABLE;
use super::toolbox::Outcome;

/// Of each stream, written to disk at most, in bytes.
pub const DISK_BYTES_MAX: u64 = 1 << 30;

/// The exit code that stands for "could not be started". Source: `timeout`,
/// `env`, `docker run`, which use it when they fail themselves.
const NOT_STARTED_EXIT: i32 = 125;

/// Tells the taxonomy that the tool is not there, until somebody installs or
/// corrects it.
pub(super) const NOT_THERE: &str = "app_not_installed";

/// Tells the taxonomy that the arguments are at fault.
const BAD_INPUT: &str = "invalid_input";

/// Runs a command tool once.
pub(super) async fn run(home: &Home, tool: &Tool, job: &Job, keep_bytes: usize) -> Outcome {
    let Action::Command { argv, stdin, .. } = &tool.action else {
        return not_started(&[], Some(NOT_THERE), "the tool is no command");
    };
    let spec = match spec(home, tool, argv, job) {
        Ok(spec) => match stdin {
            Reads::Json => spec.stdin(Stdin::Bytes(format!("{}\n", job.args).into_bytes())),
            Reads::None => spec,
        },
        Err(error) => return not_started(&[], Some(BAD_INPUT), &error.to_string()),
    };
    let words = words(home, &spec);
    let started = Instant::now();
    let limits = ExecLimits {
        timeout_ms: tool.timeout_ms,
        grace_ms: home.grace_ms,
        keep_bytes,
        disk_bytes_max: DISK_BYTES_MAX,
    };
    let mark = Mark::call(home.run.clone(), job.call);
    let mut outcome = match exec(&home.launcher, &spec, &mark, limits, home.files(job, "")).await {
        Ok(executed) => ended(home, tool, executed, &words),
        Err(error) => {
            let text = as_a_shell_says(&error);
            not_started(&words, code_of(&error), &home.secrets.hide(&text))
        }
    };
    outcome.took_ms = outcome.took_ms.max(elapsed_ms(started));
    outcome
}

/// Renders what to start, for a tool or its probe. Reads nothing.
///
/// Errors: those of the templates.
pub(super) fn spec(
    home: &Home,
    tool: &Tool,
    argv: &[Template],
    job: &Job,
) -> Result<Spec, RenderError> {
    let lookup = |name: &str| home.variable(name);
    let render = |word: &Template| word.render(Place::Word, &job.args, &lookup);
    let words = argv.iter().map(render).collect::<Result<Vec<_>, _>>()?;
    let mut spec = Spec::new(words, &home.cwd);
    spec.env = home.env.clone();
    if let Action::Command { env, .. } = &tool.action {
        for (name, value) in &env.0 {
            spec = spec.env(name, render(value)?);
        }
    }
    if let Some(key) = &job.key {
        if let Some(NativeKey::Env(name)) = &tool.native_key {
            spec = spec.env(name, &key.0);
        }
        spec = spec.env(KEY_VARIABLE, &key.0);
    }
    Ok(spec)
}

/// Describes a command that never ran.
///
/// - `code`: of [`NOT_THERE`] and [`BAD_INPUT`], where one is certain.
///
/// A shell's 127 and 126 will not do: there the model wrote the command and can
/// correct it. Here the task file did, and the model can do nothing about it.
pub(super) fn not_started(words: &[Value], code: Option<&str>, why: &str) -> Outcome {
    let stderr = match code {
        Some(code) => json!({"error": {"code": code, "message": why}}).to_string(),
        None => why.to_owned(),
    };
    Outcome {
        kind: Kind::Exec,
        result: result(Some(NOT_STARTED_EXIT), None, "", &stderr, false),
        context: context(words),
        delivery: Delivery::NeverSent,
        content: content::of_nothing(&format!("The tool could not be started. {why}")),
        whole: None,
        succeeded: false,
        took_ms: 0,
    }
}

/// Reads a stream that `process` captured, with its secrets hidden.
pub(super) fn stream(home: &Home, captured: Captured) -> Stream {
    let path = if captured.bytes_total == 0 {
        // An empty file says nothing, and a run has thousands of them.
        let _: std::io::Result<()> = fs::remove_file(&captured.path);
        None
    } else {
        Some(captured.path)
    };
    Stream {
        text: home.secrets.hide(&captured.text).into_owned(),
        bytes_total: captured.bytes_total,
        truncated: captured.truncated,
        path,
    }
}

fn ended(home: &Home, tool: &Tool, executed: Executed, words: &[Value]) -> Outcome {
    let Executed {
        exit,
        timed_out,
        took_ms,
        stdout,
        stderr,
        ..
    } = executed;
    let (stdout, stderr) = (stream(home, stdout), stream(home, stderr));
    let (code, signal) = match exit {
        _ if timed_out => (None, signal_of(exit)),
        Exit::Code(code) => (Some(code), None),
        Exit::Signal(_) | Exit::Lost => (None, signal_of(exit)),
    };
    let succeeded = code == Some(0);
    let content = if succeeded {
        content::of_success(&stdout, &stderr)
    } else if timed_out {
        let how = format!("ended after {} ms, its time limit", tool.timeout_ms);
        content::of_failure(&how, &stdout, &stderr)
    } else {
        content::of_failure(&exit.to_string(), &stdout, &stderr)
    };
    Outcome {
        kind: Kind::Exec,
        result: result(code, signal, &stdout.text, &stderr.text, timed_out),
        context: context(words),
        delivery: if code.is_some() {
            Delivery::Answered
        } else {
            Delivery::Unknown
        },
        content,
        whole: (!stdout.truncated).then_some(stdout.text),
        succeeded,
        took_ms,
    }
}

/// Returns the signal by name where it has one, as a shell writes it.
fn signal_of(exit: Exit) -> Option<Value> {
    let Exit::Signal(number) = exit else {
        return None;
    };
    let text = exit.to_string();
    let name = text
        .rsplit(' ')
        .next()
        .filter(|name| name.starts_with("SIG"));
    Some(name.map_or_else(|| Value::from(number), Value::from))
}

fn result(
    code: Option<i32>,
    signal: Option<Value>,
    stdout: &str,
    stderr: &str,
    timed_out: bool,
) -> Value {
    json!({
        "exit_code": code, "signal": signal, "stdout": stdout, "stderr": stderr, "timed_out": timed_out,
    })
}

fn context(words: &[Value]) -> Map<String, Value> {
    let mut context = Map::new();
    if !words.is_empty() {
        context.insert("command".to_owned(), Value::from(words));
    }
    context
}

fn words(home: &Home, spec: &Spec) -> Vec<Value> {
    spec.argv
        .iter()
        .map(|word| Value::from(home.secrets.hide(&word.to_string_lossy())))
        .collect()
}

/// Returns what a failed start is, where that is certain; a full disk or too
/// many open files speak for themselves.
fn code_of(error: &process::Error) -> Option<&'static str> {
    use process::Error;
    match error {
        Error::EmptyCommand
        | Error::NotFound { .. }
        | Error::NotExecutable { .. }
        | Error::BadInterpreter { .. }
        | Error::NoFolder { .. }
        | Error::VariableName { .. } => Some(NOT_THERE),
        Error::NulByte { .. } | Error::TooLong { .. } => Some(BAD_INPUT),
        Error::Start { .. }
        | Error::Shim { .. }
        | Error::OutputFile { .. }
        | Error::Streams { .. } => None,
    }
}

/// Says why a command did not start in the words that a shell has for it,
/// which everybody knows, and then in full.
pub(super) fn as_a_shell_says(error: &process::Error) -> String {
    use process::Error;
    let first = match error {
        Error::NotFound { program, .. } => format!("{program}: command not found"),
        Error::NotExecutable { path, .. } => format!("{}: cannot execute", path.display()),
        Error::BadInterpreter { path, .. } => format!("{}: bad interpreter", path.display()),
        Error::TooLong { program, .. } => format!("{program}: argument list too long"),
        Error::EmptyCommand
        | Error::NoFolder { .. }
        | Error::NulByte { .. }
        | Error::VariableName { .. }
        | Error::Start { .. }
        | Error::Shim { .. }
        | Error::OutputFile { .. }
        | Error::Streams { .. } => "cannot start the tool".to_owned(),
    };
    let mut text = format!("{first} ({error}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text.push(')');
    if let Some(hint) = error.hint() {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}

fn elapsed_ms(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_starts_read_as_in_a_shell() {
        let not_found = process::Error::NotFound {
            program: "gti".into(),
            searched: Some("/bin".into()),
            near: vec!["git".into()],
        };
        let no_permission = process::Error::NotExecutable {
            path: "/w/tool".into(),
            reason: "it has no permission to be executed",
        };
        let full = process::Error::OutputFile {
            path: "/o/1.1.stdout".into(),
            source: std::io::Error::from_raw_os_error(28),
        };
        #[rustfmt::skip]
        let rows = [
            (not_found, Some(NOT_THERE), "gti: command not found (cannot find the program `gti` in PATH (/bin))\nhint: did you mean `git`?"),
            (no_permission, Some(NOT_THERE), "/w/tool: cannot execute (cannot execute /w/tool: it has no permission to be executed)\nhint: run `chmod +x /w/tool`"),
            (full, None, "cannot start the tool (cannot write the output to /o/1.1.stdout: No space left on device (os error 28))"),
        ];
        for (error, code, text) in rows {
            assert_eq!(
                (code_of(&error), as_a_shell_says(&error).as_str()),
                (code, text)
            );
        }
    }

    #[test]
    fn signals_have_their_names() {
        let rows = [
            (Exit::Signal(9), Some(Value::from("SIGKILL"))),
            (Exit::Signal(64), Some(Value::from(64))),
            (Exit::Code(9), None),
            (Exit::Lost, None),
        ];
        for (exit, want) in rows {
            assert_eq!(signal_of(exit), want);
        }
    }
}
