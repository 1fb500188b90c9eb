//! `agent`, `input`, `limits`, `prices` and `notify`.

use std::path::PathBuf;

use super::{Checker, Scope};
use crate::task::locate::{KeyPath, Part};
use crate::task::resolved::{
    Agent, InheritEnv, Input, Known, Launch, Limits, Notify, Pairs, Price, Prompt, Protocol,
    ResumeMode, Target,
};
use crate::task::template::Template;
use crate::task::{preset, written};

impl Checker<'_> {
    pub(super) fn agent(&mut self, agent: written::Agent) -> Option<Agent> {
        let path = KeyPath::root().key("agent");
        let before = self.found.len();
        let is_preset = self.is_written(&path.key("preset"));
        if !is_preset || agent.command.is_some() && agent.script.is_some() {
            self.one_of(&path, "command", "script");
        }
        if is_preset && agent.script.is_some() {
            self.refuse(
                &path.key("preset"),
                Part::Key,
                "stands beside `script`",
                Some("it alone, or beside `command`"),
                Some("remove `script`"),
            );
        }
        let known = self.known(&path, &agent);
        for (index, pattern) in agent.volatile.iter().enumerate() {
            if let Err(error) = regex::Regex::new(pattern) {
                let what = format!(
                    "is no regular expression: {}",
                    last_line(&error.to_string())
                );
                self.refuse(
                    &path.key("volatile").index(index),
                    Part::Value,
                    &what,
                    None,
                    None,
                );
            }
        }
        if let Some(words) = &agent.command {
            self.program(&path.key("command"), words);
            let at = path.key("interpreter");
            if self.is_written(&at) && !self.is_written(&path.key("script")) {
                let fix = Some("remove `interpreter`, or write the program first in `command`");
                self.refuse(
                    &at,
                    Part::Key,
                    "stands beside `command`",
                    Some("it beside `script` only"),
                    fix,
                );
            }
        }
        self.program(&path.key("interpreter"), &agent.interpreter);
        if agent
            .script
            .as_ref()
            .is_some_and(|script| script.trim().is_empty())
        {
            self.refuse(
                &path.key("script"),
                Part::Value,
                "is empty",
                Some("a script"),
                None,
            );
        }
        let env = self.pairs(&path.key("env"), agent.env, Scope::VARIABLES_ONLY);
        let launch = match (agent.command, agent.script) {
            (Some(words), _) => Launch::Command(words),
            (None, Some(text)) => Launch::Script {
                text,
                interpreter: agent.interpreter,
            },
            (None, None) if is_preset => Launch::Preset,
            (None, None) => return None,
        };
        (self.found.len() == before).then_some(())?;
        Some(Agent {
            launch,
            cwd: PathBuf::from(agent.cwd.unwrap_or_else(|| ".".to_owned())),
            env: env?,
            inherit_env: match agent.inherit_env {
                written::InheritEnv::Switch(true) => InheritEnv::All,
                written::InheritEnv::Switch(false) => InheritEnv::Nothing,
                written::InheritEnv::Only(names) => InheritEnv::Only(names),
            },
            protocol: match known {
                Some(_) => Protocol::Gateway,
                None => agent.protocol,
            },
            resume: agent
                .resume
                .unwrap_or_else(|| native_or_replay(known.as_ref())),
            preset: known,
            mcp: agent.mcp,
            volatile: agent.volatile,
            grace_ms: agent.grace.0,
            has_our_stdio: false,
        })
    }

    /// Finds the preset: the one that is named, else the one of the program.
    fn known(&mut self, path: &KeyPath, agent: &written::Agent) -> Option<Known> {
        let command = agent.command.as_deref().unwrap_or_default();
        let found = preset::of_command(command);
        let Some(name) = &agent.preset else {
            let is_open = matches!(agent.protocol, Protocol::Auto | Protocol::Gateway);
            let (found, program) = found.filter(|_| is_open)?;
            let preset = found.name.to_owned();
            return Some(Known { preset, program });
        };
        if !matches!(agent.protocol, Protocol::Auto | Protocol::Gateway) {
            self.refuse(
                &path.key("protocol"),
                Part::Value,
                "does not go with `preset`: such an agent is seen by its model calls",
                Some("`gateway`, or nothing"),
                Some("remove `protocol`"),
            );
        }
        let program = found.map_or(0, |(_, program)| program);
        let has_prompt = ["prompt", "prompt_file"]
            .iter()
            .any(|key| self.is_written(&KeyPath::root().key("input").key(key)));
        if agent.command.is_none() && !has_prompt {
            self.refuse(
                &path.key("preset"),
                Part::Value,
                "has nothing to do",
                Some("a text under `input.prompt`, or a `command` that has one"),
                Some("add `input: {prompt: …}`"),
            );
        }
        let preset = name.clone();
        Some(Known { preset, program })
    }

    /// Parses the values of an environment or of headers.
    pub(super) fn pairs(
        &mut self,
        path: &KeyPath,
        pairs: std::collections::BTreeMap<String, String>,
        scope: Scope<'_>,
    ) -> Option<Pairs> {
        let before = self.found.len();
        self.variable_names(path, &pairs.keys().collect::<Vec<_>>());
        let mut parsed = std::collections::BTreeMap::new();
        for (name, text) in pairs {
            if let Some(template) = self.template(&path.key(&name), &text, scope) {
                parsed.insert(name, template);
            }
        }
        (self.found.len() == before).then_some(Pairs(parsed))
    }

    pub(super) fn input(&mut self, input: written::Input) -> Option<Input> {
        let path = KeyPath::root().key("input");
        if input.prompt.is_some() && input.prompt_file.is_some() {
            self.one_of(&path, "prompt", "prompt_file");
            return None;
        }
        if let Some(index) = input
            .files
            .iter()
            .position(|pattern| pattern.trim().is_empty())
        {
            let at = path.key("files").index(index);
            self.refuse(&at, Part::Value, "is an empty text", Some("a path"), None);
            return None;
        }
        Some(Input {
            prompt: match (input.prompt, input.prompt_file) {
                (Some(text), _) => Some(Prompt::Text(text)),
                (None, Some(file)) => Some(Prompt::File(PathBuf::from(file))),
                (None, None) => None,
            },
            files: input.files,
            params: input.params,
        })
    }

    pub(super) fn notify(&mut self, path: &KeyPath, notify: written::Notify) -> Option<Notify> {
        let before = self.found.len();
        self.one_of(path, "command", "webhook");
        if let Some(words) = &notify.command {
            self.program(&path.key("command"), words);
            if notify.format.is_some() {
                let fix = Some("remove `format`; a command gets JSON on its stdin");
                self.refuse(
                    &path.key("format"),
                    Part::Key,
                    "stands beside `command`",
                    Some("it beside `webhook` only"),
                    fix,
                );
            }
        }
        let url = notify
            .webhook
            .and_then(|text| self.url(&path.key("webhook"), &text, Scope::VARIABLES_ONLY));
        (self.found.len() == before).then_some(())?;
        let mut on = notify.on;
        on.sort();
        on.dedup();
        let target = match (notify.command, url) {
            (Some(words), _) => Target::Command(words),
            (None, url) => Target::Webhook {
                url: url?,
                format: notify.format.unwrap_or_default(),
            },
        };
        Some(Notify { on, target })
    }

    /// Parses a URL with placeholders. A placeholder may be the whole URL only
    /// if it is a variable; the host never comes from an argument.
    pub(super) fn url(&mut self, path: &KeyPath, text: &str, scope: Scope<'_>) -> Option<Template> {
        let template = self.template(path, text, scope)?;
        let host_ok = match text.split_once("://") {
            Some(("http" | "https", rest)) => {
                let host = rest.split(['/', '?', '#']).next().unwrap_or("");
                let fixed = !host.contains('{') || host.starts_with("{env.");
                !host.is_empty() && fixed && !text.contains(char::is_whitespace)
            }
            Some(_) => false,
            None => text.starts_with("{env."),
        };
        if host_ok {
            return Some(template);
        }
        let expected = "an `http://` or `https://` URL whose host is no argument";
        self.refuse(path, Part::Value, "is no URL to call", Some(expected), None);
        None
    }
}

fn last_line(text: &str) -> &str {
    text.trim().lines().last().unwrap_or_default()
}

/// How an agent goes on where the task file does not say.
fn native_or_replay(known: Option<&Known>) -> ResumeMode {
    let preset = known.and_then(|known| preset::by_name(&known.preset));
    match preset.map(|preset| preset.restart) {
        Some(preset::Restart::Native) => ResumeMode::Native,
        Some(preset::Restart::Replay) | None => ResumeMode::Replay,
    }
}

pub(super) fn limits(limits: &written::Limits) -> Limits {
    Limits {
        cost_nanousd: limits.cost_usd.map(|it| it.0),
        tokens: limits.tokens.map(|it| it.0),
        steps: limits.steps.map(|it| it.0),
        tool_calls: limits.tool_calls.map(|it| it.0),
        deadline_ms: limits.deadline.map(|it| it.0),
        deadline_counts: limits.deadline_counts,
        idle_ms: limits.idle.map(|it| it.0),
        soft_percent: limits.soft.0,
        model_call_timeout_ms: limits.model_call_timeout.0,
    }
}

pub(super) fn price(price: &written::Price) -> Price {
    Price {
        input_nanousd: price.input.0,
        output_nanousd: price.output.0,
        cached_input_nanousd: price.cached_input.unwrap_or(price.input).0,
        cache_write_nanousd: price.cache_write.unwrap_or(price.input).0,
    }
}
