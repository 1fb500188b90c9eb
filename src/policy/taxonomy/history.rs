//! What happened before on the same tool: turns repeated transients into persistent.
//!
//! The caller keeps one [`History`] per tool or provider and hands it in; after each
//! verdict it records the class. Pure data, serialisable with the run's state.
//!
//! Only transport outcomes count. A success or a semantic failure shows that the
//! other side answers, so both end a row of transients.

use serde::{Deserialize, Serialize};

use super::class::Class;

/// Calls remembered for the failure rate.
const WINDOW_CALLS: u32 = 32;

/// The recent outcomes of one tool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Transient results since the last answer.
    pub transient_in_a_row: u32,
    /// The last calls, newest in the lowest bit; 1 is a transport failure.
    failures: u32,
    /// Calls in `failures`, up to 32.
    calls: u32,
    /// When a transient result counts as persistent.
    pub promotion: Promotion,
}

/// When a transient result counts as persistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// Transients in a row, this one included. 0 switches the rule off.
    pub in_a_row: u32,
    /// Share of failed calls in the window, in percent. 0 switches the rule off.
    pub rate_percent: u32,
    /// Calls needed before the rate counts.
    pub rate_calls_min: u32,
}

impl Default for Promotion {
    /// Six in a row, or three quarters of at least twelve calls.
    fn default() -> Self {
        Self {
            in_a_row: 6,
            rate_percent: 75,
            rate_calls_min: 12,
        }
    }
}

impl History {
    /// Records the class of a finished call.
    pub fn record(&mut self, class: Class) {
        let has_failed = matches!(
            class,
            Class::Transient | Class::Persistent | Class::CostPressure
        );
        self.failures = self.failures << 1 | u32::from(has_failed);
        self.calls = (self.calls + 1).min(WINDOW_CALLS);
        self.transient_in_a_row = match class {
            Class::Transient => self.transient_in_a_row.saturating_add(1),
            Class::Persistent => self.transient_in_a_row,
            _ => 0,
        };
    }

    /// Returns why one more transient result counts as persistent, if it does.
    pub(super) fn promotes(&self) -> Option<String> {
        let row = self.transient_in_a_row.saturating_add(1);
        let Promotion {
            in_a_row,
            rate_percent,
            rate_calls_min,
        } = self.promotion;
        if in_a_row > 0 && row >= in_a_row {
            return Some(format!("{row} transient results in a row"));
        }
        let calls = self.calls + 1;
        let failed = self.failures.count_ones().min(self.calls) + 1;
        let is_often = rate_percent > 0
            && calls >= rate_calls_min
            && u64::from(failed) * 100 >= u64::from(calls) * u64::from(rate_percent);
        is_often.then(|| format!("{failed} of the last {calls} calls failed"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(classes: &[Class]) -> History {
        let mut history = History::default();
        for class in classes {
            history.record(*class);
        }
        history
    }

    #[test]
    fn promotion_table() {
        use Class::{Semantic, Success, Transient};
        let mixed: Vec<Class> = (0..16)
            .map(|at| if at % 4 == 0 { Success } else { Transient })
            .collect();
        #[rustfmt::skip]
        let rows = [
            ("nothing happened yet", vec![], false),
            ("one short of the row", vec![Transient; 4], false),
            ("the sixth in a row", vec![Transient; 5], true),
            ("a success ends the row", [vec![Transient; 5], vec![Success]].concat(), false),
            ("a semantic answer ends the row too", [vec![Transient; 5], vec![Semantic]].concat(), false),
            ("a high rate without a row", mixed, true),
        ];
        for (name, classes, want) in rows {
            assert_eq!(after(&classes).promotes().is_some(), want, "row: {name}");
        }
    }
}
