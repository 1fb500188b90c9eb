//! What the words of a tool's name say it does.
//!
//! The first known word decides; a few words anywhere in the name mark notes,
//! polls, and questions to a person. The table is tested by `meaning`.

use super::print::Kind;

/// Returns the words of a tool's name: the part after the server's name, split
/// at signs and capitals.
pub(super) fn name_words(tool: &str) -> Vec<String> {
    let name = tool.rsplit("__").next().unwrap_or(tool);
    let name = name.rsplit(['.', '/', ':']).next().unwrap_or(name);
    let mut words: Vec<String> = Vec::new();
    let mut previous_lower = false;
    for c in name.chars().take(96) {
        if !c.is_alphanumeric() {
            words.push(String::new());
            previous_lower = false;
            continue;
        }
        if words.is_empty() || c.is_uppercase() && previous_lower {
            words.push(String::new());
        }
        previous_lower = c.is_lowercase() || c.is_numeric();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Tools in which the model talks to itself.
#[rustfmt::skip]
pub(super) fn is_note(joined: &str) -> bool {
    matches!(
        joined,
        "todowrite" | "todoread" | "todo" | "updatetodo" | "updatetodos" | "updatetodolist" | "writetodos"
            | "managetodolist" | "writetodo" | "readtodos" | "todolist" | "taskcreate" | "taskupdate"
            | "tasklist" | "taskget" | "tasktracker" | "updateplan" | "createplan" | "setplan" | "writeplan"
            | "makeplan" | "plan" | "planner" | "planning" | "exitplanmode" | "enterplanmode" | "think"
            | "thinking" | "thought" | "reflect" | "sequentialthinking" | "logthought" | "note" | "notes"
            | "takenote" | "takenotes" | "writenote" | "addnote" | "updatenotes" | "savenote" | "scratchpad"
            | "writescratchpad" | "updatescratchpad" | "reportprogress" | "updateprogress" | "todoupdate"
            | "planupdate" | "setgoal" | "reportintent"
    )
}

/// The first word that says what a tool does.
#[rustfmt::skip]
pub(super) fn kind_of_words(words: &[String]) -> Option<Kind> {
    if words
        .iter()
        .any(|word| matches!(word.as_str(), "replace" | "reapply"))
    {
        return Some(Kind::Write);
    }
    let has = |wanted: &[&str]| words.iter().any(|word| wanted.contains(&word.as_str()));
    // Whoever asks a person waits for one.
    if has(&["user", "human", "approval"])
        && has(&["ask", "request", "input", "await", "confirm", "question"])
        || has(&["followup"])
    {
        return Some(Kind::Poll);
    }
    let first = words.iter().find_map(|word| verb(word))?;
    let asks_state = words.iter().any(|word| {
        matches!(
            word.as_str(),
            "status" | "progress" | "poll" | "wait" | "health" | "ready" | "readiness" | "pending" | "inbox"
                | "logs" | "log" | "mailbox" | "queue" | "deployment" | "pipeline" | "job" | "output"
                | "alerts"
        )
    });
    // `check_types` is as fixed as the files are; `check_order` is not.
    let checks_files = words.iter().any(|word| {
        matches!(
            word.as_str(),
            "syntax" | "type" | "types" | "lint" | "code" | "grammar" | "file" | "spelling" | "style"
                | "format" | "test" | "tests"
        )
    });
    // Words that are verbs in `order_pizza` and nouns in `order_status`.
    let noun = words.first().is_some_and(|word| {
        matches!(
            word.as_str(),
            "order" | "build" | "process" | "log" | "label" | "index" | "record" | "import" | "sync"
                | "transfer" | "upload" | "install" | "deploy" | "task" | "schedule" | "draft" | "store"
                | "step"
        )
    });
    Some(match first {
        Kind::Write | Kind::Act if noun && asks_state && words.len() > 1 => Kind::Poll,
        Kind::Read if asks_state => Kind::Poll,
        Kind::Poll if checks_files => Kind::Run,
        kind => kind,
    })
}

fn verb(word: &str) -> Option<Kind> {
    Some(match word {
        "sleep" | "delay" | "pause" | "idle" => Kind::Wait,
        "wait" | "await" => Kind::Wait,
        "poll" | "status" | "check" | "monitor" | "watch" | "progress" | "health"
        | "healthcheck" | "tail" | "bashoutput" | "taskoutput" | "output" | "inbox" | "ready"
        | "probe" | "peek" | "track" => Kind::Poll,
        "get" | "read" | "list" | "ls" | "search" | "find" | "fetch" | "view" | "show" | "grep"
        | "glob" | "query" | "lookup" | "describe" | "inspect" | "browse" | "retrieve" | "load"
        | "open" | "cat" | "select" | "count" | "scan" | "explain" | "summarize" | "analyze"
        | "ask" | "recall" | "stat" | "diff" | "head" | "websearch" | "webfetch" | "google"
        | "wikipedia" | "tavily" | "retriever" | "snapshot" | "screenshot" | "extract"
        | "download" | "preview" | "info" | "verify" | "validate" | "calculate" | "compare"
        | "resolve" => Kind::Read,
        "click" | "scroll" | "type" | "press" | "navigate" | "goto" | "hover" | "tap" | "swipe"
        | "key" | "next" | "back" | "forward" | "drag" | "focus" | "go" | "step" | "fill"
        | "visit" | "switch" | "expand" | "mouse" | "previous" | "prev" | "turn" | "seek"
        | "dismiss" => Kind::Act,
        "write" | "implement" | "configure" | "toggle" | "adjust" | "delegate" | "dispatch"
        | "spawn" | "task" | "agent" | "edit" | "multiedit" | "notebookedit" | "apply"
        | "patch" | "create" | "delete" | "remove" | "insert" | "update" | "upsert" | "replace"
        | "str" | "commit" | "push" | "send" | "post" | "put" | "save" | "set" | "add"
        | "append" | "move" | "rename" | "copy" | "upload" | "deploy" | "install" | "publish"
        | "merge" | "book" | "pay" | "charge" | "refund" | "cancel" | "approve" | "reject"
        | "assign" | "close" | "reply" | "draft" | "schedule" | "submit" | "restart" | "start"
        | "stop" | "enable" | "disable" | "modify" | "change" | "fix" | "refactor" | "undo"
        | "revert" | "rollback" | "import" | "transfer" | "notify" | "archive" | "label"
        | "tag" | "register" | "scale" | "provision" | "terminate" | "reset" | "clear" | "mark"
        | "complete" | "convert" | "generate" | "resize" | "translate" | "process" | "trigger"
        | "order" | "buy" | "sell" | "reserve" | "invite" | "grant" | "revoke" | "rotate"
        | "sync" | "build" | "migrate" | "purge" | "restore" | "ingest" | "index" | "store"
        | "remember" | "increment" | "rewrite" | "drop" | "alter" | "truncate" | "log"
        | "record" => Kind::Write,
        _ => return None,
    })
}
