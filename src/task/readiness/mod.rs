//! Reads a valid task file as an operator would (requirement R1): what is
//! missing before it may run unattended.
//!
//! Each rule has a stable id, never reused: `R1xx` tools, `R2xx` limits, `R3xx`
//! notifications and questions, `R4xx` own rules, `R5xx` secrets, `R6xx` the checks
//! of the work, `R7xx` the folder that the agent works on. [`RULES`] is the table that
//! the documentation prints. Errors are things that will not work as written;
//! warnings are missing for production; infos are good to know.
//!
//! Not here: anything that needs a look at the disk.

mod limits;
mod questions;
mod rules;
mod secrets;
mod stage;
mod tools;
mod verify;

use serde_json::Value;

use super::locate::KeyPath;
use super::problem::Severity::{self, Error, Info, Warn};
use super::resolved::Resolved;
pub use rules::{Tried, TryExample};

/// A rule of readiness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The stable id.
    pub id: &'static str,
    /// How much a finding of it matters.
    pub severity: Severity,
    /// What it looks for, as a sentence without a period.
    pub title: &'static str,
}

macro_rules! rules {
    ($($name:ident = $id:literal, $severity:ident, $title:literal;)*) => {
        $(pub(crate) const $name: Rule = Rule { id: $id, severity: $severity, title: $title };)*

        /// Every rule, by id.
        pub const RULES: &[Rule] = &[$($name),*];
    };
}

rules! {
    TOOL_TIMEOUT = "R101", Warn, "a tool has no timeout of its own";
    TOOL_KEY = "R102", Warn, "a write tool has no key";
    TOOL_IN_DOUBT = "R103", Warn, "a write tool can be settled after a crash by a human only";
    IRREVERSIBLE_RETRIED = "R104", Error, "an irreversible tool is tried more than once";
    TOOL_INPUT = "R105", Warn, "a tool does not say which arguments it takes";
    TOOL_EFFECT = "R106", Warn, "a tool does not say what it does to the world";
    TOOL_DESCRIPTION = "R107", Info, "a tool has no description for the model";
    TOOL_OPTION = "R108", Info, "an argument could be taken for an option";
    TOOL_PLAIN_HTTP = "R109", Warn, "a tool calls another machine over plain HTTP";
    KEY_OPTIONAL = "R110", Warn, "a key or command needs an argument that calls may leave out";
    TOOL_UNREACHABLE = "R111", Error, "the agent cannot reach the tools";
    TOOL_UNDO = "R112", Info, "a write tool has no undo";
    NO_DEADLINE = "R201", Warn, "the run has no deadline";
    NO_COST = "R202", Warn, "the run has no cost limit";
    NO_IDLE = "R203", Info, "the run may hang unnoticed until its deadline";
    IDLE_TOO_LONG = "R204", Warn, "the idle limit is not below the deadline";
    UNSEEN_LIMIT = "R205", Error, "a limit cannot be seen with this protocol";
    NO_PRICES = "R206", Info, "no price is known for a loop that reports tokens";
    TIMEOUT_PAST_DEADLINE = "R207", Warn, "one call may take longer than the whole run";
    NO_NOTIFY = "R301", Warn, "nobody is told when a run fails";
    NOTIFY_GAPS = "R302", Warn, "nobody is told of some ends that need a person";
    NOBODY_ASKED = "R303", Warn, "a human may have to decide, and nobody is told";
    TOKEN_LIFE = "R304", Warn, "a deadline is longer than the life of the tokens that answer";
    RULE_UNTESTED = "R401", Warn, "a rule has no examples";
    RULE_FAILS = "R402", Error, "an example does not match its rule";
    RULE_UNREACHABLE = "R403", Error, "an earlier rule takes everything";
    RULE_NO_TOOL = "R404", Warn, "a rule is for a tool that does not exist";
    SECRET_WRITTEN = "R501", Error, "a secret stands in the task file";
    EVERYTHING_INHERITED = "R502", Info, "the agent sees every secret of the environment";
    NO_VERIFY = "R601", Warn, "nothing checks the work";
    NO_STAGE = "R701", Warn, "tools write, and the folder is not staged";
    OUTSIDE_STAGE = "R702", Warn, "the agent works outside of the staged folder";
}

/// A finding before its place in the text is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) rule: Rule,
    pub(crate) path: KeyPath,
    pub(crate) message: String,
    pub(crate) fix: String,
}

/// Returns all findings of a task in the order of the rules' ids.
///
/// - `value`: the file as a value; says what was written and what defaulted.
pub(crate) fn findings(
    task: &Resolved,
    value: &Value,
    try_example: Option<TryExample<'_>>,
) -> Vec<Draft> {
    let mut look = Look {
        task,
        value,
        drafts: Vec::new(),
    };
    look.tools();
    look.limits();
    look.notify();
    look.questions();
    look.rules(try_example);
    look.secrets();
    look.verification();
    look.stage();
    look.drafts.sort_by_key(|draft| draft.rule.id);
    look.drafts
}

/// The task at hand and what was found.
struct Look<'a> {
    task: &'a Resolved,
    value: &'a Value,
    drafts: Vec<Draft>,
}

impl Look<'_> {
    fn find(&mut self, rule: Rule, path: &KeyPath, message: String, fix: &str) {
        self.drafts.push(Draft {
            rule,
            path: path.clone(),
            message,
            fix: fix.to_owned(),
        });
    }

    fn is_written(&self, path: &KeyPath) -> bool {
        path.get(self.value).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task;

    /// Returns the ids and keys of the findings.
    fn found(text: &str) -> String {
        let (resolved, problems, findings) = task::check(text, "t.yaml");
        assert!(resolved.is_some(), "{}", task::Problems(problems));
        findings
            .iter()
            .map(|it| format!("{} {}", it.rule, it.place.key))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// A head with which a file has no findings.
    const QUIET: &str = "\
agent: {command: [a], inherit_env: [PATH]}
limits: {deadline: 1h, cost_usd: 1, idle: 5m}
prices: {m: {input: 1, output: 2}}
notify: [{command: [n]}]
verify: [{command: [v]}]
workspace: {stage: w}
";

    fn tool(body: &str) -> String {
        found(&format!("{QUIET}tools: {{t: {{{body}}}}}\n"))
    }

    #[test]
    fn ids_ascend_so_that_none_is_used_twice() {
        assert!(RULES.windows(2).all(|pair| pair[0].id < pair[1].id));
    }

    #[test]
    fn tool_table() {
        let good = "description: d, command: [c], timeout: 5s, input: {properties: {a: {}}, required: [a]}";
        #[rustfmt::skip]
        let rows = [
            ("a sound read", "effect: read".to_owned(), ""),
            ("a sound write", "effect: write, key: \"{a}\", probe: {command: [p]}, undo: {command: [u]}".to_owned(), ""),
            ("a native key settles too", "effect: write, key: \"{a}\", native_key: {env: K}".to_owned(), "R112 tools.t"),
            ("a write without key and probe", "effect: write".to_owned(), "R102 tools.t, R103 tools.t, R112 tools.t"),
            ("no effect is a write", String::new(), "R102 tools.t, R103 tools.t, R106 tools.t, R112 tools.t"),
            ("an irreversible tool tried twice", "effect: irreversible, key: \"{a}\", probe: {command: [p]}, retry: {attempts: 2}".to_owned(), "R104 tools.t.retry.attempts"),
        ];
        for (name, more, want) in rows {
            assert_eq!(tool(&format!("{good}, {more}")), want, "row: {name}");
        }
        let server = |body: &str| found(&format!("{QUIET}mcp: {{m: {{{body}}}}}\n"));
        #[rustfmt::skip]
        let rows = [
            ("a server's read", "tools: {t: {effect: read}}", ""),
            ("a server's sound write", "tools: {t: {effect: irreversible, key: \"{a}\", probe: {command: [p]}}}", ""),
            ("a server's write without key and probe", "tools: {t: {effect: write}}", "R102 mcp.m.tools.t, R103 mcp.m.tools.t, R112 mcp.m.tools.t"),
            ("a server's tool without an effect", "tools: {t: {key: \"{a}\", probe: {command: [p]}, undo: {command: [u]}}}", "R106 mcp.m.tools.t"),
            ("writes that nobody names", "default: {effect: write}", "R102 mcp.m.default"),
            ("reads that nobody names", "default: {effect: read}", ""),
        ];
        for (name, body, want) in rows {
            assert_eq!(server(body), want, "row: {name}");
        }
        let unstaged = QUIET.replace("workspace: {stage: w}\n", "");
        let write = "description: d, timeout: 5s, input: {properties: {a: {}}, required: [a]}, effect: write, key: \"{a}\", probe: {command: [p]}, undo: {command: [u]}";
        let tools = |action: &str| format!("{unstaged}tools: {{t: {{{write}, {action}}}}}\n");
        assert_eq!(found(&tools("command: [c]")), "R701 workspace");
        assert_eq!(found(&tools("http: {url: \"https://a.test\"}")), "");
        let gone = "rules: [{id: gone, when: {tool: \"undo:t\", status: 404}, class: success}]\n";
        let text = format!("{QUIET}tools: {{t: {{{write}, command: [c]}}}}\n{gone}");
        assert_eq!(found(&text), "R401 rules[0]", "a rule for an undo");
        #[rustfmt::skip]
        let rows = [
            ("nothing named: the copy", "", ""),
            ("the staged folder", "cwd: w", ""),
            ("a folder in it", "cwd: ./w/a/..", ""),
            ("beside it", "cwd: w2", "R702 agent.cwd"),
            ("the task file's folder", "cwd: .", "R702 agent.cwd"),
            ("out of it again", "cwd: w/..", "R702 agent.cwd"),
            ("only the disk knows", "cwd: /w", ""),
        ];
        for (name, cwd, want) in rows {
            let named = QUIET.replacen("agent: {", &format!("agent: {{{cwd}, "), 1);
            let text = if cwd.is_empty() { QUIET } else { &named };
            assert_eq!(found(text), want, "row: {name}");
        }
        let done_only = QUIET.replace("{command: [n]}", "{on: [done], command: [n]}");
        let asks = "effect: write, key: \"{a}\", probe: {command: [p]}, undo: {command: [u]}, approve: always";
        assert_eq!(
            found(&format!("{done_only}tools: {{t: {{{good}, {asks}}}}}\n")),
            "R302 notify, R303 tools.t.approve"
        );
        let text = format!(
            "{done_only}tools: {{t: {{{good}, effect: irreversible, key: \"{{a}}\", probe: {{command: [p]}}}}}}\n"
        );
        assert_eq!(found(&text), "R302 notify, R303 tools.t");
        assert_eq!(
            tool("command: [c], effect: read"),
            "R101 tools.t, R105 tools.t, R107 tools.t"
        );
        let open = "description: d, effect: read, input: {properties: {a: {}}}";
        assert_eq!(
            tool(&format!("{open}, timeout: 5s, command: [rm, \"{{a}}\"]")),
            "R108 tools.t.command[1], R110 tools.t.command[1]"
        );
        assert_eq!(
            tool(&format!("{open}, timeout: 5s, command: [rm, --, \"f\"]")),
            ""
        );
        for (schema, want) in [
            ("{type: integer}", ""),
            ("{pattern: '^[^-]'}", ""),
            ("{pattern: 'x'}", "R108 tools.t.command[1]"),
            ("{enum: [a, b]}", ""),
            ("{enum: [a, -b]}", "R108 tools.t.command[1]"),
        ] {
            let head = "description: d, effect: read, timeout: 5s, command: [rm, \"{a}\"]";
            let text = format!("{head}, input: {{properties: {{a: {schema}}}, required: [a]}}");
            assert_eq!(tool(&text), want, "row: {schema}");
        }
        assert_eq!(
            tool(&format!(
                "{open}, timeout: 2h, http: {{url: \"http://example.com\"}}"
            )),
            "R109 tools.t.http.url, R207 tools.t.timeout"
        );
        assert_eq!(
            tool(&format!(
                "{open}, timeout: 5s, http: {{url: \"http://127.0.0.1:8080/x\"}}"
            )),
            ""
        );
    }

    #[test]
    fn file_table() {
        #[rustfmt::skip]
        let rows = [
            ("a quiet file", QUIET, ""),
            ("the least file", "agent: {command: [a]}\n", "R201 limits, R202 limits, R301 , R502 agent, R601 "),
            ("idle beyond the deadline", "agent: {command: [a], inherit_env: false}\nlimits: {deadline: 5m, idle: 5m, cost_usd: 1}\nprices: {m: {input: 1, output: 2}}\nnotify: [{command: [n]}]\n", "R204 limits.idle, R601 "),
            ("nobody to ask about a loop and about money", "agent: {command: [a], inherit_env: false}\nlimits: {deadline: 5m, cost_usd: 9, idle: 1m}\nprices: {m: {input: 1, output: 2}}\nloops: {on_stop: pause}\nescalation: {cost_usd: 1}\nnotify: [{on: [failed], command: [n]}]\nverify: [{command: [v]}]\n", "R302 notify, R303 loops.on_stop, R303 escalation.cost_usd"),
            ("a question that outlives its tokens", &format!("{QUIET}escalation: {{types: {{approval: {{deadline: 8d}}, agent: {{deadline: 7d}}}}}}\n"), "R304 escalation.types.approval.deadline"),
            ("a run that outlives the tokens of a question without a deadline", "agent: {command: [a], inherit_env: [PATH]}\nlimits: {deadline: 30d, cost_usd: 1, idle: 5m}\nprices: {m: {input: 1, output: 2}}\nnotify: [{command: [n]}]\nverify: [{command: [v]}]\n", "R304 limits.deadline"),
            ("limits that nobody sees", "agent: {command: [a], inherit_env: false, protocol: none}\nlimits: {deadline: 5m, cost_usd: 1, steps: 3}\nnotify: [{command: [n]}]\ntools: {t: {description: d, command: [c], timeout: 1s, effect: read, input: {}}}\n", "R111 tools, R203 limits, R205 limits.cost_usd, R205 limits.steps, R601 "),
            ("a gap in the notifications", "agent: {command: [a], inherit_env: false}\nlimits: {deadline: 5m, tokens: 1k, idle: 1m}\nnotify: [{on: [failed], command: [n]}]\n", "R202 limits, R302 notify, R601 "),
        ];
        for (name, text, want) in rows {
            assert_eq!(found(text), want, "row: {name}");
        }
    }

    #[test]
    fn rules_are_tried_on_their_examples() {
        let text = format!(
            "{QUIET}tools: {{fetch: {{description: d, command: [c], timeout: 5s, effect: read, input: {{}}}}}}
rules:
- {{id: one, when: {{tool: \"fe*\"}}, class: transient, examples: [{{kind: exec}}]}}
- {{id: two, when: {{tool: nope}}, class: transient}}
- {{id: three, when: {{tool: fetch, status: 5xx}}, class: transient, examples: [{{kind: http}}]}}
"
        );
        let never = |_: &Resolved, _: &Value| {
            Ok(Tried {
                rule: "one".to_owned(),
                class: "transient".to_owned(),
            })
        };
        let (_, problems, findings) = task::check_with(&text, "t.yaml", Some(&never));
        assert_eq!(problems, []);
        let shown: Vec<_> = findings
            .iter()
            .map(|it| (it.rule, it.place.key.as_str(), it.message.as_str()))
            .collect();
        assert_eq!(
            shown,
            [
                ("R401", "rules[1]", "rule `two` has no examples"),
                (
                    "R402",
                    "rules[2].examples[0]",
                    "the example of rule `three` is taken by rule `one`"
                ),
                (
                    "R403",
                    "rules[2]",
                    "rule `three` is never reached: rule `one` matches first whatever it matches"
                ),
                (
                    "R404",
                    "rules[1].when.tool",
                    "rule `two` is for `nope`, and no tool has such a name"
                ),
            ]
        );
    }

    #[test]
    fn secret_table() {
        let secret = |section: &str| found(&format!("{QUIET}{section}"));
        #[rustfmt::skip]
        let rows = [
            ("a key of a provider in a command", "tools: {t: {description: d, command: [c, sk-ant-api03-FAKEFAKEFAKEFAKEFAKE], timeout: 5s, effect: read, input: {}}}\n", "R501 tools.t.command[1]"),
            ("a name that says it", "tools: {t: {description: d, command: [c], env: {DB_PASSWORD: hunter2}, timeout: 5s, effect: read, input: {}}}\n", "R501 tools.t.env.DB_PASSWORD"),
            ("a placeholder is none", "tools: {t: {description: d, command: [c], env: {DB_PASSWORD: \"{env.DB_PASSWORD}\"}, timeout: 5s, effect: read, input: {}}}\n", ""),
            ("a bearer token", "tools: {t: {description: d, http: {url: \"https://api.test\", headers: {Authorization: Bearer abc}}, timeout: 5s, effect: read, input: {}}}\n", "R501 tools.t.http.headers.Authorization"),
            ("a password in a URL", "tools: {t: {description: d, http: {url: \"https://u:pw@api.test\"}, timeout: 5s, effect: read, input: {}}}\n", "R501 tools.t.http.url"),
            ("an innocent variable", "tools: {t: {description: d, command: [c], env: {LANG: C, MAX_TOKENS: \"10\"}, timeout: 5s, effect: read, input: {}}}\n", ""),
        ];
        for (name, section, want) in rows {
            assert_eq!(secret(section), want, "row: {name}");
        }
        let hook = "agent: {command: [a], inherit_env: false}\nlimits: {deadline: 5m, tokens: 1k, cost_usd: 1, idle: 1m}\nprices: {m: {input: 1, output: 2}}\nnotify: [{webhook: \"https://hooks.slack.com/services/T0/B0/FAKE\"}]\n";
        assert_eq!(found(hook), "R501 notify[0].webhook, R601 ");
    }
}
