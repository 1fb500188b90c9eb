//! Warn, steer, stop: how far the answer to a sighting goes.
//!
//! One warning and one steer per identity, and a fixed number of steers per
//! run. The memory of both is part of the detector's state, so it survives a
//! resume; stops are given as long as the evidence stands.

use serde::{Deserialize, Serialize};

use super::finding::{Finding, Identity, Level, Sighting};
use super::print::Print;
use super::window::Window;
use super::words;

/// Identities remembered; the oldest are forgotten first.
const REMEMBERED_MAX: usize = 64;

/// What the words of a finding are made of.
pub(super) struct Scene<'a> {
    /// The newest call.
    pub print: &'a Print,
    /// Its number.
    pub last: u64,
    /// The calls up to it.
    pub window: &'a Window,
}

/// What was said before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ladder {
    warned: Vec<Identity>,
    steered: Vec<Identity>,
    steers: u32,
}

impl Ladder {
    /// Returns the most serious finding among `sightings`, and remembers it.
    ///
    /// - `scene`: the newest call, its number, and the calls before it.
    /// - `steers_max`: steers in one run, over all identities.
    pub fn climb(
        &mut self,
        sightings: &[Option<Sighting>],
        scene: &Scene,
        steers_max: u32,
    ) -> Option<Finding> {
        let seen = sightings.iter().flatten();
        let rated = seen.filter_map(|sighting| Some((self.level(sighting, steers_max)?, sighting)));
        let (level, sighting) =
            rated.min_by_key(|(level, sighting)| (std::cmp::Reverse(*level), sighting.rung))?;
        match level {
            Level::Warn => remember(&mut self.warned, sighting.identity),
            Level::Steer => {
                self.steers = self.steers.saturating_add(1);
                remember(&mut self.steered, sighting.identity);
            }
            Level::Stop => {}
        }
        let why = words::why(sighting, scene.print, scene.window);
        let steer =
            (level == Level::Steer).then(|| words::steer(sighting, &why, scene.print, scene.last));
        Some(Finding {
            level,
            rung: sighting.rung,
            period: sighting.period,
            identity: sighting.identity.to_string(),
            first: sighting.first,
            last: scene.last,
            count: sighting.count,
            why,
            steer,
        })
    }

    /// Forgets warnings; steers are remembered for the run.
    pub fn forget_warnings(&mut self) {
        self.warned.clear();
    }

    fn level(&self, sighting: &Sighting, steers_max: u32) -> Option<Level> {
        let may_steer = self.steers < steers_max && !self.steered.contains(&sighting.identity);
        match sighting.reached {
            reached if reached >= sighting.stop => Some(Level::Stop),
            reached if reached >= sighting.steer && may_steer => Some(Level::Steer),
            reached if reached >= sighting.warn && !self.warned.contains(&sighting.identity) => {
                Some(Level::Warn)
            }
            _ => None,
        }
    }
}

fn remember(list: &mut Vec<Identity>, identity: Identity) {
    if list.len() >= REMEMBERED_MAX {
        list.remove(0);
    }
    list.push(identity);
}
