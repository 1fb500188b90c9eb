//! Guarded tools: from the loop's request to its answer.
//!
//! ```text
//! called ─┬─ refused, recorded, unavailable ─────────────► answered
//!         └─ Executing ─ended─┬─ concluded ──────────────► answered
//!               ▲             ├─ Waiting ──retry_due──┐
//!               └─────────────┼───────────────────────┘
//!                             └─ Probing ──settled──► answered | again | in doubt
//! ```
//! The event of the request is the durable intent: a write executes only after
//! it. The event of the end is the durable result: the loop sees it only after.

mod circle;
mod doubt;

use crate::clock::UnixMs;
use crate::ids::CallId;
use crate::machine::advance::{run_note, unexpected};
use crate::machine::batch::{self, Members};
use crate::machine::escalation::{self, Approval};
use crate::machine::event::{Content, Delivery, Report, ToolCall, ToolEnd};
use crate::machine::state::DoneCall;
use crate::machine::turn::{over_budget, stopping};
use crate::machine::{
    About, Answer, Call, Decision, Effect, Outcome, Phase, Policy, Risk, Settle, Stage, State, saga,
};
use crate::policy::breaker::{self, Admission};
use crate::policy::loops::{ErrorKind, Print, ToolTraits};
use crate::policy::retry;
use crate::policy::taxonomy::{Class, Layer};
pub(super) use circle::look;
use circle::{Reply, act_on, look_for_loop, observe, reply_or_stop};
pub(super) use doubt::settled;
use doubt::{in_doubt, unanswered_write};

/// The loop asked for a guarded tool.
pub(super) fn called(
    state: &mut State,
    at: UnixMs,
    asked: ToolCall,
    policy: &Policy,
) -> Vec<Effect> {
    state.spoke = true;
    if let Some(stopping) = stopping(state, asked.request) {
        return stopping;
    }
    state.guarded.extend(asked.loop_id.clone());
    if let Some(known) = asked.key.as_ref().and_then(|key| state.call_with_key(key)) {
        // The same write twice at once: one execution answers both.
        if let Some(call) = state.calls.get_mut(&known) {
            call.requests.push(asked.request);
        }
        return vec![];
    }
    // What was done before is not done again, and not counted again.
    let counts = asked.recorded.is_none();
    let hit = state.spend.next_tool_call(&state.limits).filter(|_| counts);
    if let Some(hit) = hit {
        let outcome = Outcome::Budget { hit: hit.clone() };
        let answer = Answer::Stopping {
            reason: outcome.describe(),
            exit_code: outcome.exit_code(),
        };
        return over_budget(state, &hit, Some((asked.request, answer)));
    }
    let id = state.next_call;
    state.next_call = id.next();
    state.spend.tool_calls += u64::from(counts);
    match immediate(state, &asked) {
        Some((class, content, note)) => {
            answered_at_once(state, at, id, &asked, class, content, note, policy)
        }
        None => {
            let (stage, mut effects) = match escalation::approval(state, at, id, &asked, policy) {
                Approval::Go => (Stage::Executing, vec![]),
                Approval::Wait {
                    escalation,
                    effects,
                } => (Stage::Approving { escalation }, effects),
                Approval::Declined(text) => {
                    let content = error(text);
                    let mut note = run_note(
                        state,
                        "answer_from_record",
                        "escalation.recorded",
                        "this call was declined before; the recorded decision answers",
                    );
                    note.otherwise = "a human would have been asked the same again".into();
                    let class = Class::Semantic;
                    return answered_at_once(state, at, id, &asked, class, content, note, policy);
                }
            };
            let call = Call {
                tool: asked.tool,
                args: asked.args,
                identity: asked.identity,
                key: asked.key,
                step: state.step,
                attempt: 1,
                waited_ms: 0,
                stage,
                requests: vec![asked.request],
                called_at: at,
                batch: None,
                is_lent: asked.is_lent,
            };
            if policy.risk(&call.tool) != Risk::Read {
                *state.step_keys.0.entry(call.tool.clone()).or_default() += 1;
            }
            let goes = call.stage == Stage::Executing;
            state.calls.insert(id, call);
            if goes {
                effects.extend(execute_first(state, id));
            }
            effects
        }
    }
}

/// Lets a call's first try go.
fn execute_first(state: &mut State, id: CallId) -> Vec<Effect> {
    state.counters.tries += 1;
    let go = state.calls.get_mut(&id).and_then(|call| call.go(id));
    go.into_iter().collect()
}

/// A human approved a call: it is made.
pub(super) fn approved(state: &mut State, id: CallId) -> Vec<Effect> {
    execute_first(state, id)
}

/// A human declined a call: it is answered with the decision.
pub(super) fn declined(
    state: &mut State,
    at: UnixMs,
    id: CallId,
    text: String,
    policy: &Policy,
) -> Vec<Effect> {
    let Some(call) = state.calls.remove(&id) else {
        return unexpected(state, "the decline of a call that is not under way");
    };
    let (class, content) = (Class::Semantic, error(text));
    count(state, class, &call.tool, &content.text);
    let print = answer_print(&call.tool, &call.args, &content, class, policy);
    let reply = Reply {
        requests: &call.requests,
        call: id,
        content,
        class,
    };
    look_for_loop(state, at, print, reply, policy)
}

fn error(text: String) -> Content {
    Content {
        text,
        is_error: true,
        ..Content::default()
    }
}

/// What the loop detector is told of an answer that no tool gave.
fn answer_print(
    tool: &str,
    args: &serde_json::Value,
    content: &Content,
    class: Class,
    policy: &Policy,
) -> Print {
    let unknown = ToolTraits::default();
    let traits = policy.tool(tool).map_or(&unknown, |it| &it.traits);
    let text = content.text.clone().into();
    Print::of(
        tool,
        args,
        &text,
        content.is_error,
        error_kind(class),
        traits,
    )
}

/// Returns the answer to a call that is not carried out, if it is not.
fn immediate(state: &mut State, asked: &ToolCall) -> Option<(Class, Content, Decision)> {
    let note = |action: &str, rule: &str, why: &str| {
        let mut note = run_note(state, action, rule, why);
        note.evidence = asked
            .key
            .as_ref()
            .map_or_else(String::new, |key| format!("key {key}"));
        note
    };
    if let (Some(class), Some(content)) = (asked.recorded_class, &asked.recorded) {
        let note = note(
            "play_back",
            "replay.recorded",
            "the run that is played got this answer",
        );
        return Some((class, content.clone(), note));
    }
    if let Some(text) = &asked.refused {
        let note = note(
            "feed_back",
            "tool.refused",
            "the call cannot be made as it stands",
        );
        return Some((Class::Semantic, error(text.clone()), note));
    }
    if let Some(content) = &asked.recorded {
        let mut note = note(
            "answer_from_record",
            "key.executed",
            "this key was executed before; its recorded result answers",
        );
        note.otherwise = "the effect would have happened twice".into();
        state.counters.from_record += 1;
        claim(state, asked);
        return Some((Class::Success, content.clone(), note));
    }
    if let Some(earlier) = asked.resembles {
        let note = note(
            "ask_model",
            "key.resembles",
            "a write of this tool was done in this step before a crash, with other arguments",
        );
        let done = state
            .done_in_step
            .iter_mut()
            .find(|done| done.call == earlier)?;
        done.unclaimed = false;
        let text = format!(
            "Before an interruption, this step already ran `{}` with {} and got: {}\n\
             If that was this same action, do not repeat it. If this is a different action, \
             make the call once more and it will be carried out.",
            done.tool,
            excerpt(&done.args.to_string()),
            excerpt(&done.content.text),
        );
        return Some((Class::Semantic, error(text), note));
    }
    if let Admission::Refused {
        back_at,
        last_error,
    } = &asked.admission
    {
        let mut note = note("refuse", "breaker.open", "the tool's breaker is open");
        note.evidence = last_error.clone().unwrap_or_default();
        note.otherwise = "the call would most likely have failed as the last ones did".into();
        state.counters.refused_by_breaker += 1;
        let text = unavailable_text(&asked.tool, *back_at, last_error.as_deref());
        return Some((Class::Persistent, error(text), note));
    }
    None
}

/// A repeated call has met its record: it is no longer waiting to be asked for.
fn claim(state: &mut State, asked: &ToolCall) {
    if let Some(done) = state
        .done_in_step
        .iter_mut()
        .find(|done| done.key == asked.key)
    {
        done.unclaimed = false;
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one caller; a struct would only rename them"
)]
fn answered_at_once(
    state: &mut State,
    at: UnixMs,
    id: CallId,
    asked: &ToolCall,
    class: Class,
    content: Content,
    mut note: Decision,
    policy: &Policy,
) -> Vec<Effect> {
    note.about = About::Call {
        call: id,
        tool: asked.tool.clone(),
    };
    note.class = Some(class);
    let print = answer_print(&asked.tool, &asked.args, &content, class, policy);
    count(state, class, &asked.tool, &content.text);
    let mut effects = vec![Effect::Note(note)];
    let reply = Reply {
        requests: &[asked.request],
        call: id,
        content,
        class,
    };
    effects.extend(look_for_loop(state, at, print, reply, policy));
    effects
}

/// One try of a guarded tool ended.
pub(super) fn ended(state: &mut State, at: UnixMs, end: ToolEnd, policy: &Policy) -> Vec<Effect> {
    let Some(open) = state.calls.get_mut(&end.call) else {
        return unexpected(state, "the end of a tool call that is not under way");
    };
    if open.stage != Stage::Executing || open.attempt != end.attempt {
        return unexpected(state, "the end of a try that is not under way");
    }
    // Whoever carried it out is first in line for what comes next.
    open.requests.splice(0..0, end.request);
    let call = open.clone();
    if let Some(members) = call.batch.clone() {
        return batch::ended(state, at, end, call, &members, policy);
    }
    let tool = policy.tool(&call.tool);
    let risk = policy.risk(&call.tool);
    let unknown = end.delivery == Delivery::Unknown
        && risk != Risk::Read
        && !matches!(end.judged.class, Class::Success | Class::Partial);
    state
        .histories
        .entry(call.tool.clone())
        .or_default()
        .record(end.judged.class);
    let settle = tool.map_or(Settle::Human, |tool| tool.settle);
    if unknown && !settle.is_native() {
        return unanswered_write(state, at, &end, &call, policy);
    }
    if unknown || end.judged.class.is_retryable() {
        if let Some(effects) = try_again(state, at, &end, &call, policy) {
            return effects;
        }
        if unknown && settle != Settle::CallAgain {
            return in_doubt(state, at, end.call, &end.judged, policy);
        }
    }
    let note = judged_note(state, &end, &call, "conclude");
    let mut effects = vec![Effect::Note(note)];
    effects.extend(conclude(state, at, end, policy));
    effects
}

/// Returns the effects of a retry, or `None` where none is to be made.
fn try_again(
    state: &mut State,
    at: UnixMs,
    end: &ToolEnd,
    call: &Call,
    policy: &Policy,
) -> Option<Vec<Effect>> {
    let config = &policy.tool(&call.tool)?.retry;
    let is_waited_for = !call.is_lent || !call.requests.is_empty();
    if state.phase != Phase::Running || !is_waited_for {
        return None;
    }
    let decision = retry::decide(
        config,
        &policy.retry_budget,
        &state.retries,
        &retry::Failure {
            tool: &call.tool,
            attempt: end.attempt,
            waited_ms: call.waited_ms,
            hint_ms: end.judged.retry_after_ms,
            left_ms: state.left_ms(at),
            unit: f64::from(end.draw) / (f64::from(u32::MAX) + 1.0),
        },
    );
    let mut note = judged_note(state, end, call, "retry");
    match decision {
        retry::Decision::Retry { delay_ms } => {
            let attempt = end.attempt + 1;
            note.otherwise = "the model would have seen a failure that passes by itself".into();
            state.retries.count(&call.tool);
            state.counters.retries += 1;
            state.counters.tries += 1;
            state.counters.retry_wait_ms += delay_ms;
            state.last_error = Some(end.judged.evidence.clone());
            if let Some(call) = state.calls.get_mut(&end.call) {
                call.stage = Stage::Waiting;
                call.attempt = attempt;
                call.waited_ms = delay_ms;
            }
            let outcome = breaker::Outcome::TryFailed;
            Some(vec![
                Effect::Note(note),
                Effect::Breaker {
                    name: breaker::of_tool(&call.tool),
                    outcome,
                },
                Effect::Wait {
                    call: end.call,
                    attempt,
                    delay_ms,
                },
            ])
        }
        retry::Decision::GiveUp { .. } => None,
    }
}

/// The wait before another try is over.
pub(super) fn retry_due(
    state: &mut State,
    at: UnixMs,
    id: CallId,
    attempt: u32,
    admission: Admission,
    policy: &Policy,
) -> Vec<Effect> {
    let Some(call) = state.calls.get(&id).cloned() else {
        // A timer outlived its call; the numbers say so.
        return vec![];
    };
    if call.stage != Stage::Waiting || call.attempt != attempt {
        return vec![];
    }
    let by_human = |members: &Members| {
        let batch = state.batches.get(&members.batch);
        batch.is_some_and(|batch| batch.by_human)
    };
    let may_go = state.phase == Phase::Running || call.batch.as_ref().is_some_and(by_human);
    if let Some(members) = &call.batch
        && (!may_go || matches!(admission, Admission::Refused { .. }))
    {
        return batch::not_let_out(state, at, id, members, &admission, policy);
    }
    let refusal = match admission {
        _ if !may_go => Some("the run is ending".to_owned()),
        Admission::Refused {
            back_at,
            last_error,
        } => Some(unavailable_text(&call.tool, back_at, last_error.as_deref())),
        Admission::Go | Admission::Probe => None,
    };
    let Some(text) = refusal else {
        let call = state.calls.get_mut(&id);
        return call.and_then(|call| call.go(id)).into_iter().collect();
    };
    let content = Content {
        text,
        is_error: true,
        ..Content::default()
    };
    give_answer(state, at, id, content, Class::Persistent, None, policy)
}

/// A call is over: breaker, key, loop detector, answer.
fn conclude(state: &mut State, at: UnixMs, end: ToolEnd, policy: &Policy) -> Vec<Effect> {
    let mut content = end.content;
    // What kept failing below is a lasting failure above.
    let class = match end.judged.class {
        Class::Transient => Class::Persistent,
        class => class,
    };
    if class.layer() == Layer::Transport {
        content.is_error = true;
        let tool = state
            .calls
            .get(&end.call)
            .map_or("the tool", |call| call.tool.as_str());
        content.text = format!(
            "{}\n`{tool}` is not working at the moment and repeating the call at once will not \
             help: use another way, or go on without it.",
            content.text.trim_end()
        );
    }
    give_answer(state, at, end.call, content, class, Some(end.print), policy)
}

fn give_answer(
    state: &mut State,
    at: UnixMs,
    id: CallId,
    content: Content,
    class: Class,
    print: Option<Print>,
    policy: &Policy,
) -> Vec<Effect> {
    let Some(call) = state.calls.remove(&id) else {
        return unexpected(state, "an answer for a call that is not under way");
    };
    let mut effects = vec![breaker_effect(&call.tool, class, &content.text)];
    if call.attempt > 1 && class == Class::Success {
        state.counters.retried_to_success += 1;
    }
    let happened = matches!(class, Class::Success | Class::Partial);
    if happened {
        escalation::use_up(state, &call);
    }
    if let Some(key) = call.key.clone() {
        effects.push(if happened {
            Effect::Record {
                call: id,
                key,
                step: call.step,
                tool: call.tool.clone(),
                identity: call.identity.clone(),
                class,
                content: content.clone(),
            }
        } else {
            Effect::Free { call: id, key }
        });
    }
    if happened {
        saga::happened(state, id, &call, &content, policy);
    }
    if happened && policy.risk(&call.tool) != Risk::Read && call.step == state.step {
        state.done_in_step.push(DoneCall {
            call: id,
            tool: call.tool.clone(),
            args: call.args.clone(),
            identity: call.identity.clone(),
            key: call.key.clone(),
            content: content.clone(),
            unclaimed: call.requests.is_empty(),
        });
    }
    count(state, class, &call.tool, &content.text);
    let print =
        print.unwrap_or_else(|| answer_print(&call.tool, &call.args, &content, class, policy));
    let reply = Reply {
        requests: &call.requests,
        call: id,
        content,
        class,
    };
    effects.extend(look_for_loop(state, at, print, reply, policy));
    effects
}

/// A tool that the loop ran itself.
pub(super) fn reported(
    state: &mut State,
    at: UnixMs,
    report: Report,
    policy: &Policy,
) -> Vec<Effect> {
    state.spoke = true;
    if let Some(stopping) = stopping(state, report.request) {
        return stopping;
    }
    if let Some(hit) = state.spend.next_tool_call(&state.limits) {
        let outcome = Outcome::Budget { hit: hit.clone() };
        let answer = Answer::Stopping {
            reason: outcome.describe(),
            exit_code: outcome.exit_code(),
        };
        return over_budget(state, &hit, Some((report.request, answer)));
    }
    let call = state.next_call;
    state.next_call = call.next();
    state.spend.tool_calls += 1;
    let class = report.judged.class;
    saga::uncovered(state, &report.tool);
    count(state, class, &report.tool, &report.judged.evidence);
    let mut effects = Vec::new();
    if class != Class::Success {
        let mut note = run_note(state, "observe", &report.judged.rule, &report.judged.why);
        note.about = About::Call {
            call,
            tool: report.tool.clone(),
        };
        note.class = Some(class);
        note.evidence = report.judged.evidence;
        effects.push(Effect::Note(note));
    }
    let conversation = report.conversation.unwrap_or_else(|| state.main());
    let finding = observe(state, at, conversation, report.print);
    let (noted, verdict) = act_on(state, conversation, finding.as_ref(), policy);
    effects.extend(noted);
    let answer = Answer::Reported {
        call,
        class,
        verdict,
    };
    let requests = [report.request];
    effects.extend(reply_or_stop(
        state, at, finding, &requests, &answer, policy,
    ));
    effects
}

fn count(state: &mut State, class: Class, tool: &str, text: &str) {
    *state.counters.classes.entry(class).or_default() += 1;
    state.down = None;
    if class == Class::Success {
        return;
    }
    let line = excerpt(text.trim().lines().next().unwrap_or_default());
    state.last_error = Some(format!("{tool}: {line}"));
    if class == Class::Persistent {
        state.down = Some((tool.to_owned(), line));
    }
}

pub(super) fn breaker_effect(tool: &str, class: Class, text: &str) -> Effect {
    let outcome = match class {
        Class::Transient | Class::Persistent | Class::Quality => breaker::Outcome::CallFailed {
            error: excerpt(text.trim().lines().next().unwrap_or_default()),
        },
        Class::Success
        | Class::Semantic
        | Class::Partial
        | Class::CostPressure
        | Class::Unrecoverable => breaker::Outcome::Up,
    };
    Effect::Breaker {
        name: breaker::of_tool(tool),
        outcome,
    }
}

fn judged_note(state: &State, end: &ToolEnd, call: &Call, action: &str) -> Decision {
    let mut note = run_note(state, action, &end.judged.rule, &end.judged.why);
    note.about = About::Call {
        call: end.call,
        tool: call.tool.clone(),
    };
    note.class = Some(end.judged.class);
    note.evidence = format!("try {}: {}", end.attempt, end.judged.evidence);
    note
}

pub(super) fn error_kind(class: Class) -> ErrorKind {
    match class.layer() {
        Layer::Transport => ErrorKind::Transport,
        Layer::Semantic => ErrorKind::Semantic,
        Layer::None => ErrorKind::None,
    }
}

/// Words a model can use: what is down, until when, what to do instead.
pub fn unavailable_text(tool: &str, back_at: UnixMs, last_error: Option<&str>) -> String {
    let back = jiff::Timestamp::from_millisecond(back_at.0)
        .map_or_else(|_| "later".into(), |at| format!("about {at:.0}"));
    let error = last_error.map_or_else(String::new, |error| format!(" Last error: {error}."));
    format!(
        "`{tool}` is unavailable: its last calls failed, so it is not called for now. It is \
         expected back at {back}.{error} Use another way, or go on without it."
    )
}

pub(super) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 300;
    let mut short: String = text.chars().take(CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
