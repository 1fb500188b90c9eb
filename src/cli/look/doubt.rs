//! Which calls of a run may or may not have happened.

use std::collections::BTreeMap;

use crate::ids::CallId;
use crate::machine::event::Exit;
use crate::machine::{Call, Event, Phase, Policy, State, advance};

/// Returns the calls in doubt of a run that no process holds.
///
/// A run that crashed has no written end yet. What its end will leave in doubt
/// is what the machine says about it, so the machine is asked; nothing is
/// stored.
pub fn in_doubt(state: State, policy: &Policy) -> BTreeMap<CallId, Call> {
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
    state.in_doubt
}
