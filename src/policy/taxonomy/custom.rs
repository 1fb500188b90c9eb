//! Rules a user writes in the task file.
//!
//! They are tried before the built-in table, in the order written; the first whose
//! conditions all hold decides. A user's rule is an order, not evidence: unlike the
//! built-in rules it may look at any output, including the payload of a reader and of a
//! success. Whoever writes `pattern: timeout` for `cat` will get what they asked for,
//! so a rule should name a tool.
//!
//! Patterns run on the linear engine, over a bounded part of the text.

use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::class::Class;
use super::observation::{Observation, integer_of, string_of};
use super::text::{bounded, clip};

/// A rule as written.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AsWritten {
    /// Name shown in verdicts, unique among the user's rules.
    pub id: String,
    /// Conditions; all that are given must hold, at least one must be given.
    pub when: When,
    /// The class of a result that fits.
    pub class: Class,
    /// How long to wait before a retry, in milliseconds.
    #[serde(default)]
    pub retry_after: Option<u64>,
    /// Why, in the user's words.
    #[serde(default)]
    pub why: Option<String>,
}

/// The conditions of a rule as written.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// Name of the tool; `*` stands for any text.
    #[serde(default)]
    pub tool: Option<String>,
    /// One exit code, or several.
    #[serde(default)]
    pub exit_code: Option<OneOrMany<i64>>,
    /// HTTP statuses: `503`, `"5xx"`, or a list.
    #[serde(default)]
    pub status: Option<OneOrMany<StatusMatch>>,
    /// Regular expression over stdout, stderr and body.
    #[serde(default)]
    pub pattern: Option<String>,
    /// A place in the result, and what must be there.
    #[serde(default)]
    pub pointer: Option<PointerMatch>,
}

/// One value or a list of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany<T> {
    /// One.
    One(T),
    /// Several; one of them must fit.
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

/// One status or a hundred of them.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum StatusMatch {
    /// Exactly this status.
    Exact(u16),
    /// `"5xx"`, or a status in quotes.
    Family(String),
}

/// A JSON pointer with one test: into the result, else into its body or the
/// JSON that a command printed.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PointerMatch {
    /// The place, e.g. `/body/error/code`. Source: RFC 6901.
    pub at: String,
    /// The value must equal this one.
    #[serde(default)]
    pub equals: Option<Value>,
    /// The value, as text, must match this regular expression.
    #[serde(default)]
    pub matches: Option<String>,
    /// The place must exist, or must not.
    #[serde(default)]
    pub exists: Option<bool>,
}

/// Why a rule cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant names its fields")]
pub enum Error {
    /// The rule would match every result.
    #[error("rule `{rule}` has no condition")]
    NoCondition { rule: String },

    /// The rule has no name, or one that another rule has.
    #[error("rule id `{rule}` is empty or used twice")]
    BadId { rule: String },

    /// A regular expression does not compile.
    #[error("rule `{rule}`: pattern `{pattern}` is not a regular expression: {reason}")]
    BadPattern {
        rule: String,
        pattern: String,
        reason: String,
    },

    /// A status is neither a number from 0 to 599 nor of the form `5xx`.
    #[error(
        "rule `{rule}`: status `{status}` is neither a number from 0 to 599 nor a family such as `5xx`"
    )]
    BadStatus { rule: String, status: String },

    /// A pointer does not start with a slash.
    #[error("rule `{rule}`: pointer `{pointer}` does not start with `/`")]
    BadPointer { rule: String, pointer: String },

    /// A pointer has not exactly one test.
    #[error("rule `{rule}`: pointer needs exactly one of equals, matches, exists")]
    PointerTest { rule: String },
}

/// A rule ready for use.
#[derive(Debug, Clone)]
pub struct Rule {
    id: String,
    class: Class,
    retry_after_ms: Option<u64>,
    why: String,
    tool: Option<Regex>,
    exit_codes: Option<Vec<i64>>,
    statuses: Option<Vec<std::ops::RangeInclusive<i64>>>,
    pattern: Option<Regex>,
    pointer: Option<(String, PointerTest)>,
}

#[derive(Debug, Clone)]
enum PointerTest {
    Equals(Value),
    Matches(Regex),
    Exists(bool),
}

/// Compiles the rules of a task file; ids must be unique.
pub fn compile(rules: &[AsWritten]) -> Result<Vec<Rule>, Error> {
    let mut compiled: Vec<Rule> = Vec::with_capacity(rules.len());
    for rule in rules {
        let is_taken = compiled.iter().any(|other| other.id == rule.id);
        if rule.id.trim().is_empty() || is_taken {
            return Err(Error::BadId {
                rule: rule.id.clone(),
            });
        }
        compiled.push(Rule::compile(rule)?);
    }
    Ok(compiled)
}

impl Rule {
    /// Compiles one rule.
    pub fn compile(rule: &AsWritten) -> Result<Self, Error> {
        let When {
            tool,
            exit_code,
            status,
            pattern,
            pointer,
        } = &rule.when;
        if tool.is_none()
            && exit_code.is_none()
            && status.is_none()
            && pattern.is_none()
            && pointer.is_none()
        {
            return Err(Error::NoCondition {
                rule: rule.id.clone(),
            });
        }
        let statuses = status.as_ref().map(|status| {
            status
                .as_slice()
                .iter()
                .map(|status| status_range(&rule.id, status))
                .collect::<Result<_, _>>()
        });
        Ok(Self {
            id: rule.id.clone(),
            class: rule.class,
            retry_after_ms: rule.retry_after,
            why: rule
                .why
                .clone()
                .unwrap_or_else(|| "a rule of the task file".to_owned()),
            tool: tool
                .as_deref()
                .map(|glob| expression(&rule.id, &glob_pattern(glob)))
                .transpose()?,
            exit_codes: exit_code.as_ref().map(|codes| codes.as_slice().to_vec()),
            statuses: statuses.transpose()?,
            pattern: pattern
                .as_deref()
                .map(|pattern| expression(&rule.id, pattern))
                .transpose()?,
            pointer: pointer
                .as_ref()
                .map(|pointer| pointer_test(&rule.id, pointer))
                .transpose()?,
        })
    }

    /// The rule's name.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn class(&self) -> Class {
        self.class
    }

    pub(super) fn retry_after_ms(&self) -> Option<u64> {
        self.retry_after_ms
    }

    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// Returns the evidence if every condition holds.
    pub(super) fn matches(&self, observation: &Observation) -> Option<String> {
        let mut evidence = Vec::new();
        if let Some(tool) = &self.tool {
            if !tool.is_match(&observation.tool) {
                return None;
            }
            evidence.push(format!("tool {}", clip(&observation.tool, 60)));
        }
        if let Some(codes) = &self.exit_codes {
            let code = integer_of(observation.result.get("exit_code"))
                .filter(|code| codes.contains(code))?;
            evidence.push(format!("exit {code}"));
        }
        if let Some(ranges) = &self.statuses {
            let status = integer_of(observation.result.get("status"))
                .filter(|status| ranges.iter().any(|range| range.contains(status)))?;
            evidence.push(format!("status {status}"));
        }
        if let Some(pattern) = &self.pattern {
            evidence.push(self.find(pattern, observation)?);
        }
        if let Some((at, test)) = &self.pointer {
            evidence.push(test.holds(at, &observation.result)?);
        }
        Some(evidence.join(", "))
    }

    fn find(&self, pattern: &Regex, observation: &Observation) -> Option<String> {
        ["stderr", "stdout", "body", "result", "error"]
            .iter()
            .find_map(|name| {
                let text = match observation.result.get(*name)? {
                    Value::String(text) => bounded(text).into_owned(),
                    Value::Null => return None,
                    other => bounded(&other.to_string()).into_owned(),
                };
                pattern
                    .find(&text)
                    .map(|found| format!("{name} has \"{}\"", clip(found.as_str(), 80)))
            })
    }
}

/// Returns what the tool itself gave, as JSON: the body, or what a command
/// printed.
fn payload(result: &Value) -> Option<Value> {
    let given = result.get("body").or_else(|| result.get("stdout"))?;
    match given {
        Value::String(text) => serde_json::from_str(&bounded(text)).ok(),
        other => Some(other.clone()),
    }
}

impl PointerTest {
    fn holds(&self, at: &str, result: &Value) -> Option<String> {
        let inside = payload(result);
        let value = result
            .pointer(at)
            .or_else(|| inside.as_ref().and_then(|inside| inside.pointer(at)));
        let fits = match self {
            Self::Exists(wanted) => value.is_some() == *wanted,
            Self::Equals(wanted) => value == Some(wanted),
            Self::Matches(pattern) => value.is_some_and(|value| {
                let text = string_of(Some(value)).unwrap_or_else(|| value.to_string());
                pattern.is_match(&bounded(&text))
            }),
        };
        let shown = value.map_or_else(
            || "nothing".to_owned(),
            |value| clip(&value.to_string(), 80),
        );
        fits.then(|| format!("{at} = {shown}"))
    }
}

fn expression(rule: &str, pattern: &str) -> Result<Regex, Error> {
    let compiled = RegexBuilder::new(pattern).size_limit(1 << 20).build();
    compiled.map_err(|error| Error::BadPattern {
        rule: rule.to_owned(),
        pattern: pattern.to_owned(),
        reason: error.to_string(),
    })
}

fn glob_pattern(glob: &str) -> String {
    let parts: Vec<String> = glob.split('*').map(regex::escape).collect();
    format!("(?s)^{}$", parts.join(".*"))
}

fn status_range(rule: &str, status: &StatusMatch) -> Result<std::ops::RangeInclusive<i64>, Error> {
    let bad = |status: &str| Error::BadStatus {
        rule: rule.to_owned(),
        status: status.to_owned(),
    };
    match status {
        StatusMatch::Exact(status) if *status < 600 => Ok(i64::from(*status)..=i64::from(*status)),
        StatusMatch::Exact(status) => Err(bad(&status.to_string())),
        StatusMatch::Family(text) => {
            let digits = text.strip_suffix("xx").or_else(|| text.strip_suffix("XX"));
            if let Some(first) = digits
                .and_then(|digit| digit.parse::<i64>().ok())
                .filter(|digit| (1..=5).contains(digit))
            {
                return Ok(first * 100..=first * 100 + 99);
            }
            let exact = text
                .parse::<i64>()
                .ok()
                .filter(|status| (0..600).contains(status))
                .ok_or_else(|| bad(text))?;
            Ok(exact..=exact)
        }
    }
}

fn pointer_test(rule: &str, pointer: &PointerMatch) -> Result<(String, PointerTest), Error> {
    if !pointer.at.starts_with('/') {
        return Err(Error::BadPointer {
            rule: rule.to_owned(),
            pointer: pointer.at.clone(),
        });
    }
    let test = match (&pointer.equals, &pointer.matches, pointer.exists) {
        (Some(value), None, None) => PointerTest::Equals(value.clone()),
        (None, Some(pattern), None) => PointerTest::Matches(expression(rule, pattern)?),
        (None, None, Some(wanted)) => PointerTest::Exists(wanted),
        _ => {
            return Err(Error::PointerTest {
                rule: rule.to_owned(),
            });
        }
    };
    Ok((pointer.at.clone(), test))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn written(value: Value) -> Result<AsWritten, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn matching_table() {
        let exec = json!({"kind": "exec", "tool": "deploy.sh", "result": {"exit_code": 75, "stderr": "cluster is asleep"}});
        let http = json!({"kind": "http", "tool": "crm", "result": {"status": 503, "body": {"error": {"code": "E77"}}}});
        #[rustfmt::skip]
        let rows = [
            ("a tool by glob", json!({"tool": "deploy*"}), &exec, true),
            ("another tool", json!({"tool": "build*"}), &exec, false),
            ("one exit code", json!({"exit_code": 75}), &exec, true),
            ("one of several", json!({"exit_code": [1, 75]}), &exec, true),
            ("a pattern in stderr", json!({"pattern": "is asleep"}), &exec, true),
            ("all conditions must hold", json!({"exit_code": 75, "pattern": "awake"}), &exec, false),
            ("a family of statuses", json!({"status": "5xx"}), &http, true),
            ("a list of statuses", json!({"status": [429, "5xx"]}), &http, true),
            ("a pointer that equals", json!({"pointer": {"at": "/body/error/code", "equals": "E77"}}), &http, true),
            ("a pointer into the body", json!({"pointer": {"at": "/error/code", "equals": "E77"}}), &http, true),
            ("a pointer that matches", json!({"pointer": {"at": "/body/error/code", "matches": "^E\\d+$"}}), &http, true),
            ("a pointer that must not exist", json!({"pointer": {"at": "/body/data", "exists": false}}), &http, true),
        ];
        for (name, when, observation, want) in rows {
            let rule = written(json!({"id": "r", "when": when, "class": "transient"}))
                .expect("well-formed");
            let rule = Rule::compile(&rule).expect("compiles");
            let observation = Observation::from_value(observation.clone());
            assert_eq!(rule.matches(&observation).is_some(), want, "row: {name}");
        }
    }

    #[test]
    fn compile_error_table() {
        #[rustfmt::skip]
        let rows = [
            (json!({}), "rule `r` has no condition"),
            (json!({"status": "6xx"}), "rule `r`: status `6xx` is neither a number from 0 to 599 nor a family such as `5xx`"),
            (json!({"status": 700}), "rule `r`: status `700` is neither a number from 0 to 599 nor a family such as `5xx`"),
            (json!({"pointer": {"at": "body", "exists": true}}), "rule `r`: pointer `body` does not start with `/`"),
            (json!({"pointer": {"at": "/body"}}), "rule `r`: pointer needs exactly one of equals, matches, exists"),
        ];
        for (when, want) in rows {
            let rule = written(json!({"id": "r", "when": when, "class": "semantic"}))
                .expect("well-formed");
            let error = Rule::compile(&rule).expect_err(want);
            assert_eq!(error.to_string(), want);
        }
        let rule = written(json!({"id": "r", "when": {"pattern": "("}, "class": "semantic"}))
            .expect("well-formed");
        assert!(matches!(
            Rule::compile(&rule),
            Err(Error::BadPattern { .. })
        ));
    }

    #[test]
    fn unknown_keys_and_double_ids_are_refused() {
        assert!(written(json!({"id": "r", "when": {"tol": "x"}, "class": "semantic"})).is_err());
        assert!(written(json!({"id": "r", "when": {"tool": "x"}, "class": "flaky"})).is_err());
        let rule = written(json!({"id": "r", "when": {"tool": "x"}, "class": "semantic"}))
            .expect("well-formed");
        assert_eq!(
            compile(&[rule.clone(), rule]).map(|_| ()),
            Err(Error::BadId {
                rule: "r".to_owned()
            })
        );
    }
}
