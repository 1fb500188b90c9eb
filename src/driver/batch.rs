//! A batch on its way into the machine, and a call with items on its way out.
//!
//! What is known about each item is gathered as for a single call (`facts`): its
//! key, what that gave before, whether the arguments fit.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::channel::frame::{self, Param};
use crate::channel::method;
use crate::driver::facts::{self, Scene};
use crate::driver::policy::loop_traits;
use crate::driver::recording::Answers;
use crate::ids::{CallId, IdempotencyKey};
use crate::machine::event::{BatchCall, BatchItem, Content, RequestNo};
use crate::machine::{Call, State};
use crate::policy::batch::{EXPECTED, NoWant};
use crate::policy::loops::ToolTraits;
use crate::policy::loops::fingerprint::identity;
use crate::policy::taxonomy::Class;
use crate::store::{self, KeyState};
use crate::task::resolved::{Effect, Resolved, Tool};
use crate::tools::Job;

/// Longest text of an item's result that an answer to a batch carries, in bytes.
pub const ITEM_TEXT_BYTES_MAX: usize = 8 * 1024;

/// Gathers what is known about the items of a batch; `Ok(Err)` where the whole of it
/// cannot be done.
///
/// - `by_human`: a human has it done while no agent runs.
///
/// Errors: the store's.
pub fn gather(
    scene: &Scene<'_>,
    request: RequestNo,
    asked: method::Batch,
    by_human: bool,
) -> store::Result<Result<BatchCall, frame::Error>> {
    let Some(tool) = scene.task.tools.get(&asked.tool) else {
        let known: Vec<&str> = scene.task.tools.keys().map(String::as_str).collect();
        let expected = format!("a tool of the task: {}", known.join(", "));
        return Ok(Err(wrong("tool", expected, format!("`{}`", asked.tool))));
    };
    let want = match asked.policy.as_deref().map(str::parse).transpose() {
        Ok(want) => want.unwrap_or_default(),
        Err::<_, NoWant>(_) => {
            let found = asked.policy.unwrap_or_default();
            return Ok(Err(wrong(
                "policy",
                EXPECTED.into(),
                format!("`{}`", short(&found)),
            )));
        }
    };
    let mut items: Vec<BatchItem> = Vec::with_capacity(asked.items.len());
    let mut by_id: HashMap<String, usize> = HashMap::new();
    let mut by_key: HashMap<IdempotencyKey, usize> = HashMap::new();
    for (place, item) in asked.items.into_iter().enumerate() {
        let args = Value::Object(item.args);
        if let Some(earlier) = by_id.get(&item.id) {
            if items.get(*earlier).is_some_and(|it| it.args == args) {
                // The same item twice is the item once.
                continue;
            }
            let expected = "ids that tell the items apart".into();
            let found = format!("`{}` twice, with different arguments", short(&item.id));
            return Ok(Err(wrong(&format!("items[{place}].id"), expected, found)));
        }
        let mut known = look_up(scene, tool, &asked.tool, item.id, args)?;
        let place = items.len();
        if let Some(key) = &known.key {
            known.same_as = by_key.get(key).copied();
            by_key.entry(key.clone()).or_insert(place);
        }
        by_id.insert(known.id.clone(), place);
        items.push(known);
    }
    let own = tool.batch.concurrency;
    Ok(Ok(BatchCall {
        request,
        tool: asked.tool,
        items,
        concurrency: asked.concurrency.map_or(own, |wanted| wanted.min(own)),
        size: tool.batch.size.unwrap_or(1),
        want,
        fail_fast: asked.fail_fast,
        by_human,
    }))
}

/// Answers the items of a batch from what a past run was given: nothing goes out.
pub fn play_back(call: &mut BatchCall, answers: &mut Answers) {
    for item in &mut call.items {
        (item.key, item.recorded, item.refused, item.same_as) = (None, None, None, None);
        match answers.take(&call.tool, &item.identity) {
            Some(found) if found.item.is_some() => item.played = found.item,
            Some(found) if found.class == Class::Success => item.recorded = Some(found.content),
            Some(found) => item.refused = Some(found.content.text),
            None => {
                item.refused = Some("This is a replay, and its recording has no such item.".into());
            }
        }
    }
}

fn look_up(
    scene: &Scene<'_>,
    tool: &Tool,
    name: &str,
    id: String,
    args: Value,
) -> store::Result<BatchItem> {
    let mut item = BatchItem {
        identity: identity(name, &args, &loop_traits(tool)),
        id,
        ..BatchItem::default()
    };
    item.refused = scene
        .toolbox
        .refuse(name, &args)
        .or_else(|| facts::too_long(&args));
    item.args = args;
    if item.refused.is_some() || tool.effect == Effect::Read && tool.key.is_none() {
        return Ok(item);
    }
    let text = match &tool.key {
        Some(template) => template.render_key(&item.args),
        None => Ok(format!("batch:{name}:{}", item.id)),
    };
    let key = match text {
        Ok(text) => facts::scoped(&text, tool.key_scope, scene.run, name, &scene.state.name),
        Err(error) => {
            item.refused = Some(facts::no_key(&error));
            return Ok(item);
        }
    };
    if let Some(row) = scene.store.key(&key)? {
        match row.state {
            KeyState::Executed { ref result, .. } => {
                let text = scene.store.paths().read_result(result)?;
                item.recorded = Some(bounded(facts::recorded(&text)));
            }
            KeyState::Claimed if row.run != *scene.run => {
                item.refused = Some(facts::held_by(&row));
            }
            KeyState::Claimed => {}
        }
    }
    item.key = Some(key);
    Ok(item)
}

/// Shortens what an item gave to what an answer with many of them can carry.
pub fn bounded(mut content: Content) -> Content {
    if content.text.len() > ITEM_TEXT_BYTES_MAX {
        let end = content.text.floor_char_boundary(ITEM_TEXT_BYTES_MAX);
        content.text.truncate(end);
        content.truncated = true;
    }
    content
}

/// Returns what the tool is called with, for one try of a call.
pub fn job(task: &Resolved, state: &State, id: CallId, call: &Call, attempt: u32) -> Job {
    let takes_many = task
        .tools
        .get(&call.tool)
        .is_some_and(|tool| tool.batch.size.is_some());
    let mut job = Job {
        call: id,
        tool: call.tool.clone(),
        args: call.args.clone(),
        key: call.key.clone(),
        attempt,
    };
    if !takes_many {
        return job;
    }
    let sent = |id: &str, key: Option<&IdempotencyKey>, args: &Value| match key {
        Some(key) => json!({"id": id, "key": key, "args": args}),
        None => json!({"id": id, "args": args}),
    };
    let members = call.batch.as_ref();
    let batch = members.and_then(|members| state.batches.get(&members.batch));
    let (Some(members), Some(batch)) = (members, batch) else {
        job.args = json!({"items": [sent(ALONE, call.key.as_ref(), &call.args)]});
        return job;
    };
    let items: Vec<_> = members
        .items
        .iter()
        .filter_map(|at| batch.items.get(*at))
        .collect();
    if job.key.is_none() {
        // The same slice again has the same key, another slice another one.
        let keys: Vec<&str> = items
            .iter()
            .filter_map(|item| item.key.as_ref())
            .map(|key| key.0.as_str())
            .collect();
        let hash = identity(&call.tool, &json!(keys), &ToolTraits::default());
        job.key = (!keys.is_empty()).then(|| IdempotencyKey(format!("slice:{hash}")));
    }
    let items = items
        .iter()
        .map(|item| sent(&item.id, item.key.as_ref(), &item.args));
    job.args = json!({"items": items.collect::<Vec<_>>()});
    job
}

/// The id of the only item where a tool that takes many is called by itself.
pub const ALONE: &str = "1";

fn wrong(field: &str, expected: String, found: String) -> frame::Error {
    Box::new(Param {
        method: "batch",
        field: field.to_owned(),
        expected,
        found,
        fix: None,
        meant: None,
    })
    .into()
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}
