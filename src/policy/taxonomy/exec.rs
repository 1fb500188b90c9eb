//! Results of child processes.
//!
//! Order of trust: how the process ended (timeout, signal), its exit code where the
//! program gives it a meaning, what it wrote to stderr, and only then its
//! stdout, because stdout is payload. Exit 0 is a failure only when the whole
//! output is an error and the command is no reader.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value};

use super::batch;
use super::codes;
use super::command::Command;
use super::envelope;
use super::fault::Fault;
use super::http::{add_markup, parsed};
use super::mcp::json_inside;
use super::meaning::{Meaning, Weight};
use super::observation::{Kind, Observation, integer_of, string_of};
use super::outcome::{Delivery, Id, Item, Items, Outcome};
use super::rules::{Mark, MarkKind};
use super::text::{bounded, clip, error_lines, head, regex};
use super::words;

/// Lines of stdout that are looked at when stderr is silent.
const STDOUT_LINES: usize = 60;

/// A finished process.
struct Process {
    command: Command,
    exit_code: Option<i64>,
    signal: Option<String>,
    timed_out: bool,
    stdout: String,
    stderr: String,
}

/// Finds out what a process result amounts to, with marks about how it ended.
pub(super) fn outcome(observation: &Observation) -> (Outcome, Vec<Mark>) {
    let process = read(observation);
    let is_clean = process.exit_code.is_none_or(|code| code == 0)
        && process.signal.is_none()
        && !process.timed_out;
    if is_clean {
        return (ended_well(observation, &process), Vec::new());
    }
    if let Some(code) = process.exit_code
        && !process.timed_out
        && process.command.finds_nothing(code)
        && error_lines(&process.stderr).is_empty()
    {
        return (
            Outcome::NothingFound(format!("exit {code} of {}", process.command.program())),
            Vec::new(),
        );
    }
    if !process.command.is_reader()
        && let Some(items) =
            parsed(&process.stdout).and_then(|json| batch::foreign(&json, 200, observation))
    {
        return (Outcome::Items(items), Vec::new());
    }
    let marks = marks(&process);
    (Outcome::Failed(Box::new(fault(&process))), marks)
}

fn read(observation: &Observation) -> Process {
    let result = &observation.result;
    let text = |name: &str| match result.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(lines)) => lines
            .iter()
            .filter_map(Value::as_str)
            .collect::<Vec<_>>()
            .join("\n"),
        _ => String::new(),
    };
    let signal = string_of(result.get("signal"))
        .filter(|signal| !matches!(signal.as_str(), "" | "0" | "false"));
    Process {
        command: Command::parse(&observation.command()),
        exit_code: integer_of(result.get("exit_code")),
        signal,
        timed_out: result.get("timed_out").and_then(Value::as_bool) == Some(true),
        stdout: text("stdout"),
        stderr: text("stderr"),
    }
}

fn ended_well(observation: &Observation, process: &Process) -> Outcome {
    let is_document = process.command.is_reader();
    if !process.command.ignores_failure
        && let Some(items) = struck_some(process).or_else(|| play_recap(process))
    {
        return Outcome::Items(items);
    }
    if !is_document && !process.command.ignores_failure {
        if let Some(items) =
            parsed(&process.stdout).and_then(|json| batch::foreign(&json, 200, observation))
        {
            return Outcome::Items(items);
        }
        if let Some(fault) = hidden_fault(process) {
            return Outcome::Failed(Box::new(fault));
        }
    }
    // A process that promises JSON does so in the context; there is no content type.
    let delivery = Delivery {
        json: if is_document {
            None
        } else {
            parsed(&process.stdout)
        },
        text: process.stdout.clone(),
        is_document,
        evidence: "exit 0".to_owned(),
        ..Delivery::default()
    };
    Outcome::Delivered(Box::new(delivery))
}

/// Items are named in the errors of a command that works through several things.
fn struck_some(process: &Process) -> Option<Items> {
    const LINES_MAX: usize = 200;
    static NAMED: LazyLock<Regex> = LazyLock::new(|| regex(r"^(?:[\w.-]+: )?([^\s:]+)"));
    if process.stdout.trim().is_empty() || !process.command.repeats() {
        return None;
    }
    let stderr = head(&process.stderr, 64 * 1024);
    let list: Vec<Item> = stderr
        .lines()
        .take(LINES_MAX)
        .map(str::trim)
        .filter(|line| is_error_line(line))
        .map(|line| Item {
            id: NAMED
                .captures(line)
                .map_or(Id::NONE, |found| Value::from(&found[1]).into()),
            fault: Some({
                let mut fault = Fault::new(Kind::Batch, "an error beside the output");
                fault.add_text(line, "stderr");
                fault
            }),
            may_retry: None,
        })
        .collect();
    (!list.is_empty()).then_some(Items {
        list,
        others_succeeded: true,
    })
}

/// Whether a line of stderr is a program's complaint: `gzip: b.txt: No such file or directory`.
fn is_error_line(line: &str) -> bool {
    static COMPLAINS: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"(?i)^(?:[^\s:]+: ?(?:\d+: ?)*)+(?:\w+ )?(?:error|failed|failure|fatal|cannot|can't|could not|couldn't|unable to|invalid|not an? |no such|unsupported)\b",
            r"|^ssh: |^curl: \(\d+\)|^make(?:\[\d+\])?: \*\*\* |: (?:no such file or directory|permission denied|is a directory|input/output error|no space left on device|connection (?:refused|timed out|reset)|command not found)\b",
        ))
    });
    static WARNS: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)\b(warning|notice|info|debug)\b"));
    COMPLAINS.is_match(line) && !WARNS.is_match(line)
}

/// The summary of an Ansible play: a line a host, with what went wrong there.
fn play_recap(process: &Process) -> Option<Items> {
    static HOST: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?m)^(\S+)\s*: ok=\d+\s.*\bunreachable=(\d+)\s+failed=(\d+)"));
    if !process.stdout.contains("PLAY RECAP") || process.command.is_reader() {
        return None;
    }
    let list: Vec<Item> = HOST
        .captures_iter(&process.stdout)
        .take(1_000)
        .map(|host| {
            let why = match (&host[2], &host[3]) {
                ("0", "0") => None,
                (_, "0") => Some("host unreachable"),
                _ => Some("a task failed"),
            };
            Item {
                id: Value::from(&host[1]).into(),
                fault: why.map(|why| {
                    let mut fault = Fault::new(Kind::Batch, why);
                    fault.add_text(why, "stdout");
                    fault
                }),
                may_retry: None,
            }
        })
        .collect();
    let has_failed = list.iter().any(|item| item.fault.is_some());
    has_failed.then_some(Items {
        list,
        others_succeeded: false,
    })
}

/// Returns the fault of a process that exited 0 with nothing but an error, or with one at its end.
fn hidden_fault(process: &Process) -> Option<Fault> {
    let mut fault = Fault::new(Kind::Exec, "exit 0, but the whole output is an error");
    let stdout = process.stdout.trim();
    if process.command.runs("psql") && statement_failed(&process.stderr) {
        fault.fallback = "exit 0, but a statement failed".to_owned();
        fault.add_text(&process.stderr, "stderr");
        return Some(fault);
    }
    if stdout.is_empty() {
        let is_error = is_tool_error(process.stderr.trim()) || is_grave(&process.stderr);
        fault.add_text(&process.stderr, "stderr");
        return is_error.then_some(fault);
    }
    let is_hidden = process.command.hides_exit_code() && is_tool_error(process.stderr.trim());
    if is_hidden || lacks_a_command(&process.stderr) {
        fault.fallback = "exit 0, but an earlier command failed".to_owned();
        fault.add_text(&process.stderr, "stderr");
        return Some(fault);
    }
    // psql complains on stderr; what it prints are rows.
    if process.command.runs("psql") && !stdout.starts_with("psql: ") {
        return None;
    }
    if let Some(json) = parsed(stdout) {
        fault.add_json(&json, "stdout", &Map::new());
        return envelope::is_error(&json).then_some(fault);
    }
    if let Some((status, body)) = trailing_status(process, stdout) {
        fault.status = Some(status);
        fault.fallback = format!("stdout: HTTP status {status}");
        match parsed(body) {
            Some(json) => fault.add_json(&json, "stdout", &Map::new()),
            None => fault.add_text(&envelope::visible_text(body), "stdout"),
        }
        return Some(fault);
    }
    if let Some((status, headers, body)) = printed_response(stdout) {
        fault.status = Some(status);
        fault.fallback = format!("stdout: HTTP status {status}");
        fault.add_headers(&headers);
        match parsed(body) {
            Some(json) => fault.add_json(&json, "stdout", &headers),
            None => fault.add_text(&envelope::visible_text(body), "stdout"),
        }
        return (status >= 400).then_some(fault);
    }
    if let Some(events) = envelope::events(stdout)
        && let Some(error) = envelope::error_event(&events)
    {
        fault.add_json(error, "stdout", &Map::new());
        return Some(fault);
    }
    if envelope::xml_error(stdout).is_some() || envelope::error_page(stdout).is_some() {
        add_markup(&mut fault, stdout, "stdout");
        return Some(fault);
    }
    let is_whole = stdout.lines().count() <= 3 && envelope::is_error_text(stdout);
    let is_error = is_whole && !ends_in_good_news(stdout)
        || !process.command.tests() && !process.command.looks() && ends_in_error(stdout);
    fault.add_text(tail_lines(stdout), "stdout");
    is_error.then_some(fault)
}

/// The lines in which a long output says how it ended.
fn tail_lines(stdout: &str) -> &str {
    const LINES: usize = 6;
    let at = stdout.rmatch_indices('\n').nth(LINES - 1);
    at.map_or(stdout, |(at, _)| &stdout[at + 1..])
}

/// Whether the last line of an output is an error; a log's are between others.
fn ends_in_error(stdout: &str) -> bool {
    static ERROR: LazyLock<Regex> = LazyLock::new(|| {
        regex(concat!(
            r"^(?:\x1b\[[0-9;]*m)*[\W_]{0,4}(?:(?:ERROR|FATAL|CRITICAL)\]?(?:\s*[:!-]|\s)\s*\S|(?:[Ee]rror|[Ff]atal(?: error)?)\]?(?:\[\w+\])?: (?:[^\d\s]|[45]\d\d\b))",
            r"|^(?:[A-Za-z_]\w*\.)*(?:[A-Z]\w*(?:Error|Exception)|Exception): |^\S+: line \d+: .*: command not found$|^(?:[A-Z][\w-]* ){0,2}[Ff]ailed: [^\d\s]|^(?:[Pp]ermission|[Aa]ccess) denied\b|^[Qq]uota exceeded\b",
        ))
    });
    let mut lines = stdout.lines().rev().filter(|line| !line.trim().is_empty());
    lines.next().is_some_and(|line| ERROR.is_match(line))
}

/// Whether the last line says that it went well after all.
fn ends_in_good_news(stdout: &str) -> bool {
    static GOOD: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)^\W*(?:[\w-]+ ){0,4}(?:ok|done|success\w*|succeeded|completed?|finished|passed)\b[^:]{0,40}$",
        )
    });
    let last = stdout.lines().rev().find(|line| !line.trim().is_empty());
    stdout.lines().count() > 1 && last.is_some_and(|line| GOOD.is_match(line.trim()))
}

/// Whether few words stand on stderr alone, and they name a human step or a spent allowance.
fn is_grave(stderr: &str) -> bool {
    const LINES_MAX: usize = 8;
    let lines = error_lines(stderr);
    lines.len() <= LINES_MAX
        && lines
            .iter()
            .any(|line| words::read(line).is_some_and(|meaning| meaning <= Meaning::Cost))
}

/// Whether a step of a script was skipped, because its program is not there.
fn lacks_a_command(stderr: &str) -> bool {
    static LACKS: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?m)^\S+: line \d+: \S+: command not found$"));
    LACKS.is_match(head(stderr, 64 * 1024))
}

/// Whether a statement of a script failed: psql goes on, and exits 0 without `ON_ERROR_STOP`.
fn statement_failed(stderr: &str) -> bool {
    static FAILED: LazyLock<Regex> =
        LazyLock::new(|| regex(r"(?m)^(?:psql:[^:\s]+:\d+: )?(?:ERROR|FATAL):  "));
    FAILED.is_match(head(stderr, 64 * 1024))
}

/// Whether a silent stdout beside this stderr is a failure whose code a pipe or a script swallowed.
fn is_tool_error(stderr: &str) -> bool {
    static TOOL: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"^(?:\d{4}[-/]\d\d[-/]\d\d[T ][\d:.,]+Z? )?(?:curl: \(\d+\)|npm (?:error|ERR!) |make(?:\[\d+\])?: \*\*\* |ERROR \d+ \(|[Ee]rror(?: [\w']+){1,4}: |error [A-Z]|toomanyrequests: |An error occurred \(|(?:upload|download|copy|move|delete) failed: |fatal: |error: |Error: |ERROR[: ]|psql:\S* ?(?:error|FATAL|ERROR)|ssh: |bash: .*(?:not found|denied)|sh: \d*:? ?.*not found|[\w.]*(?:Error|Exception): |panic: |wget: |Error from server)",
        )
    });
    let kept = error_lines(stderr);
    let ends = [kept.first(), kept.last()].into_iter().flatten();
    ends.map(String::as_str)
        .chain(stderr.lines().next().filter(|_| !kept.is_empty()))
        .any(|line| TOOL.is_match(line))
}

/// Splits the output of `curl -w '%{http_code}'`: an error status behind its body.
///
/// A status alone is what was asked for, and no error.
fn trailing_status<'a>(process: &Process, stdout: &'a str) -> Option<(u16, &'a str)> {
    if !process.command.prints_status {
        return None;
    }
    let at = stdout
        .len()
        .checked_sub(3)
        .filter(|at| stdout.is_char_boundary(*at))?;
    let (body, status) = stdout.split_at(at);
    let status = status
        .parse()
        .ok()
        .filter(|status| (400..600).contains(status))?;
    (!body.trim().is_empty()).then_some((status, body.trim()))
}

/// Splits the output of `curl -i`: status, headers, body of the last response in it.
fn printed_response(stdout: &str) -> Option<(u16, Map<String, Value>, &str)> {
    if !stdout.starts_with("HTTP/") {
        return None;
    }
    let mut rest = stdout;
    let mut last = None;
    // Proxies and redirects print several heads, one after the other.
    while rest.starts_with("HTTP/")
        && last.is_none_or(|(status, _, _): (u16, &str, &str)| status < 400)
    {
        let (start, body) = rest
            .split_once("\r\n\r\n")
            .or_else(|| rest.split_once("\n\n"))
            .unwrap_or((rest, ""));
        let status = start.split_whitespace().nth(1)?.parse().ok()?;
        last = Some((status, start, body));
        rest = body.trim_start();
    }
    let (status, start, body) = last?;
    let headers = start
        .lines()
        .skip(1)
        .take(100)
        .filter_map(|line| line.split_once(':'));
    let headers = headers
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), Value::from(value.trim())))
        .collect();
    Some((status, headers, body))
}

fn fault(process: &Process) -> Fault {
    let mut fault = Fault::new(Kind::Exec, ending(process));
    let program = process.command.program();
    if let Some(code) = process.exit_code {
        add_exit_code(&mut fault, process, &program, code);
    }
    let stderr = process.stderr.trim();
    match parsed(stderr) {
        Some(json) => fault.add_json(&json, "stderr", &Map::new()),
        None => {
            fault.add_text(stderr, "stderr");
            if let Some(json) = json_inside(stderr).filter(envelope::is_error) {
                fault.add_json(&json, "stderr", &Map::new());
            }
        }
    }
    if !process.command.is_reader() {
        add_stdout(&mut fault, process);
    }
    fault
}

/// Adds stdout where it can be the message: a JSON error, or when stderr says nothing of its own.
fn add_stdout(fault: &mut Fault, process: &Process) {
    static WRAPPER: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)^(make(\[\d+\])?: |error command failed|command (failed|terminated) with|exit(ed)? (status|code)|process (completed|exited)|error: process completed|lifecycle script|command sh -c|path /|workspace |errno \d+|code \w+$|error: recipe .* failed|script .* returned|exited with|failed with exit|npm error|error: script|\+ exit|process finished)",
        )
    });
    let stdout = process.stdout.trim();
    if let Some(json) = parsed(stdout).filter(envelope::is_error) {
        fault.add_json(&json, "stdout", &Map::new());
        return;
    }
    let says_nothing = error_lines(&process.stderr)
        .iter()
        .all(|line| WRAPPER.is_match(line));
    if says_nothing {
        let lines: Vec<&str> = stdout.lines().collect();
        let start = lines.len().saturating_sub(STDOUT_LINES);
        fault.add_text(&lines[start..].join("\n"), "stdout");
    }
}

/// Finds the reason where a tool's last words mislead: an earlier line says that it passes.
///
/// pip ends with "no matching distribution" when it never reached the index; Terraform
/// prints the store's refusal under the headline of its lock.
fn hidden_reason(text: &str) -> Option<(MarkKind, String)> {
    static UNREACHED: LazyLock<Regex> = LazyLock::new(|| {
        regex(
            r"(?i)connection broken by|NewConnectionError|ConnectTimeoutError|ReadTimeoutError|NameResolutionError|ProxyError|connection (?:refused|reset|aborted)",
        )
    });
    if text.contains("Error acquiring the state lock") {
        return Some((
            MarkKind::Passing,
            "Error acquiring the state lock".to_owned(),
        ));
    }
    if !text.contains("(from versions: none)") {
        return None;
    }
    if text.contains("CERTIFICATE_VERIFY_FAILED") {
        return Some((
            MarkKind::Untrusted,
            "the index's certificate was not trusted".to_owned(),
        ));
    }
    let found = UNREACHED.find(text)?;
    Some((
        MarkKind::Passing,
        format!("the index was never reached ({})", found.as_str()),
    ))
}

fn add_exit_code(fault: &mut Fault, process: &Process, program: &str, code: i64) {
    let evidence = format!("exit {code} of {program}");
    let reading = match program {
        "curl" => codes::curl_exit(code),
        "wget" => codes::wget_exit(code),
        "rsync" => codes::rsync_exit(code),
        "ssh" | "scp" | "sftp" | "mosh" if code == 255 => {
            Some((Meaning::Transient, Weight::Status))
        }
        "pg_isready" if code == 1 || code == 2 => Some((Meaning::Transient, Weight::Exact)),
        "ping" if code == 1 => Some((Meaning::Transient, Weight::Status)),
        "flock" if code == 1 && process.stderr.trim().is_empty() => {
            Some((Meaning::Lock, Weight::Status))
        }
        "sqlite3" if code > 1 => codes::sqlite(code),
        "sendmail" | "msmtp" | "mail" | "sysexits" => sysexit(code),
        _ => None,
    };
    fault.add_reading(reading, evidence);
    if matches!(code, 126 | 127) && process.signal.is_none() {
        let said = error_lines(&process.stderr)
            .into_iter()
            .next()
            .unwrap_or_default();
        fault.add_reading(
            Some((Meaning::Semantic, Weight::Exact)),
            format!("exit {code}: {}", clip(&said, 120)),
        );
    }
}

/// Reads an exit code of `sysexits.h`, as mail programs use them.
fn sysexit(code: i64) -> Option<codes::Reading> {
    let meaning = match code {
        68 | 69 | 75 => Meaning::Transient,
        73 | 74 | 77 => Meaning::Persistent,
        64..=67 | 78 => Meaning::Semantic,
        _ => return None,
    };
    Some((meaning, Weight::Exact))
}

fn ending(process: &Process) -> String {
    match (process.timed_out, &process.signal, process.exit_code) {
        (true, _, _) => "timed out".to_owned(),
        (_, Some(signal), _) => format!("signal {}", head(signal, 20)),
        (_, None, Some(code)) => format!("exit {code}"),
        (_, None, None) => "no exit code".to_owned(),
    }
}

static OWN_MEMORY: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?i)heap out of memory|reached heap limit|java\.lang\.OutOfMemoryError|\bMemoryError\b|OOMKilled|\boom[- ]?kill|out of memory: kill|memory cgroup out of memory|cannot allocate memory|std::bad_alloc|",
        r"runtime: out of memory|cuda (error: )?out of memory|CUDA_ERROR_OUT_OF_MEMORY|memory allocation of \d+ bytes failed|virtual memory exhausted|unable to allocate .{0,40}(array|memory)|insufficient memory for the java|allowed memory size of \d+ bytes exhausted|exceeded (the )?memory limit|memory limit exceeded|out of memory \(|: out of memory|failed to allocate memory",
    ))
});
static FAILED_TESTS: LazyLock<Regex> = LazyLock::new(|| {
    regex(concat!(
        r"(?m)^=+ .*\b\d+ (failed|errors?)\b.*=+$|^\d+ failed\b|^FAILED \S+::|test result: FAILED|^--- FAIL: |^FAIL\s+\S+|^Tests:\s+.*\d+ failed|^Test Suites:.*\d+ failed|FAILED \((failures|errors)=|",
        r"\b\d+ examples?, [1-9]\d* failures?|^Failures: [1-9]|[Tt]here (was|were) \d+ (failure|error)s?\b|^not ok \d+|There are test failures|There were failing tests|^\s+\d+ failing$|^Failed!\s+- Failed:|Tests run: \d+, Failures: ([1-9]\d*)|Tests run: \d+, Failures: 0, Errors: [1-9]|The following tests FAILED|^\s*✕ |^# fail [1-9]|^\s*[1-9]\d* failed$|\b[1-9]\d* tests? failed|tests failed out of|^\s*Test Files\s+.*\d+ failed|^panic: test timed out",
    ))
});

/// Tells how the process ended beyond its code.
fn marks(process: &Process) -> Vec<Mark> {
    let mut marks = Vec::new();
    let mut add = |kind, evidence: String| marks.push(Mark { kind, evidence });
    let stdout = if process.command.is_reader() {
        ""
    } else {
        process.stdout.as_str()
    };
    let text = format!("{}\n{}", bounded(&process.stderr), bounded(stdout));
    if let Some(found) = OWN_MEMORY.find(&text) {
        add(
            MarkKind::OwnMemory,
            format!("{}: \"{}\"", ending(process), clip(found.as_str(), 80)),
        );
    }
    if process.timed_out || process.exit_code == Some(124) && process.signal.is_none() {
        add(MarkKind::TimedOut, ending(process));
    } else if is_killed(process) {
        add(MarkKind::Killed, ending(process));
    }
    if let Some((kind, evidence)) = hidden_reason(&text) {
        add(kind, evidence);
    }
    let is_usage = process.command.runs("pytest") && matches!(process.exit_code, Some(2..=5));
    if let Some(found) = FAILED_TESTS
        .find(&text)
        .filter(|_| !is_usage || process.command.tests())
    {
        add(
            MarkKind::FailedTests,
            format!("\"{}\"", clip(found.as_str().trim(), 120)),
        );
    }
    marks
}

/// Whether somebody else ended the process. Source: POSIX shells report 128 + signal.
fn is_killed(process: &Process) -> bool {
    if let Some(signal) = &process.signal {
        let name = signal.to_ascii_uppercase();
        let name = name.trim_start_matches("SIG");
        return matches!(
            name,
            "1" | "2"
                | "9"
                | "15"
                | "HUP"
                | "INT"
                | "KILL"
                | "TERM"
                | "STOP"
                | "19"
                | "PWR"
                | "30"
                | "QUIT"
                | "3"
        );
    }
    let is_git = process.command.program() == "git";
    match process.exit_code {
        Some(137 | 143 | -9 | -15 | -1 | -2) => true,
        Some(130) => true,
        Some(129) => !is_git,
        // STATUS_CONTROL_C_EXIT of Windows.
        Some(3_221_225_786 | -1_073_741_510) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(command: &str, result: Value) -> (Outcome, Vec<MarkKind>) {
        let observation = Observation::from_value(
            json!({"kind": "exec", "tool": "bash", "context": {"command": command}, "result": result}),
        );
        let (outcome, marks) = outcome(&observation);
        (outcome, marks.into_iter().map(|mark| mark.kind).collect())
    }

    #[test]
    fn outcome_table() {
        #[rustfmt::skip]
        let rows = [
            ("exit 0 of a reader is a success whatever it printed", "cat a.log", json!({"exit_code": 0, "stdout": "{\"error\": {\"code\": 500}}"}), "delivered"),
            ("exit 0 of a call whose whole answer is an error", "curl -s https://api.example.com/x", json!({"exit_code": 0, "stdout": "{\"error\": {\"code\": 500}}"}), "failed"),
            ("a swallowed exit code", "curl -sS https://api.example.com | jq .x", json!({"exit_code": 0, "stdout": "", "stderr": "curl: (6) Could not resolve host: api.example.com"}), "failed"),
            ("a failure the caller swallows", "rm x || true", json!({"exit_code": 0, "stdout": "", "stderr": "error: no x"}), "delivered"),
            ("a printed response", "curl -si https://api.example.com", json!({"exit_code": 0, "stdout": "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n\r\nbusy"}), "failed"),
            ("grep that finds nothing", "grep x f", json!({"exit_code": 1}), "nothing"),
            ("grep that fails", "grep x f", json!({"exit_code": 2, "stderr": "grep: f: No such file or directory"}), "failed"),
            ("a pipe whose source failed", "curl -sS https://x.test | grep a", json!({"exit_code": 1, "stderr": "curl: (6) Could not resolve host: x.test"}), "failed"),
        ];
        for (name, command, result, want) in rows {
            let got = match run(command, result).0 {
                Outcome::Items(_) => "items",
                Outcome::NothingFound(_) => "nothing",
                Outcome::Delivered(_) => "delivered",
                Outcome::Failed(_) => "failed",
            };
            assert_eq!(got, want, "row: {name}");
        }
    }

    #[test]
    fn marks_table() {
        #[rustfmt::skip]
        let rows = [
            ("killed from outside", json!({"exit_code": 137}), vec![MarkKind::Killed]),
            ("killed for its own memory", json!({"exit_code": 137, "stderr": "OOMKilled"}), vec![MarkKind::OwnMemory, MarkKind::Killed]),
            ("GNU timeout", json!({"exit_code": 124}), vec![MarkKind::TimedOut]),
            ("a crash is nobody's kill", json!({"exit_code": 139}), vec![]),
            ("failing tests", json!({"exit_code": 1, "stdout": "FAILED tests/a.py::test_timeout\n1 failed in 0.1s"}), vec![MarkKind::FailedTests]),
            ("a signal by name", json!({"signal": "SIGTERM"}), vec![MarkKind::Killed]),
        ];
        for (name, result, want) in rows {
            assert_eq!(run("make", result).1, want, "row: {name}");
        }
    }
}
