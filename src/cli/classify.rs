//! `agentguard classify`

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::error::{Failure, Kind};
use super::jsonl::{self, FileArg, Input, Unusable, plain};
use super::{Global, Result};
use crate::driver::policy::own_rules;
use crate::exit_code;
use crate::policy::taxonomy::{
    Class, History, Layer, Observation, Verdict, classify, custom, rules,
};
use crate::task::resolved::{self, Resolved};

/// Say what a tool's result is, and by which rule
///
/// Reads one result and explains to a person what it is classed as, why, and
/// what agentguard would do about it. With --json it reads one JSON object a
/// line and prints one a line, in the same order, each as soon as it is known.
///
/// In:  {"id", "kind": "http"|"exec"|"mcp"|"llm"|"batch", "tool", "context",
/// "result"}. Out: {"id", "class", "layer", "retryable", "retry_after_ms"?,
/// "retry_items"?, "rule", "why", "evidence"}.
///
/// A line that is no such object gets {"id", "error"} on its place, the rest is
/// classified all the same, and the exit code is 2. Otherwise it is 0, whatever
/// the classes are. What happened before on the same tool plays no part here.
#[derive(Debug, Args)]
#[command(verbatim_doc_comment, after_help = EXAMPLES)]
pub struct ClassifyArgs {
    #[command(flatten)]
    input: FileArg,
    /// Read and print JSON lines
    #[arg(long)]
    json: bool,
    /// Try the rules of this task file first
    #[arg(long, value_name = "TASK")]
    task: Option<PathBuf>,
    /// Print the rules in the order in which they are tried, and read nothing
    #[arg(long, conflicts_with = "file")]
    rules: bool,
}

const EXAMPLES: &str = r#"Examples:
  echo '{"kind":"http","result":{"status":429,"headers":{"retry-after":"12"}}}' | agentguard classify
  agentguard classify --json results.jsonl | jq -r .class | sort | uniq -c
  agentguard classify --task task.yaml failed-call.json
  agentguard classify --rules"#;

const EXPECTED: &str =
    r#"pipe in a result such as {"kind":"exec","result":{"exit_code":1,"stderr":"..."}}"#;

/// One answer of `--json`; its fields are promised to stay.
#[derive(Serialize)]
struct Answer {
    id: Value,
    #[serde(flatten)]
    verdict: Verdict,
}

/// One line of `--rules --json`; its fields are promised to stay.
#[derive(Serialize)]
struct ListedRule<'a> {
    rule: &'a str,
    /// The class it gives; none where the rule decides by what it finds.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    why: &'a str,
    own: bool,
}

/// Runs it.
pub fn main(global: &Global, args: ClassifyArgs) -> Result {
    let task = match &args.task {
        Some(file) => Some(super::run::read(global, file)?.0),
        None => None,
    };
    if args.rules {
        return list(task.as_ref(), args.json);
    }
    let own = task.as_ref().map_or(Ok(vec![]), compiled)?;
    let input = Input::open(args.input.file.as_deref(), EXPECTED)?;
    if args.json {
        return input.answer(|value| answer(value, &own));
    }
    let mut values = input.values()?;
    let value = values.pop().unwrap_or_default();
    if !values.is_empty() {
        let many = Failure::usage(format!("expected one result, found {}", values.len() + 1));
        return Err(many.hint("`agentguard classify --json` reads many, one a line"));
    }
    let (observation, _) = read(value).map_err(|it| Failure::usage(it.why).hint(EXPECTED))?;
    let tool = observation.tool.clone();
    let verdict = classify(&observation, &own, &History::default());
    jsonl::print(&explain(&tool, &verdict))?;
    Ok(exit_code::DONE)
}

fn compiled(task: &Resolved) -> std::result::Result<Vec<custom::Rule>, Failure> {
    own_rules(task).map_err(|(id, error)| {
        Failure::from_error(Kind::Usage, &error).within(format!("rule `{id}` cannot be used"))
    })
}

fn answer(value: Value, own: &[custom::Rule]) -> std::result::Result<Answer, Unusable> {
    let (observation, id) = read(value)?;
    let verdict = classify(&observation, own, &History::default());
    Ok(Answer { id, verdict })
}

/// Takes a line apart. The taxonomy itself takes anything; here a line without
/// a result is a slip, and an answer to it would be nonsense.
fn read(value: Value) -> std::result::Result<(Observation, Value), Unusable> {
    let Value::Object(fields) = &value else {
        let why = format!("expected an object, found {}", jsonl::kind_of(&value));
        return Err(Unusable {
            id: Value::Null,
            why,
        });
    };
    let id = fields.get("id").cloned().unwrap_or_default();
    if !fields.contains_key("result") {
        let why = "there is no `result`".to_owned();
        return Err(Unusable { id, why });
    }
    Ok((Observation::from_value(value), id))
}

/// Writes a verdict for a person.
fn explain(tool: &str, verdict: &Verdict) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: &str| {
        // A String takes every write.
        let _ = writeln!(text, "{name:<9} {}", plain(value));
    };
    if !tool.is_empty() {
        row("tool", tool);
    }
    row("class", verdict.class.name());
    row("layer", layer(verdict.class));
    row("retry", &retry(verdict));
    row("pattern", verdict.class.pattern());
    row("rule", &verdict.rule);
    row("why", &verdict.why);
    row("evidence", &verdict.evidence);
    if let Some(ms) = verdict.retry_after_ms {
        row(
            "hint",
            &format!("the other side asks to wait {}", super::open::duration(ms)),
        );
    }
    text
}

fn layer(class: Class) -> &'static str {
    match class.layer() {
        Layer::Transport => "transport: the supervisor deals with it",
        Layer::Semantic => "semantic: the model deals with it",
        Layer::None => "none",
    }
}

fn retry(verdict: &Verdict) -> String {
    match &verdict.retry_items {
        Some(items) if !items.is_empty() => {
            let items: Vec<String> = items.iter().take(20).map(Value::to_string).collect();
            format!("only these items: {}", items.join(", "))
        }
        _ if verdict.retryable => "yes".to_owned(),
        _ => "no".to_owned(),
    }
}

/// Returns the name of a class as the task file writes it.
fn class_name(class: resolved::Class) -> String {
    let name = serde_json::to_value(class).unwrap_or_default();
    name.as_str().unwrap_or_default().to_owned()
}

/// Prints the table of rules, own ones first.
fn list(task: Option<&Resolved>, json: bool) -> Result {
    let own = task.map_or(&[][..], |task| &task.rules);
    let own = own.iter().map(|rule| ListedRule {
        rule: &rule.id,
        class: Some(class_name(rule.class)),
        why: &rule.why,
        own: true,
    });
    let built_in = rules::table().iter().map(|rule| ListedRule {
        rule: rule.id,
        class: None,
        why: rule.sentence,
        own: false,
    });
    let mut text = String::new();
    for rule in own.chain(built_in) {
        if json {
            let line = serde_json::to_string(&rule)
                .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
            text.push_str(&line);
            text.push('\n');
            continue;
        }
        let why = match (rule.class, rule.why) {
            (Some(class), "") => class,
            (Some(class), why) => format!("{class}: {why}"),
            (None, why) => why.to_owned(),
        };
        // A String takes every write.
        let _ = writeln!(text, "{:<24} {}", rule.rule, plain(&why));
    }
    jsonl::print(&text)?;
    Ok(exit_code::DONE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn unusable_table() {
        #[rustfmt::skip]
        let rows = [
            ("a list is no result", json!([1]), Value::Null, "expected an object, found a list"),
            ("a result that is not wrapped keeps its id", json!({"id": 7, "status": 503}), json!(7), "there is no `result`"),
        ];
        for (name, value, id, why) in rows {
            let why = why.to_owned();
            assert_eq!(read(value).err(), Some(Unusable { id, why }), "row: {name}");
        }
    }
}
