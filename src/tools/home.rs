//! Where tools run, and with what.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use crate::ids::RunId;
use crate::process::{Launcher, OutputFiles};
use crate::task::resolved::{Action, Body, Resolved, Tool};
use crate::task::template::{Place, Template};

use super::secrets::{Secrets, is_secret_name};
use super::toolbox::undo_name;
use super::{Error, Job};

/// The variable in which a command finds its idempotency key.
pub const KEY_VARIABLE: &str = "AGENTGUARD_IDEMPOTENCY_KEY";

/// Longest text about the task that is handed to the taxonomy, in bytes.
const ABOUT_BYTES_MAX: usize = 2_048;

/// Looks up a variable of the supervisor's environment by name.
pub type Variables = Box<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// What the caller says about the place where tools run.
pub struct ToolHome {
    /// The run they serve.
    pub run: RunId,
    /// The folder commands start in.
    pub cwd: PathBuf,
    /// The folder for whole output; made if it is not there, for its owner only.
    pub output_dir: PathBuf,
    /// What commands inherit. HTTP tools take the proxies from it.
    pub env: Vec<(OsString, OsString)>,
    /// Looks up the variables that templates name (`{env.NAME}`).
    pub variables: Variables,
}

/// By hand: an environment holds keys.
impl fmt::Debug for ToolHome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToolHome")
            .field("run", &self.run)
            .field("cwd", &self.cwd)
            .field("output_dir", &self.output_dir)
            .field("env", &format_args!("{} variables", self.env.len()))
            .finish_non_exhaustive()
    }
}

/// The same, made ready.
pub(super) struct Home {
    pub(super) run: RunId,
    pub(super) cwd: PathBuf,
    output_dir: PathBuf,
    pub(super) env: Vec<(OsString, OsString)>,
    /// The values of all variables that the templates name.
    variables: BTreeMap<String, String>,
    pub(super) secrets: Secrets,
    pub(super) launcher: Launcher,
    pub(super) grace_ms: u64,
    /// The task's name and prompt, for the taxonomy.
    pub(super) about: String,
}

impl Home {
    /// Looks up every variable that a template of the task names, once.
    ///
    /// Errors: one that is not set or does not fit, and an output folder that
    /// cannot be made.
    pub(super) fn new(task: &Resolved, home: ToolHome, launcher: Launcher) -> Result<Self, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&home.output_dir)
            .map_err(|source| Error::OutputFolder {
                path: home.output_dir.clone(),
                source,
            })?;
        let mut variables = BTreeMap::new();
        let mut hidden = Vec::new();
        for (name, tool) in task.tools.iter().chain(&task.lent) {
            for (place, template) in templates(tool) {
                for variable in template.variables() {
                    let value = looked_up(name, variable, place, &home)?;
                    if place == Place::Header || is_secret_name(variable) {
                        hidden.push(value.clone());
                    }
                    variables.insert(variable.to_owned(), value);
                }
            }
        }
        hidden.extend(secret_values(&home.env));
        // A key of an outer run is not ours.
        let env = home
            .env
            .into_iter()
            .filter(|(name, _)| name != KEY_VARIABLE)
            .collect();
        Ok(Self {
            run: home.run,
            cwd: home.cwd,
            output_dir: home.output_dir,
            env,
            variables,
            secrets: Secrets::new(hidden),
            launcher,
            grace_ms: task.agent.grace_ms,
            about: about(task),
        })
    }

    /// Returns the value of a variable that a template names.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    /// Returns an inherited variable as text.
    pub(super) fn inherited(&self, name: &str) -> Option<&str> {
        let found = self
            .env
            .iter()
            .rev()
            .find(|(key, _)| key == OsStr::new(name));
        found
            .and_then(|(_, value)| value.to_str())
            .filter(|value| !value.trim().is_empty())
    }

    /// Returns the file for a part of what a try gives, such as `stdout`.
    pub(super) fn file(&self, job: &Job, part: &str) -> PathBuf {
        self.output_dir
            .join(match job.tool.starts_with(&undo_name("")) {
                false => format!("{}.{}.{part}", job.call, job.attempt),
                true => format!("{}.undo{}.{part}", job.call, job.attempt),
            })
    }

    /// Returns the files for the streams of a command.
    pub(super) fn files(&self, job: &Job, prefix: &str) -> OutputFiles {
        OutputFiles {
            stdout: self.file(job, &format!("{prefix}stdout")),
            stderr: self.file(job, &format!("{prefix}stderr")),
        }
    }
}

fn looked_up(tool: &str, variable: &str, place: Place, home: &ToolHome) -> Result<String, Error> {
    let (tool, variable) = (tool.to_owned(), variable.to_owned());
    let Some(value) = (home.variables)(&variable) else {
        return Err(Error::Variable { tool, variable });
    };
    let fits = Template::parse(&format!("{{env.{variable}}}"))
        .map_err(|error| error.to_string())
        .and_then(|alone| {
            let lookup = |_: &str| Some(value.clone());
            let rendered = alone.render(place, &serde_json::Value::Null, &lookup);
            rendered.map_err(|error| error.to_string())
        });
    match fits {
        Ok(_) => Ok(value),
        Err(why) => Err(Error::VariableValue { tool, why }),
    }
}

fn secret_values(env: &[(OsString, OsString)]) -> impl Iterator<Item = String> {
    env.iter().filter_map(|(name, value)| {
        let is_secret = name.to_str().is_some_and(is_secret_name);
        value.to_str().filter(|_| is_secret).map(str::to_owned)
    })
}

/// Returns every template of a tool that may name a variable, and its place.
fn templates(tool: &Tool) -> Vec<(Place, Template)> {
    let mut found = Vec::new();
    match &tool.action {
        Action::Command { argv, env, .. } => {
            let words = argv.iter().chain(env.0.values());
            found.extend(words.map(|word| (Place::Word, word.clone())));
        }
        Action::Http {
            url, headers, body, ..
        } => {
            found.push((Place::Url, url.clone()));
            found.extend(
                headers
                    .0
                    .values()
                    .map(|value| (Place::Header, value.clone())),
            );
            match body {
                Body::Text(template) => found.push((Place::Body, template.clone())),
                Body::Json(shape) => add_texts(shape, &mut found),
                Body::Arguments | Body::Empty => {}
            }
        }
        Action::Lent => {}
    }
    if let Some(probe) = &tool.probe {
        found.extend(probe.argv.iter().map(|word| (Place::Word, word.clone())));
    }
    if let Some(undo) = &tool.undo {
        found.extend(templates(&undo.tool));
    }
    found
}

fn add_texts(shape: &serde_json::Value, found: &mut Vec<(Place, Template)>) {
    use serde_json::Value;
    match shape {
        Value::String(text) => {
            found.extend(
                Template::parse(text)
                    .ok()
                    .map(|template| (Place::Body, template)),
            );
        }
        Value::Array(items) => items.iter().for_each(|item| add_texts(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| add_texts(field, found)),
        _ => {}
    }
}

fn about(task: &Resolved) -> String {
    use crate::task::resolved::Prompt;
    let mut about = task.name.clone();
    if let Some(Prompt::Text(prompt)) = &task.input.prompt {
        about.push_str(": ");
        about.push_str(prompt);
    }
    about.truncate(about.floor_char_boundary(ABOUT_BYTES_MAX));
    about
}
