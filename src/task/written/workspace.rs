//! `workspace` as written.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::task::defaults;
use crate::task::units::Duration;

/// The folder that the agent works on, and locks on what it shares with others.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Workspace {
    /// A folder of which the agent gets a copy, relative to the task file's folder.
    /// Without `agent.cwd` it starts in the copy; commands still find files beside the
    /// task file. What it did there appears in the folder all at once, when it is done
    /// and the checks passed.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub stage: Option<String>,
    /// What is not copied and stays untouched: names, or paths with `/` from the top
    /// of the folder; `*` and `**` stand for any letters.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// How the change comes into the folder.
    #[serde(default)]
    pub commit: CommitMode,
    /// The folder is the top of a git repository, and the copy is a worktree of it,
    /// without what git ignores. The change comes back as files that are not
    /// committed.
    #[serde(default)]
    pub git: bool,
    /// Files and folders that no other run with the same lock may work on meanwhile,
    /// relative to the task file's folder. A folder stands for all that is in it.
    #[serde(default)]
    pub lock: Vec<String>,
    /// How long a lock that somebody else holds is waited for.
    #[serde(default = "defaults::lock_wait")]
    pub lock_wait: Duration,
}

impl Default for Workspace {
    fn default() -> Self {
        Self {
            stage: None,
            exclude: Vec::new(),
            commit: CommitMode::default(),
            git: false,
            lock: Vec::new(),
            lock_wait: defaults::lock_wait(),
        }
    }
}

/// How the change comes into the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommitMode {
    /// By exchange, unless something would be lost or somebody sits in the folder.
    #[default]
    Auto,
    /// The folder is exchanged as a whole, in one system call.
    Exchange,
    /// File by file, by a plan on disk that a crash cannot break off.
    Files,
}
