//! A run in a terminal: one line that is always right, gone when it is over.
//!
//! Appears after a quarter of a second, repaints at most ten times a second,
//! and makes room for whatever the agent prints.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::UnixMs;
use crate::machine::{Event, Phase, State};
use crate::observe::lines::describe;
use crate::observe::{Moment, Observer, plain};
use crate::policy::budget::Resource;

/// Repaints a second, at most.
const REPAINTS: u8 = 10;

/// How long a run takes at least before anything is painted, in milliseconds.
const APPEAR_MS: u64 = 250;

/// The line; clones share it.
#[derive(Clone)]
pub struct Bar(ProgressBar);

impl Default for Bar {
    fn default() -> Self {
        Self::new()
    }
}

impl Bar {
    /// Makes a line that is not painted yet.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(REPAINTS));
        let style = ProgressStyle::with_template("{spinner} {msg}")
            .expect("the template is a constant and a test builds it");
        bar.set_style(style);
        Self(bar)
    }

    /// Does `work`, which prints, with the line out of the way.
    pub fn suspend<R>(&self, work: impl FnOnce() -> R) -> R {
        self.0.suspend(work)
    }
}

/// Paints a run.
pub struct Progress {
    bar: Bar,
    color: bool,
    visible: bool,
    warning: Option<String>,
}

impl Progress {
    /// Paints on `bar`.
    pub fn new(bar: Bar, color: bool) -> Self {
        Self {
            bar,
            color,
            visible: false,
            warning: None,
        }
    }

    fn paint(&mut self, state: &State, now: UnixMs) {
        if !self.visible && now.since(state.attempt_at) >= APPEAR_MS {
            self.visible = true;
            self.bar.0.enable_steady_tick(Duration::from_millis(120));
        }
        if self.visible {
            self.bar
                .0
                .set_message(message(state, now, self.warning.as_deref()));
        }
    }
}

impl Observer for Progress {
    fn on(&mut self, moment: &Moment<'_>) {
        let noteworthy = moment.notes.iter().any(|note| {
            let shown = [
                "warn",
                "steer",
                "stop",
                "pause",
                "retry",
                "refuse",
                "send_back",
                "reject",
                "escalate",
                "decide",
                "acknowledge",
                "suspend",
            ];
            shown.contains(&note.action.as_str())
        });
        if noteworthy {
            self.warning = describe(moment).pop();
        }
        let is_line = matches!(moment.event, Event::AttemptStarted { .. });
        if is_line || noteworthy {
            for line in describe(moment) {
                let line = if self.color {
                    format!("\x1b[2m{line}\x1b[0m")
                } else {
                    line
                };
                self.bar.0.println(format!("agentguard: {line}"));
            }
        }
        self.paint(moment.state, moment.at);
        if moment.ended.is_some() {
            self.bar.0.finish_and_clear();
        }
    }

    fn waits(&mut self, why: &str) {
        let line = format!("agentguard: waiting: {}", plain::line(why));
        self.bar.0.println(line);
    }

    fn tick(&mut self, state: &State, now: UnixMs) {
        if !matches!(state.phase, Phase::Created | Phase::Ended { .. }) {
            self.paint(state, now);
        }
    }
}

/// `step 3/40 · 0.12/2.50 USD · 1m 4s/30m 0s · send_mail (try 2) · warning`
fn message(state: &State, now: UnixMs, warning: Option<&str>) -> String {
    let of = |used: String, limit: Option<String>| match limit {
        Some(limit) => format!("{used}/{limit}"),
        None => used,
    };
    let steps = of(
        state.step.to_string(),
        state.limits.steps.map(|limit| limit.to_string()),
    );
    let cost = of(
        crate::money::NanoUsd(state.spend.of(Resource::CostUsd)).to_string(),
        state.limits.cost.map(|limit| limit.to_string()),
    );
    let mut parts = vec![format!("step {steps}"), format!("{cost} USD")];
    let took = now.since(state.created_at);
    let limit = state.limits.deadline_ms.map(time);
    parts.push(of(time(took), limit));
    if let Some(call) = state.calls.values().next() {
        let attempt = if call.attempt > 1 {
            format!(" (try {})", call.attempt)
        } else {
            String::new()
        };
        parts.push(format!("{}{attempt}", call.tool));
    }
    if let Some(question) = state.waits_for().filter(|_| state.phase == Phase::Running) {
        parts.push(format!("waiting for a human ({})", question.what.id));
    }
    if let Phase::Ending { outcome } = &state.phase {
        parts.push(format!("ending: {}", outcome.describe()));
    } else if let Phase::Concluding { part } = &state.phase {
        parts.push(part.describe());
    } else if let Some(warning) = warning {
        parts.push(warning.chars().take(60).collect());
    }
    plain::line(&parts.join(" · "))
}

fn time(ms: u64) -> String {
    let seconds = ms / 1000;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m {}s", seconds / 60, seconds % 60),
        _ => format!("{}h {}m", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_template_builds() {
        let _ = Bar::new();
    }
}
