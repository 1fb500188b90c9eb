//! The detector: prints in, findings out.
//!
//! Its state is plain data. Feeding it the prints of the journal gives the
//! state and the findings of the live run, and so does saving and restoring it
//! between any two calls.

use serde::{Deserialize, Serialize};

use super::config::Config;
use super::digest::Digest;
use super::finding::{About, Finding, Identity, Rung, Sighting};
use super::ladder::{Ladder, Scene};
use super::print::{Kind, Outcome, Print, Talk};
use super::reversal::{Change, Changes};
use super::window::Window;
use super::{cycle, density, growth, poll, recurrence, repeat, stagnation, storm};

/// Calls in whose flight the process died that are remembered.
const DEATHS_MAX: usize = 64;

/// Finds loops in the calls of one conversation.
///
/// Sub-agents are conversations of their own: give each its own detector.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detector {
    config: Config,
    /// Calls seen, bookkeeping included.
    calls: u64,
    window: Window,
    changes: Changes,
    ladder: Ladder,
    aside: Option<Aside>,
    deaths: Vec<(Digest, u32)>,
}

/// Equal bookkeeping calls with nothing in between.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Aside {
    pair: (Digest, Digest),
    first: u64,
    count: u32,
}

impl Detector {
    /// Returns a detector that has seen nothing.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            ..Self::default()
        }
    }

    /// Returns how many calls were observed.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// Takes in one finished call and returns what it completes, if anything.
    ///
    /// - `at_ms`: when the call ended, in milliseconds of any steady clock;
    ///   only differences are used, for the time floor of polls.
    /// - `cost_share_percent`: how much of what was left of the budget the
    ///   repeats have eaten; from 25 on the thresholds shrink.
    ///
    /// A stop is given again for every further call that continues the loop.
    pub fn observe(
        &mut self,
        print: Print,
        at_ms: Option<i64>,
        cost_share_percent: Option<u32>,
    ) -> Option<Finding> {
        self.calls += 1;
        if print.exempt {
            return None;
        }
        let config = self.config.in_force(cost_share_percent.unwrap_or(0));
        self.deaths.retain(|(call, _)| *call != print.call);
        if matches!(print.kind, Kind::Note | Kind::KeepAlive) {
            return self.note_aside(&print, &config);
        }
        self.aside = None;
        if self.clears(&print) {
            self.window.begin_epoch(self.calls);
        }
        self.window
            .push(self.calls, print, at_ms, config.window as usize);
        let print = &self.window.newest()?.print;
        let sightings = [
            repeat::same_call(&self.window, &config),
            repeat::same_error(&self.window, &config),
            cycle::look(&self.window, &config),
            recurrence::look(&self.window, &config),
            density::look(&self.window, &config),
            stagnation::look(&self.window, &config),
            self.changes.look(print, config.returns),
            growth::look(&self.window, config.growth),
            poll::look(&self.window, &config),
            storm::look(&self.window, config.storm),
        ];
        let scene = Scene {
            print,
            last: self.calls,
            window: &self.window,
        };
        self.ladder.climb(&sightings, &scene, config.steers_max)
    }

    /// Takes note that the process died while this call was in flight.
    ///
    /// `print` is the call's print with a null result. Deaths of a call are
    /// forgotten when it once ends, and when a human speaks.
    pub fn died_in(&mut self, print: &Print) -> Option<Finding> {
        let at = match self.deaths.iter().position(|(call, _)| *call == print.call) {
            Some(at) => at,
            None => {
                if self.deaths.len() >= DEATHS_MAX {
                    self.deaths.remove(0);
                }
                self.deaths.push((print.call, 0));
                self.deaths.len() - 1
            }
        };
        let count = self.deaths[at].1.saturating_add(1);
        self.deaths[at].1 = count;
        let config = self.config.in_force(0);
        let no = self.calls + 1;
        let identity = Identity::new(About::Death, print.call);
        let sighting = Sighting::counted(Rung::Deaths, identity, no, count, config.deaths);
        let scene = Scene {
            print,
            last: no,
            window: &self.window,
        };
        self.ladder.climb(&[sighting], &scene, config.steers_max)
    }

    /// Goes back to what it knew `then`; what deaths of the agent taught stays.
    pub fn go_back_to(&mut self, then: &Self) {
        let deaths = std::mem::take(&mut self.deaths);
        self.clone_from(then);
        self.deaths = deaths;
    }

    /// Clears all evidence: a human has spoken. Steers already given are remembered.
    pub fn human_input(&mut self) {
        self.window.clear();
        self.changes.forget_returns();
        self.ladder.forget_warnings();
        self.deaths.clear();
        self.aside = None;
    }

    /// Returns whether a call clears the evidence before it: a change never
    /// seen, or a step that led somewhere never seen.
    fn clears(&mut self, print: &Print) -> bool {
        if self.changes.note(self.calls, print) == Change::New {
            return true;
        }
        let moved = print.kind == Kind::Act && print.outcome == Outcome::Ok;
        let plain = print.talk == Talk::Ack || print.talk == Talk::Empty;
        // "Ok" for a new target is taken on trust, a page must be new.
        moved
            && match plain {
                true => self.changes.is_new_step(print.call),
                false => self.changes.is_new_step(print.masked),
            }
    }

    /// Bookkeeping changes nothing, except that nothing else happens at all.
    fn note_aside(&mut self, print: &Print, config: &Config) -> Option<Finding> {
        let first = self.calls;
        let aside = match self.aside.take() {
            Some(aside) if aside.pair == print.pair() => Aside {
                count: aside.count.saturating_add(1),
                ..aside
            },
            _ => Aside {
                pair: print.pair(),
                first,
                count: 1,
            },
        };
        let stop = if print.kind == Kind::KeepAlive {
            config.polls
        } else {
            config.same_call.saturating_add(1)
        };
        let identity = Identity::new(About::Call, print.call);
        let sighting = Sighting::counted(Rung::SameCall, identity, aside.first, aside.count, stop);
        self.aside = Some(aside);
        let scene = Scene {
            print,
            last: self.calls,
            window: &self.window,
        };
        self.ladder.climb(&[sighting], &scene, config.steers_max)
    }
}
