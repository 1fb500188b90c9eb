//! When the supervisor has to look up by itself: deadline, idle, model call.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::UnixMs;
use crate::machine::event::TimeLimit;
use crate::machine::{Phase, State};

/// The longest sleep between two looks; the deadline counts wall-clock time,
/// which goes on while the machine sleeps and timers do not.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// Watches the time limits of one attempt.
pub struct Timer {
    idle_ms: Option<u64>,
    model_call_ms: u64,
    last_word: Instant,
    /// Until then it is we who make the agent wait.
    busy_until: Instant,
}

impl Timer {
    /// Starts watching now.
    pub fn new(idle_ms: Option<u64>, model_call_ms: u64) -> Self {
        Self {
            idle_ms,
            model_call_ms,
            last_word: Instant::now(),
            busy_until: Instant::now(),
        }
    }

    /// The agent said something.
    pub fn heard(&mut self) {
        self.last_word = Instant::now();
    }

    /// We make the agent wait that long.
    pub fn busy_for(&mut self, wait: Duration) {
        self.busy_until = self.busy_until.max(Instant::now() + wait);
    }

    /// Returns the limit that has passed, if one has.
    pub fn passed(&mut self, state: &State, now: UnixMs) -> Option<TimeLimit> {
        if state.phase != Phase::Running {
            return None;
        }
        // While a tool works, or a human is asked, the agent has every right to be
        // silent.
        let is_asking = state.waits_for().is_some();
        if !state.calls.is_empty() || is_asking || Instant::now() < self.busy_until {
            self.heard();
        }
        if state.left_ms(now) == Some(0) {
            return Some(TimeLimit::Deadline);
        }
        // Time that is waited for a human counts for no limit.
        if is_asking {
            return None;
        }
        if state
            .reserved_at
            .values()
            .any(|at| now.since(*at) >= self.model_call_ms)
        {
            return Some(TimeLimit::ModelCall);
        }
        let silent = u64::try_from(self.last_word.elapsed().as_millis()).unwrap_or(u64::MAX);
        // A model call that was announced has its own limit.
        let counts = state.reserved_at.is_empty();
        (counts && self.idle_ms.is_some_and(|idle| silent >= idle)).then_some(TimeLimit::Idle)
    }

    /// Returns when to look again at the latest.
    pub fn next_look(&self, state: &State, now: UnixMs) -> Instant {
        let deadline = state.left_ms(now).map(Duration::from_millis);
        let idle = self
            .idle_ms
            .map(|idle| Duration::from_millis(idle).saturating_sub(self.last_word.elapsed()));
        let model_call = state
            .reserved_at
            .values()
            .min()
            .map(|at| Duration::from_millis(self.model_call_ms.saturating_sub(now.since(*at))));
        let soonest = [deadline, idle, model_call].into_iter().flatten().min();
        let wait = soonest
            .unwrap_or(LOOK_MAX)
            .clamp(Duration::from_millis(1), LOOK_MAX);
        Instant::now() + wait
    }
}
