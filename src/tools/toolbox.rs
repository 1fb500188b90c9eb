//! The tools of one run, ready to be called.
//!
//! Start at [`Toolbox::try_once`]. What a try saw of the outside comes back
//! from `command` or `http` as an [`Outcome`]; here it gets its context, its
//! JSON and the comparison with the output schema.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::ids::{CallId, IdempotencyKey};
use crate::machine::event::{Content, Delivery, Settlement};
use crate::policy::taxonomy::{Class, Kind, Observation};
use crate::process::Launcher;
use crate::task::resolved::{Action, Body, Resolved, Tool, lent_names};
use crate::task::template::{Place, RenderError, render_json};

use super::clients::Clients;
use super::home::{Home, ToolHome};
use super::lent::{self, GivenBack};
use super::schema::{DEPTH_MAX, Schema, is_deeper_than};
use super::{Error, command, content, http, probe};

/// Output in memory, per stream, in bytes: what the taxonomy sees.
const KEEP_BYTES: usize = 1 << 20;

/// The same for a tool with an output schema, which can check whole output only.
const KEEP_CHECKED_BYTES: usize = 8 << 20;

/// Returns the name under which a toolbox has the undo of a tool; no tool of a task
/// is called so.
pub fn undo_name(tool: &str) -> String {
    format!("undo:{tool}")
}

/// One try of one call.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// The call.
    pub call: CallId,
    /// The tool's name.
    pub tool: String,
    /// The arguments; [`Toolbox::refuse`] had nothing against them.
    pub args: Value,
    /// What makes a repeat of a write the same write.
    pub key: Option<IdempotencyKey>,
    /// The try, from 1; names the files of its output.
    pub attempt: u32,
}

/// One try that came to its end.
#[derive(Clone, Debug, PartialEq)]
pub struct Tried {
    /// What was seen, for the taxonomy. Secrets are hidden.
    pub observation: Observation,
    /// What is known about whether the tool did its work.
    pub delivery: Delivery,
    /// What the model reads, before the taxonomy is asked; see [`Tried::judged`].
    pub content: Content,
    /// The output, where all of it is JSON and was kept in memory.
    pub json: Option<Value>,
    /// What does not fit the tool's output schema, one item a line; only for
    /// output that was delivered.
    pub mismatch: Option<String>,
    /// From the start to the end, in milliseconds.
    pub took_ms: u64,
}

impl Tried {
    /// Returns what the model reads once the result is judged.
    ///
    /// - `why`: the verdict's sentence.
    ///
    /// `is_error` follows the class: a `grep` that finds nothing is none, an
    /// error under HTTP 200 is one. For [`Class::Quality`] the text says first
    /// what is wrong with the answer.
    pub fn judged(&self, class: Class, why: &str) -> Content {
        content::judged(&self.content, class, why, self.mismatch.as_deref())
    }
}

impl Tried {
    /// Whether an MCP server has not done the work yet, but asked for something first:
    /// the call is made again with it.
    pub fn wants_more(&self) -> bool {
        let kind = self.observation.result.pointer("/result/resultType");
        self.observation.kind == Kind::Mcp && kind.is_some_and(|kind| kind != "complete")
    }
}

/// What `command` or `http` saw.
pub(super) struct Outcome {
    pub(super) kind: Kind,
    /// As the taxonomy wants it, without context.
    pub(super) result: Value,
    /// What was run, for the taxonomy's context.
    pub(super) context: Map<String, Value>,
    pub(super) delivery: Delivery,
    pub(super) content: Content,
    /// The output as text, if all of it is there.
    pub(super) whole: Option<String>,
    /// Whether exit code or status say that it worked.
    pub(super) succeeded: bool,
    pub(super) took_ms: u64,
}

struct Entry {
    tool: Tool,
    input: Option<Schema>,
    output: Option<Schema>,
}

/// The tools of one run.
pub struct Toolbox {
    tools: BTreeMap<String, Entry>,
    home: Home,
    clients: Clients,
}

/// By hand: it knows environments and headers.
impl fmt::Debug for Toolbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Toolbox")
            .field("tools", &self.tools.keys())
            .finish_non_exhaustive()
    }
}

impl Toolbox {
    /// Makes the tools of a task ready: compiles schemas, looks up variables,
    /// makes the output folder. Connects to nothing.
    ///
    /// Errors: see [`Error`]; each would fail the calls of a tool later.
    pub fn new(task: &Resolved, home: ToolHome, launcher: Launcher) -> Result<Self, Error> {
        let mut tools = BTreeMap::new();
        for (name, tool) in task.tools.iter().chain(&task.lent) {
            let compile = |which, source: &Option<Value>| {
                let compiled = source.as_ref().map(Schema::compile).transpose();
                compiled.map_err(|why| Error::Schema {
                    tool: name.clone(),
                    which,
                    why,
                })
            };
            let input = compile("input", &tool.input)?;
            let output = compile("output", &tool.output)?;
            http::check_headers(name, tool)?;
            if let Some(undo) = &tool.undo {
                http::check_headers(name, &undo.tool)?;
                let entry = Entry {
                    tool: (*undo.tool).clone(),
                    input: None,
                    output: None,
                };
                tools.insert(undo_name(name), entry);
            }
            tools.insert(
                name.clone(),
                Entry {
                    tool: tool.clone(),
                    input,
                    output,
                },
            );
        }
        let home = Home::new(task, home, launcher)?;
        Ok(Self {
            tools,
            clients: Clients::new(&home),
            home,
        })
    }

    /// Returns a text with the values of secrets hidden.
    pub fn hide(&self, text: &str) -> String {
        self.home.secrets.hide(text).into_owned()
    }

    /// Returns why a call cannot be made with these arguments, in words for a
    /// model; `None` when it can.
    ///
    /// An unknown tool is not refused here: the caller knows the other names.
    pub fn refuse(&self, name: &str, args: &Value) -> Option<String> {
        let entry = self.entry(name)?;
        let complaints = complaints(entry, args)?;
        Some(format!(
            "The tool `{name}` was not called, because its arguments do not fit:\n{complaints}\n\
             Correct them and call it again."
        ))
    }

    /// Runs a tool once, within its time. Never fails: whatever goes wrong is
    /// a result.
    ///
    /// Dropping the future ends the command, or cuts the connection; whether
    /// the tool did its work is then unknown.
    pub async fn try_once(&self, job: &Job) -> Tried {
        let not_ours = |why: String| {
            let outcome = command::not_started(&[], Some(command::NOT_THERE), &why);
            self.tried(None, job, outcome)
        };
        let Some(entry) = self.entry(&job.tool) else {
            return not_ours(format!("there is no tool `{}`", job.tool));
        };
        let is_read_whole = entry.output.is_some() || entry.tool.batch.size.is_some();
        let keep_bytes = if is_read_whole {
            KEEP_CHECKED_BYTES
        } else {
            KEEP_BYTES
        };
        let outcome = match &entry.tool.action {
            Action::Command { .. } => command::run(&self.home, &entry.tool, job, keep_bytes).await,
            Action::Http { .. } => {
                http::run(&self.home, &self.clients, &entry.tool, job, keep_bytes).await
            }
            Action::Lent => return not_ours(format!("`{}` is run by its server", job.tool)),
        };
        self.tried(Some(entry), job, outcome)
    }

    /// Takes in what came of a try that somebody else carried out; keeps the whole
    /// response in a file.
    pub fn took_back(&self, job: &Job, back: GivenBack, took_ms: u64) -> Tried {
        let outcome = lent::ended(&self.home, job, back, took_ms);
        self.tried(self.entry(&job.tool), job, outcome)
    }

    fn entry(&self, name: &str) -> Option<&Entry> {
        let lent = |names: Vec<String>| names.iter().find_map(|it| self.tools.get(it));
        self.tools.get(name).or_else(|| lent(lent_names(name)))
    }

    /// Asks a tool's probe whether the call happened.
    ///
    /// The probe runs as the tool does, with the same environment and key. It
    /// exits with 0 for "it happened" (and prints the result), with 1 for "it
    /// did not"; everything else leaves it open.
    pub async fn probe(&self, job: &Job) -> Settlement {
        match self.entry(&job.tool) {
            Some(entry) => probe::ask(&self.home, &entry.tool, job).await,
            None => Settlement::Unknown {
                why: format!("there is no tool `{}`", job.tool),
            },
        }
    }

    fn tried(&self, entry: Option<&Entry>, job: &Job, outcome: Outcome) -> Tried {
        let json: Option<Value> = outcome
            .whole
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        let output = entry.and_then(|entry| entry.output.as_ref());
        let mismatch = output.filter(|_| outcome.succeeded).and_then(|schema| {
            match (&json, &outcome.whole) {
                (Some(json), _) => schema.complaints(json, "the output"),
                (None, Some(_)) => Some("- the output is not JSON".to_owned()),
                (None, None) => Some(format!(
                    "- the output is too long to be checked, at most {KEEP_CHECKED_BYTES} bytes are"
                )),
            }
        });
        let mut context = outcome.context;
        context.insert(
            "call".to_owned(),
            json!({"name": job.tool, "arguments": job.args}),
        );
        context.insert("task".to_owned(), Value::from(self.home.about.as_str()));
        if let Some(schema) = entry.and_then(|entry| entry.tool.output.as_ref()) {
            context.insert("output_schema".to_owned(), schema.clone());
        }
        Tried {
            observation: Observation {
                kind: outcome.kind,
                tool: job.tool.clone(),
                context,
                result: outcome.result,
            },
            delivery: outcome.delivery,
            content: outcome.content,
            json,
            mismatch,
            took_ms: outcome.took_ms,
        }
    }
}

fn complaints(entry: &Entry, args: &Value) -> Option<String> {
    if !args.is_object() {
        let found = match args {
            Value::Null => "null",
            Value::Array(_) => "an array",
            Value::String(_) => "a string",
            Value::Number(_) => "a number",
            _ => "true or false",
        };
        return Some(format!(
            "- the arguments are {found}, expected an object of names and values"
        ));
    }
    if is_deeper_than(args, DEPTH_MAX) {
        return Some(format!(
            "- the arguments are nested deeper than {DEPTH_MAX} levels"
        ));
    }
    let broken = entry
        .input
        .as_ref()
        .and_then(|schema| schema.complaints(args, "the arguments"));
    broken.or_else(|| {
        rehearsed(&entry.tool, args)
            .err()
            .map(|error| format!("- {error}"))
    })
}

/// Fills in every template, with a stand-in for each variable: what is wrong
/// then is wrong with the arguments.
fn rehearsed(tool: &Tool, args: &Value) -> Result<(), RenderError> {
    let environment = |_: &str| Some("x".to_owned());
    let render = |template: &crate::task::template::Template, place| {
        template.render(place, args, &environment).map(drop)
    };
    let sent = match tool.batch.size {
        Some(_) => &json!({"items": [{"id": "1", "args": args}]}),
        None => args,
    };
    let render_sent = |template: &crate::task::template::Template, place| {
        template.render(place, sent, &environment).map(drop)
    };
    match &tool.action {
        Action::Command { argv, env, .. } => {
            argv.iter()
                .chain(env.0.values())
                .try_for_each(|word| render_sent(word, Place::Word))?;
        }
        Action::Http {
            url, headers, body, ..
        } => {
            render_sent(url, Place::Url)?;
            headers
                .0
                .values()
                .try_for_each(|value| render_sent(value, Place::Header))?;
            match body {
                Body::Text(template) => render_sent(template, Place::Body)?,
                Body::Json(shape) => drop(render_json(shape, sent, &environment)?),
                Body::Arguments | Body::Empty => {}
            }
        }
        Action::Lent => {}
    }
    let words = tool.probe.iter().flat_map(|probe| &probe.argv);
    words
        .into_iter()
        .try_for_each(|word| render(word, Place::Word))
}
