//! The human of a rehearsal: answers what is asked, by `agentguard answer`, as
//! somebody at a terminal would.
//!
//! An approval is given; another question gets what its asker recommends, else its
//! first option. Whether a call happened, nobody here can know: that stays open.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::human::inbox::Entry;
use crate::ids::EscalationId;
use crate::machine::escalation::Escalation;
use crate::policy::escalation::Kind;
use crate::store::sqlite::Options;
use crate::store::{Paths, Sqlite, Store as _};

/// How often the inbox is looked into.
const LOOK: Duration = Duration::from_millis(60);

/// Somebody who answers the questions of one rehearsal.
pub struct Human<'a> {
    program: &'a Path,
    state: PathBuf,
    journal: Option<Sqlite>,
    next_look: Instant,
    answered: Vec<EscalationId>,
}

impl<'a> Human<'a> {
    /// Makes one.
    ///
    /// - `state`: the state folder of the rehearsal.
    pub fn new(program: &'a Path, state: PathBuf) -> Self {
        Self {
            program,
            state,
            journal: None,
            next_look: Instant::now(),
            answered: Vec::new(),
        }
    }

    /// Answers what is open, now and then.
    pub fn look_now_and_then(&mut self) {
        if Instant::now() >= self.next_look {
            self.look();
            self.next_look = Instant::now() + LOOK;
        }
    }

    /// Answers what is open.
    pub fn look(&mut self) {
        if self.journal.is_none() {
            let paths = Paths::new(self.state.clone());
            if !paths.database().exists() {
                return;
            }
            self.journal = Sqlite::open(paths, Options::default()).ok();
        }
        let Some(journal) = &self.journal else { return };
        let open = journal.questions(None, "", true).unwrap_or_default();
        for entry in open.into_iter().filter_map(|row| Entry::read(row).ok()) {
            let what = entry.what;
            if self.answered.contains(&what.id) {
                continue;
            }
            if let Some(choice) = choice(&what) {
                self.answer(&what.id, choice);
            }
            self.answered.push(what.id);
        }
    }

    fn answer(&self, id: &EscalationId, choice: &str) {
        let mut command = Command::new(self.program);
        command
            .args([
                "answer",
                id.as_str(),
                "--choose",
                choice,
                "--note",
                "a drill",
            ])
            .env("AGENTGUARD_STATE", &self.state)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // Who was too late finds that the deadline has decided.
        let _ = command.status();
    }
}

fn choice(what: &Escalation) -> Option<&str> {
    let ask = &what.ask;
    if matches!(ask.kind, Kind::InDoubt | Kind::Undo) {
        return None;
    }
    let recommended = ask.recommendation.as_deref();
    let recommended = recommended.filter(|id| what.option(id).is_some());
    recommended.or_else(|| ask.options.first().map(|it| it.id.as_str()))
}
