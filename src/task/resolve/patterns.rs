//! `retry`, `breaker` and `loops`.

use super::Checker;
use crate::task::defaults;
use crate::task::locate::{KeyPath, Part};
use crate::task::resolved::{BreakerConfig, Loops, RetryConfig, Thresholds};
use crate::task::units::Duration;
use crate::task::written::{self, BreakerSetting, Effect, ToolRetry};

impl Checker<'_> {
    pub(super) fn retry(&mut self, retry: written::Retry) -> Option<written::Retry> {
        let path = KeyPath::root().key("retry");
        self.ascending(&path, "base", retry.base, "cap", retry.cap)
            .then_some(retry)
    }

    /// Joins what a tool says with what the top says.
    pub(super) fn tool_retry(
        &mut self,
        path: &KeyPath,
        tool: &ToolRetry,
        top: &written::Retry,
        effect: Effect,
    ) -> Option<RetryConfig> {
        let base = tool.base.unwrap_or(top.base);
        let cap = tool.cap.unwrap_or(top.cap);
        if tool.base.is_some() || tool.cap.is_some() {
            self.ascending(path, "base", base, "cap", cap)
                .then_some(())?;
        }
        let usual = match top.attempts {
            Some(attempts) => attempts.min(defaults::attempts_max(effect)),
            None => defaults::attempts(effect),
        };
        Some(RetryConfig {
            strategy: tool.strategy.unwrap_or(top.strategy),
            base_ms: base.0,
            cap_ms: cap.0,
            attempts: tool.attempts.unwrap_or(usual),
            budget: tool.budget.unwrap_or(top.budget.tool).0,
        })
    }

    /// Resolves a breaker; the inner `None` is none.
    pub(super) fn breaker(
        &mut self,
        path: &KeyPath,
        setting: BreakerSetting,
    ) -> Option<Option<BreakerConfig>> {
        let breaker = match setting {
            BreakerSetting::Switch(false) => return Some(None),
            BreakerSetting::Switch(true) => written::Breaker::default(),
            BreakerSetting::On(breaker) => breaker,
        };
        let (first, last) = (breaker.cool_down, breaker.cool_down_max);
        self.ascending(path, "cool_down", first, "cool_down_max", last)
            .then_some(())?;
        Some(Some(BreakerConfig {
            failures: breaker.failures.0,
            rate_percent: breaker.rate.0,
            window_ms: breaker.window.0,
            min_calls: breaker.min_calls.0,
            cool_down_ms: first.0,
            cool_down_max_ms: last.0,
        }))
    }

    /// Checks that the first wait is not longer than the longest.
    fn ascending(
        &mut self,
        path: &KeyPath,
        first: &str,
        first_is: Duration,
        last: &str,
        last_is: Duration,
    ) -> bool {
        let known = self.is_bad(&path.key(first)) || self.is_bad(&path.key(last));
        if first_is <= last_is || known {
            return true;
        }
        let written = if self.is_written(&path.key(first)) {
            first
        } else {
            last
        };
        let what = format!("makes `{first}` {first_is} and `{last}` {last_is}");
        let expected = format!("`{last}` to be at least `{first}`");
        let fix = format!("write `{last}: {first_is}`");
        self.refuse(
            &path.key(written),
            Part::Value,
            &what,
            Some(&expected),
            Some(&fix),
        );
        false
    }

    pub(super) fn loops(&mut self, loops: &written::Loops) -> Option<Loops> {
        let path = KeyPath::root().key("loops");
        let before = self.found.len();
        if !(8..=defaults::LOOP_WINDOW_MAX).contains(&loops.window.0) {
            let what = format!("is {}", loops.window);
            self.refuse(
                &path.key("window"),
                Part::Value,
                &what,
                Some("a count from 8 to 1024"),
                None,
            );
        }
        let limits = &loops.thresholds;
        let density = limits.density;
        let at = path.key("thresholds");
        if density.0 < 10 {
            self.refuse(
                &at.key("density"),
                Part::Value,
                &format!("is {density}"),
                Some("a percentage from `10%` to `100%`"),
                None,
            );
        }
        let counts = [
            ("same_result", limits.same_result),
            ("same_error", limits.same_error),
            ("tool_error", limits.tool_error),
            ("cycle_2", limits.cycle_2),
            ("cycle", limits.cycle),
            ("recurrence_error", limits.recurrence_error),
            ("recurrence", limits.recurrence),
            ("stagnation", limits.stagnation),
            ("stagnation_text", limits.stagnation_text),
            ("reversal", limits.reversal),
            ("self_append", limits.self_append),
            ("polls", limits.polls),
            ("deaths", limits.deaths),
        ];
        for (name, count) in counts {
            // Before a loop is stopped it is warned of and steered against.
            let least = if name == "deaths" { 2 } else { 3 };
            if count.0 < least {
                let fix = Some("so few are no loop yet; `enabled: false` switches all of it off");
                self.refuse(
                    &at.key(name),
                    Part::Value,
                    &format!("is {count}"),
                    Some(&format!("a count of {least} or more")),
                    fix,
                );
            }
        }
        (self.found.len() == before).then_some(Loops {
            enabled: loops.enabled,
            window: loops.window.0,
            steer: loops.steer,
            on_stop: loops.on_stop,
            thresholds: Thresholds {
                same_result: limits.same_result.0,
                same_error: limits.same_error.0,
                tool_error: limits.tool_error.0,
                cycle_2: limits.cycle_2.0,
                cycle: limits.cycle.0,
                recurrence_error: limits.recurrence_error.0,
                recurrence: limits.recurrence.0,
                density_percent: density.0,
                stagnation: limits.stagnation.0,
                stagnation_text: limits.stagnation_text.0,
                reversal: limits.reversal.0,
                self_append: limits.self_append.0,
                polls: limits.polls.0,
                deaths: limits.deaths.0,
            },
        })
    }
}
