//! The commit of a staged folder, the last part of the end of a run.
//!
//! ```text
//! Committing ──CommitStarted──► Committing, started ──Committed──► Ended: done
//!     └───────────────CommitRefused───────────────► Ended: conflict, or unavailable,
//!                                                  or failed where the copy is gone
//! ```
//! Whatever cuts it off, it is taken up again: what is in place and what is not is
//! seen on disk (`staging::commit`), never guessed.

use crate::clock::UnixMs;
use crate::machine::advance::{run_note, unexpected};
use crate::machine::conclude::{begin, end};
use crate::machine::event::{CommitMethod, FileCounts, Refusal, Staged};
use crate::machine::{Effect, Outcome, Part, State};

/// The folder that the agent works on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workspace {
    /// Its copy, from when it was made until it was committed.
    pub staged: Option<Staged>,
    /// What is being committed.
    pub committing: Option<FileCounts>,
    /// What was committed last, and into which folder.
    pub committed: Option<(FileCounts, String)>,
}

impl Workspace {
    /// The folder was copied.
    pub(super) fn staged(&mut self, staged: Staged) {
        self.staged = Some(staged);
        self.committing = None;
    }
}

/// The change is about to be put in place.
pub(super) fn started(
    state: &mut State,
    at: UnixMs,
    method: CommitMethod,
    why: Option<String>,
    counts: FileCounts,
) -> Vec<Effect> {
    let Some(Part::Committing { verified, .. }) = state.part() else {
        return unexpected(state, "the start of a commit that is not due");
    };
    let part = Part::Committing {
        verified: *verified,
        is_started: true,
    };
    begin(state, at, part);
    state.unconcluded = None;
    state.ended_at = None;
    state.workspace.committing = Some(counts);
    let (rule, how) = match method {
        CommitMethod::Exchange => (
            "commit.exchange",
            "the folder is exchanged as a whole, in one system call",
        ),
        CommitMethod::Files => (
            "commit.files",
            "file by file by a plan on disk, since it cannot be exchanged as a whole",
        ),
    };
    let mut note = run_note(state, "commit", rule, how);
    note.evidence = match why {
        Some(why) => format!("{}; {why}", counts.describe()),
        None => counts.describe(),
    };
    vec![Effect::Note(note)]
}

/// The folder has the change.
pub(super) fn committed(state: &mut State, at: UnixMs, counts: FileCounts) -> Vec<Effect> {
    let Some(Part::Committing { verified, .. }) = state.part() else {
        return unexpected(state, "the end of a commit that is not under way");
    };
    let outcome = Outcome::Done {
        verified: *verified,
    };
    let staged = state.workspace.staged.take();
    let target = staged.map(|it| it.target).unwrap_or_default();
    state.workspace.committing = None;
    state.workspace.committed = Some((counts, target));
    state.unconcluded = None;
    end(state, at, outcome)
}

/// The change cannot come in.
pub(super) fn refused(state: &mut State, at: UnixMs, refusal: &Refusal) -> Vec<Effect> {
    let Some(Part::Committing { verified, .. }) = state.part() else {
        return unexpected(state, "the refusal of a commit that is not under way");
    };
    let part = Part::Committing {
        verified: *verified,
        is_started: false,
    };
    state.workspace.committing = None;
    let (outcome, rule) = match refusal {
        Refusal::Conflict { paths, count } => {
            let more = count.saturating_sub(paths.len() as u64);
            let more = match more {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            let why = match paths.as_slice() {
                [] => "the folder does not hold still".to_owned(),
                paths => format!("changed by others meanwhile: {}{more}", paths.join(", ")),
            };
            (Outcome::Conflict { why }, "commit.conflict")
        }
        Refusal::Locked { why } => {
            let (tool, why) = ("workspace".to_owned(), why.clone());
            (Outcome::Unavailable { tool, why }, "commit.locked")
        }
        Refusal::Gone { stage } => return gone(state, at, stage),
    };
    // Resumed, it is tried again, without the agent.
    state.unconcluded = Some(part);
    let mut note = run_note(state, "refuse", rule, &outcome.describe());
    note.otherwise = "what others wrote would have been overwritten".into();
    let mut effects = vec![Effect::Note(note)];
    effects.extend(end(state, at, outcome));
    effects
}

/// The copy is lost: the work has to be done again, in a new one.
fn gone(state: &mut State, at: UnixMs, stage: &str) -> Vec<Effect> {
    state.workspace.staged = None;
    state.unconcluded = None;
    state.done = None;
    let why = format!("the stage {stage} is gone, with what the agent did there");
    let outcome = Outcome::Failed { why };
    let note = run_note(state, "refuse", "commit.gone", &outcome.describe());
    let mut effects = vec![Effect::Note(note)];
    effects.extend(end(state, at, outcome));
    effects
}
