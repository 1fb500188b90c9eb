//! Infrastructure errors without end.
//!
//! A rate limit, a time-out or a reset is the retry budget's business and no
//! loop under the usual thresholds. A storm is: so many of them, for one call
//! or without one answer in between, that no retry budget can be at work.

use super::finding::{Rung, Sighting, waypoints};
use super::print::Kind;
use super::window::Window;

/// Returns the sighting of a storm that still lasts.
pub(super) fn look(window: &Window, stop: u32) -> Option<Sighting> {
    let newest = window.newest()?;
    if !newest.is_transport() {
        return None;
    }
    let any_call = window
        .newest_first()
        .filter(|entry| entry.print.kind != Kind::Wait)
        .take_while(|entry| entry.is_transport());
    let one_call = window
        .newest_first()
        .filter(|entry| entry.print.call == newest.print.call)
        .take_while(|entry| entry.is_transport());
    let (any, one): (Vec<u64>, Vec<u64>) = (
        any_call.map(|e| e.no).collect(),
        one_call.map(|e| e.no).collect(),
    );
    let longer = if one.len() > any.len() { one } else { any };
    let count = longer.len() as u32;
    let (warn, steer) = waypoints(stop);
    Some(Sighting {
        rung: Rung::Storm,
        period: None,
        identity: format!("storm:{}", newest.print.family),
        first: *longer.last()?,
        count,
        reached: count,
        stop,
        warn,
        steer,
        why: format!(
            "{count} infrastructure errors came without an answer, last from {}",
            newest.print.picture()
        ),
    })
}
