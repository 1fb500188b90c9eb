//! `workspace`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Checker;
use crate::task::locate::{KeyPath, Part};
use crate::task::resolved::Workspace;
use crate::task::written;

impl Checker<'_> {
    pub(super) fn workspace(&mut self, written: written::Workspace) -> Option<Workspace> {
        let path = KeyPath::root().key("workspace");
        let before = self.found.len();
        for (index, pattern) in written.exclude.iter().enumerate() {
            let at = path.key("exclude").index(index);
            let what = match glob::Pattern::new(pattern) {
                Err(error) => format!("is no pattern: {error}"),
                Ok(_) if pattern.trim_matches('/').is_empty() => "is empty".to_owned(),
                Ok(_) => continue,
            };
            let expected = Some("a name or a path, with `*` for any letters");
            self.refuse(&at, Part::Value, &what, expected, None);
        }
        for (index, lock) in written.lock.iter().enumerate() {
            if lock.is_empty() {
                let at = path.key("lock").index(index);
                self.refuse(&at, Part::Value, "is an empty text", Some("a path"), None);
            }
        }
        if written.stage.is_none() {
            for key in ["exclude", "commit", "git"] {
                let at = path.key(key);
                if self.is_written(&at) {
                    let fix = format!("add `stage:`, or remove `{key}`");
                    self.refuse(&at, Part::Key, "stands without `stage`", None, Some(&fix));
                }
            }
        }
        if written.git && written.commit == written::CommitMode::Exchange {
            let expected = Some("auto or files: a worktree of git is no whole folder");
            let what = "cannot be `exchange` with `git: true`";
            self.refuse(&path.key("commit"), Part::Value, what, expected, None);
        }
        (self.found.len() == before).then(|| Workspace {
            stage: written.stage.map(PathBuf::from),
            is_home: false,
            beside: BTreeMap::new(),
            exclude: written.exclude,
            commit: written.commit,
            git: written.git,
            locks: written.lock.into_iter().map(PathBuf::from).collect(),
            lock_wait_ms: written.lock_wait.0,
        })
    }
}
