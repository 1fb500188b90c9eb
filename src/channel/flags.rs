//! Makes the parameters of a request from what a shell script can write.
//!
//! Pure, apart from [`source`]: texts of command-line flags in, the `params`
//! object out, checked by the same reader that the supervisor uses, so that a
//! wrong flag is found before anything is sent.

use std::fmt::Write as _;
use std::io::{self, Read};

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::frame;
use super::method::{Call, Verbatim};
use super::raw;

/// Why flags make no request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag is not of the form `name=value`.
    #[error("{flag} {found} has no name and `=`, expected {flag} {form}")]
    NoName {
        /// The flag.
        flag: &'static str,
        /// What was written.
        found: String,
        /// What it looks like when it is right.
        form: &'static str,
    },

    /// An argument is given twice.
    #[error("argument `{name}` is given twice; give it once")]
    Twice {
        /// The argument.
        name: String,
    },

    /// A text is not the JSON it has to be.
    #[error("{flag} is not {expected}: {why}")]
    NotJson {
        /// The flag, with its place where it may be repeated.
        flag: String,
        /// What it has to be.
        expected: &'static str,
        /// What is wrong.
        why: String,
    },

    /// Flags that exclude or need one another.
    #[error("{what}")]
    Combination {
        /// Which, and what to do.
        what: &'static str,
    },

    /// The supervisor would refuse the parameters.
    #[error(transparent)]
    Refused(#[from] frame::Error),

    /// A file or stdin cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file, or `-` for stdin.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Where a flag takes its text from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// The text itself, `@FILE`, or `-` for stdin (`--args`).
    TextOrFile,
    /// A file, or `-` for stdin (`--history`).
    File,
}

/// Returns the text that a flag names.
///
/// Errors: [`Error::Read`], also when the text is not UTF-8.
pub fn source(value: &str, form: Form, stdin: &mut dyn Read) -> Result<String, Error> {
    let failed = |source| Error::Read {
        path: value.trim_start_matches('@').to_owned(),
        source,
    };
    match (form, value) {
        (_, "-") => {
            let mut text = String::new();
            stdin
                .read_to_string(&mut text)
                .map(|_| text)
                .map_err(failed)
        }
        (Form::TextOrFile, text) => match text.strip_prefix('@') {
            Some(path) => std::fs::read_to_string(path).map_err(failed),
            None => Ok(text.to_owned()),
        },
        (Form::File, path) => std::fs::read_to_string(path).map_err(failed),
    }
}

/// Returns the arguments of a tool.
///
/// - `texts`: `--arg k=v`, each a text.
/// - `values`: `--arg-json k=JSON`, each any JSON.
/// - `whole`: `--args`, an object that the others add to.
///
/// Errors: a name missing or given twice, JSON that is none.
pub fn build_args(
    texts: &[String],
    values: &[String],
    whole: Option<&str>,
) -> Result<Map<String, Value>, Error> {
    let mut args = match whole {
        None => Map::new(),
        Some(text) => serde_json::from_str(text)
            .map_err(|error| not_json("--args", "a JSON object", &error))?,
    };
    for text in texts {
        let (name, value) = named("--arg", text, "NAME=TEXT")?;
        add(&mut args, name, Value::from(value))?;
    }
    for text in values {
        let (name, value) = named("--arg-json", text, "NAME=JSON")?;
        if let Some(number) = raw::integer_beyond_64_bits(value) {
            let why = format!(
                "{} loses digits, give it as text with --arg",
                raw::excerpt(number)
            );
            return Err(Error::NotJson {
                flag: format!("--arg-json {name}"),
                expected: "kept whole",
                why,
            });
        }
        let flag = format!("--arg-json {}", raw::excerpt(name));
        let value = serde_json::from_str(value).map_err(|error| not_json(&flag, "JSON", &error))?;
        add(&mut args, name, value)?;
    }
    Ok(args)
}

fn named<'a>(
    flag: &'static str,
    text: &'a str,
    form: &'static str,
) -> Result<(&'a str, &'a str), Error> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => Err(Error::NoName {
            flag,
            found: raw::excerpt(text),
            form,
        }),
    }
}

fn add(args: &mut Map<String, Value>, name: &str, value: Value) -> Result<(), Error> {
    match args.insert(name.to_owned(), value) {
        None => Ok(()),
        Some(_) => Err(Error::Twice {
            name: raw::excerpt(name),
        }),
    }
}

fn not_json(flag: &str, expected: &'static str, error: &serde_json::Error) -> Error {
    Error::NotJson {
        flag: flag.to_owned(),
        expected,
        why: error.to_string(),
    }
}

/// The flags of `agentguard turn`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TurnFlags {
    /// `--message JSON`, repeated: whole messages.
    pub messages: Vec<String>,
    /// `--role ROLE`, repeated, one for each `--content`.
    pub roles: Vec<String>,
    /// `--content TEXT`, repeated.
    pub contents: Vec<String>,
    /// The text that `--history FILE|-` named: a JSON array of messages, or one
    /// message a line.
    pub history: Option<String>,
    /// `--model`.
    pub model: Option<String>,
    /// `--input-tokens`.
    pub input_tokens: Option<u64>,
    /// `--output-tokens`.
    pub output_tokens: Option<u64>,
    /// `--cached-input-tokens`.
    pub cached_input_tokens: Option<u64>,
    /// `--cache-write-tokens`.
    pub cache_write_tokens: Option<u64>,
    /// `--cost-usd`, decimal text as written.
    pub cost_usd: Option<String>,
    /// `--step`.
    pub step: Option<u64>,
    /// `--reservation`.
    pub reservation: Option<u64>,
    /// `--error TEXT`.
    pub error: Option<String>,
    /// `--done`.
    pub done: bool,
    /// `--result TEXT`.
    pub result: Option<String>,
    /// `--result-json JSON`.
    pub result_json: Option<String>,
}

/// Returns the parameters of `turn`.
///
/// Errors: flags that do not fit together, JSON that is none, values that the
/// supervisor would refuse.
pub fn turn(flags: &TurnFlags) -> Result<Verbatim, Error> {
    let mut params = Params::default();
    let messages = messages(flags)?;
    if flags.history.is_some() && !messages.is_empty() {
        let what = "--history is the whole conversation; leave out --message, --role and --content";
        return Err(Error::Combination { what });
    }
    if !messages.is_empty() {
        params.add("messages", &list(&messages));
    }
    if let Some(text) = &flags.history {
        params.add("history", &list(&history(text)?));
    }
    let usage = usage(flags);
    if usage != "{}" {
        params.add("usage", &usage);
    }
    params.add_some("step", flags.step);
    params.add_some("reservation", flags.reservation);
    params.add_some("error", flags.error.as_deref());
    params.add_some("done", flags.done.then_some(true));
    match (&flags.result, &flags.result_json) {
        (Some(_), Some(_)) => {
            return Err(Error::Combination {
                what: "--result and --result-json exclude one another; give one",
            });
        }
        (None, Some(text)) => params.add("result", one("--result-json", text)?.get()),
        (text, None) => params.add_some("result", text.as_deref()),
    }
    params.checked("turn")
}

fn messages(flags: &TurnFlags) -> Result<Vec<Verbatim>, Error> {
    if flags.roles.len() != flags.contents.len() {
        return Err(Error::Combination {
            what: "each --content needs its --role, and each --role its --content",
        });
    }
    if !flags.messages.is_empty() && !flags.roles.is_empty() {
        let what = "--message and --role/--content do not mix, since their order would be lost; use one of them";
        return Err(Error::Combination { what });
    }
    let pairs = flags.roles.iter().zip(&flags.contents);
    let pairs = pairs.map(|(role, content)| {
        Ok(Verbatim::from_value(
            &json!({ "role": role, "content": content }),
        ))
    });
    let whole = flags.messages.iter().enumerate();
    whole
        .map(|(index, text)| one(&format!("--message {}", index + 1), text))
        .chain(pairs)
        .collect()
}

fn one(flag: &str, text: &str) -> Result<Verbatim, Error> {
    Verbatim::from_text(text).map_err(|error| not_json(flag, "JSON", &error))
}

/// Reads a list of messages: one array, or one message a line.
fn history(text: &str) -> Result<Vec<Verbatim>, Error> {
    if text.trim_start().starts_with('[') {
        let list: Vec<&RawValue> = serde_json::from_str(text)
            .map_err(|error| not_json("--history", "a JSON array", &error))?;
        return list.iter().map(|raw| one("--history", raw.get())).collect();
    }
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(index, line)| one(&format!("--history line {}", index + 1), line))
        .collect()
}

fn list(messages: &[Verbatim]) -> String {
    let texts: Vec<&str> = messages.iter().map(Verbatim::get).collect();
    format!("[{}]", texts.join(","))
}

fn usage(flags: &TurnFlags) -> String {
    let mut usage = Params::default();
    usage.add_some("model", flags.model.as_deref());
    usage.add_some("input_tokens", flags.input_tokens);
    usage.add_some("output_tokens", flags.output_tokens);
    usage.add_some("cached_input_tokens", flags.cached_input_tokens);
    usage.add_some("cache_write_tokens", flags.cache_write_tokens);
    usage.add_some("cost_usd", flags.cost_usd.as_deref());
    usage.finish()
}

/// Returns the parameters of `tool`.
///
/// Errors: values that the supervisor would refuse.
pub fn tool(name: &str, args: Map<String, Value>, id: Option<&str>) -> Result<Verbatim, Error> {
    let mut params = Params::default();
    params.add_some("name", Some(name));
    params.add_some("args", Some(args));
    params.add_some("id", id);
    params.checked("tool")
}

/// The flags of `agentguard batch`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BatchFlags {
    /// The tool.
    pub tool: String,
    /// The items, as the protocol takes them.
    pub items: Vec<Value>,
    /// `--policy`.
    pub policy: String,
    /// `--fail-fast`.
    pub fail_fast: bool,
    /// `--concurrency`.
    pub concurrency: Option<u64>,
}

/// Returns the parameters of `batch`.
///
/// Errors: values that the supervisor would refuse.
pub fn batch(flags: &BatchFlags) -> Result<Verbatim, Error> {
    let mut params = Params::default();
    params.add_some("tool", Some(flags.tool.as_str()));
    params.add_some("items", Some(flags.items.as_slice()));
    params.add_some("policy", Some(flags.policy.as_str()));
    params.add_some("fail_fast", flags.fail_fast.then_some(true));
    params.add_some("concurrency", flags.concurrency);
    params.checked("batch")
}

/// The flags of `agentguard report`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReportFlags {
    /// The tool the loop ran.
    pub tool: String,
    /// Its arguments, from [`build_args`].
    pub args: Map<String, Value>,
    /// `--result TEXT`.
    pub result: Option<String>,
    /// `--result-json JSON`.
    pub result_json: Option<String>,
    /// `--is-error`, or its absence when nothing was said.
    pub is_error: Option<bool>,
    /// `--exit-code`.
    pub exit_code: Option<i64>,
    /// `--status`.
    pub status: Option<i64>,
}

/// Returns the parameters of `report`.
///
/// Errors: flags that do not fit together, JSON that is none, values that the
/// supervisor would refuse.
pub fn report(flags: &ReportFlags) -> Result<Verbatim, Error> {
    let mut params = Params::default();
    params.add_some("tool", Some(flags.tool.as_str()));
    params.add_some("args", Some(flags.args.clone()));
    match (&flags.result, &flags.result_json) {
        (Some(_), Some(_)) => {
            return Err(Error::Combination {
                what: "--result and --result-json exclude one another; give one",
            });
        }
        (None, Some(text)) => params.add("result", one("--result-json", text)?.get()),
        (text, None) => params.add_some("result", text.as_deref()),
    }
    params.add_some("is_error", flags.is_error);
    params.add_some("exit_code", flags.exit_code);
    params.add_some("status", flags.status);
    params.checked("report")
}

/// The flags of `agentguard escalate`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EscalateFlags {
    /// `--question`.
    pub question: String,
    /// `--option ID` or `--option ID=LABEL`, repeated.
    pub options: Vec<String>,
    /// `--default`.
    pub default: Option<String>,
    /// `--recommend`.
    pub recommendation: Option<String>,
    /// `--evidence`.
    pub evidence: Option<String>,
    /// `--decision`.
    pub decision: Option<String>,
    /// `--kind`.
    pub kind: Option<String>,
    /// `--irreversible`.
    pub is_irreversible: bool,
    /// `--cost-usd`, decimal text as written.
    pub cost_usd: Option<String>,
    /// `--confidence`.
    pub confidence: Option<f64>,
    /// `--deadline`, in milliseconds.
    pub deadline_ms: Option<u64>,
}

/// Returns the parameters of `escalate`.
///
/// Errors: values that the supervisor would refuse.
pub fn escalate(flags: &EscalateFlags) -> Result<Verbatim, Error> {
    let mut params = Params::default();
    params.add_some("question", Some(flags.question.as_str()));
    if !flags.options.is_empty() {
        let option = |text: &String| match text.split_once('=') {
            Some((id, label)) => json!({ "id": id, "label": label }),
            None => json!(text),
        };
        let options: Vec<Value> = flags.options.iter().map(option).collect();
        params.add_some("options", Some(options));
    }
    params.add_some("default", flags.default.as_deref());
    params.add_some("recommendation", flags.recommendation.as_deref());
    params.add_some("evidence", flags.evidence.as_deref());
    params.add_some("decision", flags.decision.as_deref());
    params.add_some("kind", flags.kind.as_deref());
    params.add_some("reversible", flags.is_irreversible.then_some(false));
    params.add_some("cost_usd", flags.cost_usd.as_deref());
    params.add_some("confidence", flags.confidence);
    params.add_some("deadline_ms", flags.deadline_ms);
    params.checked("escalate")
}

/// Returns the parameters of `state`.
///
/// - `messages`: `all`, `none`, or how many of the last.
///
/// Errors: another word.
pub fn state(messages: Option<&str>) -> Result<Verbatim, Error> {
    let mut params = Params::default();
    if let Some(text) = messages {
        match text.parse::<u64>() {
            Ok(last) => params.add_some("messages", Some(json!({ "last": last }))),
            Err(_) => params.add_some("messages", Some(text)),
        }
    }
    params.checked("state")
}

/// An object being written, its values as text.
#[derive(Default)]
struct Params(String);

impl Params {
    fn add(&mut self, name: &str, json: &str) {
        let comma = if self.0.is_empty() { "" } else { "," };
        let written = write!(self.0, "{comma}\"{name}\":{json}");
        written.expect("writing to a string cannot fail");
    }

    fn add_some(&mut self, name: &str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.add(name, &value.into().to_string());
        }
    }

    fn finish(self) -> String {
        format!("{{{}}}", self.0)
    }

    /// Reads what was written as the supervisor will.
    fn checked(self, method: &str) -> Result<Verbatim, Error> {
        let text = self.finish();
        let params =
            Verbatim::from_text(&text).map_err(|error| not_json("params", "JSON", &error))?;
        Call::parse(method, Some(params.raw()))?;
        Ok(params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn build_args_table() {
        #[rustfmt::skip]
        let rows = [
            ("texts stay texts",          build_args(&texts(&["n=5", "q=a=b", "e="]), &[], None),
             r#"{"e":"","n":"5","q":"a=b"}"#),
            ("JSON keeps its kind",       build_args(&[], &texts(&["n=5", "l=[1,null]"]), None),
             r#"{"l":[1,null],"n":5}"#),
            ("flags add to the object",   build_args(&texts(&["b=x"]), &[], Some(r#"{"a":1}"#)),
             r#"{"a":1,"b":"x"}"#),
            ("a missing name",            build_args(&texts(&["=x"]), &[], None),
             "--arg =x has no name and `=`, expected --arg NAME=TEXT"),
            ("a missing equals sign",     build_args(&[], &texts(&["x"]), None),
             "--arg-json x has no name and `=`, expected --arg-json NAME=JSON"),
            ("the same name twice",       build_args(&texts(&["a=1"]), &texts(&["a=2"]), None),
             "argument `a` is given twice; give it once"),
            ("a text for JSON",           build_args(&[], &texts(&["a=hello"]), None),
             "--arg-json a is not JSON: expected value at line 1 column 1"),
            ("digits that would be lost", build_args(&[], &texts(&["a=123456789012345678901"]), None),
             "--arg-json a is not kept whole: 123456789012345678901 loses digits, give it as text with --arg"),
            ("arguments that are a list", build_args(&[], &[], Some("[1]")),
             "--args is not a JSON object: invalid type: sequence, expected a map at line 1 column 0"),
        ];
        for (name, got, want) in rows {
            let got = got.map_or_else(
                |error| error.to_string(),
                |args| Value::from(args).to_string(),
            );
            assert_eq!(got, want, "row: {name}");
        }
    }

    #[test]
    fn turn_table() {
        let base = TurnFlags::default();
        let pair = || TurnFlags {
            roles: texts(&["user", "assistant"]),
            contents: texts(&["hi", "line\nbreak"]),
            ..TurnFlags::default()
        };
        #[rustfmt::skip]
        let rows = [
            ("nothing is an empty turn", base.clone(), "{}"),
            ("roles and contents pair up", pair(),
             r#"{"messages":[{"content":"hi","role":"user"},{"content":"line\nbreak","role":"assistant"}]}"#),
            ("a message is kept as written, in one line",
             TurnFlags { messages: texts(&["{\"n\": 1.50,\n \"role\":\"x\"}"]), ..base.clone() },
             r#"{"messages":[{"n": 1.50,  "role":"x"}]}"#),
            ("a history of lines",
             TurnFlags { history: Some("{\"a\":1}\n\n{\"a\":2}\n".into()), ..base.clone() },
             r#"{"history":[{"a":1},{"a":2}]}"#),
            ("a history that is an array",
             TurnFlags { history: Some(" [ {\"a\":1} , {\"a\":2} ]\n".into()), ..base.clone() },
             r#"{"history":[{"a":1},{"a":2}]}"#),
            ("money stays decimal text",
             TurnFlags { cost_usd: Some("0.10".into()), input_tokens: Some(7), done: true, ..base.clone() },
             r#"{"usage":{"input_tokens":7,"cost_usd":"0.10"},"done":true}"#),
            ("a result is text",
             TurnFlags { result: Some("{}".into()), ..base.clone() }, r#"{"result":"{}"}"#),
            ("or JSON",
             TurnFlags { result_json: Some("{}".into()), ..base.clone() }, r#"{"result":{}}"#),
            ("a role without its content",
             TurnFlags { roles: texts(&["user"]), ..base.clone() },
             "each --content needs its --role, and each --role its --content"),
            ("messages and pairs",
             TurnFlags { messages: texts(&["{}"]), ..pair() },
             "--message and --role/--content do not mix, since their order would be lost; use one of them"),
            ("history and messages",
             TurnFlags { history: Some("[]".into()), ..pair() },
             "--history is the whole conversation; leave out --message, --role and --content"),
            ("a message that is no object",
             TurnFlags { messages: texts(&["{}", "\"hi\""]), ..base.clone() },
             "`turn`: messages[1] is \"hi\", expected a message, which is an object"),
            ("a message that would break out of the list",
             TurnFlags { messages: texts(&["{}],\"done\":true,\"x\":[{}"]), ..base.clone() },
             "--message 1 is not JSON: trailing characters at line 1 column 3"),
            ("money below zero",
             TurnFlags { cost_usd: Some("-1".into()), ..base.clone() },
             "`turn`: usage.cost_usd is \"-1\", expected an amount in US dollars from 0 to 1000000, such as 0.0123"),
            ("a step that cannot be",
             TurnFlags { step: Some(0), ..base.clone() },
             "`turn`: step is 0, expected a whole number from 1 to 1000000000000"),
        ];
        for (name, flags, want) in rows {
            let got = turn(&flags);
            let got = got.map_or_else(|error| error.to_string(), |params| params.get().to_owned());
            assert_eq!(got, want, "row: {name}");
        }
    }

    #[test]
    fn the_other_methods() {
        let args = build_args(&texts(&["path=a.txt"]), &[], None).unwrap();
        assert_eq!(
            tool("read", args.clone(), Some("t1")).unwrap().get(),
            r#"{"name":"read","args":{"path":"a.txt"},"id":"t1"}"#
        );
        assert_eq!(
            tool("", args.clone(), None).unwrap_err().to_string(),
            "`tool`: name is empty, expected the name of a tool"
        );
        let flags = ReportFlags {
            tool: "grep".into(),
            args,
            result: Some("none".into()),
            exit_code: Some(1),
            ..ReportFlags::default()
        };
        assert_eq!(
            report(&flags).unwrap().get(),
            r#"{"tool":"grep","args":{"path":"a.txt"},"result":"none","exit_code":1}"#
        );
        let status = ReportFlags {
            status: Some(-1),
            ..flags
        };
        assert_eq!(
            report(&status).unwrap_err().to_string(),
            "`report`: status is -1, expected a whole number from 0 to 999"
        );
        assert_eq!(state(None).unwrap().get(), "{}");
        assert_eq!(state(Some("none")).unwrap().get(), r#"{"messages":"none"}"#);
        assert_eq!(
            state(Some("20")).unwrap().get(),
            r#"{"messages":{"last":20}}"#
        );
        assert_eq!(
            state(Some("some")).unwrap_err().to_string(),
            "`state`: messages is \"some\", expected \"all\", \"none\" or {\"last\": n}"
        );
    }

    #[test]
    fn a_source_is_text_a_file_or_stdin() {
        let folder = crate::channel::tests::Folder::new();
        let path = folder.path().join("args.json");
        std::fs::write(&path, "{}").unwrap();
        let path = path.to_str().unwrap();
        let mut stdin = &b"from stdin"[..];
        assert_eq!(
            source("{\"a\":1}", Form::TextOrFile, &mut stdin).unwrap(),
            "{\"a\":1}"
        );
        assert_eq!(
            source(&format!("@{path}"), Form::TextOrFile, &mut stdin).unwrap(),
            "{}"
        );
        assert_eq!(source(path, Form::File, &mut stdin).unwrap(), "{}");
        assert_eq!(source("-", Form::File, &mut stdin).unwrap(), "from stdin");
        let missing = source("@/nowhere", Form::TextOrFile, &mut stdin).unwrap_err();
        assert_eq!(missing.to_string(), "cannot read /nowhere");
    }
}
