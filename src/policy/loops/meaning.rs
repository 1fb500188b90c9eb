//! What a call is for, read from the tool's name, its arguments, and traits.
//!
//! Traits decide where they speak. Otherwise the words of the tool's name do,
//! the first known one first (`get_order` reads, `order_pizza` changes), and
//! for shells the command. Unknown tools are [`Kind::Run`]: they are watched
//! like any other, and never clear evidence.

use std::borrow::Cow;

use serde_json::Value;

use super::config::ToolTraits;
use super::digest::{Digest, Hasher};
use super::print::{Kind, Outcome};
use super::program;
use super::shell::Shell;
use super::talk;
use super::verbs::{is_note, kind_of_words, name_words};

/// A call, read once.
pub(super) struct Call<'a> {
    /// The tool's name as given.
    pub tool: &'a str,
    /// The arguments, parsed where they came as text.
    pub args: Cow<'a, Value>,
    /// The command, for tools that run one.
    pub shell: Option<Shell>,
    /// The argument is a script that calls other tools.
    pub is_program: bool,
    /// What the call is for, before its result is known.
    pub kind: Kind,
    /// The tool, and for shells the program.
    pub family: Digest,
    /// The words of the tool's name, lower case.
    words: Vec<String>,
}

impl<'a> Call<'a> {
    /// Returns the reading of one call.
    pub fn read(tool: &'a str, args: &'a Value, traits: &ToolTraits) -> Self {
        let args = parsed(args);
        let words = name_words(tool);
        let text = program_text(&words, &args);
        let is_program = text.as_deref().is_some_and(program::is_script);
        let shell = text.map(|text| read_program(&text, is_program));
        let kind = kind_of(&words, &args, shell.as_ref(), traits);
        let mut hasher = Hasher::new();
        hasher.write(tool.as_bytes());
        hasher.write(shell.as_ref().map_or("", |shell| &shell.program).as_bytes());
        Self {
            tool,
            args,
            is_program,
            kind,
            family: hasher.finish(),
            words,
            shell,
        }
    }

    /// Returns whether the tool itself talks to other machines, or may.
    pub fn may_be_network(&self) -> bool {
        self.shell.as_ref().is_none_or(|shell| shell.network)
    }

    /// Returns whether the tool shows stored content (which may talk of errors).
    pub fn shows_content(&self) -> bool {
        self.kind == Kind::Read || self.kind == Kind::Poll && self.shell.is_some()
    }

    /// Returns whether an id among the arguments is what the tool is about:
    /// `request_id` for `approve_request`.
    pub fn is_about(&self, key: &str) -> bool {
        self.words
            .iter()
            .any(|word| word.len() >= 4 && key.to_ascii_lowercase().contains(word.as_str()))
    }

    /// Returns whether a search tool looks for the words under this key.
    pub fn searches_by(&self, key: &str) -> bool {
        matches!(
            key,
            "name" | "text" | "title" | "input" | "prompt" | "string" | "phrase" | "value"
        ) && self.has_word(&["search", "websearch"])
    }

    fn has_word(&self, wanted: &[&str]) -> bool {
        self.words
            .iter()
            .any(|word| wanted.contains(&word.as_str()))
    }
}

/// Arguments that came as JSON text are those arguments.
fn parsed(args: &Value) -> Cow<'_, Value> {
    if let Value::String(text) = args
        && text.trim_start().starts_with('{')
        && let Ok(value @ Value::Object(_)) = serde_json::from_str(text)
    {
        return Cow::Owned(value);
    }
    Cow::Borrowed(args)
}

/// Returns the command or program of tools that run one.
#[rustfmt::skip]
fn program_text(words: &[String], args: &Value) -> Option<String> {
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    let is_shell = has(&[
        "bash", "shell", "sh", "terminal", "exec", "zsh", "powershell", "console", "cmd", "command", "cmdrun",
        "execute",
    ]) && !has(&[
        "sql", "query", "python", "ipython", "cell", "code", "javascript", "js", "step", "trade", "order",
        "plan", "workflow",
    ]);
    match args {
        Value::String(text) if is_shell => Some(text.clone()),
        Value::Object(map) => {
            let keys = [
                "command", "cmd", "script", "shell_command", "commands", "bash",
            ];
            let more = ["input", "code", "source", "program", "js", "javascript"];
            let found = keys
                .iter()
                .chain(more.iter().filter(|_| is_shell))
                .find_map(|key| {
                    map.get(*key)
                        .and_then(|value| command_text(value, is_shell))
                })?;
            // `command: "view"` names a verb of an editor, not a program.
            (is_shell || found.trim().contains(char::is_whitespace)).then_some(found)
        }
        _ => None,
    }
}

fn command_text(value: &Value, is_shell: bool) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(items) if is_shell => {
            let words: Vec<&str> = items.iter().map(Value::as_str).collect::<Option<_>>()?;
            Some(super::shell::join(&words))
        }
        _ => None,
    }
}

/// A script is for what the commands in it are for.
#[rustfmt::skip]
fn read_program(text: &str, is_program: bool) -> Shell {
    if !is_program {
        return Shell::read(text);
    }
    let inner: Vec<Shell> = program::commands(text)
        .iter()
        .map(|command| Shell::read(command))
        .collect();
    let edits = [
        "apply_patch", "*** Begin Patch", "writeFile", "write_file", "str_replace",
    ]
    .iter()
    .any(|mark| text.contains(mark));
    let all = |kind| !inner.is_empty() && inner.iter().all(|shell| shell.kind == kind);
    let kind = match () {
        () if edits || inner.iter().any(|shell| shell.kind == Kind::Write) => Kind::Write,
        () if all(Kind::Wait) => Kind::Wait,
        () if all(Kind::Poll) => Kind::Poll,
        () if all(Kind::Read) => Kind::Read,
        () => Kind::Run,
    };
    Shell {
        text: text.to_owned(),
        program: inner
            .first()
            .map(|shell| shell.program.clone())
            .unwrap_or_default(),
        kind,
        network: inner.iter().any(|shell| shell.network),
    }
}

fn kind_of(words: &[String], args: &Value, shell: Option<&Shell>, traits: &ToolTraits) -> Kind {
    let inferred = inferred_kind(words, args, shell);
    match (traits.poll, traits.mutates) {
        (Some(true), _) => Kind::Poll,
        (_, Some(true)) => Kind::Write,
        (_, Some(false)) if matches!(inferred, Kind::Write | Kind::Act | Kind::Run) => Kind::Read,
        (Some(false), _) if inferred == Kind::Poll => Kind::Read,
        _ => inferred,
    }
}

#[rustfmt::skip]
fn inferred_kind(words: &[String], args: &Value, shell: Option<&Shell>) -> Kind {
    if let Some(shell) = shell {
        return shell.kind;
    }
    let joined = words.concat();
    if is_note(&joined) || words.iter().any(|word| word.starts_with("todo")) {
        return Kind::Note;
    }
    if matches!(
        joined.as_str(),
        "ping" | "heartbeat" | "sendheartbeat" | "keepalive" | "noop" | "pong" | "sendkeepalive"
            | "sessionkeepalive" | "keepsessionalive" | "refreshsession" | "extendsession" | "renewlease"
            | "renewlock"
    ) {
        return Kind::KeepAlive;
    }
    if joined.contains("keepalive") || joined.contains("heartbeat") {
        return Kind::KeepAlive;
    }
    if joined == "writestdin" {
        let sent = args.get("chars").and_then(Value::as_str).unwrap_or("");
        return if sent.is_empty() {
            Kind::Poll
        } else {
            Kind::Run
        };
    }
    let by_name = kind_of_words(words);
    let by_verb = args_verb(args).and_then(|verb| kind_of_words(&verb));
    let by_sql = sql_text(args)
        .filter(|_| by_name != Some(Kind::Write))
        .map(sql_kind);
    match (by_verb, by_sql, by_name) {
        (Some(kind), ..) => kind,
        (None, Some(kind), _) => kind,
        (None, None, Some(kind)) => kind,
        (None, None, None) => code_kind(args),
    }
}

/// Returns the verb some tools carry in an argument (`action: "click"`, `method: "POST"`).
#[rustfmt::skip]
fn args_verb(args: &Value) -> Option<Vec<String>> {
    let keys = [
        "action", "command", "operation", "op", "method", "verb", "subcommand",
    ];
    let text = keys.iter().find_map(|key| args.get(*key)?.as_str())?;
    let single = !text.is_empty() && text.len() <= 32 && !text.contains(char::is_whitespace);
    single.then(|| name_words(text))
}

/// Returns the SQL text among the arguments, if there is one.
fn sql_text(args: &Value) -> Option<&str> {
    let keys = ["sql", "query", "statement", "sql_query"];
    keys.iter()
        .find_map(|key| args.get(*key)?.as_str())
        .filter(|text| super::spelling::looks_like_sql(text))
}

/// Returns whether a statement reads or changes.
pub(super) fn sql_kind(text: &str) -> Kind {
    let first = text
        .split_whitespace()
        .next()
        .unwrap_or("")
        .to_ascii_lowercase();
    match first.as_str() {
        "insert" | "update" | "delete" | "create" | "alter" | "drop" | "truncate" | "merge"
        | "grant" | "replace" => Kind::Write,
        _ => Kind::Read,
    }
}

/// Program text that plainly writes is a change; other programs may be anything.
#[rustfmt::skip]
fn code_kind(args: &Value) -> Kind {
    let text = match args {
        Value::String(text) => text.as_str(),
        args => ["code", "source", "input"]
            .iter()
            .find_map(|key| args.get(*key)?.as_str())
            .unwrap_or(""),
    };
    let writes = [
        ".write(", "write_text(", "to_csv(", "to_parquet(", ".save(", "savefig(", "os.remove(", "shutil.",
        "writeFile", "requests.post(",
    ];
    let has = |keys: &[&str]| {
        keys.iter()
            .any(|key| args.get(*key).is_some_and(Value::is_string))
    };
    let edits = has(&["path", "file_path", "filename", "file"])
        && has(&[
            "content", "contents", "new_string", "new_str", "file_text", "patch", "diff",
        ]);
    if edits {
        return Kind::Write;
    }
    if text.starts_with("*** Begin Patch") || writes.iter().any(|mark| text.contains(mark)) {
        return Kind::Write;
    }
    Kind::Run
}

/// Returns the kind, now that the result is known: an answer that says "still
/// running" makes a read a poll.
pub(super) fn kind_with_result(
    call: &Call,
    result: &Value,
    text: &str,
    outcome: Outcome,
    traits: &ToolTraits,
) -> Kind {
    let fixed = traits.poll.is_some() || outcome != Outcome::Ok;
    if !fixed
        && call.kind == Kind::Write
        && traits.mutates.is_none()
        && talk::says_nothing_changed(text)
    {
        return Kind::Run;
    }
    let searches = match &call.shell {
        Some(shell) => !shell.may_report_state(),
        None => call.has_word(&[
            "read", "grep", "search", "glob", "find", "query", "cat", "open", "view",
        ]),
    };
    if !fixed
        && !searches
        && matches!(call.kind, Kind::Read | Kind::Run)
        && talk::says_pending(result, text)
    {
        return Kind::Poll;
    }
    call.kind
}

/// Returns whether the call makes something new, whose number in the answer
/// differs each time.
pub(super) fn creates(call: &Call, kind: Kind) -> bool {
    kind == Kind::Write
        && call.shell.is_none()
        && call.has_word(&[
            "send", "create", "post", "add", "insert", "publish", "submit", "book", "pay",
            "charge", "order", "reply", "notify", "refund", "schedule", "transfer", "start",
            "trigger", "buy", "upload", "invite", "append",
        ])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn kind_table() {
        #[rustfmt::skip]
        let rows = [
            ("TodoWrite", json!({"todos": []}), Kind::Note),
            ("mcp__plan__update_plan", json!({}), Kind::Note),
            ("create_task", json!({"title": "x"}), Kind::Write),
            ("Read", json!({"file_path": "a"}), Kind::Read),
            ("get_order", json!({"id": 1}), Kind::Read),
            ("order_pizza", json!({"size": 1}), Kind::Write),
            ("order_status", json!({"id": 1}), Kind::Poll),
            ("get_job_status", json!({"id": 1}), Kind::Poll),
            ("check_syntax", json!({"file": "a"}), Kind::Run),
            ("check_inbox", json!({}), Kind::Poll),
            ("BashOutput", json!({"bash_id": "1"}), Kind::Poll),
            ("str_replace_editor", json!({"command": "view", "path": "a"}), Kind::Read),
            ("str_replace_editor", json!({"command": "str_replace", "path": "a"}), Kind::Write),
            ("http_request", json!({"method": "POST", "url": "https://example.com"}), Kind::Write),
            ("computer", json!({"action": "screenshot"}), Kind::Read),
            ("browser.click", json!({"ref": "e1"}), Kind::Act),
            ("run_sql", json!({"query": "SELECT a FROM b"}), Kind::Read),
            ("run_sql", json!({"query": "UPDATE a SET b = 1"}), Kind::Write),
            ("shell", json!({"command": ["bash", "-lc", "ls"]}), Kind::Read),
            ("exec", json!("const r = await tools.apply_patch('*** Begin Patch');"), Kind::Write),
            ("frobnicate", json!({"x": 1}), Kind::Run),
            ("", json!(null), Kind::Run),
        ];
        for (tool, args, want) in rows {
            let call = Call::read(tool, &args, &ToolTraits::default());
            assert_eq!(call.kind, want, "row: {tool} {args}");
        }
    }

    #[test]
    fn traits_come_first() {
        let args = json!({});
        let kind = |traits: ToolTraits| Call::read("get_thing", &args, &traits).kind;
        assert_eq!(
            kind(ToolTraits {
                poll: Some(true),
                ..Default::default()
            }),
            Kind::Poll
        );
        assert_eq!(
            kind(ToolTraits {
                mutates: Some(true),
                ..Default::default()
            }),
            Kind::Write
        );
        assert_eq!(kind(ToolTraits::default()), Kind::Read);
    }
}
