//! Commented task files to begin with: `agentguard init KIND`.
//!
//! Each stands beside this file as YAML, passes [`super::load`], and has no
//! readiness errors (a test says so).

use super::preset::{Preset, Restart};

/// A kind of agent with its task file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// The name on the command line.
    pub name: &'static str,
    /// What it is for, in a few words.
    pub title: &'static str,
    /// The task file.
    pub text: &'static str,
}

/// Every kind, in the order in which they are listed; the first is the default.
pub const KINDS: [Kind; 7] = [
    Kind {
        name: "shell",
        title: "a loop in plain shell",
        text: include_str!("init/shell.yaml"),
    },
    Kind {
        name: "python",
        title: "your own loop in Python",
        text: include_str!("init/python.yaml"),
    },
    Kind {
        name: "openai-sdk",
        title: "a loop on the openai package",
        text: include_str!("init/openai-sdk.yaml"),
    },
    Kind {
        name: "anthropic-sdk",
        title: "a loop on the anthropic package",
        text: include_str!("init/anthropic-sdk.yaml"),
    },
    Kind {
        name: "stdio",
        title: "a loop in any language, over stdin and stdout",
        text: include_str!("init/stdio.yaml"),
    },
    Kind {
        name: "gateway",
        title: "an agent that knows nothing of agentguard",
        text: include_str!("init/gateway.yaml"),
    },
    Kind {
        name: "wrap",
        title: "any program as it is",
        text: include_str!("init/wrap.yaml"),
    },
];

/// Returns the task file of an agent that we know.
pub fn agent(preset: &Preset) -> String {
    let command: Vec<String> = preset
        .command
        .iter()
        .map(|word| match *word {
            "{model}" => preset.model.to_owned(),
            word if word.contains(['{', ' ', '"']) => format!("\"{word}\""),
            word => word.to_owned(),
        })
        .collect();
    let resume = match preset.restart {
        Restart::Native => "native                  # its own session; or replay, restart",
        Restart::Replay => {
            "replay                  # what it asks as before costs nothing; or restart"
        }
    };
    include_str!("init/agent.yaml")
        .replace("{title}", preset.title)
        .replace("{tried}", preset.tried)
        .replace("{name}", preset.name)
        .replace("{command}", &command.join(", "))
        .replace("{resume}", resume)
}

/// Returns the kind called `name`.
///
/// Errors: the name that may have been meant, if there is one.
pub fn find(name: &str) -> Result<&'static Kind, Option<&'static str>> {
    KINDS
        .iter()
        .find(|kind| kind.name == name)
        .ok_or_else(|| super::suggest::nearest(name, KINDS.iter().map(|kind| kind.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{self, Problems, Severity};

    #[test]
    fn every_kind_is_a_valid_task_without_readiness_errors() {
        for kind in KINDS {
            let (resolved, problems, findings) = task::check(kind.text, "task.yaml");
            assert!(resolved.is_some(), "{}: {}", kind.name, Problems(problems));
            let errors: Vec<_> = findings
                .iter()
                .filter(|it| it.severity == Severity::Error)
                .collect();
            assert!(errors.is_empty(), "{}: {errors:?}", kind.name);
            assert!(
                kind.text.starts_with("# yaml-language-server"),
                "{}",
                kind.name
            );
        }
    }

    #[test]
    fn what_is_commented_out_is_valid_too() {
        // Only whole sections, which begin at the left edge.
        for kind in KINDS {
            let mut opened = String::new();
            let mut inside = false;
            for line in kind.text.lines() {
                let bare = line.strip_prefix("# ").unwrap_or("");
                let begins = ["notify:", "rules:"].contains(&bare);
                inside = begins || (inside && line.starts_with("#   "));
                opened.push_str(if inside { bare } else { line });
                opened.push('\n');
            }
            assert!(
                task::load(&opened, "task.yaml").is_ok(),
                "{}: {opened}",
                kind.name
            );
        }
    }

    #[test]
    fn an_unknown_kind_is_guessed() {
        assert_eq!(find("openai_sdk"), Err(Some("openai-sdk")));
        assert_eq!(find("cobol"), Err(None));
        assert_eq!(find("wrap").map(|kind| kind.name), Ok("wrap"));
    }
}
