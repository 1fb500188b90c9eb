//! Idempotency keys: who may execute, and what came of it.
//!
//! A key is shared by all runs, since a side effect is: it is claimed before
//! the call and executed after it, each in the transaction of the event that
//! says so. Of two that want the same key one gets it; the other sees whose it
//! is. A claim that was never executed is a call in doubt.
//!
//! ```text
//! (none) ── Claim ──► claimed ── Execute ──► executed ── forget_key ──► (none)
//!    ▲                 │  ▲ └─ TakeOver: same state, other holder
//!    ├───── Free ──────┘         │
//!    └────────── Undo ───────────┘
//! ```
//!
//! [`next`] is the table above as a pure function; both stores use it.
//! Not here: how a key is derived, and what to do about a call in doubt.

use std::path::PathBuf;

use crate::clock::UnixMs;
use crate::ids::{CallId, IdempotencyKey, RunId, StepNo};

/// The largest result that is kept in the row itself; larger ones go to a file
/// (`Paths::keep_result`).
pub const INLINE_BYTES_MAX: usize = 64 * 1024;

/// One intended use of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyUse {
    /// The key, with whatever scope its task gives it.
    pub key: IdempotencyKey,
    /// The call that uses it.
    pub call: CallId,
    /// The step the run is in.
    pub step: StepNo,
    /// The tool.
    pub tool: String,
    /// The fingerprint of the normalised arguments.
    pub args_hash: String,
}

/// A change to one key, by the run whose event carries it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// The call is about to be made. Had when the key is free, or claimed by
    /// this same run and call.
    Claim(KeyUse),
    /// The call was made. Had when the key is free, or claimed by this same
    /// run and call.
    Execute {
        /// The use.
        key_use: KeyUse,
        /// How the result was classed.
        verdict: String,
        /// The result.
        result: KeyResult,
    },
    /// The call was certainly not made. Had when claimed by this run and call,
    /// or when free already.
    Free {
        /// The key.
        key: IdempotencyKey,
        /// The call that claimed it.
        call: CallId,
    },
    /// What this call did was taken back, so it may be done again. Had when
    /// executed by this run and call, or when free already.
    Undo {
        /// The key.
        key: IdempotencyKey,
        /// The call that executed it.
        call: CallId,
    },
    /// This run settles a call that another left in doubt. Had when the claim
    /// is still that one's.
    TakeOver {
        /// The use from now on.
        key_use: KeyUse,
        /// The run that claimed it.
        from_run: RunId,
        /// The call that claimed it.
        from_call: CallId,
    },
}

impl KeyChange {
    /// Returns the key to change.
    pub fn key(&self) -> &IdempotencyKey {
        match self {
            Self::Claim(key_use)
            | Self::Execute { key_use, .. }
            | Self::TakeOver { key_use, .. } => &key_use.key,
            Self::Free { key, .. } | Self::Undo { key, .. } => key,
        }
    }
}

/// Where the result of an executed call is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyResult {
    /// In the row.
    Inline(String),
    /// In a file below the state folder, by its relative path.
    File(PathBuf),
}

/// How far a key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// The call may have been made.
    Claimed,
    /// The call was made.
    Executed {
        /// How its result was classed.
        verdict: String,
        /// Its result.
        result: KeyResult,
    },
}

/// What is known about a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// The run that holds it.
    pub run: RunId,
    /// The use.
    pub key_use: KeyUse,
    /// How far it is.
    pub state: KeyState,
    /// When it got there.
    pub at: UnixMs,
}

/// What becomes of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// The row is as it should be.
    Same,
    /// The row becomes this.
    Put(KeyRow),
    /// The row goes.
    Remove,
    /// Someone else holds it; the row stays.
    Lost,
}

/// Decides what `change` of `run` does to a key. Total and pure.
pub fn next(present: Option<&KeyRow>, run: &RunId, change: &KeyChange, at: UnixMs) -> Next {
    let row = |key_use: &KeyUse, state| KeyRow {
        run: run.clone(),
        key_use: key_use.clone(),
        state,
        at,
    };
    let held_by = |holder: &RunId, call: CallId| {
        present.is_some_and(|row| {
            row.state == KeyState::Claimed && row.run == *holder && row.key_use.call == call
        })
    };
    let executed_by = |call: CallId| {
        present.is_some_and(|row| {
            row.state != KeyState::Claimed && row.run == *run && row.key_use.call == call
        })
    };
    match change {
        KeyChange::Claim(key_use) if present.is_none() => {
            Next::Put(row(key_use, KeyState::Claimed))
        }
        KeyChange::Claim(key_use) if held_by(run, key_use.call) => Next::Same,
        KeyChange::Execute {
            key_use,
            verdict,
            result,
        } if present.is_none() || held_by(run, key_use.call) => Next::Put(row(
            key_use,
            KeyState::Executed {
                verdict: verdict.clone(),
                result: result.clone(),
            },
        )),
        KeyChange::Free { .. } | KeyChange::Undo { .. } if present.is_none() => Next::Same,
        KeyChange::Free { call, .. } if held_by(run, *call) => Next::Remove,
        KeyChange::Undo { call, .. } if executed_by(*call) => Next::Remove,
        KeyChange::TakeOver {
            key_use,
            from_run,
            from_call,
        } if held_by(from_run, *from_call) => Next::Put(row(key_use, KeyState::Claimed)),
        KeyChange::Claim(_)
        | KeyChange::Execute { .. }
        | KeyChange::Free { .. }
        | KeyChange::Undo { .. }
        | KeyChange::TakeOver { .. } => Next::Lost,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_table() {
        let (mine, other) = (RunId::from_bits(1), RunId::from_bits(2));
        let at = UnixMs(5);
        let key_use = |call| KeyUse {
            key: IdempotencyKey("charge:7".into()),
            call: CallId(call),
            step: StepNo(3),
            tool: "charge".into(),
            args_hash: "a1".into(),
        };
        let row = |run: &RunId, call, state| KeyRow {
            run: run.clone(),
            key_use: key_use(call),
            state,
            at,
        };
        let done = || KeyState::Executed {
            verdict: "success".into(),
            result: KeyResult::Inline("{}".into()),
        };
        let claimed = |run, call| Some(row(run, call, KeyState::Claimed));
        let executed = |run, call| Some(row(run, call, done()));
        let claim = |call| KeyChange::Claim(key_use(call));
        let execute = |call| KeyChange::Execute {
            key_use: key_use(call),
            verdict: "success".into(),
            result: KeyResult::Inline("{}".into()),
        };
        let free = |call| KeyChange::Free {
            key: IdempotencyKey("charge:7".into()),
            call: CallId(call),
        };
        let undo = |call| KeyChange::Undo {
            key: IdempotencyKey("charge:7".into()),
            call: CallId(call),
        };
        let take_over = |from_call| KeyChange::TakeOver {
            key_use: key_use(9),
            from_run: other.clone(),
            from_call: CallId(from_call),
        };
        let put = |run, call, state| Next::Put(row(run, call, state));
        #[rustfmt::skip]
        let rows = [
            ("a free key is claimed", None, claim(1), put(&mine, 1, KeyState::Claimed)),
            ("a repeated claim after a crash is the same claim", claimed(&mine, 1), claim(1), Next::Same),
            ("another call of the same run does not get it", claimed(&mine, 1), claim(2), Next::Lost),
            ("another run does not get it", claimed(&other, 1), claim(1), Next::Lost),
            ("an executed key is never claimed again", executed(&mine, 1), claim(1), Next::Lost),
            ("the holder executes", claimed(&mine, 1), execute(1), put(&mine, 1, done())),
            ("a reported call executes without a claim", None, execute(1), put(&mine, 1, done())),
            ("executing twice keeps the first result", executed(&mine, 1), execute(1), Next::Lost),
            ("who does not hold it cannot execute", claimed(&other, 1), execute(1), Next::Lost),
            ("the holder frees a call that was not made", claimed(&mine, 1), free(1), Next::Remove),
            ("freeing twice is freeing once", None, free(1), Next::Same),
            ("what was taken back may be done again", executed(&mine, 1), undo(1), Next::Remove),
            ("taking back twice is once", None, undo(1), Next::Same),
            ("nobody takes back what another did", executed(&other, 1), undo(1), Next::Lost),
            ("what is not done is not taken back", claimed(&mine, 1), undo(1), Next::Lost),
            ("an executed key cannot be freed", executed(&mine, 1), free(1), Next::Lost),
            ("a claim left in doubt is taken over", claimed(&other, 4), take_over(4), put(&mine, 9, KeyState::Claimed)),
            ("of two that take over the second is too late", claimed(&mine, 9), take_over(4), Next::Lost),
            ("an executed call is not in doubt", executed(&other, 4), take_over(4), Next::Lost),
        ];
        for (name, present, change, want) in rows {
            assert_eq!(
                next(present.as_ref(), &mine, &change, at),
                want,
                "row: {name}"
            );
        }
    }
}
