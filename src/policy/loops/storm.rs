//! Infrastructure errors without end.
//!
//! A rate limit, a time-out or a reset is the retry budget's business and no
//! loop under the usual thresholds. A storm is: so many of them, for one call
//! or without one answer in between, that no retry budget can be at work.

use super::finding::{About, Identity, Rung, Sighting};
use super::print::Kind;
use super::window::{Entry, Window};

/// Returns the sighting of a storm that still lasts.
pub(super) fn look(window: &Window, stop: u32) -> Option<Sighting> {
    let newest = window.newest()?;
    if !newest.is_transport() {
        return None;
    }
    let any = run(window
        .newest_first()
        .filter(|entry| entry.print.kind != Kind::Wait));
    let one = run(window
        .newest_first()
        .filter(|entry| entry.print.call == newest.print.call));
    let (count, first) = any.max(one);
    Sighting::counted(
        Rung::Storm,
        Identity::new(About::Tool, newest.print.family),
        first,
        count,
        stop,
    )
}

/// Returns how many infrastructure errors stand first, and the last one's number.
fn run<'a>(entries: impl Iterator<Item = &'a Entry>) -> (u32, u64) {
    entries
        .take_while(|entry| entry.is_transport())
        .fold((0, 0), |(count, _), entry| (count + 1, entry.no))
}
