//! The run as a pure state machine.
//!
//! [`advance`] takes the state, one event and the policy, and gives the next
//! state and the effects to carry out. No IO, no clock, no chance: time, draws
//! and facts from outside come in with the event. The journal stores events;
//! [`replay`] is the same function over the stored ones, so that what a resume
//! sees cannot drift from what the live run saw.
//!
//! ```text
//!  outside ──► Event ──► journal ──► effects leave (reply, execute, end …)
//!                 │         ▲ durable first
//!                 ▼         │
//!              advance ──► notes, key records, breaker outcomes (same transaction)
//! ```
//!
//! Start reading at [`event`], then [`advance`].
//!
//! Not here: how a tool is run (`tools`), how bytes are stored (`store`), how
//! failures are classed and loops found (`policy`).

mod advance;
mod asked_check;
pub mod batch;
mod commit;
mod conclude;
mod conversation;
mod effect;
mod ending;
pub mod escalation;
pub mod event;
mod keys;
mod model;
mod outcome;
mod plan;
mod replay;
mod resume;
mod saga;
mod state;
mod tool;
mod turn;

pub use advance::advance;
pub use commit::Workspace;
pub use conclude::Part;
pub use conversation::{Asking, Conversation, Kind, Left};
pub use effect::{About, Answer, Decision, Effect, Next, Verdict};
pub use escalation::{Escalation, Question, Ruling};
pub use event::Event;
pub use keys::MadeKey;
pub use outcome::{Outcome, Status};
pub use plan::{ModelPolicy, Policy, Risk, Settle, ToolPolicy, UndoPolicy};
pub use replay::{Checkpoint, Entry, checkpoints, replay};
pub use resume::{Cause, How, Resume, resume};
pub use saga::{Entry as SagaEntry, NextUndo, Saga, Undo};
pub use state::{Call, Counters, Models, Phase, Rest, Session, Stage, State, Used};
pub use tool::unavailable_text;
