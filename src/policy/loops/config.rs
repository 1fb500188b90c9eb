//! Thresholds of the detector, and what a task file may say about one tool.
//!
//! Every count is the *stop* level; warnings and the steer come earlier (see
//! `ladder`). Values outside their range are pulled in when they are used, so
//! any configuration is safe to run with.

use serde::{Deserialize, Serialize};

/// When each rung stops the run. Counts are calls unless a field says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How many calls are remembered, `8..=1024`. Bookkeeping calls do not count.
    pub window: u32,
    /// Same call, same result, in a row.
    pub same_call: u32,
    /// Same call, same permanent error, in a row.
    pub same_call_error: u32,
    /// Same tool, same error after masking, whatever the arguments.
    pub same_error: u32,
    /// The same for "not found" errors, equal only once the names they echo
    /// are taken out ("no such file: A", "no such file: B"): may be a search.
    pub same_error_echoed: u32,
    /// Laps of a cycle of two calls.
    pub cycle_two_laps: u32,
    /// Laps of a cycle of 3 to 12 calls.
    pub cycle_laps: u32,
    /// Longest period looked for, `2..=32` calls.
    pub cycle_period_max: u32,
    /// Same failing call within one epoch, in any order with others.
    pub recurrence_error: u32,
    /// Same call with the same result within one epoch, in any order.
    pub recurrence: u32,
    /// How many of the last calls the density rung looks at.
    pub density_window: u32,
    /// Share of repeats among them that stops the run, in percent.
    pub density_percent: u32,
    /// Moving arguments, equal result, arguments near-duplicates.
    pub stagnation_near: u32,
    /// Moving arguments, equal result, arguments of any wording.
    pub stagnation_free: u32,
    /// Returns of a file to a state it was in before.
    pub returns: u32,
    /// Calls whose argument grows by a piece of itself.
    pub growth: u32,
    /// Polls that brought nothing new.
    pub polls: u32,
    /// The time such polls must have taken too, in milliseconds. Not used
    /// where the calls carry no time.
    pub poll_floor_ms: i64,
    /// Infrastructure errors without one answer in between.
    pub storm: u32,
    /// Deaths of the process with the same call in flight.
    pub deaths: u32,
    /// Gestures (scroll, key) that only answer "ok", in a row.
    pub gestures: u32,
    /// Steer messages in one run, over all identities.
    pub steers_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            window: 64,
            same_call: 5,
            same_call_error: 4,
            same_error: 6,
            same_error_echoed: 8,
            cycle_two_laps: 4,
            cycle_laps: 3,
            cycle_period_max: 12,
            recurrence_error: 5,
            recurrence: 6,
            density_window: 24,
            density_percent: 70,
            stagnation_near: 6,
            stagnation_free: 10,
            returns: 3,
            growth: 6,
            polls: 20,
            poll_floor_ms: 600_000,
            storm: 20,
            deaths: 4,
            gestures: 10,
            steers_max: 2,
        }
    }
}

/// Share of the budget, in percent, from which thresholds shrink.
const SHRINK_FROM_PERCENT: u32 = 25;
/// No threshold shrinks below this.
const SHRUNK_MIN: u32 = 3;

impl Config {
    /// Returns the thresholds in force, all in their range.
    ///
    /// `cost_share_percent` is the share of what was left of the budget that
    /// the repeats have eaten. From 25 on every count of repeats shrinks by
    /// that share, never below 3; laps and returns of 3 stay.
    pub(super) fn in_force(&self, cost_share_percent: u32) -> Self {
        let keep = match cost_share_percent {
            share if share < SHRINK_FROM_PERCENT => 100,
            share => 100 - share.min(100),
        };
        let count = |stop: u32| {
            let stop = stop.clamp(SHRUNK_MIN, 1_000_000);
            (stop * keep).div_ceil(100).max(SHRUNK_MIN)
        };
        Self {
            window: self.window.clamp(8, 1024),
            same_call: count(self.same_call),
            same_call_error: count(self.same_call_error),
            same_error: count(self.same_error),
            same_error_echoed: count(self.same_error_echoed),
            cycle_two_laps: count(self.cycle_two_laps),
            cycle_laps: count(self.cycle_laps),
            cycle_period_max: self.cycle_period_max.clamp(2, 32),
            recurrence_error: count(self.recurrence_error),
            recurrence: count(self.recurrence),
            density_window: self.density_window.clamp(8, 1024),
            density_percent: self.density_percent.clamp(10, 100),
            stagnation_near: count(self.stagnation_near),
            stagnation_free: count(self.stagnation_free),
            returns: count(self.returns),
            growth: count(self.growth),
            polls: count(self.polls),
            poll_floor_ms: self.poll_floor_ms.max(0),
            storm: count(self.storm),
            deaths: self.deaths.clamp(2, 1_000_000),
            gestures: count(self.gestures),
            steers_max: self.steers_max,
        }
    }
}

/// What a task file says about one tool; what it leaves out is inferred.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ToolTraits {
    /// Only these arguments make the identity of a call: top-level keys or
    /// dotted paths (`order.id`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<Vec<String>>,
    /// These arguments never count: top-level keys or dotted paths.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// The tool asks for a state that others change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<bool>,
    /// The tool changes something (`true`) or only reads (`false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutates: Option<bool>,
    /// The detector never looks at this tool.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exempt: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_force_table() {
        let odd = Config {
            window: 0,
            cycle_period_max: 900,
            same_call: 0,
            density_percent: 0,
            ..Config::default()
        };
        #[rustfmt::skip]
        let rows = [
            ("nothing shrinks while the share is small", Config::default(), 24, (64, 12, 5, 70), 20),
            ("thresholds shrink with the share", Config::default(), 40, (64, 12, 3, 70), 12),
            ("nothing shrinks below three", Config::default(), 100, (64, 12, 3, 70), 3),
            ("a share above all is all", Config::default(), u32::MAX, (64, 12, 3, 70), 3),
            ("values out of range are pulled in", odd, 0, (8, 32, 3, 10), 20),
        ];
        for (name, config, share, want, polls) in rows {
            let got = config.in_force(share);
            assert_eq!(
                (
                    got.window,
                    got.cycle_period_max,
                    got.same_call,
                    got.density_percent
                ),
                want,
                "row: {name}"
            );
            assert_eq!(got.polls, polls, "row: {name}");
        }
    }
}
