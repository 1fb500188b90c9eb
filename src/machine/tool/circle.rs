//! Calls that go in a circle: what is found is noted, told, held or ends the run.

use crate::clock::UnixMs;
use crate::ids::{CallId, ConversationNo};
use crate::machine::advance::run_note;
use crate::machine::escalation::{self, Held};
use crate::machine::event::{Content, RequestNo};
use crate::machine::{Answer, Effect, Kind, Outcome, Phase, Policy, State, Verdict};
use crate::policy::loops::{self, Finding, Level, Print};
use crate::policy::taxonomy::Class;

/// What an answer to a tool call needs.
pub(super) struct Reply<'a> {
    pub requests: &'a [RequestNo],
    pub call: CallId,
    pub content: Content,
    pub class: Class,
}

pub(super) fn look_for_loop(
    state: &mut State,
    at: UnixMs,
    print: Print,
    reply: Reply<'_>,
    policy: &Policy,
) -> Vec<Effect> {
    let Reply {
        requests,
        call,
        content,
        class,
    } = reply;
    let main = state.main();
    let finding = observe(state, at, main, print);
    let (mut effects, verdict) = act_on(state, main, finding.as_ref(), policy);
    let answer = Answer::Tool {
        call,
        content,
        class,
        verdict,
    };
    effects.extend(reply_or_stop(state, at, finding, requests, &answer, policy));
    effects
}

/// Shows a call to the loop detector; returns what is noted, and the circle in which
/// it goes, if that ends the run or has a human asked.
pub(in super::super) fn look(
    state: &mut State,
    at: UnixMs,
    print: Print,
    policy: &Policy,
) -> (Vec<Effect>, Option<Finding>) {
    let main = state.main();
    let finding = observe(state, at, main, print);
    let (noted, _) = act_on(state, main, finding.as_ref(), policy);
    (noted, finding.filter(|it| it.level == Level::Stop))
}

pub(super) fn observe(
    state: &mut State,
    at: UnixMs,
    conversation: ConversationNo,
    print: Print,
) -> Option<Finding> {
    let detector = state.conversation(conversation).detector.as_mut();
    detector?.observe(print, Some(at.0), None)
}

/// Notes what was found and says what the loop is to do about it.
///
/// - `conversation`: in which it was found.
pub(super) fn act_on(
    state: &mut State,
    conversation: ConversationNo,
    finding: Option<&Finding>,
    policy: &Policy,
) -> (Vec<Effect>, Verdict) {
    let Some(finding) = finding else {
        return (vec![], Verdict::Go);
    };
    *state
        .counters
        .loops
        .entry(finding.rung.to_string())
        .or_default() += 1;
    let action = match finding.level {
        Level::Warn => "warn",
        Level::Steer => "steer",
        Level::Stop if policy.escalation.on_loop => "pause",
        Level::Stop => "stop",
    };
    let mut note = run_note(
        state,
        action,
        &format!("loop.{}", finding.rung),
        &finding.why,
    );
    // Calls are counted within their conversation.
    let of = match state.kind(conversation) {
        Kind::Main => String::new(),
        Kind::Sub | Kind::Side => format!(" of {}", state.conversation_name(conversation)),
    };
    note.evidence = format!(
        "calls {} to {}{of}, {} times, {}",
        finding.first, finding.last, finding.count, finding.identity
    );
    if finding.level == Level::Steer {
        let it = state.conversation(conversation);
        it.steer.clone_from(&finding.steer);
    }
    let verdict = match finding.level {
        // What is held until a human has spoken says what they said.
        Level::Stop if policy.escalation.on_loop => Verdict::Go,
        Level::Stop => Verdict::stop(&Outcome::Loop {
            why: finding.why.clone(),
        }),
        Level::Warn | Level::Steer => Verdict::Go,
    };
    (vec![Effect::Note(note)], verdict)
}

pub(super) fn reply_or_stop(
    state: &mut State,
    at: UnixMs,
    finding: Option<Finding>,
    requests: &[RequestNo],
    answer: &Answer,
    policy: &Policy,
) -> Vec<Effect> {
    if let Some(finding) = finding.as_ref().filter(|it| it.level == Level::Stop)
        && state.phase == Phase::Running
        && policy.escalation.on_loop
    {
        let ask = escalation::about_loop(state, &finding.why, &finding.identity);
        let hold = |request: &RequestNo| Held::Reply {
            request: *request,
            answer: answer.clone(),
        };
        let held = requests.iter().map(hold).collect();
        return escalation::hold(state, at, ask, held, state.on_wire, policy);
    }
    let mut effects: Vec<Effect> = requests
        .iter()
        .map(|request| Effect::Reply {
            request: *request,
            answer: answer.clone(),
        })
        .collect();
    if let Some(finding) = finding.filter(|finding| finding.level == loops::Level::Stop)
        && state.phase == Phase::Running
    {
        let outcome = Outcome::Loop { why: finding.why };
        state.last_error = Some(outcome.describe());
        state.phase = Phase::Ending { outcome };
        effects.push(Effect::EndAgent { told: true });
    }
    effects
}
