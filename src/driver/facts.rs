//! What the machine must know about a tool call before it decides.
//!
//! The machine is pure, so the facts are gathered here and travel with the
//! event: the key, what it gave before, what the breaker says, whether the
//! arguments fit.

use crate::channel::method;
use crate::clock::UnixMs;
use crate::driver::policy::loop_traits;
use crate::driver::recording::Answers;
use crate::ids::{IdempotencyKey, RunId};
use crate::machine::State;
use crate::machine::event::{Content, RequestNo, ToolCall};
use crate::policy::breaker::{Admission, Breaker, of_tool};
use crate::policy::loops::fingerprint::identity;
use crate::store::{Change, KeyRow, KeyState, Store, breaker};
use crate::task::resolved::{Action, Effect, KeyScope, Resolved, Tool};
use crate::task::template::RenderError;
use crate::tools::Toolbox;

/// Longest id that a loop may have for a call, in bytes.
const LOOP_ID_BYTES_MAX: usize = 256;

/// Longest arguments that the journal keeps, in bytes of JSON.
pub const ARGS_BYTES_MAX: usize = 256 * 1024;

/// Where facts are looked for.
pub struct Scene<'a> {
    /// The journal.
    pub store: &'a dyn Store,
    /// The run.
    pub run: &'a RunId,
    /// Its task.
    pub task: &'a Resolved,
    /// Its tools.
    pub toolbox: &'a Toolbox,
    /// Where it stands.
    pub state: &'a State,
}

/// Who carries a call out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The supervisor.
    Us,
    /// Whoever asks.
    Asker,
}

/// Gathers what is known about a call that was asked for.
///
/// Errors: the store's.
pub async fn gather(
    scene: &Scene<'_>,
    at: UnixMs,
    request: RequestNo,
    call: method::Tool,
    by: By,
) -> crate::store::Result<ToolCall> {
    let name = call.name.as_str();
    let args = serde_json::Value::Object(call.args);
    let Scene {
        store,
        run,
        task,
        toolbox,
        state,
    } = *scene;
    let mut asked = ToolCall {
        request,
        tool: name.to_owned(),
        identity: String::new(),
        key: None,
        recorded: None,
        recorded_class: None,
        resembles: None,
        admission: Admission::Go,
        is_lent: by == By::Asker,
        loop_id: call.id.filter(|id| id.len() <= LOOP_ID_BYTES_MAX),
        refused: None,
        args,
    };
    let Some(tool) = task.tool(name) else {
        asked.refused = Some(unknown_tool(name, task));
        return Ok(asked);
    };
    asked.refused = not_this_way(name, tool, by)
        .or_else(|| toolbox.refuse(name, &asked.args))
        .or_else(|| too_long(&asked.args).filter(|_| by == By::Us));
    if asked.refused.is_some() {
        return Ok(asked);
    }
    asked.identity = identity(name, &asked.args, &loop_traits(tool));
    find_key(store, run, tool, name, state, &mut asked)?;
    if asked.refused.is_none() && asked.recorded.is_none() && asked.resembles.is_none() {
        asked.admission = admit(store, tool, name, at).await?;
    }
    if by == By::Asker {
        // Whoever carries it out has them; the journal keeps their beginning.
        asked.args = bounded(asked.args);
    }
    Ok(asked)
}

/// Answers a call of `name` from what a past run was given.
pub fn play_back(
    scene: &Scene<'_>,
    request: RequestNo,
    call: method::Tool,
    by: By,
    answers: &mut Answers,
) -> ToolCall {
    let name = call.name.as_str();
    let args = serde_json::Value::Object(call.args);
    let traits = scene.task.tool(name).map(loop_traits);
    let identity = identity(name, &args, &traits.unwrap_or_default());
    let answer = answers.take(name, &identity);
    let refused = answer.is_none().then(|| {
        format!(
            "This is a replay, and `{name}` was not called with these arguments in its recording."
        )
    });
    ToolCall {
        request,
        tool: name.to_owned(),
        identity,
        key: None,
        recorded_class: answer.as_ref().map(|it| it.class),
        recorded: answer.map(|it| it.content),
        resembles: None,
        admission: Admission::Go,
        is_lent: by == By::Asker,
        loop_id: None,
        refused,
        args,
    }
}

/// Keeps long arguments of a call that is not ours to carry out as their beginning.
pub fn bounded(args: serde_json::Value) -> serde_json::Value {
    let text = args.to_string();
    if text.len() <= ARGS_BYTES_MAX {
        return args;
    }
    let start: String = text.chars().take(1000).collect();
    serde_json::json!({"cut": start, "bytes": text.len()})
}

/// Returns why a tool cannot be called the way it was.
fn not_this_way(name: &str, tool: &Tool, by: By) -> Option<String> {
    let is_lent = tool.action == Action::Lent;
    match by {
        By::Us if is_lent => Some(format!("`{name}` is run by its MCP server; call it there.")),
        By::Asker if !is_lent => Some(format!(
            "`{name}` is run by agentguard; ask for it with `tool`."
        )),
        By::Us | By::Asker => None,
    }
}

/// Asks the breaker of `name`; takes the probe if it is to be had.
pub async fn admit(
    store: &dyn Store,
    tool: &Tool,
    name: &str,
    at: UnixMs,
) -> crate::store::Result<Admission> {
    if tool.breaker.is_none() {
        return Ok(Admission::Go);
    }
    let probe_ms = tool.timeout_ms.saturating_add(5_000);
    admit_to(store, &of_tool(name), probe_ms, at).await
}

/// Asks the breaker `name`; takes the probe if it is to be had.
///
/// - `probe_ms`: how long the probe may take before it counts as lost.
pub async fn admit_to(
    store: &dyn Store,
    name: &str,
    probe_ms: u64,
    at: UnixMs,
) -> crate::store::Result<Admission> {
    breaker::decide(store, name, at, move |row| {
        let Some(present) = row.and_then(read_breaker) else {
            return (Change::Keep, Admission::Go);
        };
        let (next, admission) = present.clone().admit(at, probe_ms);
        let change = if next == present {
            Change::Keep
        } else {
            put_breaker(&next)
        };
        (change, admission)
    })
    .await
}

/// Reads a stored breaker; one that cannot be read counts as untouched.
pub fn read_breaker(row: &str) -> Option<Breaker> {
    serde_json::from_str(row).ok()
}

/// Writes a breaker for the store.
pub fn put_breaker(breaker: &Breaker) -> Change {
    serde_json::to_string(breaker).map_or(Change::Keep, Change::Put)
}

fn find_key(
    store: &dyn Store,
    run: &RunId,
    tool: &Tool,
    name: &str,
    state: &State,
    asked: &mut ToolCall,
) -> crate::store::Result<()> {
    if tool.effect == Effect::Read && tool.key.is_none() {
        return Ok(());
    }
    let key = match &tool.key {
        Some(template) => match template.render_key(&asked.args) {
            Ok(text) => scoped(&text, tool.key_scope, run, name, &state.name),
            Err(error) => {
                asked.refused = Some(no_key(&error));
                return Ok(());
            }
        },
        None => {
            let made = state.made_key(run, name, &asked.identity);
            asked.resembles = made.resembles;
            made.key
        }
    };
    if let Some(row) = store.key(&key)? {
        match row.state {
            KeyState::Executed { result, .. } => {
                let text = store.paths().read_result(&result)?;
                asked.recorded = Some(recorded(&text));
                asked.resembles = None;
            }
            KeyState::Claimed if row.run != *run => asked.refused = Some(held_by(&row)),
            KeyState::Claimed => {}
        }
    }
    asked.key = Some(key);
    Ok(())
}

pub(super) fn no_key(error: &RenderError) -> String {
    format!("the call has no idempotency key: {error}")
}

pub(super) fn held_by(row: &KeyRow) -> String {
    let (key, run) = (&row.key_use.key, &row.run);
    format!(
        "the same action (key `{key}`) is under way or in doubt in run {run}; it is not done a \
         second time. Settle it there first: agentguard settle {run}"
    )
}

/// A recorded result is stored as the content it was answered with.
pub(super) fn recorded(text: &str) -> Content {
    serde_json::from_str(text).unwrap_or_else(|_| Content {
        text: text.to_owned(),
        ..Content::default()
    })
}

pub(super) fn scoped(
    text: &str,
    scope: KeyScope,
    run: &RunId,
    tool: &str,
    task: &str,
) -> IdempotencyKey {
    IdempotencyKey(match scope {
        KeyScope::Run => format!("{run}/{tool}/{text}"),
        KeyScope::Task => format!("{task}/{tool}/{text}"),
        KeyScope::Global => text.to_owned(),
    })
}

pub(super) fn unknown_tool(name: &str, task: &Resolved) -> String {
    let known: Vec<&str> = task.tools.keys().map(String::as_str).collect();
    let name: String = name.chars().take(80).collect();
    if known.is_empty() {
        format!("There is no tool `{name}`; this task has no tools.")
    } else {
        format!(
            "There is no tool `{name}`. The tools are: {}.",
            known.join(", ")
        )
    }
}

pub(super) fn too_long(args: &serde_json::Value) -> Option<String> {
    let bytes = args.to_string().len();
    (bytes > ARGS_BYTES_MAX).then(|| {
        format!("The arguments have {bytes} bytes, at most {ARGS_BYTES_MAX} are taken; pass a file instead.")
    })
}
