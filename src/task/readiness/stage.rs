//! R7xx: the folder that the agent works on.

use std::path::{Component, Path, PathBuf};

use super::{Look, NO_STAGE, OUTSIDE_STAGE};
use crate::task::locate::KeyPath;
use crate::task::resolved::{Action, Effect};

/// Tools that are named.
const NAMED_MAX: usize = 3;

impl Look<'_> {
    pub(super) fn stage(&mut self) {
        if let Some(stage) = &self.task.workspace.stage {
            return self.outside(stage);
        }
        // What goes to another machine is in no folder here.
        let writes: Vec<String> = self
            .task
            .tools
            .iter()
            .filter(|(_, tool)| tool.effect != Effect::Read)
            .filter(|(_, tool)| !matches!(tool.action, Action::Http { .. }))
            .map(|(name, _)| format!("`{name}`"))
            .chain(self.servers_that_write())
            .collect();
        let named: Vec<String> = match writes.len() {
            0 => return,
            count if count > NAMED_MAX => {
                let more = format!("{} more", count - NAMED_MAX);
                writes.into_iter().take(NAMED_MAX).chain([more]).collect()
            }
            _ => writes,
        };
        let verb = if named.len() == 1 { "writes" } else { "write" };
        let message = format!(
            "{} {verb} with the folder not staged: a run that fails leaves in it what it did",
            named.join(", ")
        );
        self.find(
            NO_STAGE,
            &KeyPath::root().key("workspace"),
            message,
            "add `workspace: {stage: .}`, unless nothing is written to the agent's folder",
        );
    }

    fn outside(&mut self, stage: &Path) {
        let cwd = &self.task.agent.cwd;
        // One of them absolute: only the disk knows where it is from the other.
        if cwd.is_absolute() != stage.is_absolute() || cleaned(cwd).starts_with(cleaned(stage)) {
            return;
        }
        let message = format!(
            "the agent works in `{}`, which is not in the staged folder `{}`: what it writes \
             there is not held back",
            cwd.display(),
            stage.display()
        );
        self.find(
            OUTSIDE_STAGE,
            &KeyPath::root().key("agent").key("cwd"),
            message,
            "remove `cwd`: the agent then works in the copy",
        );
    }

    fn servers_that_write(&self) -> impl Iterator<Item = String> {
        let named = self.task.lent.iter();
        named
            .filter(|(name, tool)| !name.ends_with('*') && tool.effect != Effect::Read)
            .map(|(name, _)| format!("`{name}`"))
    }
}

/// Returns a path without `.`, and without the `NAME/..` that lead nowhere.
fn cleaned(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir
                if matches!(clean.components().next_back(), Some(Component::Normal(_))) =>
            {
                clean.pop();
            }
            part => clean.push(part),
        }
    }
    clean
}
