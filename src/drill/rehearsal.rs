//! How a task is made ready for a rehearsal with one fault.
//!
//! The task stays as it is but for what reaches the world: guarded tools become
//! [`stand_in`](super::stand_in)s, models become scripted ones, checks pass, nobody
//! is notified, and waits between retries are short. Agent, limits, rules, loops and the supervisor
//! itself are the real ones.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::drill::faults::{Fault, HumanFault, ModelFault, ToolKind};
use crate::drill::stand_in::{How, Plan, StandIn, ToolFault};
use crate::money::NanoUsd;
use crate::task::resolved::{
    Action, BreakerConfig, Effect, Look, NativeKey, OnLoop, Pairs, Place, Price, Probe, Resolved,
    RetryConfig, Stdin, Target, Tool, Upstream, WebhookFormat,
};
use crate::task::template::Template;

/// The argument by which the binary becomes a stand-in.
pub const STAND_IN_ARGUMENT: &str = "__stand-in";

/// How long a rehearsal may take where the task has no deadline.
const DEADLINE_MS: u64 = 120_000;

/// Longest waits between retries.
const WAIT_MS_MAX: u64 = 50;

/// How long a human has where nobody answers.
const HUMAN_MS: u64 = 400;

/// A webhook that nobody listens at.
const DEAD_WEBHOOK: &str = "http://127.0.0.1:9/";

/// How long a tool may take where its time-out is drilled.
const TIMEOUT_MS: u64 = 400;

/// Tries that fail before one that works.
const PASSING: u32 = 2;

/// USD for a million tokens of a model that nobody knows, in nano-USD.
const PRICE: u64 = 3_000_000_000;

/// What a rehearsal is made from.
pub struct Material<'a> {
    /// The task, its paths whole.
    pub task: &'a Resolved,
    /// The scripted model, as its file says it.
    pub script: &'a Value,
    /// What tools were seen to answer, by tool and arguments.
    pub recorded: &'a BTreeMap<String, Vec<(Value, String)>>,
    /// This binary.
    pub program: &'a Path,
}

/// Where a rehearsal takes place.
pub struct Ground {
    /// Its folder: plan, ledger, scripts.
    pub folder: PathBuf,
    /// The folders of the task that were copied, and where to.
    pub moved: Vec<(PathBuf, PathBuf)>,
}

/// What the rehearsal without a fault showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Baseline {
    /// Guarded tools that were called.
    pub tools: Vec<String>,
    /// Completed model calls that went through the gateway.
    pub model_calls: u64,
    /// The model that was asked first.
    pub model: Option<String>,
    /// What it cost.
    pub cost: NanoUsd,
    /// How long it took.
    pub took_ms: u64,
    /// Those of them that were handed batches.
    pub batched: Vec<String>,
    /// Questions that were put to a human.
    pub questions: usize,
    /// Files that the agent changed in the staged folder.
    pub changed: Vec<String>,
}

/// A task ready to be rehearsed, with the files that go beside it.
#[derive(Clone, Debug, PartialEq)]
pub struct Rehearsal {
    /// The task.
    pub task: Resolved,
    /// How its tools behave.
    pub plan: Plan,
    /// Scripted models: file name and text.
    pub scripts: Vec<(String, String)>,
}

/// The script of a model that looks around and says that it is done; where a
/// task has none of its own.
pub fn plain_script() -> Value {
    json!({
        "usage": {"input": 1000, "output": 50},
        "price": {"input": 3, "output": 15},
        "turns": [
            {"say": "I look at what there is.", "shell": "ls"},
            {"say": "I check once more.", "shell": "pwd"},
            {"say": "Done."},
        ],
    })
}

/// Makes the rehearsal with `fault`; `None`: the one without.
///
/// Errors: why this task cannot meet the fault, as a clause.
pub fn prepare(
    material: &Material<'_>,
    ground: &Ground,
    fault: Option<(&Fault, &Baseline)>,
) -> Result<Rehearsal, String> {
    let mut task = material.task.clone();
    let mut plan = Plan::default();
    for (name, tool) in &mut task.tools {
        let stand_in = StandIn {
            answer: answer(tool),
            recorded: material.recorded.get(name).cloned().unwrap_or_default(),
            knows_keys: tool.native_key.is_some(),
            takes_many: tool.batch.size.is_some(),
            fault: None,
        };
        replace(tool, name, material.program, &ground.folder);
        plan.tools.insert(name.clone(), stand_in);
    }
    task.move_to(&ground.moved);
    check_with(&mut task, "exit 0");
    let told = std::mem::take(&mut task.notify);
    if let Some((Fault::Human(HumanFault::Webhook), _)) = fault {
        task.notify = told;
        for who in &mut task.notify {
            who.target = Target::Webhook {
                url: Template::literal(DEAD_WEBHOOK),
                format: WebhookFormat::Json,
            };
        }
    }
    // Nothing real happens, so nothing is taken back.
    task.rollback_on.clear();
    // Approvals are given by the human of the rehearsal.
    task.loops.on_stop = OnLoop::Stop;
    task.escalation.cost_nanousd = None;
    task.limits.deadline_ms.get_or_insert(DEADLINE_MS);
    shorten(&mut task.model_retry);
    let mut script = material.script.clone();
    if let Some((fault, baseline)) = fault {
        inject(&mut task, &mut plan, &mut script, fault, baseline)?;
    }
    let scripts = script_models(&mut task, &ground.folder, &script, material.script);
    Ok(Rehearsal {
        task,
        plan,
        scripts,
    })
}

/// Puts the stand-in into the place of the tool.
fn replace(tool: &mut Tool, name: &str, program: &Path, folder: &Path) {
    let word = |text: &str| Template::literal(text);
    let program = word(&program.to_string_lossy());
    let folder = word(&folder.to_string_lossy());
    tool.action = Action::Command {
        argv: vec![
            program.clone(),
            word(STAND_IN_ARGUMENT),
            folder.clone(),
            word(name),
        ],
        stdin: Stdin::Json,
        env: Pairs::default(),
    };
    tool.undo = None;
    if tool.native_key.is_some() {
        tool.native_key = Some(NativeKey::Env("AGENTGUARD_DRILL_KEY".into()));
    }
    if let Some(probe) = &mut tool.probe {
        *probe = Probe {
            argv: vec![
                program,
                word(STAND_IN_ARGUMENT),
                word("--probe"),
                folder,
                word(name),
            ],
            timeout_ms: probe.timeout_ms,
        };
    }
    shorten(&mut tool.retry);
}

fn shorten(retry: &mut RetryConfig) {
    retry.base_ms = retry.base_ms.min(WAIT_MS_MAX);
    retry.cap_ms = retry.cap_ms.min(WAIT_MS_MAX).max(retry.base_ms);
}

/// What a scripted model makes would not pass the task's own checks.
fn check_with(task: &mut Resolved, script: &str) {
    for check in task.verify.iter_mut().flat_map(|it| &mut it.checks) {
        check.look = Look::Script(script.to_owned());
    }
}

/// What a tool answers when nothing is wrong: what its schema asks for.
fn answer(tool: &Tool) -> String {
    match &tool.output {
        Some(schema) => example(schema, 0).to_string(),
        None => "ok".to_owned(),
    }
}

/// Returns a value that meets the usual kinds of schema.
fn example(schema: &Value, depth: u32) -> Value {
    const DEPTH_MAX: u32 = 8;
    if depth > DEPTH_MAX {
        return Value::Null;
    }
    let first = |key: &str| {
        let list = schema.get(key)?.as_array()?;
        list.first().cloned()
    };
    let given = ["const", "default"]
        .iter()
        .find_map(|key| schema.get(key).cloned());
    if let Some(value) = given
        .or_else(|| first("examples"))
        .or_else(|| first("enum"))
    {
        return value;
    }
    if let Some(inner) = first("oneOf").or_else(|| first("anyOf")) {
        return example(&inner, depth + 1);
    }
    let kind = match schema.get("type") {
        Some(Value::String(kind)) => kind.as_str(),
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("string"),
        _ if schema.get("properties").is_some() => "object",
        _ => "string",
    };
    match kind {
        "object" => {
            let required = schema.get("required").and_then(Value::as_array);
            let properties = schema.get("properties").and_then(Value::as_object);
            let names = required.into_iter().flatten().filter_map(Value::as_str);
            let value = |name: &str| {
                let inner = properties.and_then(|all| all.get(name));
                inner.map_or_else(|| json!("drill"), |inner| example(inner, depth + 1))
            };
            names.map(|name| (name.to_owned(), value(name))).collect()
        }
        "array" => {
            let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(1);
            let item = schema.get("items").map(|it| example(it, depth + 1));
            let item = item.unwrap_or_else(|| json!("drill"));
            Value::Array(vec![item; usize::try_from(least.min(16)).unwrap_or(1)])
        }
        "integer" | "number" => schema.get("minimum").cloned().unwrap_or_else(|| json!(1)),
        "boolean" => json!(true),
        "null" => Value::Null,
        _ => {
            let least = schema.get("minLength").and_then(Value::as_u64).unwrap_or(0);
            let text = "drill".repeat(usize::try_from(least.min(1_000) / 5 + 1).unwrap_or(1));
            Value::String(text)
        }
    }
}

/// Every link of the chain becomes a scripted model; the first one has the
/// faults, the others are well.
fn script_models(
    task: &mut Resolved,
    folder: &Path,
    script: &Value,
    well: &Value,
) -> Vec<(String, String)> {
    // A model that is made up has a price all the same.
    let price = Price {
        input_nanousd: PRICE,
        output_nanousd: 5 * PRICE,
        cached_input_nanousd: PRICE,
        cache_write_nanousd: PRICE,
    };
    task.prices.entry("*".to_owned()).or_insert(price);
    let mut files = Vec::new();
    let mut upstreams: Vec<Upstream> = std::mem::take(&mut task.upstreams);
    // Links of one provider share a file, and so fail together.
    let mut providers: Vec<String> = Vec::new();
    for upstream in &mut upstreams {
        let provider = match &upstream.place {
            Place::Reply(_) => continue,
            Place::Asked => "asked".to_owned(),
            Place::Provider(provider) => format!("{provider:?}"),
            Place::Url { url, .. } => url.as_str().to_owned(),
            Place::Script(file) => file.to_string_lossy().into_owned(),
        };
        let known = providers.iter().position(|it| *it == provider);
        let place = known.unwrap_or(providers.len());
        let name = format!("model-{}.json", place + 1);
        upstream.place = Place::Script(folder.join(&name));
        if known.is_none() {
            let text = if place == 0 { script } else { well }.to_string();
            files.push((name, text));
            providers.push(provider);
        }
    }
    task.upstreams = upstreams;
    files
}

fn inject(
    task: &mut Resolved,
    plan: &mut Plan,
    script: &mut Value,
    fault: &Fault,
    baseline: &Baseline,
) -> Result<(), String> {
    let has_model = baseline.model_calls > 0;
    let unseen = || "no model call of this agent goes through the gateway".to_owned();
    match fault {
        Fault::Model(kind) => {
            if !has_model {
                return Err(unseen());
            }
            add_fault(script, model_fault(*kind), baseline.model.as_deref());
            Ok(())
        }
        Fault::Tool(kind, name) => {
            let tool = task.tools.get_mut(name);
            let tool = tool.ok_or_else(|| format!("there is no tool `{name}`"))?;
            if !baseline.tools.contains(name) {
                return Err("the tool is not called, also when nothing goes wrong".into());
            }
            if *kind == ToolKind::Partial
                && tool.batch.size.is_none()
                && baseline.batched.contains(name)
            {
                return Err("its items go to it one at a time".into());
            }
            let how = tool_fault(*kind, tool)?;
            if let Some(stand_in) = plan.tools.get_mut(name) {
                stand_in.fault = Some(how);
            }
            Ok(())
        }
        Fault::Budget => {
            let half = baseline.cost.0 / 2;
            if half == 0 {
                return Err("the task costs nothing that anybody tells of".into());
            }
            task.limits.cost_nanousd = Some(half);
            Ok(())
        }
        Fault::Deadline => {
            const SHORT_MS: u64 = 700;
            task.limits.deadline_ms = Some(SHORT_MS);
            for stand_in in plan.tools.values_mut() {
                stand_in.fault = Some(ToolFault {
                    times: u32::MAX,
                    how: How::Hangs,
                });
            }
            if has_model {
                let slow = json!({"slow": "5s", "times": "forever"});
                add_fault(script, slow, None);
                return Ok(());
            }
            match baseline.tools.is_empty() && baseline.took_ms < SHORT_MS {
                true => Err(
                    "the agent is done before any deadline, and nothing it does can be held up"
                        .into(),
                ),
                false => Ok(()),
            }
        }
        Fault::Loop => {
            if !has_model {
                return Err(unseen());
            }
            if !task.loops.enabled {
                return Err("loop detection is switched off in the task file".into());
            }
            let turn = json!({
                "say": "I look at it again.",
                "shell": "printf 'the same\\n'",
                "repeat": "forever",
            });
            script["turns"] = json!([turn]);
            Ok(())
        }
        Fault::Verification if task.verify.is_none() => Err("the task verifies nothing".into()),
        Fault::Verification => {
            check_with(task, "echo 'a drill: this does not pass'; exit 1");
            Ok(())
        }
        Fault::Human(HumanFault::Webhook) => match task.notify.is_empty() {
            true => Err("the task tells nobody anything".into()),
            false => Ok(()),
        },
        Fault::Human(_) if baseline.questions == 0 => Err("nobody is asked anything".into()),
        Fault::Human(kind) => {
            if *kind == HumanFault::Silent {
                task.escalation.longest_ms = Some(HUMAN_MS);
            }
            Ok(())
        }
        Fault::Conflict | Fault::CrashBetween(_) if task.workspace.stage.is_none() => {
            Err("the task stages no folder".into())
        }
        Fault::Conflict if baseline.changed.is_empty() => {
            Err("the agent changes no file in the staged folder".into())
        }
        Fault::Conflict | Fault::Crash(_) | Fault::CrashBetween(_) => Ok(()),
    }
}

/// Puts a fault before those of the script.
fn add_fault(script: &mut Value, mut fault: Value, model: Option<&str>) {
    if let Some(model) = model {
        fault["model"] = json!(model);
    }
    let faults = match script.get_mut("faults").and_then(Value::as_array_mut) {
        Some(faults) => faults,
        None => {
            script["faults"] = json!([]);
            return add_first(script, fault);
        }
    };
    faults.insert(0, fault);
}

fn add_first(script: &mut Value, fault: Value) {
    if let Some(faults) = script.get_mut("faults").and_then(Value::as_array_mut) {
        faults.push(fault);
    }
}

fn model_fault(kind: ModelFault) -> Value {
    match kind {
        ModelFault::Transient => json!({"turn": 1, "status": 529, "times": PASSING}),
        ModelFault::RateLimit => json!({"turn": 1, "status": 429, "retry_after": "1s"}),
        ModelFault::Persistent => json!({"status": 500, "times": "forever"}),
        ModelFault::Credentials => json!({"status": 401, "times": "forever"}),
        ModelFault::Quality => json!({"turn": 1, "empty": true}),
        ModelFault::Cut => json!({"turn": 1, "cut": 3}),
    }
}

/// Errors: why the tool cannot meet the fault.
fn tool_fault(kind: ToolKind, tool: &mut Tool) -> Result<ToolFault, String> {
    let fault = |times, how| Ok(ToolFault { times, how });
    let retries = tool.retry.attempts.saturating_sub(1);
    match kind {
        ToolKind::Transient => fault(PASSING.min(retries.max(1)), How::Refused),
        ToolKind::RateLimit => fault(1, How::RateLimit),
        ToolKind::Persistent => {
            keep_breaker_for_one(tool.breaker.as_mut());
            fault(u32::MAX, How::Unauthorized)
        }
        ToolKind::Quality if tool.output.is_none() => {
            Err("the tool has no `output` schema: nothing says what a good answer is".into())
        }
        ToolKind::Quality => fault(1, How::Garbage),
        ToolKind::Partial if tool.effect == Effect::Read => {
            Err("the tool only reads: what it gives is data".into())
        }
        ToolKind::Partial if tool.batch.size.is_some() && retries == 0 => {
            Err("nothing of it may be tried again".into())
        }
        ToolKind::Partial => fault(1, How::Partly),
        ToolKind::Unrecoverable => fault(u32::MAX, How::Approval),
        ToolKind::Timeout => {
            tool.timeout_ms = TIMEOUT_MS;
            let is_safe = tool.effect == Effect::Read || tool.native_key.is_some();
            let times = if is_safe && retries > 0 { 1 } else { u32::MAX };
            fault(times, How::Hangs)
        }
    }
}

/// One failure is enough to see that the breaker counts it.
fn keep_breaker_for_one(breaker: Option<&mut BreakerConfig>) {
    if let Some(breaker) = breaker {
        breaker.failures = 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_meets_its_schema() {
        let schemas = [
            json!({"type": "string", "minLength": 12}),
            json!({"type": "object", "required": ["id", "n"], "properties": {
                "id": {"type": "string"}, "n": {"type": "integer", "minimum": 7}}}),
            json!({"type": "array", "minItems": 2, "items": {"enum": ["a", "b"]}}),
            json!({"oneOf": [{"type": "boolean"}, {"type": "null"}]}),
            json!({"const": 42}),
        ];
        for schema in schemas {
            let value = example(&schema, 0);
            let validator = jsonschema::validator_for(&schema).expect("a schema");
            assert!(validator.is_valid(&value), "{schema}: {value}");
        }
    }
}
