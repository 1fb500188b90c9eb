//! A run as JSON lines, for programs.
//!
//! One object a line: `{"v":1,"run":…,"seq":…,"at":…,"event":{…},"decisions":[…]}`;
//! where a human is asked, `{"v":1,"run":…,"escalation":{…}}` comes after it;
//! the last one is `{"v":1,"run":…,"result":{…}}`, a [`Report`]. New fields may
//! come; present ones stay.

use std::io::Write;

use serde_json::json;

use crate::observe::question::View;
use crate::observe::{Moment, Observer, Report};

/// The version of the lines.
pub const VERSION: u64 = 1;

/// Writes JSON lines.
pub struct Events {
    to: Box<dyn Write + Send>,
}

impl Events {
    /// Writes to `to`.
    pub fn new(to: Box<dyn Write + Send>) -> Self {
        Self { to }
    }

    fn line(&mut self, value: &serde_json::Value) {
        // Nobody is left to be told when the stream is closed.
        let _ = writeln!(self.to, "{value}").and_then(|()| self.to.flush());
    }
}

impl Observer for Events {
    fn on(&mut self, moment: &Moment<'_>) {
        self.line(&json!({
            "v": VERSION,
            "run": moment.run,
            "seq": moment.seq,
            "at": moment.at,
            "event": moment.event,
            "decisions": moment.notes,
        }));
        for what in moment.asked {
            let question = View::of(moment.run, what, None, None, moment.at);
            self.line(&json!({"v": VERSION, "run": moment.run, "escalation": question}));
        }
        if moment.ended.is_some() {
            let report = Report::of(moment.run, moment.state);
            self.line(&json!({"v": VERSION, "run": moment.run, "result": report}));
        }
    }
}
