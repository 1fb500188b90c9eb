//! What came of a call, in the terms of the taxonomy and the loop detector.

use crate::channel::method;
use crate::clock::UnixMs;
use crate::driver::policy::loop_traits;
use crate::driver::session::Session;
use crate::driver::{batch, facts};
use crate::ids::{CallId, ConversationNo, IdempotencyKey};
use crate::machine::Call;
use crate::machine::event::{
    Content, Delivery, End, Exchange, ItemAnswer, Judged, Report, RequestNo, ToolEnd,
};
use crate::policy::breaker::of_model;
use crate::policy::loops::{Digest, ErrorKind, Print, ToolTraits};
use crate::policy::taxonomy::{
    Class, History, ItemVerdict, Kind, Layer, Observation, Verdict, classify, classify_items,
    custom,
};
use crate::store::{KeyRow, KeyState};
use crate::tools::{Job, Tried};

/// Classes the end of a try.
pub(super) fn ended(
    session: &Session,
    rules: &[custom::Rule],
    call: CallId,
    attempt: u32,
    request: Option<RequestNo>,
    mut tried: Tried,
) -> ToolEnd {
    date(&mut tried.observation.result, session.clock.now());
    let state = session.state();
    let open = state.calls.get(&call);
    let tool = open.map_or("", |open| open.tool.as_str());
    // Items are tried beside one another; a row of failures says nothing about the next.
    let history = match open.is_some_and(|open| open.batch.is_some()) {
        true => History::default(),
        false => state.histories.get(tool).copied().unwrap_or_default(),
    };
    let whole = classify(&tried.observation, rules, &history);
    let whole = match tried.wants_more() {
        false => whole,
        true => Verdict {
            class: Class::Semantic,
            rule: "mcp.wants_more".into(),
            why: "the server wants more before it does the work".into(),
            ..whole
        },
    };
    let (verdict, content, items) = by_item(session, rules, call, &tried, whole);
    let args = open.map(|open| open.args.clone()).unwrap_or_default();
    let may_be_half_done = items.is_empty() && is_half_run(session, open, &tried, verdict.class);
    ToolEnd {
        call,
        attempt,
        request,
        print: print(tool, &args, &content, verdict.class, traits(session, tool)),
        judged: judged(verdict),
        delivery: match may_be_half_done {
            true => Delivery::Unknown,
            false => tried.delivery,
        },
        content,
        took_ms: tried.took_ms,
        draw: draw(state.seed, call, attempt),
        items,
    }
}

/// Whether a command that was given several items may have done some of them before it
/// failed. One that fails in a way that passes says that it can be called again.
fn is_half_run(session: &Session, open: Option<&Call>, tried: &Tried, class: Class) -> bool {
    let tool = open.and_then(|open| session.task.tools.get(&open.tool));
    let members = open.and_then(|open| open.batch.as_ref());
    let has_several = members.is_some_and(|members| members.items.len() > 1);
    let has_failed = !matches!(class, Class::Success | Class::Partial | Class::Transient);
    has_several
        && has_failed
        && tried.delivery == Delivery::Answered
        && tried.observation.kind == Kind::Exec
        && tool.is_some_and(|tool| !tool.batch.atomic)
}

/// Reads what the answer says about each item, where the tool takes many.
///
/// Returns the verdict and the content of the whole too: for a tool that takes many
/// and was called by itself, those of its only item.
fn by_item(
    session: &Session,
    rules: &[custom::Rule],
    call: CallId,
    tried: &Tried,
    whole: Verdict,
) -> (Verdict, Content, Vec<ItemAnswer>) {
    let state = session.state();
    let mut content = tried.judged(whole.class, &whole.why);
    let Some(open) = state.calls.get(&call) else {
        return (whole, content, vec![]);
    };
    let tool = session.task.tools.get(&open.tool);
    let takes_many = tool.is_some_and(|tool| tool.batch.size.is_some());
    let batch = open
        .batch
        .as_ref()
        .and_then(|it| state.batches.get(&it.batch));
    if !takes_many {
        match batch {
            Some(_) => content = batch::bounded(content),
            None => name_slice(&whole, &mut content),
        }
        return (whole, content, vec![]);
    }
    let members = open.batch.as_ref().map_or(&[][..], |it| &it.items);
    let ids: Vec<&str> = match batch {
        Some(batch) => {
            let items = members.iter().filter_map(|at| batch.items.get(*at));
            items.map(|item| item.id.as_str()).collect()
        }
        None => vec![batch::ALONE],
    };
    let Some(found) = classify_items(&tried.observation, rules, &ids) else {
        let content = if batch.is_some() {
            batch::bounded(content)
        } else {
            content
        };
        return (whole, content, vec![]);
    };
    let mut answers: Vec<ItemAnswer> = Vec::with_capacity(found.len());
    for (at, item) in found.into_iter().enumerate() {
        answers.push(answer_of(
            item,
            members.get(at).copied().unwrap_or(0),
            &tried.observation.tool,
        ));
    }
    if batch.is_some() {
        return (whole, batch::bounded(content), answers);
    }
    let Some(only) = answers.pop() else {
        return (whole, content, vec![]);
    };
    let verdict = Verdict {
        class: only.judged.class,
        layer: only.judged.class.layer(),
        retryable: only.judged.class.is_retryable(),
        retry_after_ms: only.judged.retry_after_ms,
        retry_items: None,
        rule: only.judged.rule,
        why: only.judged.why,
        evidence: only.judged.evidence,
    };
    (verdict, only.content, vec![])
}

/// What the answer says about the only item of a call of a tool that takes many;
/// `None` where the tool does not, or the answer speaks of the whole.
pub(super) fn only_item(
    rules: &[custom::Rule],
    job: &Job,
    call: &Call,
    tried: &Tried,
) -> Option<ItemAnswer> {
    if job.args == call.args {
        return None;
    }
    let id = job.args.pointer("/items/0/id")?.as_str()?;
    let found = classify_items(&tried.observation, rules, &[id])?;
    let item = found.into_iter().next()?;
    Some(answer_of(item, 0, &job.tool))
}

/// What an answer says about one item. One that it does not mention may have been done.
fn answer_of(item: ItemVerdict, place: usize, tool: &str) -> ItemAnswer {
    let text = match &item.said {
        serde_json::Value::Null => None,
        serde_json::Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    match item.verdict {
        Some(verdict) => {
            let content = Content {
                text: text.unwrap_or_else(|| match verdict.class {
                    Class::Success => "done".into(),
                    _ => verdict.evidence.clone(),
                }),
                is_error: !matches!(verdict.class, Class::Success | Class::Partial),
                ..Content::default()
            };
            ItemAnswer {
                item: place,
                judged: judged(verdict),
                delivery: Delivery::Answered,
                content: batch::bounded(content),
            }
        }
        None => {
            let why = text.unwrap_or_else(|| {
                format!("`{tool}` answered and did not say what became of this item")
            });
            ItemAnswer {
                item: place,
                judged: Judged {
                    class: Class::Transient,
                    retry_after_ms: None,
                    rule: "items.not_mentioned".into(),
                    why: "the answer does not say what became of this item".into(),
                    evidence: why.clone(),
                },
                delivery: Delivery::Unknown,
                content: Content {
                    text: why,
                    is_error: true,
                    ..Content::default()
                },
            }
        }
    }
}

/// Tells the model of a result that went well in part which of it is worth repeating.
fn name_slice(verdict: &Verdict, content: &mut Content) {
    /// So many are named; a model that gets more does not read them.
    const NAMED_MAX: usize = 100;
    let (Class::Partial, Some(items)) = (verdict.class, &verdict.retry_items) else {
        return;
    };
    let named: Vec<String> = items
        .iter()
        .take(NAMED_MAX)
        .map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned))
        .collect();
    let more = items.len().saturating_sub(named.len());
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    let advice = match items.is_empty() {
        true => "None of what failed will go by repeating it; do not repeat the rest, it is done."
            .to_owned(),
        false => format!(
            "Only these are worth repeating: {}{more}. Do not repeat the others: they are done, \
             or will not go.",
            named.join(", ")
        ),
    };
    let line = format!("[{}. {advice}]", verdict.evidence);
    content.text = format!("{}\n{line}", content.text.trim_end());
}

/// Classes a call that the loop made itself.
///
/// - `conversation`: in which the gateway found it.
pub(super) fn reported(
    session: &Session,
    rules: &[custom::Rule],
    request: RequestNo,
    report: method::Report,
    conversation: Option<ConversationNo>,
) -> Report {
    let args = serde_json::Value::Object(report.args.clone());
    let observation = observation_of(&report, &args);
    let histories = &session.state().histories;
    let history = histories.get(&report.tool).copied().unwrap_or_default();
    let verdict = classify(&observation, rules, &history);
    let result = report.result.as_ref().map_or("", |result| result.get());
    let text = serde_json::from_str::<String>(result).unwrap_or_else(|_| result.to_owned());
    let content = Content {
        text,
        is_error: !matches!(verdict.class, Class::Success | Class::Partial),
        ..Content::default()
    };
    let traits = traits(session, &report.tool);
    Report {
        request,
        print: print(&report.tool, &args, &content, verdict.class, traits),
        tool: report.tool,
        args: facts::bounded(args),
        judged: judged(verdict),
        conversation,
    }
}

/// Rules by which a delivered reply is unfit to be acted on: the call is made again.
/// What a model says in prose is the agent's business.
const UNFIT: &[&str] = &[
    "delivered.unknown_tool",
    "delivered.bad_arguments",
    "delivered.call_as_text",
    "delivered.empty",
    "delivered.degenerate",
    "delivered.not_json",
    "delivered.breaks_schema",
];

/// Classes a try of a model call, and says why it failed, if it did.
pub(super) fn exchange(
    session: &Session,
    rules: &[custom::Rule],
    request: RequestNo,
    mut seen: method::Exchange,
) -> (Exchange, Option<String>) {
    date(&mut seen.result, session.clock.now());
    let asks = asks(&seen.result);
    let upstream = session.task.upstreams.get(seen.link);
    let name = upstream.map_or("model", |upstream| upstream.name.as_str());
    let observation = Observation::from_value(serde_json::json!({
        "kind": "llm",
        "tool": name,
        "context": {
            "tools_offered": seen.tools,
            "response_format": seen.format,
            "model": seen.model,
            "request": {"method": "POST"},
        },
        "result": seen.result,
    }));
    let verdict = classify(&observation, rules, &History::default());
    let is_delivered = seen.broke.is_none() && (200..300).contains(&seen.status);
    let is_fit = match verdict.class {
        Class::Success | Class::Partial | Class::Semantic => true,
        Class::Quality => !UNFIT.contains(&verdict.rule.as_str()),
        Class::Transient | Class::Persistent | Class::CostPressure => false,
        // An answer that asks for a human is one.
        Class::Unrecoverable => verdict.rule.starts_with("delivered"),
    };
    let error = match seen.broke {
        Some(broke) => Some(broke),
        None if is_delivered && (is_fit || seen.end != method::End::Unseen) => None,
        None if is_delivered => Some(format!("{}: {}", verdict.why, verdict.evidence)),
        None => Some(status_text(seen.status, &seen.result)),
    };
    let state = session.state();
    let exchange = Exchange {
        link: seen.link,
        breaker: of_model(&seen.host, &seen.model),
        attempt: seen.attempt,
        waited_ms: seen.waited_ms,
        status: seen.status,
        judged: judged(verdict),
        end: match seen.end {
            method::End::Unseen => End::Unseen,
            method::End::Begun => End::Begun,
            method::End::HungUp => End::HungUp,
            method::End::Unsent => End::Unsent,
        },
        out: seen.out,
        model: seen.model,
        hold_ms: seen.hold_ms,
        asks,
        // Turns and tools draw from different streams.
        draw: draw(state.seed ^ 0x006d_6f64_656c, CallId(request), seen.attempt),
    };
    (exchange, error)
}

/// Dates an answer whose server does not: a `Retry-After` that is a date is a wait
/// only against a clock, and that of the server goes first.
fn date(result: &mut serde_json::Value, now: UnixMs) {
    let Some(serde_json::Value::Object(headers)) = result.get_mut("headers") else {
        return;
    };
    if let Ok(now) = jiff::Timestamp::from_millisecond(now.0)
        && !headers.keys().any(|name| name.eq_ignore_ascii_case("date"))
    {
        headers.insert("date".to_owned(), now.to_string().into());
    }
}

/// What an answer asks of the agent's tools.
fn asks(result: &serde_json::Value) -> Digest {
    let calls = result.pointer("/body/choices/0/message/tool_calls");
    let calls = calls.and_then(|calls| calls.as_array());
    let calls: Vec<Digest> = calls
        .into_iter()
        .flatten()
        .map(|call| {
            let part = |name| call.pointer(name).and_then(|it| it.as_str());
            let args = part("/function/arguments").unwrap_or_default();
            let args = serde_json::from_str(args).unwrap_or_else(|_| args.into());
            let name = part("/function/name").unwrap_or_default();
            let (nothing, traits) = (Content::default(), ToolTraits::default());
            print(name, &args, &nothing, Class::Success, traits).call
        })
        .collect();
    match calls.is_empty() {
        true => Digest::default(),
        false => Digest::join(&calls),
    }
}

/// An error status with what its body says.
fn status_text(status: u16, result: &serde_json::Value) -> String {
    let message = result
        .pointer("/body/error/message")
        .and_then(|it| it.as_str());
    match message {
        Some(message) => format!("HTTP {status}: {message}"),
        None => format!("HTTP {status}"),
    }
}

/// Ends a call that must not go out because others hold keys of it; `None` where it
/// may go.
///
/// - `lost`: keys that the journal did not give, each with its holder.
///
/// What was done meanwhile answers from its record. An item whose key is only held
/// waits for its holder; a single call is answered at once.
pub(super) fn lost_keys(
    session: &Session,
    call: CallId,
    attempt: u32,
    request: Option<RequestNo>,
    lost: &[KeyRow],
) -> crate::store::Result<Option<ToolEnd>> {
    let state = session.state();
    let (Some(open), Some(uses)) = (state.calls.get(&call), state.key_uses(call)) else {
        return Ok(None);
    };
    let holder = |key: &IdempotencyKey| lost.iter().find(|row| row.key_use.key == *key);
    if !uses.iter().any(|used| holder(&used.key).is_some()) {
        return Ok(None);
    }
    let own = |row: Option<&KeyRow>| held(session, open, row);
    let mut items = Vec::new();
    if let Some(members) = &open.batch
        && let Some(batch) = state.batches.get(&members.batch)
    {
        for place in &members.items {
            let key = batch.items.get(*place).and_then(|item| item.key.as_ref());
            let (judged, content) = own(key.and_then(holder))?;
            items.push(ItemAnswer {
                item: *place,
                judged,
                delivery: Delivery::NeverSent,
                content,
            });
        }
    }
    let (judged, content) = own(uses.first().and_then(|used| holder(&used.key)))?;
    let traits = traits(session, &open.tool);
    Ok(Some(ToolEnd {
        call,
        attempt,
        request,
        print: print(&open.tool, &open.args, &content, judged.class, traits),
        judged,
        delivery: Delivery::NeverSent,
        content,
        took_ms: 0,
        draw: draw(state.seed, call, attempt),
        items,
    }))
}

/// What a call is answered whose key is held; `None`: another key of the same call is.
fn held(
    session: &Session,
    open: &Call,
    row: Option<&KeyRow>,
) -> crate::store::Result<(Judged, Content)> {
    let judged = |class, why: &str, evidence: String| Judged {
        class,
        retry_after_ms: None,
        rule: "key.lost".into(),
        why: why.into(),
        evidence,
    };
    if let Some(KeyState::Executed { result, .. }) = row.map(|row| &row.state) {
        let text = session.store.paths().read_result(result)?;
        let why = "it was done meanwhile; its recorded result answers";
        return Ok((
            judged(Class::Success, why, String::new()),
            facts::recorded(&text),
        ));
    }
    let text = format!(
        "`{}` is carrying out this same action elsewhere right now; it is not done a second \
         time.",
        open.tool
    );
    let content = Content {
        text: text.clone(),
        is_error: true,
        ..Content::default()
    };
    let class = match open.batch {
        Some(_) => Class::Transient,
        None => Class::Semantic,
    };
    Ok((
        judged(class, "another call claimed the key first", text),
        content,
    ))
}

/// Returns a verdict as the journal keeps it.
pub(super) fn judged(verdict: Verdict) -> Judged {
    Judged {
        class: verdict.class,
        retry_after_ms: verdict.retry_after_ms,
        rule: verdict.rule,
        why: verdict.why,
        evidence: verdict.evidence,
    }
}

fn traits(session: &Session, tool: &str) -> ToolTraits {
    let tool = session.task.tool(tool);
    tool.map(loop_traits).unwrap_or_default()
}

/// The call and its result, for the loop detector.
fn print(
    tool: &str,
    args: &serde_json::Value,
    content: &Content,
    class: Class,
    traits: ToolTraits,
) -> Print {
    let kind = match class.layer() {
        Layer::Transport => ErrorKind::Transport,
        Layer::Semantic => ErrorKind::Semantic,
        Layer::None => ErrorKind::None,
    };
    Print::of(
        tool,
        args,
        &content.text.clone().into(),
        content.is_error,
        kind,
        &traits,
    )
}

/// What the loop reports, in the taxonomy's terms.
fn observation_of(report: &method::Report, args: &serde_json::Value) -> Observation {
    let result = report
        .result
        .as_ref()
        .and_then(|result| serde_json::from_str::<serde_json::Value>(result.get()).ok())
        .unwrap_or_default();
    let text = match &result {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => String::new(),
        other => other.to_string(),
    };
    let failed = report.is_error.unwrap_or(false);
    let (kind, outcome) = match (report.status, report.exit_code) {
        (Some(status), _) => (
            "http",
            serde_json::json!({"status": status, "body": result}),
        ),
        (None, Some(code)) => (
            "exec",
            serde_json::json!({
                "exit_code": code,
                "stdout": if code == 0 { text.as_str() } else { "" },
                "stderr": if code == 0 { "" } else { text.as_str() },
            }),
        ),
        (None, None) => (
            "mcp",
            serde_json::json!({"jsonrpc": "2.0", "id": 1, "result": {
                "content": [{"type": "text", "text": text}], "isError": failed,
            }}),
        ),
    };
    Observation::from_value(serde_json::json!({
        "kind": kind, "tool": report.tool, "context": {"call": args}, "result": outcome,
    }))
}

/// A uniform draw that belongs to one try: the same run draws the same.
pub(super) fn draw(seed: u64, call: CallId, attempt: u32) -> u32 {
    use rand::Rng as _;
    use rand::SeedableRng as _;
    let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(call.0.wrapping_mul(64).wrapping_add(u64::from(attempt)));
    generator.next_u32()
}
