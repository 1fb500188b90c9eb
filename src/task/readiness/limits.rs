//! R2xx: limits. R3xx: notifications.

use super::{
    IDLE_TOO_LONG, Look, NO_COST, NO_DEADLINE, NO_IDLE, NO_NOTIFY, NO_PRICES, NOTIFY_GAPS,
    UNSEEN_LIMIT,
};
use crate::task::defaults;
use crate::task::locate::KeyPath;
use crate::task::resolved::Protocol;
use crate::task::units::Duration;

impl Look<'_> {
    pub(super) fn limits(&mut self) {
        let limits = &self.task.limits;
        let path = KeyPath::root().key("limits");
        let silent = self.task.agent.protocol == Protocol::None;
        if limits.deadline_ms.is_none() {
            self.find(
                NO_DEADLINE,
                &path,
                "the run has no deadline".to_owned(),
                "add `deadline: 30m` under `limits`",
            );
        }
        if limits.cost_nanousd.is_none() && !silent {
            self.find(
                NO_COST,
                &path,
                "the run has no cost limit".to_owned(),
                "add `cost_usd: 2.50` under `limits`",
            );
        }
        match (limits.idle_ms, limits.deadline_ms) {
            (None, Some(deadline_ms)) => {
                let message = format!(
                    "an agent that hangs is noticed after {}",
                    Duration(deadline_ms)
                );
                self.find(NO_IDLE, &path, message, "add `idle: 5m` under `limits`");
            }
            (Some(idle_ms), Some(deadline_ms)) if idle_ms >= deadline_ms => {
                let message = format!(
                    "idle is {}, and the deadline of {} always comes first",
                    Duration(idle_ms),
                    Duration(deadline_ms)
                );
                self.find(
                    IDLE_TOO_LONG,
                    &path.key("idle"),
                    message,
                    "make `idle` shorter than `deadline`",
                );
            }
            _ => {}
        }
        if silent {
            self.unseen_limits(&path);
        } else if matches!(self.task.agent.protocol, Protocol::Socket | Protocol::Stdio)
            && limits.cost_nanousd.is_some()
            && self.task.prices.is_empty()
        {
            let message = "the cost limit counts what the loop reports; tokens of a model that has no known price are refused".to_owned();
            self.find(
                NO_PRICES,
                &path.key("cost_usd"),
                message,
                "add models that are not well known to `prices`, unless the loop reports `cost_usd` itself",
            );
        }
    }

    /// Without a protocol nobody counts what the agent does inside.
    fn unseen_limits(&mut self, path: &KeyPath) {
        for key in ["cost_usd", "tokens", "steps", "tool_calls"] {
            if self.is_written(&path.key(key)) {
                let message = format!(
                    "`{key}` cannot be held: with `protocol: none` agentguard does not see it"
                );
                self.find(
                    UNSEEN_LIMIT,
                    &path.key(key),
                    message,
                    "remove it, or let the loop report over `protocol: socket`",
                );
            }
        }
    }

    pub(super) fn notify(&mut self) {
        let root = KeyPath::root();
        if self.task.notify.is_empty() {
            self.find(
                NO_NOTIFY,
                &root,
                "nobody is told when a run fails".to_owned(),
                "add `notify:` with `- command: [./notify.sh]` or `- webhook: \"{env.SLACK_URL}\"`",
            );
            return;
        }
        let missing: Vec<String> = defaults::occasions()
            .into_iter()
            .filter(|occasion| !self.task.notify.iter().any(|it| it.on.contains(occasion)))
            .filter_map(|occasion| serde_json::to_value(occasion).ok())
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        if !missing.is_empty() {
            let message = format!("nobody is told of {}", missing.join(", "));
            self.find(
                NOTIFY_GAPS,
                &root.key("notify"),
                message,
                "remove `on` for every end that needs a person, or add these to it",
            );
        }
    }
}
