//! The agent's surroundings: its command line, folder and environment.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::channel::gateway::Access;
use crate::driver::supervise::Ports;
use crate::ids::{AttemptNo, RunId};
use crate::machine::{Cause, How, State};
use crate::process::{Spec, Stdin};
use crate::staging::git;
use crate::task::preset::{self, Preset, Values};
use crate::task::resolved::{
    InheritEnv, Launch, Pairs, Place as Upstream, Protocol, Resolved, ResumeMode,
};
use crate::task::template::{Place, RenderError, Template};

/// The path of the socket that the loop connects to.
pub const SOCKET_VARIABLE: &str = "AGENTGUARD_SOCKET";

/// Variables of ours that never pass from one run into another.
const OWN_PREFIX: &str = "AGENTGUARD_";

/// Where the clients of a provider look for key and address.
struct Provider {
    /// Variables that hold a key.
    keys: &'static [&'static str],
    /// Those of them that get the token.
    set_keys: &'static [&'static str],
    /// Variables that hold the address; all get ours.
    addresses: &'static [&'static str],
    /// Whether the address has its version.
    is_versioned: bool,
}

#[rustfmt::skip]
const PROVIDERS: &[Provider] = &[
    Provider {
        keys: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS", "CLAUDE_CODE_OAUTH_TOKEN"],
        set_keys: &["ANTHROPIC_API_KEY"],
        addresses: &["ANTHROPIC_BASE_URL"],
        is_versioned: false,
    },
    Provider {
        keys: &["OPENAI_API_KEY"],
        set_keys: &["OPENAI_API_KEY"],
        addresses: &["OPENAI_BASE_URL", "OPENAI_API_BASE"],
        is_versioned: true,
    },
    Provider {
        keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        set_keys: &["GEMINI_API_KEY", "GOOGLE_API_KEY"],
        addresses: &["GOOGLE_GEMINI_BASE_URL"],
        is_versioned: false,
    },
];

/// Ways to models that lead past the gateway.
const OTHER_WAYS: &[&str] = &[
    "AWS_BEARER_TOKEN_BEDROCK",
    "AZURE_API_KEY",
    "AZURE_OPENAI_API_KEY",
    "CEREBRAS_API_KEY",
    "CLAUDE_CODE_USE_BEDROCK",
    "CLAUDE_CODE_USE_FOUNDRY",
    "CLAUDE_CODE_USE_VERTEX",
    "CODEX_API_KEY",
    "COHERE_API_KEY",
    "DEEPSEEK_API_KEY",
    "FIREWORKS_API_KEY",
    "GOOGLE_GENAI_USE_VERTEXAI",
    "GOOGLE_GENERATIVE_AI_API_KEY",
    "GOOGLE_VERTEX_BASE_URL",
    "GROQ_API_KEY",
    "MISTRAL_API_KEY",
    "MOONSHOT_API_KEY",
    "OPENROUTER_API_KEY",
    "PERPLEXITY_API_KEY",
    "TOGETHER_API_KEY",
    "XAI_API_KEY",
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
    /// The script, or a file of the agent's settings, could not be written.
    #[error("{path} cannot be written", path = .path.display())]
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
    pub gateway: Option<Access>,
    /// How it is started.
    pub plan: &'a Plan,
    /// The folder of the input snapshot.
    pub input: &'a Path,
    /// The folder of the run.
    pub folder: &'a Path,
}

/// How an agent is started.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// What it is to the attempt before.
    pub how: How,
    /// The text it gets.
    pub prompt: String,
    /// The session of agents that let us name it: one for each start from the
    /// beginning, since they refuse a name that they know.
    pub session: String,
    /// The folder that is the agent's own, for as long as its session.
    pub home: PathBuf,
    /// Whether money or tokens are limited.
    pub is_capped: bool,
    /// Whether the agent is given the tools of the task.
    pub has_tools: bool,
}

/// Decides how the agent is started.
pub fn plan(task: &Resolved, state: &State, attempt: AttemptNo, ports: &Ports) -> Plan {
    let standing = &ports.standing;
    let session = &state.session;
    let has_session = session.has_turns && session.branch == state.branch;
    let how = match (task.agent.resume, standing.cause) {
        (_, Cause::Fresh) => How::Replay,
        (ResumeMode::Restart, _) => How::Restart,
        (ResumeMode::Native, _) if has_session => How::Native,
        (ResumeMode::Native | ResumeMode::Replay, _) => How::Replay,
    };
    let of = |attempt: AttemptNo| (ports.folder.join(format!("agent-{attempt}")), attempt);
    let is_capped = state.limits.cost.is_some() || state.limits.tokens.is_some();
    let plan = |how, (home, attempt): (PathBuf, AttemptNo)| Plan {
        how,
        prompt: standing.input.prompt.clone().unwrap_or_default(),
        session: session_id(&ports.folder, attempt),
        home,
        is_capped,
        has_tools: task.agent.mcp.unwrap_or(!task.tools.is_empty()),
    };
    if how != How::Native {
        return plan(how, of(attempt));
    }
    let mut native_plan = plan(how, of(session.attempt));
    let go_on = standing.note.clone();
    let go_on = go_on.unwrap_or_else(|| preset::GO_ON.to_owned());
    match native(task, &native_plan, &Ways::default(), &go_on) {
        // The text of the task is not found in its command line.
        None => plan(How::Replay, of(attempt)),
        Some(_) => {
            native_plan.prompt = go_on;
            native_plan
        }
    }
}

/// A UUID that belongs to a start: known again after any crash.
fn session_id(run: &Path, attempt: AttemptNo) -> String {
    use sha2::Digest as _;
    let mut bytes = [0; 16];
    let seed = format!("{} {attempt}", run.display());
    bytes.copy_from_slice(&sha2::Sha256::digest(seed)[..16]);
    (bytes[6], bytes[8]) = (0x40 | bytes[6] & 0x0f, 0x80 | bytes[8] & 0x3f);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| &hex[range]);
    parts.join("-")
}

/// Returns the preset of the agent, where we know it.
fn preset_of(task: &Resolved) -> Option<(&'static Preset, usize)> {
    let known = task.agent.preset.as_ref()?;
    Some((preset::by_name(&known.preset)?, known.program))
}

/// Returns the command line of a known agent, its text filled in.
fn command(task: &Resolved, preset: &Preset, values: &Values<'_>) -> Vec<String> {
    match &task.agent.launch {
        Launch::Command(argv) => argv
            .iter()
            .map(|word| match word.as_str() {
                "{prompt}" => values.prompt.to_owned(),
                _ => word.clone(),
            })
            .collect(),
        Launch::Preset | Launch::Script { .. } => preset.default_command(values),
    }
}

/// Returns the command line by which the agent takes up its own session.
fn native(task: &Resolved, plan: &Plan, ways: &Ways, go_on: &str) -> Option<Vec<String>> {
    let (preset, program) = preset_of(task)?;
    let home = plan.home.to_string_lossy();
    let values = values(preset, plan, ways, &home);
    let argv = command(task, preset, &values);
    // An id of ours is known; else the newest session of its folder is the run's.
    let is_ours = preset
        .start(&argv, program, &values)
        .contains(&plan.session);
    let values = Values {
        prompt: go_on,
        ..values
    };
    preset.resume(&argv, program, &values, is_ours)
}

/// The ways that lead an agent to us.
#[derive(Default)]
struct Ways {
    gateway: Access,
    socket: String,
    program: String,
}

impl Ways {
    fn of(about: &About<'_>) -> Self {
        let program = std::env::current_exe().unwrap_or_else(|_| "agentguard".into());
        Self {
            gateway: about.gateway.clone().unwrap_or_default(),
            socket: about
                .socket
                .map_or_else(String::new, |path| path.to_string_lossy().into()),
            program: program.to_string_lossy().into_owned(),
        }
    }
}

fn values<'a>(
    preset: &'static Preset,
    plan: &'a Plan,
    ways: &'a Ways,
    home: &'a str,
) -> Values<'a> {
    Values {
        base: &ways.gateway.base,
        token: &ways.gateway.token,
        home,
        session: &plan.session,
        prompt: &plan.prompt,
        model: preset.model,
        is_capped: plan.is_capped,
        has_tools: plan.has_tools,
        socket: &ways.socket,
        program: &ways.program,
    }
}

/// Returns what to start.
pub fn spec(task: &Resolved, about: &About<'_>, own: &Environment) -> Result<Spec, Error> {
    let ways = Ways::of(about);
    let home = about.plan.home.to_string_lossy();
    let known = preset_of(task).filter(|_| about.gateway.is_some());
    let known = known.map(|(preset, program)| {
        let values = values(preset, about.plan, &ways, &home);
        (preset, program, values)
    });
    let argv: Vec<OsString> = match (&task.agent.launch, &known) {
        (Launch::Command(_) | Launch::Preset, Some((preset, program, values))) => {
            let argv = match about.plan.how {
                How::Native => native(task, about.plan, &ways, &about.plan.prompt),
                How::Replay | How::Restart => None,
            };
            let argv = argv
                .unwrap_or_else(|| preset.start(&command(task, preset, values), *program, values));
            argv.into_iter().map(OsString::from).collect()
        }
        (Launch::Command(argv), None) => argv.iter().map(OsString::from).collect(),
        (Launch::Preset, None) => vec![],
        (Launch::Script { text, interpreter }, _) => {
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
    if about.gateway.is_some() {
        lead_to_gateway(&mut spec.env, task, &ways.gateway, own);
    }
    if let Some((preset, _, values)) = &known {
        spec.env
            .retain(|(name, _)| !preset.unset.iter().any(|it| name == it));
        let is_users = |name: &str| task.agent.env.0.contains_key(name);
        let private = preset.private.iter().filter(|(name, _)| !is_users(name));
        for (name, template) in preset.env.iter().chain(private) {
            spec.env.retain(|(known, _)| known != name);
            spec.env
                .push(((*name).into(), values.fill(template).into()));
        }
        write_files(preset, values, &about.plan.home)?;
    }
    spec.env.push((
        "AGENTGUARD_ATTEMPT".into(),
        about.attempt.to_string().into(),
    ));
    spec.env
        .push(("AGENTGUARD_INPUT".into(), about.input.into()));
    spec.stdin = match task.agent.protocol {
        _ if task.agent.has_our_stdio => Stdin::Inherit,
        Protocol::Stdio => Stdin::Piped,
        Protocol::Auto | Protocol::Socket | Protocol::Gateway | Protocol::None => Stdin::Null,
    };
    Ok(spec)
}

/// Puts the gateway in the place of the providers.
fn lead_to_gateway(
    env: &mut Vec<(OsString, OsString)>,
    task: &Resolved,
    access: &Access,
    own: &Environment,
) {
    // A loop that may speak for itself keeps the ways that are not ours.
    let is_only_way = task.agent.protocol == Protocol::Gateway;
    let is_led = task.upstreams[0].place != Upstream::Asked;
    let versioned = format!("{}/v1", access.base);
    for provider in PROVIDERS {
        let names = || provider.keys.iter().chain(provider.addresses);
        let has_any = names().any(|name| own.variable(name).is_some_and(|it| !it.is_empty()));
        if !is_only_way && !is_led && !has_any {
            continue;
        }
        env.retain(|(name, _)| !names().any(|known| name == known));
        for name in provider.set_keys {
            env.push(((*name).into(), access.token.clone().into()));
        }
        for name in provider.addresses {
            let address = if provider.is_versioned {
                &versioned
            } else {
                &access.base
            };
            env.push(((*name).into(), address.into()));
        }
    }
    if is_only_way {
        env.retain(|(name, _)| !OTHER_WAYS.iter().any(|known| name == known));
    }
    let ours = keys_of_upstreams(task);
    env.retain(|(name, _)| !ours.iter().any(|known| name == known));
    let mut direct = OsString::from("127.0.0.1,localhost");
    let names = ["no_proxy", "NO_PROXY"];
    let of = |name: &&str| {
        env.iter()
            .rfind(|(known, list)| known == name && !list.is_empty())
    };
    if let Some((_, list)) = names.iter().find_map(of) {
        direct.push(",");
        direct.push(list);
    }
    for name in names {
        env.retain(|(known, _)| known != name);
        env.push((name.into(), direct.clone()));
    }
}

/// Returns the variables with the keys of upstreams, which are ours to use.
fn keys_of_upstreams(task: &Resolved) -> Vec<&str> {
    let templates = task.upstreams.iter().filter_map(|it| match &it.place {
        Upstream::Url { url, key } => Some([Some(url), key.as_ref()]),
        _ => None,
    });
    let templates = templates.flatten().flatten();
    templates.flat_map(Template::variables).collect()
}

/// Returns the environment in which the work is checked: the agent's, without any
/// way to a model. A check runs what the agent wrote.
///
/// Errors: a variable of the task file that cannot be filled in.
pub fn check_environment(
    task: &Resolved,
    own: &Environment,
) -> Result<Vec<(OsString, OsString)>, Error> {
    let mut env = own.inherited(&task.agent.inherit_env);
    if matches!(task.agent.protocol, Protocol::Auto | Protocol::Gateway) {
        let ours = keys_of_upstreams(task);
        let keys = PROVIDERS.iter().flat_map(|provider| provider.keys);
        let hidden: Vec<&str> = keys.chain(OTHER_WAYS).copied().chain(ours).collect();
        env.retain(|(name, _)| !hidden.iter().any(|known| name == known));
    }
    add(&mut env, &task.agent.env, own)?;
    Ok(env)
}

/// Writes the files by which a known agent is led to the gateway.
fn write_files(preset: &Preset, values: &Values<'_>, home: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let failed = |path: &Path, source| Error::Script {
        path: path.to_owned(),
        source,
    };
    let mut make = fs::DirBuilder::new();
    make.recursive(true).mode(0o700);
    make.create(home).map_err(|source| failed(home, source))?;
    for (name, template) in preset.files {
        let path = home.join(name);
        if let Some(folder) = path.parent() {
            make.create(folder)
                .map_err(|source| failed(folder, source))?;
        }
        fs::write(&path, values.fill(template))
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o600)))
            .map_err(|source| failed(&path, source))?;
    }
    Ok(())
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
pub struct Environment {
    all: Vec<(OsString, OsString)>,
    /// Names that do not pass from it.
    kept_back: &'static [&'static str],
}

impl Environment {
    /// Reads it.
    pub fn read() -> Self {
        Self {
            all: std::env::vars_os().collect(),
            kept_back: &[],
        }
    }

    /// Lets nothing inherit what would lead git past the folder in which it is run: in a
    /// copy it would change the repository of whoever started us, a hook for instance.
    pub fn keep_git_in_its_folder(&mut self) {
        self.kept_back = git::MISLEADING;
    }

    /// Returns a variable that is UTF-8.
    pub fn variable(&self, name: &str) -> Option<String> {
        let (_, value) = self.all.iter().find(|(key, _)| key == name)?;
        value.to_str().map(str::to_owned)
    }

    /// Returns what is let through, with `agentguard` itself within reach.
    pub fn inherited(&self, which: &InheritEnv) -> Vec<(OsString, OsString)> {
        let passes = |name: &OsStr| {
            let name = name.to_string_lossy();
            !name.starts_with(OWN_PREFIX)
                && !self.kept_back.contains(&&*name)
                && match which {
                    InheritEnv::All => true,
                    InheritEnv::Nothing => name == "PATH",
                    InheritEnv::Only(names) => {
                        name == "PATH" || names.iter().any(|pattern| glob(pattern, &name))
                    }
                }
        };
        let state = self.all.iter().filter(|(name, _)| {
            // Where the journal is must be the same for `agentguard` inside the run.
            name == "AGENTGUARD_STATE"
        });
        self.all
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
