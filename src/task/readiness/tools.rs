//! R1xx: tools.

use serde_json::Value;

use super::{
    IRREVERSIBLE_RETRIED, KEY_OPTIONAL, Look, TIMEOUT_PAST_DEADLINE, TOOL_DESCRIPTION, TOOL_EFFECT,
    TOOL_IN_DOUBT, TOOL_INPUT, TOOL_KEY, TOOL_OPTION, TOOL_PLAIN_HTTP, TOOL_TIMEOUT, TOOL_UNDO,
    TOOL_UNREACHABLE,
};
use crate::task::locate::KeyPath;
use crate::task::resolved::{Action, Approve, Effect, Protocol, Tool};
use crate::task::template::Template;
use crate::task::units::Duration;

impl Look<'_> {
    pub(super) fn tools(&mut self) {
        let task = self.task;
        let tools = KeyPath::root().key("tools");
        if !task.tools.is_empty() && task.agent.protocol == Protocol::None {
            self.find(
                TOOL_UNREACHABLE,
                &tools,
                "the agent cannot call the tools: with `protocol: none` it does not talk to agentguard".to_owned(),
                "write `protocol: socket` or `protocol: stdio` under `agent`, or remove `tools`",
            );
        }
        for (name, tool) in &task.tools {
            self.tool(&tools.key(name), name, tool);
        }
        self.servers();
    }

    /// Tools of MCP servers: what they take, their servers say.
    fn servers(&mut self) {
        let mcp = KeyPath::root().key("mcp");
        for (name, tool) in &self.task.lent {
            let Some((server, tool_name)) = name.split_once('/').filter(|it| it.0 != "*") else {
                continue;
            };
            let of_server = mcp.key(server);
            if tool_name == "*" {
                let path = of_server.key("default");
                if self.is_written(&path) && tool.effect != Effect::Read && tool.key.is_none() {
                    let message = format!(
                        "tools of `{server}` that are not named write and have no key: the same \
                         call made twice by the model happens twice"
                    );
                    let fix = "name those that write under `tools`, each with a `key:`";
                    self.find(TOOL_KEY, &path, message, fix);
                }
                continue;
            }
            let path = of_server.key("tools").key(tool_name);
            self.tool_effect(&path, name);
            self.tool_write(&path, name, tool);
        }
    }

    fn tool(&mut self, path: &KeyPath, name: &str, tool: &Tool) {
        self.tool_words(path, name, tool);
        self.tool_write(path, name, tool);
        self.tool_action(path, name, tool);
        if let Some(deadline_ms) = self.task.limits.deadline_ms
            && tool.timeout_ms > deadline_ms
            && self.is_written(&path.key("timeout"))
        {
            let (timeout, deadline) = (Duration(tool.timeout_ms), Duration(deadline_ms));
            let message =
                format!("one call of `{name}` may take {timeout}, the whole run only {deadline}");
            self.find(
                TIMEOUT_PAST_DEADLINE,
                &path.key("timeout"),
                message,
                "shorten `timeout`, or raise `limits.deadline`",
            );
        }
    }

    /// What the task file should say of every tool.
    fn tool_words(&mut self, path: &KeyPath, name: &str, tool: &Tool) {
        if !self.is_written(&path.key("timeout")) {
            let default = Duration(tool.timeout_ms);
            let message = format!("tool `{name}` has no timeout; the default of {default} applies");
            self.find(
                TOOL_TIMEOUT,
                path,
                message,
                "add `timeout: 30s`, a little more than it usually takes",
            );
        }
        self.tool_effect(path, name);
        if tool.input.is_none() {
            let message =
                format!("tool `{name}` does not say which arguments it takes; none is checked");
            self.find(TOOL_INPUT, path, message, "add `input:` with a JSON Schema: `{type: object, properties: {...}, required: [...]}`");
        }
        if tool.description.trim().is_empty() {
            let message = format!("tool `{name}` has no description; the model sees its name only");
            self.find(
                TOOL_DESCRIPTION,
                path,
                message,
                "add `description:` with a sentence",
            );
        }
    }

    fn tool_effect(&mut self, path: &KeyPath, name: &str) {
        if !self.is_written(&path.key("effect")) {
            let message = format!(
                "tool `{name}` does not say what it does to the world; it is taken for a write"
            );
            self.find(
                TOOL_EFFECT,
                path,
                message,
                "add `effect: read`, `write` or `irreversible`",
            );
        }
    }

    fn tool_write(&mut self, path: &KeyPath, name: &str, tool: &Tool) {
        if tool.effect == Effect::Read {
            return;
        }
        if tool.key.is_none() {
            let message = format!(
                "tool `{name}` writes and has no key: the same call made twice by the model happens twice"
            );
            self.find(
                TOOL_KEY,
                path,
                message,
                "add `key:` with what makes two calls the same, such as `\"charge:{order_id}\"`",
            );
        }
        if tool.native_key.is_none() && tool.probe.is_none() {
            let message = format!(
                "tool `{name}` writes, and only a human can tell after a crash whether a call happened"
            );
            self.find(TOOL_IN_DOUBT, path, message, "add `native_key:` if the tool takes an idempotency key, or `probe:` with a command that looks");
        }
        if tool.effect == Effect::Write && tool.undo.is_none() {
            let message = format!("what tool `{name}` did cannot be taken back by a rollback");
            self.find(
                TOOL_UNDO,
                path,
                message,
                "add `undo:` with a `command` that takes a call back, or write `effect: irreversible`",
            );
        }
        let is_told = self.tells_of_questions();
        if tool.effect == Effect::Irreversible && !is_told {
            let message = format!(
                "tool `{name}` cannot be undone, and nobody is told when a human has to decide about it"
            );
            self.nobody_asked(path, message);
        } else if tool.approve != Approve::Never && !is_told {
            let message = format!("calls of `{name}` wait for an approval, and nobody is told");
            self.nobody_asked(&path.key("approve"), message);
        }
        if tool.effect == Effect::Irreversible && tool.retry.attempts > 1 {
            let message = format!(
                "tool `{name}` cannot be undone and is tried {} times",
                tool.retry.attempts
            );
            self.find(
                IRREVERSIBLE_RETRIED,
                &path.key("retry").key("attempts"),
                message,
                "write `attempts: 1`, or `effect: write` if a repeat does no harm",
            );
        }
    }

    fn tool_action(&mut self, path: &KeyPath, name: &str, tool: &Tool) {
        let optional = |template: &Template| optional_argument(template, tool.input.as_ref());
        if let Some(argument) = tool.key.as_ref().and_then(optional) {
            self.optional(&path.key("key"), name, &argument);
        }
        match &tool.action {
            Action::Command { argv, .. } => {
                let at = path.key("command");
                let ended = argv
                    .iter()
                    .position(|word| word.as_str() == "--")
                    .unwrap_or(argv.len());
                for (index, word) in argv.iter().enumerate() {
                    if index > 0 && index < ended && may_be_option(word, tool.input.as_ref()) {
                        let message = format!(
                            "a value of `{word}` that begins with `-` is an option to the program of `{name}`"
                        );
                        self.find(TOOL_OPTION, &at.index(index), message, "put `--` before it if the program knows that, or `pattern: \"^[^-]\"` into `input`");
                    }
                    if let Some(argument) = optional(word) {
                        self.optional(&at.index(index), name, &argument);
                    }
                }
            }
            Action::Http { url, .. } => {
                let at = path.key("http").key("url");
                if is_plain_http(url.as_str()) {
                    let message = format!("tool `{name}` sends its data unencrypted");
                    self.find(TOOL_PLAIN_HTTP, &at, message, "write `https://`");
                }
                if let Some(argument) = optional(url) {
                    self.optional(&at, name, &argument);
                }
            }
            Action::Lent => {}
        }
    }

    fn optional(&mut self, path: &KeyPath, name: &str, argument: &str) {
        let message = format!(
            "a call of `{name}` without `{argument}` passes `input` and is then refused here"
        );
        self.find(
            KEY_OPTIONAL,
            path,
            message,
            &format!("add `{argument}` to `required` in `input`"),
        );
    }
}

/// Returns an argument of the template that the schema knows and does not
/// require.
fn optional_argument(template: &Template, input: Option<&Value>) -> Option<String> {
    let input = input?;
    let required = input.get("required").and_then(Value::as_array);
    let mut names = template.arguments().filter_map(|steps| steps.first());
    let name = names.find(|name| {
        let known = input
            .get("properties")
            .is_some_and(|it| it.get(name.as_str()).is_some());
        known && !required.is_some_and(|list| list.iter().any(|it| it == name.as_str()))
    })?;
    Some(name.clone())
}

/// Tells whether a word may become an option: it begins with a value, and the
/// schema of the arguments does not keep a `-` from standing first.
fn may_be_option(word: &Template, input: Option<&Value>) -> bool {
    if !word.begins_with_value() {
        return false;
    }
    let described = input
        .and_then(|input| input.get("properties"))
        .zip(word.first_argument());
    let Some((properties, [name])) = described else {
        return true;
    };
    let schema = &properties[name.as_str()];
    let is_option = |text: &Value| text.as_str().is_some_and(|text| text.starts_with('-'));
    if let Some(values) = schema["enum"].as_array() {
        return values.iter().any(is_option);
    }
    if let Some(pattern) = schema["pattern"].as_str() {
        return regex::Regex::new(pattern)
            .is_ok_and(|pattern| ["-x", "--x", "--x=1"].iter().any(|it| pattern.is_match(it)));
    }
    !matches!(
        schema["type"].as_str(),
        Some("integer" | "number" | "boolean")
    )
}

/// Tells whether a URL leaves the machine without TLS.
fn is_plain_http(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    let local = host == "localhost"
        || host.starts_with("localhost:")
        || host.starts_with("127.")
        || host.starts_with("[::1]")
        || host.starts_with('{');
    !local
}
