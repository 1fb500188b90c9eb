//! How an attempt ends.
//!
//! ```text
//! Running ──stop()──► Ending ──agent exits──► Ending ──swept──► conclude
//!    └───────────agent exits by itself───────────┘
//! ```
//! The first reason wins: an agent that is killed because its budget is used up
//! has not failed.

use crate::clock::UnixMs;
use crate::ids::CallId;
use crate::machine::advance::{run_note, unexpected};
use crate::machine::batch;
use crate::machine::conclude::conclude;
use crate::machine::event::Exit;
use crate::machine::{
    About, Answer, Call, Decision, Effect, Kind, Outcome, Phase, Policy, Risk, Settle, Stage,
    State, escalation,
};
use crate::policy::loops::{ErrorKind, Level, Print, ToolTraits};

/// Begins to end the attempt with `outcome`.
///
/// - `told`: the request whose answer tells the loop to stop, with that answer;
///   the loop then gets the grace period to leave by itself.
pub(super) fn stop(
    state: &mut State,
    outcome: Outcome,
    told: Option<(u64, Answer)>,
) -> Vec<Effect> {
    match &state.phase {
        Phase::Running => {}
        // A second Ctrl-C while ending: the driver hurries; the reason stays.
        Phase::Ending { .. } => return vec![Effect::EndAgent { told: false }],
        Phase::Created | Phase::Concluding { .. } | Phase::Ended { .. } => {
            // Nothing runs: the run ends where it stands.
            state.phase = Phase::Ended {
                outcome: outcome.clone(),
            };
            return vec![Effect::Finish { outcome }];
        }
    }
    if !matches!(outcome, Outcome::Waiting { .. }) {
        state.last_error = Some(outcome.describe());
    }
    state.phase = Phase::Ending { outcome };
    let mut effects = Vec::new();
    let told_one = told.is_some();
    if let Some((request, answer)) = told {
        effects.push(Effect::Reply { request, answer });
    }
    effects.push(Effect::EndAgent { told: told_one });
    effects
}

/// The agent process ended.
pub(super) fn exited(
    state: &mut State,
    at: UnixMs,
    exit: Exit,
    tail: &str,
    policy: &Policy,
) -> Vec<Effect> {
    if exit == Exit::MachineDown {
        state.spend.forfeit_unseen();
    }
    if matches!(exit, Exit::Lost | Exit::MachineDown) {
        // It ran no longer than until the last thing that is known of it.
        state.active_ms = state.active_until(state.seen_at);
        state.attempt_at = at;
        state.waits.attempt_ms = 0;
    }
    if state.phase != Phase::Running {
        return vec![];
    }
    let (outcome, rule) = judge(state, exit, tail, policy);
    let action = match outcome {
        Outcome::Done { .. } => "end",
        _ => "fail",
    };
    let mut note = run_note(state, action, rule, &in_words(&outcome, policy));
    note.evidence = exit.as_clause();
    if !matches!(outcome, Outcome::Done { .. }) {
        state.last_error = Some(outcome.describe());
    }
    state.phase = Phase::Ending { outcome };
    vec![Effect::Note(note)]
}

/// Equal calls in a row that an agent has to leave undone to be taken for one that
/// gave up: those that end with a call of its own (`finish`) make it once.
const GAVE_UP_AT: u32 = 3;

/// Exit 0 proves nothing by itself: what the loop said, and how its last model
/// call went, join in.
fn judge(state: &State, exit: Exit, tail: &str, policy: &Policy) -> (Outcome, &'static str) {
    let failed = |why: String| Outcome::Failed { why };
    match exit {
        // Its last word was durable; only its way out was cut.
        Exit::Signal(_) | Exit::Lost | Exit::MachineDown
            if state.done.is_some() && state.done_at == state.step =>
        {
            (Outcome::Done { verified: false }, "exit.done")
        }
        Exit::Signal(_) | Exit::Lost | Exit::MachineDown => {
            (Outcome::Crashed { exit }, "exit.killed")
        }
        // A shell reports a killed child so; 128 + SIGKILL is what OOM looks like.
        Exit::Code(137) => (Outcome::Crashed { exit }, "exit.killed"),
        Exit::Code(0) if awaits_a_model(state) => (
            failed("it ended in the middle of a model call".into()),
            "exit.open_model_call",
        ),
        Exit::Code(0) if state.model_error.is_some() => {
            let error = state.model_error.as_deref().unwrap_or_default();
            if let Some((tool, why)) = &state.down {
                let (tool, why) = (tool.clone(), why.clone());
                return (Outcome::Unavailable { tool, why }, "exit.model_down");
            }
            (
                failed(format!("it ended after a failed model call: {error}")),
                "exit.model_error",
            )
        }
        Exit::Code(0) if state.done.is_some() => (Outcome::Done { verified: false }, "exit.done"),
        Exit::Code(0) if state.on_wire && asked_times(state) >= GAVE_UP_AT => {
            let why = format!(
                "it ended with the last call undone that its model asked for {} times in a row",
                asked_times(state)
            );
            let outcome = match policy.loops {
                Some(_) => Outcome::Loop { why },
                None => Outcome::Failed { why },
            };
            (outcome, "exit.gave_up")
        }
        // It cannot say so; its last model call ended well, and so did it.
        Exit::Code(0) if state.on_wire => (Outcome::Done { verified: false }, "exit.zero"),
        Exit::Code(0) if !policy.speaks => (Outcome::Done { verified: false }, "exit.zero"),
        Exit::Code(0) if !state.spoke => (
            failed(
                "it exited with code 0 without a word or a model call (a loop says `agentguard \
                 turn --done`; for an agent that can do neither set `agent.protocol: none`)"
                    .into(),
            ),
            "exit.silent",
        ),
        Exit::Code(0) => (
            failed("it exited with code 0 without saying that it was done".into()),
            "exit.not_done",
        ),
        Exit::Code(code) => match &state.down {
            Some((tool, why)) => (
                Outcome::Unavailable {
                    tool: tool.clone(),
                    why: why.clone(),
                },
                "exit.tool_down",
            ),
            None => {
                let last = tail.trim().lines().last().unwrap_or_default().trim();
                let last = last.chars().take(200).collect::<String>();
                let why = match last.as_str() {
                    "" => format!("it exited with code {code}"),
                    line => format!("it exited with code {code}: {line}"),
                };
                (failed(why), "exit.code")
            }
        },
    }
}

/// Whether a model call is under way that the work waits for; nobody waits for a title.
fn awaits_a_model(state: &State) -> bool {
    let is_work = |reservation: &u64| {
        let of = state.reserved_of.get(reservation);
        of.is_none_or(|of| state.kind(*of) != Kind::Side)
    };
    state.spend.reserved.keys().any(is_work)
}

/// How many times in a row the model asked for the same, in the conversation that went
/// on last.
fn asked_times(state: &State) -> u32 {
    let last = state.conversations.get(&state.last_of);
    last.map_or(0, |it| it.asking.times)
}

/// Nothing of the attempt runs any more: the run ends, and what was cut off in
/// the middle is in doubt.
pub(super) fn swept(
    state: &mut State,
    at: UnixMs,
    asked: u32,
    killed: u32,
    policy: &Policy,
) -> Vec<Effect> {
    let outcome = match &state.phase {
        Phase::Ending { outcome } => outcome.clone(),
        // What a human had done was cut short; the run is where it was.
        Phase::Ended { .. } if !state.batches.is_empty() => {
            return batch::abandon(state, at, policy);
        }
        _ => return unexpected(state, "swept"),
    };
    let outcome = deadly(state, outcome, policy);
    let freed = abandon(state, at, policy);
    // A run that is done but left a write in doubt is not done.
    let outcome = match (outcome, state.in_doubt.first_key_value()) {
        (Outcome::Done { .. }, Some((id, call))) => Outcome::InDoubt {
            call: *id,
            tool: call.tool.clone(),
        },
        (outcome, _) => outcome,
    };
    let mut note = run_note(state, "end", "run.end", &in_words(&outcome, policy));
    note.evidence = format!("{asked} processes asked to end, {killed} killed");
    let mut effects = freed;
    effects.push(Effect::Note(note));
    effects.extend(conclude(state, at, outcome, policy));
    effects
}

fn in_words(outcome: &Outcome, policy: &Policy) -> String {
    match outcome {
        Outcome::Done { .. } if policy.verify_tries.is_some() => {
            "the agent is done; its work is checked next".into()
        }
        outcome => outcome.describe(),
    }
}

/// A call that was in flight each time the process died is a loop of its own.
fn deadly(state: &mut State, outcome: Outcome, policy: &Policy) -> Outcome {
    let main = state.main();
    let calls: Vec<Call> = state.calls.values().cloned().collect();
    let (Outcome::Crashed { .. }, Some(detector)) =
        (&outcome, &mut state.conversation(main).detector)
    else {
        return outcome;
    };
    let unknown = ToolTraits::default();
    for call in &calls {
        let traits = policy
            .tool(&call.tool)
            .map_or(&unknown, |tool| &tool.traits);
        let nothing = serde_json::Value::Null;
        let print = Print::of(
            &call.tool,
            &call.args,
            &nothing,
            false,
            ErrorKind::None,
            traits,
        );
        let finding = detector.died_in(&print);
        if let Some(finding) = finding.filter(|finding| finding.level == Level::Stop) {
            return Outcome::Loop { why: finding.why };
        }
    }
    outcome
}

/// Gives up what a dead attempt had under way: its open reservations count as
/// spent, its executing writes are in doubt, the rest never happened and its
/// keys are free again.
fn abandon(state: &mut State, at: UnixMs, policy: &Policy) -> Vec<Effect> {
    let mut effects = batch::abandon(state, at, policy);
    state.spend.forfeit_reservations();
    state.reserved_at.clear();
    state.reserved_of.clear();
    for (id, mut call) in std::mem::take(&mut state.calls) {
        call.requests.clear();
        // A call that waits for its next try was answered the last time.
        let unsure = matches!(call.stage, Stage::Executing | Stage::Probing)
            && policy.risk(&call.tool) != Risk::Read;
        let settle = policy.tool(&call.tool).map(|tool| tool.settle);
        if unsure && settle == Some(Settle::CallAgain) {
            effects.push(Effect::Note(left_to_its_key(state, id, &call)));
        } else if unsure {
            if settle.is_none_or(|settle| settle == Settle::Human) {
                let ask = escalation::about_doubt(id, &call, "it was cut off");
                effects.extend(escalation::open(state, at, ask, policy).1);
            }
            state.in_doubt.insert(id, call);
            continue;
        }
        if matches!(call.stage, Stage::Approving { .. }) {
            // Its key was never claimed.
            continue;
        }
        if let Some(key) = call.key {
            effects.push(Effect::Free { call: id, key });
        }
    }
    for done in &mut state.done_in_step {
        done.unclaimed = true;
    }
    effects
}

/// A write was cut off that its server recognises when it is made again.
fn left_to_its_key(state: &State, id: CallId, call: &Call) -> Decision {
    let why = "it may have happened; its server takes a repetition under the same key for \
               the same write";
    let mut note = run_note(state, "call_again", "write.native_key", why);
    note.about = About::Call {
        call: id,
        tool: call.tool.clone(),
    };
    note.otherwise = "a human would have had to say whether it happened".into();
    note
}
