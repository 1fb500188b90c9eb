//! The command lines of a task, word by word.

use super::resolved::{Action, Launch, Look, Resolved, Tool};
use super::template::Template;

/// Whether a word of a command line is no path, but the name of a program.
pub fn is_looked_for_in_path(place: usize, word: &str) -> bool {
    place == 0 && !word.contains('/')
}

impl Resolved {
    /// Calls `each` with every fixed word of the command lines that are run in the
    /// agent's folder: the agent's, those of tools, probes and undos, and of checks.
    /// What it returns takes the word's place.
    ///
    /// - `each`: gets the word's place in its command line, and the word.
    pub fn reword(&mut self, each: &mut dyn FnMut(usize, &str) -> Option<String>) {
        let mut words = |words: &mut Vec<String>| {
            for (place, word) in words.iter_mut().enumerate() {
                if let Some(new) = each(place, word) {
                    *word = new;
                }
            }
        };
        match &mut self.agent.launch {
            Launch::Command(argv) => words(argv),
            Launch::Script { interpreter, .. } => words(interpreter),
            Launch::Preset => {}
        }
        for check in self.verify.iter_mut().flat_map(|it| &mut it.checks) {
            if let Look::Command(argv) = &mut check.look {
                words(argv);
            }
        }
        for tool in self.tools.values_mut().chain(self.lent.values_mut()) {
            tool.reword(each);
        }
    }

    /// Has commands find from the copy what stands beside the task file.
    pub fn reach_beside(&mut self) {
        let beside = std::mem::take(&mut self.workspace.beside);
        self.reword(
            &mut |place, word| match is_looked_for_in_path(place, word) {
                true => None,
                false => beside.get(word).cloned(),
            },
        );
        self.workspace.beside = beside;
    }
}

impl Tool {
    fn reword(&mut self, each: &mut dyn FnMut(usize, &str) -> Option<String>) {
        let argv = match &mut self.action {
            Action::Command { argv, .. } => argv.as_mut_slice(),
            Action::Http { .. } | Action::Lent => &mut [],
        };
        let probe = self.probe.iter_mut().map(|probe| probe.argv.as_mut_slice());
        for words in std::iter::once(argv).chain(probe) {
            for (place, word) in words.iter_mut().enumerate() {
                if let Some(new) = word.as_literal().and_then(|word| each(place, word)) {
                    *word = Template::literal(&new);
                }
            }
        }
        if let Some(undo) = &mut self.undo {
            undo.tool.reword(each);
        }
    }
}
