//! Calls that repeat in the same order with the same results.
//!
//! The shortest period wins. The identity does not depend on where in the
//! cycle the run was noticed.

use super::config::Config;
use super::digest::Digest;
use super::finding::{About, Identity, Rung, Sighting};
use super::print::Kind;
use super::window::{Entry, Window};

/// Returns the sighting of a cycle that ends with the newest call.
pub(super) fn look(window: &Window, config: &Config) -> Option<Sighting> {
    let longest = (config.cycle_period_max as usize).min(window.len() / 2);
    let mut candidate = None;
    for period in 2..=longest {
        let covered = covered(window, period);
        if covered < 2 * period {
            continue;
        }
        let Some(sighting) = sighting(window, config, period, covered) else {
            continue;
        };
        if sighting.reached >= sighting.stop {
            return Some(sighting);
        }
        candidate = candidate.or(Some(sighting));
    }
    candidate
}

/// Returns how many of the newest calls repeat with this period.
fn covered(window: &Window, period: usize) -> usize {
    let mut back = 0;
    while let (Some(one), Some(other)) = (window.back(back), window.back(back + period))
        && one.same(other)
    {
        back += 1;
    }
    if back == 0 { 0 } else { back + period }
}

fn sighting(window: &Window, config: &Config, period: usize, covered: usize) -> Option<Sighting> {
    let slots: Vec<&Entry> = (0..period)
        .rev()
        .filter_map(|back| window.back(back))
        .collect();
    let first = window.back(covered - 1)?;
    let one_kind = slots.iter().all(|slot| slot.same(slots[0]));
    // Waiting and infrastructure have rungs of their own.
    if one_kind || slots.iter().any(|slot| slot.is_transport()) || is_waiting(&slots) {
        return None;
    }
    let one_call = slots
        .iter()
        .all(|slot| slot.print.call == slots[0].print.call);
    let laps = match period {
        // Only a clock tells these calls apart, and it does not count.
        _ if one_call && slots[0].print.clocked => return None,
        // One call whose answers alternate is watched longer: it may be a
        // debugger stepping through a loop.
        _ if one_call => config.cycle_two_laps.saturating_add(2),
        2 => config.cycle_two_laps,
        _ => config.cycle_laps,
    };
    let lap = period as u32;
    let stop = laps.saturating_mul(lap);
    Some(Sighting {
        rung: Rung::Cycle,
        period: Some(lap),
        identity: Identity::new(About::Cycle, rotation_free(&slots)),
        first: first.no,
        count: covered as u32 / lap,
        reached: covered as u32,
        stop,
        warn: (laps - 1).max(2).saturating_mul(lap).min(stop - 1),
        steer: (stop - lap.div_ceil(2)).max(2 * lap),
    })
}

/// A cycle of pauses, polls, and reads beside a pause is waiting.
fn is_waiting(slots: &[&Entry]) -> bool {
    let pauses = slots.iter().any(|slot| slot.print.kind == Kind::Wait);
    slots
        .iter()
        .all(|slot| slot.waiting || pauses && slot.print.kind == Kind::Read)
}

/// Returns a digest of the slots that is equal for every rotation.
fn rotation_free(slots: &[&Entry]) -> Digest {
    let calls: Vec<Digest> = slots.iter().map(|slot| slot.print.call).collect();
    let rotation = |by: usize| {
        calls[by..]
            .iter()
            .chain(&calls[..by])
            .copied()
            .collect::<Vec<_>>()
    };
    let least = (0..calls.len()).map(rotation).min().unwrap_or_default();
    Digest::join(&least)
}
