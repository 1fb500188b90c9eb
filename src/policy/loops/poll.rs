//! Polls and pauses in which nothing changes.
//!
//! Waiting is allowed to repeat itself, so the count is high, and where calls
//! carry times a floor of time must have passed too; three times the count
//! stands for the floor, since a poll without a pause costs money as well.

use super::config::Config;
use super::finding::{About, Identity, Rung, Sighting};
use super::print::Kind;
use super::window::{Entry, Window};

/// Returns the sighting of a poll, or of pauses alone, that bring nothing new.
pub(super) fn look(window: &Window, config: &Config) -> Option<Sighting> {
    let newest = window.newest()?;
    if !newest.waiting || newest.is_transport() {
        return None;
    }
    let streak = streak(window);
    let pauses_only = streak.iter().all(|entry| entry.print.kind == Kind::Wait);
    // A pause between polls is carried by the poll.
    if newest.print.kind == Kind::Wait && !pauses_only {
        return None;
    }
    let same: Vec<&&Entry> = streak
        .iter()
        .filter(|entry| pauses_only || entry.same(newest))
        .collect();
    let first = same.last()?;
    let count = same.len() as u32;
    let stop = config.polls;
    let identity = Identity::new(About::Call, newest.print.call);
    let sighting = Sighting::counted(Rung::Polls, identity, first.no, count, stop);
    // Many polls in turn fill the window before one of them is counted out.
    let full = streak.len() + 4 >= config.window as usize;
    if full {
        return sighting.map(|sighting| Sighting {
            reached: count.max(stop),
            ..sighting
        });
    }
    let early = floor_not_passed(first, newest, config) && count < stop.saturating_mul(3);
    sighting.map(|sighting| match early {
        true => Sighting {
            reached: sighting.reached.min(sighting.steer - 1),
            ..sighting
        },
        false => sighting,
    })
}

/// Returns the newest calls that only wait and brought nothing new, newest
/// first, back to the one that did.
fn streak(window: &Window) -> Vec<&Entry> {
    let mut found = Vec::new();
    for entry in window.newest_first() {
        if entry.is_transport() {
            continue;
        }
        // Real work that brought something in between ends the wait.
        if !entry.waiting && !entry.repeat {
            break;
        }
        if entry.waiting {
            found.push(entry);
        }
        if entry.waiting && !entry.repeat && entry.print.kind != Kind::Wait {
            break;
        }
    }
    found
}

fn floor_not_passed(first: &Entry, last: &Entry, config: &Config) -> bool {
    match (first.at_ms, last.at_ms) {
        (Some(first), Some(last)) => last.saturating_sub(first) < config.poll_floor_ms,
        _ => false,
    }
}
