//! What came of a call, in the terms of the taxonomy and the loop detector.

use crate::channel::method;
use crate::clock::UnixMs;
use crate::driver::facts;
use crate::driver::policy::loop_traits;
use crate::driver::session::Session;
use crate::ids::{CallId, ConversationNo};
use crate::machine::event::{Content, Delivery, End, Exchange, Judged, Report, RequestNo, ToolEnd};
use crate::policy::breaker::of_model;
use crate::policy::loops::{Digest, ErrorKind, Print, ToolTraits};
use crate::policy::taxonomy::{Class, History, Layer, Observation, Verdict, classify, custom};
use crate::tools::Tried;

/// Classes the end of a try.
pub(super) fn ended(
    session: &Session,
    rules: &[custom::Rule],
    call: CallId,
    attempt: u32,
    mut tried: Tried,
) -> ToolEnd {
    date(&mut tried.observation.result, session.clock.now());
    let state = session.state();
    let open = state.calls.get(&call);
    let tool = open.map_or("", |open| open.tool.as_str());
    let history = state.histories.get(tool).copied().unwrap_or_default();
    let verdict = classify(&tried.observation, rules, &history);
    let content = tried.judged(verdict.class, &verdict.why);
    let args = open.map(|open| open.args.clone()).unwrap_or_default();
    ToolEnd {
        call,
        attempt,
        print: print(tool, &args, &content, verdict.class, traits(session, tool)),
        judged: judged(verdict),
        delivery: tried.delivery,
        content,
        took_ms: tried.took_ms,
        draw: draw(state.seed, call, attempt),
    }
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
        args: bounded(args),
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

/// Ends a call whose key another run took between the look and the claim.
pub(super) fn lost_key(session: &Session, call: CallId, attempt: u32) -> Option<ToolEnd> {
    let open = session.state().calls.get(&call)?;
    let text = format!(
        "`{}` is carrying out this same action in another run right now; it is not done a \
         second time.",
        open.tool
    );
    let content = Content {
        text: text.clone(),
        is_error: true,
        ..Content::default()
    };
    let traits = traits(session, &open.tool);
    Some(ToolEnd {
        call,
        attempt,
        print: print(&open.tool, &open.args, &content, Class::Semantic, traits),
        judged: Judged {
            class: Class::Semantic,
            retry_after_ms: None,
            rule: "key.lost".into(),
            why: "another run claimed the key first".into(),
            evidence: text,
        },
        delivery: Delivery::NeverSent,
        content,
        took_ms: 0,
        draw: 0,
    })
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
    let tool = session.task.tools.get(tool);
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

/// The journal keeps long arguments of reported calls as their beginning.
fn bounded(args: serde_json::Value) -> serde_json::Value {
    let text = args.to_string();
    if text.len() <= facts::ARGS_BYTES_MAX {
        return args;
    }
    let start: String = text.chars().take(1000).collect();
    serde_json::json!({"cut": start, "bytes": text.len()})
}

/// A uniform draw that belongs to one try: the same run draws the same.
pub(super) fn draw(seed: u64, call: CallId, attempt: u32) -> u32 {
    use rand::Rng as _;
    use rand::SeedableRng as _;
    let mut generator = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(call.0.wrapping_mul(64).wrapping_add(u64::from(attempt)));
    generator.next_u32()
}
