//! Most of the last calls are repeats, and nothing new was changed.

use std::collections::BTreeMap;

use super::config::Config;
use super::digest::Digest;
use super::finding::{About, Identity, Rung, Sighting};
use super::print::{Kind, Talk};
use super::window::{Entry, Window};

/// So many new answers to old calls, and the repeats around them are no loop.
const MOVES_MIN: usize = 3;

/// Returns the sighting of a window full of repeats.
pub(super) fn look(window: &Window, config: &Config) -> Option<Sighting> {
    let newest = window.newest()?;
    let wanted = config.density_window as usize;
    if !newest.repeat || window.len() < wanted {
        return None;
    }
    let counted: Vec<&Entry> = window
        .newest_first()
        .filter(|entry| counts(entry))
        .take(wanted)
        .collect();
    if counted.len() < wanted {
        return None;
    }
    // Calls seen before that answer anew show that the world moves on.
    if counted.iter().filter(|entry| entry.moved).count() >= MOVES_MIN {
        return None;
    }
    let repeats = counted.iter().filter(|entry| entry.repeat).count();
    let percent = (repeats * 100 / wanted) as u32;
    if percent < config.density_percent * 5 / 7 {
        return None;
    }
    Some(Sighting {
        rung: Rung::Density,
        period: None,
        identity: Identity::new(About::Many, most_frequent(&counted)?),
        first: counted.last()?.no,
        count: repeats as u32,
        reached: percent,
        stop: config.density_percent,
        warn: config.density_percent * 5 / 7,
        steer: config.density_percent * 6 / 7,
    })
}

/// Pauses, polls, infrastructure errors and bare acknowledgements say nothing.
fn counts(entry: &Entry) -> bool {
    let only_ok =
        entry.print.talk == Talk::Ack && matches!(entry.print.kind, Kind::Act | Kind::Run);
    !entry.waiting && !entry.is_transport() && !entry.print.clocked && !only_ok
}

fn most_frequent(entries: &[&Entry]) -> Option<Digest> {
    let mut counts: BTreeMap<Digest, u32> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.repeat) {
        *counts.entry(entry.print.call).or_default() += 1;
    }
    let most = counts.values().copied().max()?;
    counts
        .into_iter()
        .find(|(_, count)| *count == most)
        .map(|(call, _)| call)
}
