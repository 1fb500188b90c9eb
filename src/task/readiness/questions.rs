//! R3xx: who is asked, and for how long.

use super::{Look, NOBODY_ASKED, TOKEN_LIFE};
use crate::task::defaults;
use crate::task::locate::KeyPath;
use crate::task::resolved::{Occasion, OnLoop};
use crate::task::units::Duration;

impl Look<'_> {
    /// Whether anybody is told that a human has to decide.
    pub(super) fn tells_of_questions(&self) -> bool {
        let asks = [Occasion::Waiting, Occasion::InDoubt];
        let mut targets = self.task.notify.iter();
        targets.any(|it| asks.iter().any(|occasion| it.on.contains(occasion)))
    }

    pub(super) fn nobody_asked(&mut self, path: &KeyPath, message: String) {
        self.find(
            NOBODY_ASKED,
            path,
            message,
            "add `notify: [{on: [waiting, in_doubt], command: [./notify.sh]}]`",
        );
    }

    pub(super) fn questions(&mut self) {
        let root = KeyPath::root();
        if !self.tells_of_questions() {
            if self.task.loops.on_stop == OnLoop::Pause {
                let message = "a loop waits for a human, and nobody is told".to_owned();
                self.nobody_asked(&root.key("loops").key("on_stop"), message);
            }
            if self.task.escalation.cost_nanousd.is_some() {
                let message = "spending waits for a human, and nobody is told".to_owned();
                self.nobody_asked(&root.key("escalation").key("cost_usd"), message);
            }
        }
        let life_ms = defaults::TOKEN_LIFE_MS;
        let too_long = |what: &str, ms: u64| {
            let (deadline, life) = (Duration(ms), Duration(life_ms));
            format!("{what} {deadline}, and a token that answers works for {life}")
        };
        let types = root.key("escalation").key("types");
        for (name, of_type) in &self.task.escalation.types {
            let path = types.key(name).key("deadline");
            if of_type.deadline_ms > life_ms && self.is_written(&path) {
                let message = too_long("a human has", of_type.deadline_ms);
                let fix = "shorten it to `7d`, or have people answer with `agentguard answer ID`";
                self.find(TOKEN_LIFE, &path, message, fix);
            }
        }
        if let Some(ms) = self.task.limits.deadline_ms.filter(|ms| *ms > life_ms) {
            let message = too_long("the run may take", ms);
            let fix = "shorten it to `7d`, or have people answer with `agentguard answer ID`";
            self.find(
                TOKEN_LIFE,
                &root.key("limits").key("deadline"),
                message,
                fix,
            );
        }
    }
}
