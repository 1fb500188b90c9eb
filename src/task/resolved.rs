//! The task as the core sees it: plain data, every default filled in.
//!
//! Stored in the journal when the run starts, so that a resume does not depend
//! on the file. Durations are `_ms`, money is nano-USD, both `u64`. Paths are
//! as written until [`Resolved::anchored`] joins them to a folder. Enums
//! without data are those of the as-written types.
//!
//! `Debug` names the keys of environments and headers, not their values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::template::Template;
pub use super::written::{
    Class, CommitMode, DeadlineCounts, Effect, Feature, KeyScope, Level, Method, Occasion, OnLoop,
    Protocol, Provider, ResumeMode, RollbackOn, Stdin, Strategy, WebhookFormat, WireApi,
};

/// A whole task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Resolved {
    /// The name; the file's stem where none was written.
    pub name: String,
    /// The program that is supervised.
    pub agent: Agent,
    /// What it works on.
    pub input: Input,
    /// How much the run may use.
    pub limits: Limits,
    /// Prices by model name.
    pub prices: BTreeMap<String, Price>,
    /// Who answers model calls, in the order in which they are asked; never empty.
    #[serde(default = "asked_only")]
    pub upstreams: Vec<Upstream>,
    /// How model calls are retried.
    #[serde(default = "model_retry")]
    pub model_retry: RetryConfig,
    /// When a failing model is no longer called; `None`: always called.
    #[serde(default)]
    pub model_breaker: Option<BreakerConfig>,
    /// Guarded tools by name.
    pub tools: BTreeMap<String, Tool>,
    /// Tools of MCP servers, which their servers run: `SERVER/TOOL`, `SERVER/*` for
    /// those not named, `*/*` for servers not named.
    #[serde(default)]
    pub lent: BTreeMap<String, Tool>,
    /// Own rules, in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// Loop detection.
    pub loops: Loops,
    /// Retries of all tools of the run together.
    pub retry_budget: u64,
    /// Ends after which the run is rolled back, sorted, each once.
    #[serde(default)]
    pub rollback_on: Vec<RollbackOn>,
    /// How the work is checked; `None`: not at all.
    #[serde(default)]
    pub verify: Option<Verify>,
    /// The folder that the agent works on, and locks.
    #[serde(default)]
    pub workspace: Workspace,
    /// When a human is asked.
    #[serde(default)]
    pub escalation: Escalation,
    /// Who is told.
    pub notify: Vec<Notify>,
}

impl Resolved {
    /// Returns the settings of a tool: one of `tools`, or `SERVER/TOOL`.
    pub fn tool(&self, name: &str) -> Option<&Tool> {
        let lent = |names: Vec<String>| names.iter().find_map(|it| self.lent.get(it));
        self.tools.get(name).or_else(|| lent(lent_names(name)))
    }

    /// Takes away every rule by which a human is asked, for a task that is only
    /// played: nobody is there.
    pub fn ask_nobody(&mut self) {
        self.loops.on_stop = OnLoop::Stop;
        self.escalation.cost_nanousd = None;
        for tool in self.tools.values_mut().chain(self.lent.values_mut()) {
            tool.approve = Approve::Never;
        }
    }

    /// Joins the relative paths (`agent.cwd`, `input.prompt_file`,
    /// `input.files`, those
    /// of scripted models and schemas) to `base`, the folder of the task file.
    #[must_use]
    pub fn anchored(mut self, base: &Path) -> Self {
        self.agent.cwd = base.join(&self.agent.cwd);
        if let Some(Prompt::File(path)) = &mut self.input.prompt {
            *path = base.join(&*path);
        }
        for pattern in &mut self.input.files {
            if Path::new(pattern).is_relative() {
                *pattern = base.join(&*pattern).to_string_lossy().into_owned();
            }
        }
        for upstream in &mut self.upstreams {
            if let Place::Script(file) = &mut upstream.place {
                *file = base.join(&*file);
            }
        }
        let workspace = &mut self.workspace;
        for path in workspace.stage.iter_mut().chain(&mut workspace.locks) {
            *path = base.join(&*path);
        }
        for check in self.verify.iter_mut().flat_map(|it| &mut it.checks) {
            if let Look::Schema {
                schema: Schema::File(file),
                ..
            } = &mut check.look
            {
                *file = base.join(&*file);
            }
        }
        self
    }
}

impl Resolved {
    /// Returns the folders that the agent works in; none lies in another.
    pub fn folders(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.agent.cwd.clone()];
        if let Some(stage) = &self.workspace.stage
            && !stage.starts_with(&self.agent.cwd)
        {
            folders.retain(|cwd| !cwd.starts_with(stage));
            folders.push(stage.clone());
        }
        folders
    }

    /// Moves the task into copies of its folders, where it disturbs nobody.
    ///
    /// - `moved`: each folder, and where its copy is.
    pub fn move_to(&mut self, moved: &[(PathBuf, PathBuf)]) {
        let copy_of = |path: &Path| {
            let mut found = moved.iter().filter_map(|(from, to)| {
                let inside = path.strip_prefix(from).ok()?;
                Some(match inside.as_os_str().is_empty() {
                    true => to.clone(),
                    false => to.join(inside),
                })
            });
            found.next().unwrap_or_else(|| path.to_owned())
        };
        if let Some(stage) = &mut self.workspace.stage {
            *stage = copy_of(stage);
        }
        self.agent.cwd = copy_of(&self.agent.cwd);
        self.workspace.locks.clear();
        // A copy is no repository.
        self.workspace.git = false;
    }
}

/// Returns the names under which the settings of `SERVER/TOOL` stand, the nearest
/// first; none for a tool of the task itself.
pub fn lent_names(name: &str) -> Vec<String> {
    match name.split_once('/') {
        Some((server, _)) => vec![name.to_owned(), format!("{server}/*"), "*/*".to_owned()],
        None => vec![],
    }
}

/// The chain of a task that says nothing of it.
fn asked_only() -> Vec<Upstream> {
    vec![Upstream::default()]
}

/// How model calls are retried where the task says nothing of it.
fn model_retry() -> RetryConfig {
    super::resolve::model_retry(&super::written::Retry::default())
}

/// Names with values that may be secret.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pairs(pub BTreeMap<String, Template>);

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The program that is supervised.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agent {
    /// What is started.
    pub launch: Launch,
    /// The working folder of the agent and of the tools.
    pub cwd: PathBuf,
    /// Added to the environment; placeholders are `{env.NAME}` only.
    pub env: Pairs,
    /// What is let through from the supervisor's environment.
    pub inherit_env: InheritEnv,
    /// How it talks to us.
    pub protocol: Protocol,
    /// Which agent it is, where we know it, and the word of the command that names
    /// its program.
    #[serde(default)]
    pub preset: Option<Known>,
    /// How it goes on after a crash, where it knows nothing of us.
    #[serde(default = "replay")]
    pub resume: ResumeMode,
    /// Whether it is given the tools of the task as an MCP server; `None`: where there
    /// are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp: Option<bool>,
    /// Patterns of what differs between two starts that are the same; they compile.
    #[serde(default)]
    pub volatile: Vec<String>,
    /// Between SIGTERM and SIGKILL.
    pub grace_ms: u64,
    /// Whether its stdin and stdout are those of the supervisor.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_our_stdio: bool,
}

fn replay() -> ResumeMode {
    ResumeMode::Replay
}

/// An agent that we know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The name of its preset.
    pub preset: String,
    /// The word of the command that names its program.
    pub program: usize,
}

/// What is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Launch {
    /// A program with its arguments; never empty.
    Command(Vec<String>),
    /// The command of the preset.
    Preset,
    /// A script; its file's path is appended to the interpreter.
    Script {
        /// The text.
        text: String,
        /// The program with its arguments; never empty.
        interpreter: Vec<String>,
    },
}

/// What is let through from the supervisor's environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InheritEnv {
    /// Everything.
    All,
    /// Nothing.
    Nothing,
    /// These names; `*` stands for any letters.
    Only(Vec<String>),
}

/// What the agent works on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// The prompt, if there is one.
    pub prompt: Option<Prompt>,
    /// Paths and globs of files to snapshot.
    pub files: Vec<String>,
    /// Any further values.
    pub params: BTreeMap<String, Value>,
}

/// The prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// As written in the task file.
    Text(String),
    /// In a file that the caller reads.
    File(PathBuf),
}

/// How much the run may use; `None` is no limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// In nano-USD, above 0.
    pub cost_nanousd: Option<u64>,
    /// Input and output together, above 0.
    pub tokens: Option<u64>,
    /// Turns, above 0.
    pub steps: Option<u64>,
    /// Calls of tools, above 0.
    pub tool_calls: Option<u64>,
    /// Above 0.
    pub deadline_ms: Option<u64>,
    /// Which time the deadline counts.
    pub deadline_counts: DeadlineCounts,
    /// Above 0.
    pub idle_ms: Option<u64>,
    /// From 1 to 100.
    pub soft_percent: u8,
    /// Above 0.
    pub model_call_timeout_ms: u64,
}

/// The price of a model, in nano-USD per million tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Price {
    /// Of input tokens.
    pub input_nanousd: u64,
    /// Of output tokens.
    pub output_nanousd: u64,
    /// Of input tokens read from a cache.
    pub cached_input_nanousd: u64,
    /// Of input tokens written to a cache.
    pub cache_write_nanousd: u64,
}

/// Who answers model calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// Its name in the journal, unique in the chain.
    pub name: String,
    /// Whether the name was written.
    #[serde(default)]
    pub is_named: bool,
    /// Where it is.
    pub place: Place,
    /// The API it speaks; `None`: the one that is asked.
    pub api: Option<WireApi>,
    /// Asked instead of the model that the agent names.
    pub model: Option<String>,
    /// Asked instead, by the model that the agent names.
    pub models: BTreeMap<String, String>,
    /// What it is to the first one.
    pub level: Level,
    /// What it cannot do.
    pub lacks: Vec<Feature>,
    /// Tokens of input it takes at most.
    pub context_tokens: Option<u64>,
    /// Its price, whatever `prices` says.
    pub price: Option<Price>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            name: "primary".to_owned(),
            is_named: false,
            place: Place::Asked,
            api: None,
            model: None,
            models: BTreeMap::new(),
            level: Level::Primary,
            lacks: Vec::new(),
            context_tokens: None,
            price: None,
        }
    }
}

impl Upstream {
    /// Returns the model it is asked for where the agent names `asked`.
    pub fn model_for<'a>(&'a self, asked: &'a str) -> &'a str {
        let listed = self.models.get(asked).or(self.model.as_ref());
        listed.map_or(asked, String::as_str)
    }
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The provider that the agent asks.
    Asked,
    /// This provider.
    Provider(Provider),
    /// A server.
    Url {
        /// Its address; placeholders are `{env.NAME}` only.
        url: Template,
        /// Its key; placeholders are `{env.NAME}` only.
        key: Option<Template>,
    },
    /// A file that answers in the place of a model.
    Script(PathBuf),
    /// A fixed text.
    Reply(String),
}

/// A guarded tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// What the tool does, for the model; may be empty.
    pub description: String,
    /// What is run.
    pub action: Action,
    /// The JSON Schema of the arguments; it compiles.
    pub input: Option<Value>,
    /// The JSON Schema of the result; it compiles.
    pub output: Option<Value>,
    /// Above 0.
    pub timeout_ms: u64,
    /// What it does to the world.
    pub effect: Effect,
    /// What makes two calls the same; `None`: a key for every step.
    pub key: Option<Template>,
    /// Among which calls a key is unique.
    pub key_scope: KeyScope,
    /// Where the tool itself takes a key.
    pub native_key: Option<NativeKey>,
    /// How to find out whether a call happened.
    pub probe: Option<Probe>,
    /// How a call is taken back.
    #[serde(default)]
    pub undo: Option<Undo>,
    /// Whether calls wait for an approval.
    #[serde(default)]
    pub approve: Approve,
    /// How it is retried.
    pub retry: RetryConfig,
    /// When it is no longer called; `None`: always called.
    pub breaker: Option<BreakerConfig>,
    /// How several items are done.
    #[serde(default)]
    pub batch: BatchConfig,
    /// How loop detection sees it.
    pub loop_traits: LoopTraits,
}

/// How a call is taken back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undo {
    /// What is run, as a tool of its own whose arguments are those of the call and
    /// its `result`.
    pub tool: Box<Tool>,
    /// Whether a repetition does no harm.
    pub is_idempotent: bool,
}

/// How several items for one tool are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchConfig {
    /// Calls that are out at once, from 1 to 64.
    pub concurrency: u32,
    /// Items that one call carries, from 1 to 1000; `None`: the tool knows one item
    /// only, as its arguments.
    pub size: Option<u32>,
    /// A call with several items that fails did none of them.
    #[serde(default)]
    pub atomic: bool,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            concurrency: 4,
            size: None,
            atomic: false,
        }
    }
}

/// What a tool runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// A program.
    Command {
        /// One template per word; never empty, arguments only.
        argv: Vec<Template>,
        /// What it reads.
        stdin: Stdin,
        /// Added to its environment.
        env: Pairs,
    },
    /// An HTTP request.
    Http {
        /// The method.
        method: Method,
        /// Rendered with `template::Place::Url`.
        url: Template,
        /// Rendered with `template::Place::Header`.
        headers: Pairs,
        /// The body.
        body: Body,
    },
    /// Nothing of ours: whoever asks carries it out, and tells what came of it.
    Lent,
}

/// The body of an HTTP request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// The arguments as JSON.
    Arguments,
    /// None.
    Empty,
    /// A text; rendered with `template::Place::Body`.
    Text(Template),
    /// JSON; rendered with `template::render_json`.
    Json(Value),
}

/// Where a tool takes an idempotency key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NativeKey {
    /// In this environment variable.
    Env(String),
    /// In this header.
    Header(String),
    /// In this argument of a lent tool.
    Argument(String),
    /// In this field of `_meta` of a lent tool.
    Meta(String),
}

/// A program that tells whether a call happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// One template per word; never empty, arguments only.
    pub argv: Vec<Template>,
    /// Above 0.
    pub timeout_ms: u64,
}

/// How a tool is retried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryConfig {
    /// How the waits grow.
    pub strategy: Strategy,
    /// The first wait.
    pub base_ms: u64,
    /// The longest wait, at least `base_ms`.
    pub cap_ms: u64,
    /// Tries, the first one counted; from 1 to 20.
    pub attempts: u32,
    /// Retries of this tool in one run.
    pub budget: u64,
}

/// When a tool is no longer called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerConfig {
    /// Failures in a row, above 0.
    pub failures: u64,
    /// Share of failures, from 1 to 100.
    pub rate_percent: u8,
    /// The time over which the rate is taken.
    pub window_ms: u64,
    /// Calls in the window before the rate counts.
    pub min_calls: u64,
    /// The first cool-down.
    pub cool_down_ms: u64,
    /// The longest cool-down, at least the first.
    pub cool_down_max_ms: u64,
}

/// How loop detection sees a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopTraits {
    /// Asked again and again until something changes.
    pub poll: bool,
    /// A successful call changes what others answer.
    pub mutates: bool,
    /// Only these arguments tell calls apart; `None`: all.
    pub identity: Option<Vec<String>>,
    /// These arguments do not tell calls apart.
    pub ignore: Vec<String>,
    /// Left out altogether.
    pub exempt: bool,
}

/// An own rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// The name, unique in the task.
    pub id: String,
    /// What a result must be.
    pub when: When,
    /// What such a result is.
    pub class: Class,
    /// How long to wait before the next attempt.
    pub retry_after_ms: Option<u64>,
    /// Why; may be empty.
    pub why: String,
    /// Results that must match, as input lines of `agentguard classify`.
    pub examples: Vec<Value>,
}

/// What a result must be; empty lists and `None` ask nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct When {
    /// A glob over tool names; `*` stands for any letters.
    pub tool: Option<String>,
    /// Any of these exit codes.
    pub exit_codes: Vec<i32>,
    /// Any of these HTTP statuses, as inclusive ranges.
    pub statuses: Vec<(u16, u16)>,
    /// A regular expression that compiles.
    pub pattern: Option<String>,
    /// A JSON pointer.
    pub pointer: Option<String>,
    /// The value it leads to; `Some(Null)` asks for a null.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub equals: Option<Value>,
}

/// Keeps a null that is there apart from a value that is not.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Loop detection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loops {
    /// Whether loops are looked for.
    pub enabled: bool,
    /// Calls that are remembered, from 8 to 1024.
    pub window: u64,
    /// Whether the model is told once before the stop.
    pub steer: bool,
    /// What happens then.
    pub on_stop: OnLoop,
    /// How many repeats are too many.
    pub thresholds: Thresholds,
}

/// How many repeats are too many; each at least 3, deaths at least 2.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "the same fields are described in written::Thresholds"
)]
pub struct Thresholds {
    pub same_result: u64,
    pub same_error: u64,
    pub tool_error: u64,
    pub cycle_2: u64,
    pub cycle: u64,
    pub recurrence_error: u64,
    pub recurrence: u64,
    pub density_percent: u8,
    pub stagnation: u64,
    pub stagnation_text: u64,
    pub reversal: u64,
    pub self_append: u64,
    pub polls: u64,
    pub deaths: u64,
}

/// How the work is checked once the agent says that it is done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verify {
    /// How often the agent may try again.
    pub rounds: u32,
    /// The checks, in the order in which they are made; never empty.
    pub checks: Vec<Check>,
}

/// A check of the work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// Its name, unique in the task.
    pub name: String,
    /// Above 0.
    pub timeout_ms: u64,
    /// What is looked at.
    pub look: Look,
}

/// What a check looks at. Paths are relative to the workspace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// The exit code of a program; never empty.
    Command(Vec<String>),
    /// The exit code of a script for `sh`.
    Script(String),
    /// A JSON document.
    Schema {
        /// Its file; `None`: the result that the agent reported.
        file: Option<String>,
        /// What it must meet.
        schema: Schema,
    },
    /// Files.
    Files {
        /// A path or glob.
        pattern: String,
        /// Whether there must be one, or none.
        exists: bool,
        /// Every file matches each of these; they compile.
        must_match: Vec<String>,
        /// No file matches any of these; they compile.
        must_not_match: Vec<String>,
    },
    /// What a model says of it.
    Model(Review),
}

/// A model that is asked about the work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// The model.
    pub model: String,
    /// What it is asked.
    pub question: String,
    /// A path or glob of files that it is shown.
    pub files: Option<String>,
}

/// A JSON Schema.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// As written in the task file; it compiles.
    Inline(Value),
    /// In a file that the caller reads.
    File(PathBuf),
}

/// The folder that the agent works on, and locks on what it shares with others.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// A folder of which the agent gets a copy.
    pub stage: Option<PathBuf>,
    /// Whether the agent works in it because the task names no folder.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_home: bool,
    /// Words of commands that are paths of files beside the task file, and the paths by
    /// which those are found from the copy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub beside: BTreeMap<String, String>,
    /// What of it is left out; patterns that compile.
    pub exclude: Vec<String>,
    /// How the change comes into it.
    pub commit: CommitMode,
    /// Whether the copy is a worktree of its git repository.
    #[serde(default)]
    pub git: bool,
    /// What no other run with the same lock may work on meanwhile.
    pub locks: Vec<PathBuf>,
    /// How long a lock is waited for.
    pub lock_wait_ms: u64,
}

/// When a human is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Escalation {
    /// Asked each time this much more would be spent, in nano-USD, above 0.
    pub cost_nanousd: Option<u64>,
    /// How each type of question is treated, by its name.
    pub types: BTreeMap<String, EscalationType>,
    /// The longest that a human has, whatever the question says; set where a drill
    /// waits for a deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub longest_ms: Option<u64>,
}

/// How questions of a type are treated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EscalationType {
    /// Above 0.
    pub deadline_ms: u64,
    /// The option that stands then; `None`: by what can be taken back.
    pub default: Option<String>,
}

/// Whether calls of a tool wait for an approval.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approve {
    /// None does.
    #[default]
    Never,
    /// Every one does.
    Always,
    /// Those that meet all of these.
    When {
        /// More than so many nano-USD in the argument at this path.
        above_nanousd: Option<(u64, Vec<String>)>,
        /// One of these values in the argument at this path.
        arguments: Vec<(Vec<String>, Vec<Value>)>,
    },
}

/// Who is told, and of what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notify {
    /// What is told, sorted, each once.
    pub on: Vec<Occasion>,
    /// Who.
    pub target: Target,
}

/// Who is told.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A program; the event comes as JSON on its stdin.
    Command(Vec<String>),
    /// A URL the event is posted to.
    Webhook {
        /// Placeholders are `{env.NAME}` only.
        url: Template,
        /// What is posted.
        format: WebhookFormat,
    },
}

impl fmt::Debug for Target {
    /// A webhook's URL is a secret itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Command(argv) => f.debug_tuple("Command").field(argv).finish(),
            Self::Webhook { format, .. } => f
                .debug_struct("Webhook")
                .field("format", format)
                .finish_non_exhaustive(),
        }
    }
}
