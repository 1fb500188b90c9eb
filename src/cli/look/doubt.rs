//! Which calls of a run may or may not have happened.

use std::collections::BTreeMap;

use crate::ids::CallId;
use crate::machine::event::Exit;
use crate::machine::{Call, Event, Phase, Policy, SagaEntry, Stage, State, Undo, advance};

/// Returns a run that no process holds as its end will leave it.
///
/// A run that crashed has no written end yet. What its end will leave is what the
/// machine says about it, so the machine is asked; nothing is stored.
pub fn closed(state: State, policy: &Policy) -> State {
    let mut state = state;
    let at = state.seen_at;
    if state.phase == Phase::Running {
        let event = Event::AgentExited {
            exit: Exit::Lost,
            tail: String::new(),
        };
        state = advance(Some(state), at, event, policy).0;
    }
    if matches!(state.phase, Phase::Ending { .. }) {
        let event = Event::Swept {
            asked: 0,
            killed: 0,
        };
        state = advance(Some(state), at, event, policy).0;
    }
    state
}

/// Returns the calls in doubt of a run that no process holds, undos among them.
pub fn in_doubt(state: State, policy: &Policy) -> BTreeMap<CallId, Call> {
    let state = closed(state, policy);
    let undos = state.saga.entries.iter();
    let undos = undos.filter(|entry| matches!(entry.undo, Undo::InDoubt { .. }));
    let undos: Vec<_> = undos
        .map(|entry| (entry.call, undo(entry, &state)))
        .collect();
    state.in_doubt.into_iter().chain(undos).collect()
}

/// Returns an undo as a call.
fn undo(entry: &SagaEntry, state: &State) -> Call {
    Call {
        tool: format!("undo of {}", entry.tool),
        args: entry.args.clone(),
        identity: String::new(),
        key: None,
        step: state.step,
        attempt: 1,
        waited_ms: 0,
        stage: Stage::Executing,
        requests: vec![],
        called_at: state.seen_at,
        batch: None,
        is_lent: false,
    }
}
