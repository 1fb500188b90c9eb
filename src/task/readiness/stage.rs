//! R7xx: the folder that the agent works on.

use super::{Look, NO_STAGE};
use crate::task::locate::KeyPath;
use crate::task::resolved::{Action, Effect};

/// Tools that are named.
const NAMED_MAX: usize = 3;

impl Look<'_> {
    pub(super) fn stage(&mut self) {
        if self.task.workspace.stage.is_some() {
            return;
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

    fn servers_that_write(&self) -> impl Iterator<Item = String> {
        let named = self.task.lent.iter();
        named
            .filter(|(name, tool)| !name.ends_with('*') && tool.effect != Effect::Read)
            .map(|(name, _)| format!("`{name}`"))
    }
}
