//! What a run may use, what it has used, and whether the next step fits.
//!
//! Pure. Money is integer nano-USD. Three kinds of check, all before the fact:
//!
//! - a **reservation** holds the worst case of a model call back before it goes
//!   out; with reservations the cap is a guarantee;
//! - a loop that only **reports** what a turn cost is stopped when the next turn,
//!   expected to cost what the dearest one did (and to keep growing as the last
//!   one did), would pass the cap;
//! - **counts** (steps, tool calls) are exact.
//!
//! A reservation that was never settled counts as spent.
//!
//! Not here: time (the driver's timers), prices (`task`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::money::NanoUsd;

/// The hard limits of a run; `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Money, in nano-USD.
    pub cost: Option<NanoUsd>,
    /// Tokens of every kind together.
    pub tokens: Option<u64>,
    /// Turns.
    pub steps: Option<u64>,
    /// Guarded and reported tool calls.
    pub tool_calls: Option<u64>,
    /// Time the run may take, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Whether the deadline counts only time in which the agent ran.
    pub deadline_active: bool,
    /// Time without a word from the agent, in milliseconds.
    pub idle_ms: Option<u64>,
    /// Share of a limit at which a warning is given, in percent.
    pub soft_percent: u32,
}

/// What can be used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// Money.
    CostUsd,
    /// Tokens.
    Tokens,
    /// Turns.
    Steps,
    /// Tool calls.
    ToolCalls,
}

impl Resource {
    /// Every resource, in the order in which limits are checked.
    pub const ALL: [Self; 4] = [Self::CostUsd, Self::Tokens, Self::Steps, Self::ToolCalls];

    /// Returns the key of this limit in the task file and in `--raise`.
    pub fn key(self) -> &'static str {
        match self {
            Self::CostUsd => "cost_usd",
            Self::Tokens => "tokens",
            Self::Steps => "steps",
            Self::ToolCalls => "tool_calls",
        }
    }

    /// Returns `amount` of this resource as people write it.
    pub fn show(self, amount: u64) -> String {
        match self {
            Self::CostUsd => format!("{} USD", NanoUsd(amount)),
            _ => amount.to_string(),
        }
    }
}

/// What one turn used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of every kind.
    pub tokens: u64,
    /// Money.
    pub cost: NanoUsd,
}

/// What a run has used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spend {
    /// Money settled, in nano-USD.
    pub cost: NanoUsd,
    /// Tokens settled.
    pub tokens: u64,
    /// Turns committed.
    pub steps: u64,
    /// Tool calls admitted or reported.
    pub tool_calls: u64,
    /// Reservations not settled yet, by id.
    pub reserved: BTreeMap<u64, Usage>,
    /// The most that was held back for one call.
    #[serde(default)]
    pub held_most: Usage,
    /// The dearest turn so far.
    pub largest: Usage,
    /// The last turn and the one before it.
    pub last: [Usage; 2],
}

/// A limit that the next step would pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// Which.
    pub resource: Resource,
    /// The limit, in the resource's unit (nano-USD for money).
    pub limit: u64,
    /// Used or held back so far.
    pub used: u64,
    /// What the next step would take.
    pub next: u64,
}

impl Hit {
    /// Returns what happened, as one sentence fragment for people and models.
    pub fn describe(&self) -> String {
        let Self {
            resource,
            limit,
            used,
            next,
        } = self;
        let (key, show) = (resource.key(), |amount| resource.show(amount));
        if used >= limit {
            format!("{key}: {} of {} used", show(*used), show(*limit))
        } else {
            format!(
                "{key}: {} of {} used, the next step may take {}",
                show(*used),
                show(*limit),
                show(*next)
            )
        }
    }
}

impl Limits {
    /// Returns the limit on `resource`, in its unit.
    pub fn of(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::CostUsd => self.cost.map(|cost| cost.0),
            Resource::Tokens => self.tokens,
            Resource::Steps => self.steps,
            Resource::ToolCalls => self.tool_calls,
        }
    }

    /// Sets the limit on `resource`, in its unit.
    pub fn set(&mut self, resource: Resource, limit: u64) {
        match resource {
            Resource::CostUsd => self.cost = Some(NanoUsd(limit)),
            Resource::Tokens => self.tokens = Some(limit),
            Resource::Steps => self.steps = Some(limit),
            Resource::ToolCalls => self.tool_calls = Some(limit),
        }
    }
}

impl Spend {
    /// Returns what is used of `resource`, reservations included.
    pub fn of(&self, resource: Resource) -> u64 {
        let held = |part: fn(&Usage) -> u64| {
            self.reserved
                .values()
                .map(part)
                .fold(0, u64::saturating_add)
        };
        match resource {
            Resource::CostUsd => self.cost.0.saturating_add(held(|usage| usage.cost.0)),
            Resource::Tokens => self.tokens.saturating_add(held(|usage| usage.tokens)),
            Resource::Steps => self.steps,
            Resource::ToolCalls => self.tool_calls,
        }
    }

    /// Returns the first limit that is reached, for turns whose cost is reserved
    /// before they are made.
    pub fn next_reserved_turn(&self, limits: &Limits) -> Option<Hit> {
        self.first_hit(limits, |resource| u64::from(resource == Resource::Steps))
    }

    /// Returns what is used if the calls under way cost nothing.
    pub fn without_reserved(&self) -> Self {
        Self {
            reserved: BTreeMap::new(),
            ..self.clone()
        }
    }

    /// Returns the first limit that another turn would pass.
    pub fn next_turn(&self, limits: &Limits) -> Option<Hit> {
        let expected = |part: fn(&Usage) -> u64| {
            let [before, last] = [part(&self.last[0]), part(&self.last[1])];
            let grown = last.saturating_add(last.saturating_sub(before));
            // The first turn has no turn before it to have grown from.
            let grown = if before == 0 { last } else { grown };
            part(&self.largest).max(grown)
        };
        // With nothing left nothing fits, even if turns have cost nothing yet.
        self.first_hit(limits, |resource| match resource {
            Resource::CostUsd => expected(|usage| usage.cost.0).max(1),
            Resource::Tokens => expected(|usage| usage.tokens).max(1),
            Resource::Steps => 1,
            Resource::ToolCalls => 0,
        })
    }

    /// Returns the first limit that a model call of at most `worst` would pass.
    pub fn next_call(&self, limits: &Limits, worst: &Usage) -> Option<Hit> {
        self.first_hit(limits, |resource| match resource {
            Resource::CostUsd => worst.cost.0,
            Resource::Tokens => worst.tokens,
            Resource::Steps => 1,
            Resource::ToolCalls => 0,
        })
    }

    /// Returns the limit that another tool call would pass.
    pub fn next_tool_call(&self, limits: &Limits) -> Option<Hit> {
        self.first_hit(limits, |resource| {
            u64::from(resource == Resource::ToolCalls)
        })
    }

    /// Holds the worst case of a call back.
    pub fn hold(&mut self, reservation: u64, worst: Usage) {
        self.held_most.tokens = self.held_most.tokens.max(worst.tokens);
        self.held_most.cost = self.held_most.cost.max(worst.cost);
        self.reserved.insert(reservation, worst);
    }

    /// Reports whether a call of at most `worst` may go out before it is certain
    /// that its reservation survives a power cut: [`forfeit_unseen`] makes up for
    /// one such call.
    ///
    /// [`forfeit_unseen`]: Self::forfeit_unseen
    pub fn covers(&self, worst: &Usage) -> bool {
        let most = self.unseen_most();
        self.reserved.is_empty() && worst.tokens <= most.tokens && worst.cost <= most.cost
    }

    /// Counts as spent what may have been under way when the power went, and was
    /// forgotten.
    pub fn forfeit_unseen(&mut self) {
        let most = self.unseen_most();
        self.cost = self.cost.plus(most.cost);
        self.tokens = self.tokens.saturating_add(most.tokens);
    }

    /// Half as much again as was held back for any call before: histories grow.
    fn unseen_most(&self) -> Usage {
        let half_more = |most: u64| most.saturating_add(most / 2);
        Usage {
            tokens: half_more(self.held_most.tokens),
            cost: NanoUsd(half_more(self.held_most.cost.0)),
        }
    }

    /// Takes in what a model call used; `reservation` is settled by it.
    pub fn settle(&mut self, usage: &Usage, reservation: Option<u64>) {
        if let Some(id) = reservation {
            self.reserved.remove(&id);
        }
        self.cost = self.cost.plus(usage.cost);
        self.tokens = self.tokens.saturating_add(usage.tokens);
        self.largest.cost = self.largest.cost.max(usage.cost);
        self.largest.tokens = self.largest.tokens.max(usage.tokens);
        self.last.swap(0, 1);
        self.last[1] = usage.clone();
    }

    /// Counts what is still held back as spent: its calls' owner is gone.
    pub fn forfeit_reservations(&mut self) {
        for usage in std::mem::take(&mut self.reserved).into_values() {
            self.cost = self.cost.plus(usage.cost);
            self.tokens = self.tokens.saturating_add(usage.tokens);
        }
    }

    /// Returns the resources past their soft threshold.
    pub fn past_soft(&self, limits: &Limits) -> Vec<Resource> {
        let soft = u128::from(limits.soft_percent.min(100));
        let past = |resource: &Resource| {
            limits.of(*resource).is_some_and(|limit| {
                u128::from(self.of(*resource)) * 100 >= u128::from(limit) * soft
            })
        };
        Resource::ALL.into_iter().filter(past).collect()
    }

    fn first_hit(&self, limits: &Limits, next: impl Fn(Resource) -> u64) -> Option<Hit> {
        Resource::ALL.into_iter().find_map(|resource| {
            let (limit, used, next) = (limits.of(resource)?, self.of(resource), next(resource));
            (next > 0 && used.saturating_add(next) > limit).then_some(Hit {
                resource,
                limit,
                used,
                next,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cents(cents: u64) -> NanoUsd {
        NanoUsd(cents * 10_000_000)
    }

    fn usage(cost: u64, tokens: u64) -> Usage {
        Usage {
            cost: cents(cost),
            tokens,
        }
    }

    #[test]
    fn turns_stop_before_the_one_that_would_pass_the_cap() {
        let dollar = Limits {
            cost: Some(cents(100)),
            soft_percent: 80,
            ..Limits::default()
        };
        #[rustfmt::skip]
        let rows: [(&str, &[u64], Option<u64>); 6] = [
            ("nothing spent yet", &[], None),
            ("room for another of the same", &[30, 30], None),
            ("no room for another of the same", &[30, 30, 30], Some(30)),
            ("exactly room for another of the same", &[25, 25, 25], None),
            ("growing turns are expected to keep growing", &[10, 25, 40], Some(55)),
            ("the cap itself reached", &[50, 50], Some(50)),
        ];
        for (name, costs, want) in rows {
            let mut spend = Spend::default();
            for cost in costs {
                spend.settle(&usage(*cost, 0), None);
            }
            let hit = spend.next_turn(&dollar);
            assert_eq!(
                hit.map(|hit| hit.next),
                want.map(|next| cents(next).0),
                "row: {name}"
            );
        }
    }

    #[test]
    fn reservations_are_held_settled_and_forfeited() {
        let limits = Limits {
            cost: Some(cents(10)),
            ..Limits::default()
        };
        let mut spend = Spend::default();
        assert_eq!(spend.next_call(&limits, &usage(10, 0)), None);
        spend.reserved.insert(1, usage(6, 0));
        let hit = spend.next_call(&limits, &usage(5, 0)).expect("6 + 5 > 10");
        assert_eq!(
            hit.describe(),
            "cost_usd: 0.06 USD of 0.10 USD used, the next step may take 0.05 USD"
        );
        spend.settle(&usage(2, 0), Some(1));
        assert_eq!(spend.next_call(&limits, &usage(5, 0)), None);
        spend.reserved.insert(2, usage(8, 0));
        spend.forfeit_reservations();
        assert_eq!(spend.cost, cents(10));
    }

    #[test]
    fn a_power_cut_makes_up_for_the_one_call_it_may_have_hidden() {
        let mut spend = Spend::default();
        assert!(!spend.covers(&usage(1, 1)), "nothing was held back yet");
        spend.hold(1, usage(6, 50));
        assert!(!spend.covers(&usage(1, 1)), "one call is under way");
        spend.settle(&usage(2, 20), Some(1));
        #[rustfmt::skip]
        let rows = [
            ("half as large again as one before", usage(9, 75), true),
            ("much dearer than any before", usage(10, 50), false),
            ("much longer than any before", usage(6, 76), false),
        ];
        for (name, worst, want) in rows {
            assert_eq!(spend.covers(&worst), want, "row: {name}");
        }
        spend.forfeit_unseen();
        assert_eq!((spend.cost, spend.tokens), (cents(2 + 9), 20 + 75));
    }

    #[test]
    fn counts_are_exact() {
        let limits = Limits {
            steps: Some(2),
            tool_calls: Some(1),
            ..Limits::default()
        };
        let mut spend = Spend {
            steps: 1,
            ..Spend::default()
        };
        assert_eq!(
            spend.next_turn(&limits),
            None,
            "the second of two steps fits"
        );
        spend.steps = 2;
        let hit = spend.next_turn(&limits).expect("a third does not");
        assert_eq!(hit.describe(), "steps: 2 of 2 used");
        assert_eq!(
            spend.next_tool_call(&limits),
            None,
            "steps do not stop a tool call"
        );
        spend.tool_calls = 1;
        assert!(spend.next_tool_call(&limits).is_some());
    }

    #[test]
    fn soft_thresholds_are_a_share_of_the_limit() {
        let limits = Limits {
            cost: Some(cents(100)),
            steps: Some(10),
            soft_percent: 80,
            ..Limits::default()
        };
        let spend = Spend {
            cost: cents(80),
            steps: 7,
            ..Spend::default()
        };
        assert_eq!(spend.past_soft(&limits), [Resource::CostUsd]);
    }
}
