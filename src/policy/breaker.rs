//! Circuit breaker for one tool, one provider or one agent.
//!
//! Pure: no clock, no randomness, no IO. The caller hands in the time, asks
//! before each call and says afterwards how it went. Breakers are shared by all
//! runs on the machine: `store` keeps them and calls these functions inside a
//! transaction, so that of many processes exactly one gets the probe.
//!
//! Three states, after Nygard, *Release It!* (stability patterns):
//! closed -> open after `failures` calls in a row failed, or a share of
//! `rate_percent` of at least `min_calls` tries within `window_ms` -> half-open
//! after the cool-down -> closed on one success, open again on one failure with
//! twice the cool-down, up to a cap.
//!
//! Consecutive failures count *calls* that failed after all their retries; the
//! rate counts every try. A short blip that retries hide never opens a breaker;
//! an outage does after few calls.
//!
//! Not here: which results count as failures (`policy::taxonomy` says; transport
//! and quality do, a semantic error proves that the tool is up).

use serde::{Deserialize, Serialize};

use crate::clock::UnixMs;

/// The settings of one breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Calls in a row that must fail before it opens.
    pub failures: u32,
    /// Share of failed tries within the window that opens it, in percent.
    pub rate_percent: u32,
    /// Length of the window, in milliseconds.
    pub window_ms: u64,
    /// Tries within the window below which the rate says nothing.
    pub min_calls: u32,
    /// First cool-down, in milliseconds.
    pub cool_down_ms: u64,
    /// Longest cool-down, in milliseconds.
    pub cool_down_max_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            failures: 3,
            rate_percent: 50,
            window_ms: 60_000,
            min_calls: 10,
            cool_down_ms: 30_000,
            cool_down_max_ms: 300_000,
        }
    }
}

/// A breaker as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    /// Whether calls go through.
    pub state: State,
    /// Calls in a row that failed.
    pub failures: u32,
    /// Times it opened in a row without a success in between; sets the cool-down.
    pub cycle: u32,
    /// Times it opened, ever.
    pub trips: u64,
    /// Tries within the window, oldest first, at most [`WINDOW_ENTRIES`].
    pub recent: Vec<(UnixMs, bool)>,
    /// What the last failure looked like, for people.
    pub last_error: Option<String>,
}

/// Names the breaker of a tool among all breakers.
pub fn of_tool(tool: &str) -> String {
    format!("tool:{tool}")
}

/// Names the breaker of a model among all breakers.
pub fn of_model(provider: &str, model: &str) -> String {
    format!("model:{provider}/{model}")
}

/// Tries remembered for the failure rate; more are forgotten oldest first.
pub const WINDOW_ENTRIES: usize = 128;

/// Whether calls go through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Every call goes through.
    #[default]
    Closed,
    /// No call goes through until `until`.
    Open {
        /// When it opened.
        since: UnixMs,
        /// When one probe may go out.
        until: UnixMs,
    },
    /// One probe is out.
    HalfOpen {
        /// When the breaker opened.
        since: UnixMs,
        /// When the probe is given up for lost and another may go out.
        probe_until: UnixMs,
    },
}

/// Whether a call may go out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "admission", rename_all = "snake_case")]
pub enum Admission {
    /// It may.
    Go,
    /// It may, alone: its outcome decides.
    Probe,
    /// It may not.
    Refused {
        /// When the tool is expected back.
        back_at: UnixMs,
        /// What the last failure looked like.
        last_error: Option<String>,
    },
}

/// How a try ended, as far as a breaker cares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The tool answered; it is up.
    Up,
    /// A try failed and is tried again.
    TryFailed,
    /// A call failed for good.
    CallFailed {
        /// What it looked like, for people.
        error: String,
    },
    /// It says nothing about the tool; if it was the probe, another may go out.
    Released,
}

impl Breaker {
    /// Decides whether a call may go out at `now`, and takes the probe if so.
    ///
    /// - `probe_ms`: how long the probe may take before it counts as lost.
    #[must_use]
    pub fn admit(mut self, now: UnixMs, probe_ms: u64) -> (Self, Admission) {
        let since = match self.state {
            State::Closed => return (self, Admission::Go),
            State::Open { since, until } if now >= until => since,
            State::HalfOpen { since, probe_until } if now >= probe_until => since,
            State::Open { until: back_at, .. }
            | State::HalfOpen {
                probe_until: back_at,
                ..
            } => {
                let last_error = self.last_error.clone();
                return (
                    self,
                    Admission::Refused {
                        back_at,
                        last_error,
                    },
                );
            }
        };
        self.state = State::HalfOpen {
            since,
            probe_until: now.plus(probe_ms),
        };
        (self, Admission::Probe)
    }

    /// Takes in how a try ended at `now`.
    #[must_use]
    pub fn record(mut self, config: &Config, outcome: &Outcome, now: UnixMs) -> Self {
        if *outcome == Outcome::Released {
            if let State::HalfOpen { since, .. } = self.state {
                self.state = State::Open { since, until: now };
            }
            return self;
        }
        let failed = *outcome != Outcome::Up;
        self.remember(config, now, failed);
        match outcome {
            Outcome::Up => {
                self.failures = 0;
                // A call that was under way when the breaker opened says nothing
                // about now; only the probe closes it.
                if matches!(self.state, State::HalfOpen { .. }) {
                    self.state = State::Closed;
                    self.cycle = 0;
                    self.recent.clear();
                    self.last_error = None;
                }
            }
            Outcome::TryFailed | Outcome::Released => {}
            Outcome::CallFailed { error } => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(error.clone());
            }
        }
        let probe_failed = failed && matches!(self.state, State::HalfOpen { .. });
        let tripped = self.state == State::Closed
            && (self.failures >= config.failures.max(1) || self.rate_reached(config));
        if probe_failed || tripped {
            self.open(config, now);
        }
        self
    }

    /// Returns whether a call at `now` would be refused, without taking anything.
    pub fn refuses(&self, now: UnixMs) -> Option<UnixMs> {
        match self.state {
            State::Closed => None,
            State::Open { until: back_at, .. }
            | State::HalfOpen {
                probe_until: back_at,
                ..
            } => (now < back_at).then_some(back_at),
        }
    }

    fn open(&mut self, config: &Config, now: UnixMs) {
        let doubled = config.cool_down_ms.saturating_mul(1 << self.cycle.min(20));
        let since = match self.state {
            State::Closed => now,
            State::Open { since, .. } | State::HalfOpen { since, .. } => since,
        };
        self.state = State::Open {
            since,
            until: now.plus(doubled.min(config.cool_down_max_ms.max(config.cool_down_ms))),
        };
        self.cycle = self.cycle.saturating_add(1);
        self.trips = self.trips.saturating_add(1);
        self.failures = 0;
        self.recent.clear();
    }

    fn remember(&mut self, config: &Config, now: UnixMs, failed: bool) {
        self.recent
            .retain(|(at, _)| now.since(*at) <= config.window_ms);
        if self.recent.len() >= WINDOW_ENTRIES {
            self.recent.remove(0);
        }
        self.recent.push((now, failed));
    }

    fn rate_reached(&self, config: &Config) -> bool {
        let tries = self.recent.len() as u64;
        let failed = self.recent.iter().filter(|(_, failed)| *failed).count() as u64;
        tries >= u64::from(config.min_calls.max(1))
            && failed > 0
            && failed * 100 >= tries * u64::from(config.rate_percent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Outcome {
        Outcome::CallFailed {
            error: "HTTP 503".into(),
        }
    }

    fn tripped(config: &Config) -> Breaker {
        (0..config.failures).fold(Breaker::default(), |breaker, _| {
            breaker.record(config, &failed(), UnixMs(0))
        })
    }

    #[test]
    fn opens_after_calls_in_a_row_and_not_before() {
        let config = Config::default();
        let two = Breaker::default()
            .record(&config, &failed(), UnixMs(0))
            .record(&config, &failed(), UnixMs(1));
        assert_eq!(two.state, State::Closed);
        let reset = two.clone().record(&config, &Outcome::Up, UnixMs(2));
        assert_eq!(reset.failures, 0, "a success starts the count anew");
        let three = two.record(&config, &failed(), UnixMs(2));
        assert_eq!(
            three.state,
            State::Open {
                since: UnixMs(2),
                until: UnixMs(30_002)
            }
        );
    }

    #[test]
    fn the_cool_down_doubles_up_to_its_cap_and_a_success_ends_it() {
        let config = Config::default();
        let mut breaker = tripped(&config);
        let mut now = UnixMs(0);
        for want_ms in [30_000, 60_000, 120_000, 240_000, 300_000, 300_000] {
            let (_, early) = breaker.clone().admit(now.plus(want_ms - 1), 1_000);
            assert!(
                matches!(early, Admission::Refused { .. }),
                "wait: {want_ms}"
            );
            now = now.plus(want_ms);
            let (half, admission) = breaker.admit(now, 1_000);
            assert_eq!(admission, Admission::Probe, "wait: {want_ms}");
            breaker = half.record(&config, &failed(), now);
        }
        let (half, _) = breaker.admit(now.plus(300_000), 1_000);
        let closed = half.record(&config, &Outcome::Up, now.plus(300_001));
        assert_eq!((closed.state, closed.cycle), (State::Closed, 0));
    }

    #[test]
    fn half_open_lets_one_probe_through_until_it_is_lost() {
        let breaker = tripped(&Config::default());
        let (half, first) = breaker.admit(UnixMs(30_000), 1_000);
        assert_eq!(first, Admission::Probe);
        let (half, second) = half.admit(UnixMs(30_500), 1_000);
        assert!(matches!(second, Admission::Refused { .. }));
        let (_, third) = half.admit(UnixMs(31_000), 1_000);
        assert_eq!(third, Admission::Probe, "the first probe never came back");
    }

    #[test]
    fn a_failure_rate_opens_it_though_no_three_failed_in_a_row() {
        let config = Config::default();
        let breaker = (0..10).fold(Breaker::default(), |breaker, turn| {
            let outcome = if turn % 2 == 0 {
                Outcome::Up
            } else {
                Outcome::TryFailed
            };
            breaker.record(&config, &outcome, UnixMs(turn))
        });
        assert!(matches!(breaker.state, State::Open { .. }));
        let spread = (0..10).fold(Breaker::default(), |breaker, turn| {
            let outcome = if turn % 2 == 0 {
                Outcome::Up
            } else {
                Outcome::TryFailed
            };
            breaker.record(&config, &outcome, UnixMs(turn * 50_000))
        });
        assert_eq!(spread.state, State::Closed, "old tries leave the window");
    }
}
