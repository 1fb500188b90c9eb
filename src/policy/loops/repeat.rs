//! The same call in a row, and the same error whatever the arguments.

use super::config::Config;
use super::digest::Digest;
use super::finding::{About, Identity, Rung, Sighting};
use super::print::{Kind, Outcome, Talk};
use super::window::{Entry, Window};

/// Returns the sighting of the newest call repeated in a row.
pub(super) fn same_call(window: &Window, config: &Config) -> Option<Sighting> {
    let newest = window.newest()?;
    if newest.waiting || newest.is_transport() {
        return None;
    }
    let (mut count, mut first) = (0, newest.no);
    for entry in window.newest_first().take_while(|entry| entry.same(newest)) {
        (count, first) = (count + 1, entry.no);
    }
    let (rung, stop) = match newest.is_error() {
        true => (Rung::SameCallError, config.same_call_error),
        false if is_gesture(newest) => (Rung::SameCall, config.gestures),
        false => (Rung::SameCall, config.same_call),
    };
    let identity = Identity::new(About::Call, newest.print.call);
    Sighting::counted(rung, identity, first, count, stop)
}

/// Scrolling and keys are repeated on purpose, and often only say "ok".
fn is_gesture(entry: &Entry) -> bool {
    let tool = entry.print.tool.to_ascii_lowercase();
    entry.print.kind == Kind::Act
        && entry.print.talk == Talk::Ack
        && !["click", "submit", "goto", "navigate", "visit"]
            .iter()
            .any(|word| tool.contains(word))
}

/// Returns the sighting of one error that a tool keeps giving.
///
/// Other tools in between do not matter; an answer of the same tool ends it.
pub(super) fn same_error(window: &Window, config: &Config) -> Option<Sighting> {
    let newest = window.newest()?;
    if newest.waiting || !newest.is_error() {
        return None;
    }
    let (mut all, mut exact, mut first, mut first_exact) = (0, 0, newest.no, newest.no);
    for entry in window
        .newest_first()
        .filter(|entry| entry.print.family == newest.print.family)
    {
        match entry.print.outcome {
            Outcome::Transport => continue,
            Outcome::Error if entry.print.error == newest.print.error => {
                (all, first) = (all + 1, entry.no);
                if entry.print.masked == newest.print.masked {
                    (exact, first_exact) = (exact + 1, entry.no);
                }
            }
            _ => break,
        }
    }
    // Errors equal to the letter weigh more than "not found" for other names,
    // which may be a search for what is there.
    let lookup = newest.print.talk == Talk::Empty;
    let to_the_letter = !lookup || exact * config.same_error_echoed >= all * config.same_error;
    let (count, first, stop) = match to_the_letter {
        true if lookup => (exact, first_exact, config.same_error),
        true => (all, first, config.same_error),
        false => (all, first, config.same_error_echoed),
    };
    let about = Digest::join(&[newest.print.family, newest.print.error]);
    Sighting::counted(
        Rung::SameError,
        Identity::new(About::Error, about),
        first,
        count,
        stop,
    )
}
