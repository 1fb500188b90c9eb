//! The agent's surroundings: its command line, folder and environment.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::ids::{AttemptNo, RunId};
use crate::process::{Spec, Stdin};
use crate::task::resolved::{InheritEnv, Launch, Pairs, Protocol, Resolved};
use crate::task::template::{Place, RenderError};

/// The path of the socket that the loop connects to.
pub const SOCKET_VARIABLE: &str = "AGENTGUARD_SOCKET";

/// Variables of ours that never pass from one run into another.
const OWN_PREFIX: &str = "AGENTGUARD_";

/// Where the providers' clients look for keys and addresses.
const PROVIDER_VARIABLES: &[&str] = &[
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_VERTEX",
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_GEMINI_BASE_URL",
    "GOOGLE_VERTEX_BASE_URL",
    "NO_PROXY",
    "OPENAI_API_BASE",
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENROUTER_API_KEY",
    "no_proxy",
];

/// Why the agent's surroundings could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable of the task file could not be filled in.
    #[error("agent.env.{name}: {source}")]
    Variable {
        /// The variable.
        name: String,
        /// Why.
        #[source]
        source: RenderError,
    },
    /// The script could not be written.
    #[error("the script {path} cannot be written", path = .path.display())]
    Script {
        /// Its file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What the agent is told about its run.
pub struct About<'a> {
    /// The run.
    pub run: &'a RunId,
    /// Which start it is.
    pub attempt: AttemptNo,
    /// The socket, where the protocol uses one.
    pub socket: Option<&'a Path>,
    /// Where the agent finds its model, where that is us.
    pub gateway: Vec<(&'static str, String)>,
    /// The folder of the input snapshot.
    pub input: &'a Path,
    /// The folder of the run.
    pub folder: &'a Path,
}

/// Returns what to start.
pub fn spec(task: &Resolved, about: &About<'_>, own: &Environment) -> Result<Spec, Error> {
    let argv: Vec<OsString> = match &task.agent.launch {
        Launch::Command(argv) => argv.iter().map(OsString::from).collect(),
        Launch::Script { text, interpreter } => {
            let path = about.folder.join("script");
            let written = fs::write(&path, text)
                .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o700)));
            written.map_err(|source| Error::Script {
                path: path.clone(),
                source,
            })?;
            interpreter
                .iter()
                .map(OsString::from)
                .chain([path.into()])
                .collect()
        }
    };
    let mut spec = Spec::new(argv, &task.agent.cwd);
    spec.env = own.inherited(&task.agent.inherit_env);
    add(&mut spec.env, &task.agent.env, own)?;
    if let Some(socket) = about.socket {
        spec.env.push((SOCKET_VARIABLE.into(), socket.into()));
    }
    if !about.gateway.is_empty() {
        // Keys and addresses that would lead past the gateway.
        let is_key = |name: &OsString| PROVIDER_VARIABLES.iter().any(|known| name == known);
        spec.env.retain(|(name, _)| !is_key(name));
        let ours = about.gateway.iter();
        spec.env
            .extend(ours.map(|(name, value)| ((*name).into(), value.into())));
        spec.env
            .push(("NO_PROXY".into(), "127.0.0.1,localhost".into()));
        spec.env
            .push(("no_proxy".into(), "127.0.0.1,localhost".into()));
    }
    spec.env.push((
        "AGENTGUARD_ATTEMPT".into(),
        about.attempt.to_string().into(),
    ));
    spec.env
        .push(("AGENTGUARD_INPUT".into(), about.input.into()));
    spec.stdin = match task.agent.protocol {
        Protocol::Stdio => Stdin::Piped,
        Protocol::Socket | Protocol::Gateway | Protocol::None => Stdin::Null,
    };
    Ok(spec)
}

fn add(env: &mut Vec<(OsString, OsString)>, pairs: &Pairs, own: &Environment) -> Result<(), Error> {
    for (name, template) in &pairs.0 {
        let value = template
            .render(Place::Word, &serde_json::Value::Null, &|name| {
                own.variable(name)
            })
            .map_err(|source| Error::Variable {
                name: name.clone(),
                source,
            })?;
        env.push((name.into(), value.into()));
    }
    Ok(())
}

/// The supervisor's own environment, read once.
#[derive(Clone)]
pub struct Environment(Vec<(OsString, OsString)>);

impl Environment {
    /// Reads it.
    pub fn read() -> Self {
        Self(std::env::vars_os().collect())
    }

    /// Returns a variable that is UTF-8.
    pub fn variable(&self, name: &str) -> Option<String> {
        let (_, value) = self.0.iter().find(|(key, _)| key == name)?;
        value.to_str().map(str::to_owned)
    }

    /// Returns what is let through, with `agentguard` itself within reach.
    pub fn inherited(&self, which: &InheritEnv) -> Vec<(OsString, OsString)> {
        let passes = |name: &OsStr| {
            let name = name.to_string_lossy();
            !name.starts_with(OWN_PREFIX)
                && match which {
                    InheritEnv::All => true,
                    InheritEnv::Nothing => name == "PATH",
                    InheritEnv::Only(names) => {
                        name == "PATH" || names.iter().any(|pattern| glob(pattern, &name))
                    }
                }
        };
        let state = self.0.iter().filter(|(name, _)| {
            // Where the journal is must be the same for `agentguard` inside the run.
            name == "AGENTGUARD_STATE"
        });
        self.0
            .iter()
            .filter(|(name, _)| passes(name))
            .chain(state)
            .map(|(name, value)| match name.to_str() {
                Some("PATH") => (name.clone(), with_own_folder(value)),
                _ => (name.clone(), value.clone()),
            })
            .collect()
    }
}

/// Adds the folder of this binary at the end of `path`, so that a script finds
/// `agentguard` wherever it was installed.
fn with_own_folder(path: &OsStr) -> OsString {
    let own = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_owned));
    let folders = std::env::split_paths(path).chain(own);
    std::env::join_paths(folders).unwrap_or_else(|_| path.to_owned())
}

/// Matches `name` against a pattern in which `*` stands for any letters.
fn glob(pattern: &str, name: &str) -> bool {
    glob::Pattern::new(pattern).is_ok_and(|pattern| pattern.matches(name))
}
