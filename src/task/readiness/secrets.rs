//! R5xx: secrets. Known by their form (prefixes of well-known keys, a bearer
//! token, a password in a URL) or by the name of their variable or header.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{EVERYTHING_INHERITED, Look, SECRET_WRITTEN};
use crate::task::locate::KeyPath;
use crate::task::resolved::InheritEnv;

/// Keys and tokens of well-known services, by their prefixes.
static FORM: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(concat!(
        r"\b(sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,}|github_pat_[A-Za-z0-9_]{16,}",
        r"|glpat-[A-Za-z0-9_-]{16,}|xox[abposr]-[A-Za-z0-9-]{10,}|A(KIA|SIA)[A-Z0-9]{16}",
        r"|AIza[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{20,}|hf_[A-Za-z0-9]{16,}|[sr]k_live_[A-Za-z0-9]{10,})",
        r"|-----BEGIN [A-Z ]*PRIVATE KEY-----",
        r"|hooks\.slack\.com/services/[A-Z0-9]",
        r"|discord(app)?\.com/api/webhooks/[0-9]",
        r"|://[^/\s:@{]*:[^/\s@{]+@",
    ))
    .expect("a constant pattern that a test compiles")
});

/// Names of variables and headers whose values are secrets.
static NAME: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"(?i)(^|[_-])(api[_-]?key|key|token|secret|passwd|password|pwd|credentials?|authorization|cookie)$")
        .expect("a constant pattern that a test compiles")
});

impl Look<'_> {
    pub(super) fn secrets(&mut self) {
        let value = self.value;
        self.secrets_in(&KeyPath::root(), value, "");
        if self.task.agent.inherit_env == InheritEnv::All {
            self.find(
                EVERYTHING_INHERITED,
                &KeyPath::root().key("agent"),
                "the agent and everything it starts see all variables of agentguard, secrets too"
                    .to_owned(),
                "add `inherit_env: [PATH, HOME, LANG, ...]` under `agent` with what it needs",
            );
        }
    }

    fn secrets_in(&mut self, path: &KeyPath, value: &Value, name: &str) {
        match value {
            Value::Object(entries) => {
                for (key, inner) in entries {
                    self.secrets_in(&path.key(key), inner, key);
                }
            }
            Value::Array(items) => {
                for (index, inner) in items.iter().enumerate() {
                    self.secrets_in(&path.index(index), inner, "");
                }
            }
            Value::String(text) => {
                let named = path.may_be_secret() && NAME.is_match(name);
                let literal = !text.contains("{env.") && !text.is_empty() && !path.is_name_of_key();
                if literal && (FORM.is_match(text) || named) {
                    let message = format!(
                        "{path} looks like a secret, and task files are stored with every run"
                    );
                    self.find(SECRET_WRITTEN, path, message, "put it into the environment of agentguard and write `\"{env.NAME}\"`, or let the program read it itself");
                }
            }
            _ => {}
        }
    }
}
