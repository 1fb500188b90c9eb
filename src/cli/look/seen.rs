//! A run as it stands at this moment: its row in the journal, and whether a
//! process holds it, which only the kernel knows.

use crate::cli::error::{Failure, Kind};
use crate::driver::host::Setup;
use crate::driver::policy::policy;
use crate::driver::recover;
use crate::human::inbox::Entry;
use crate::ids::RunId;
use crate::machine::Status;
use crate::observe::Report;
use crate::store::{self, Holder, RunRecord, Store};

/// A run and who holds it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Its row in the journal.
    pub record: RunRecord,
    /// The process that holds it.
    pub holder: Option<Holder>,
}

impl Seen {
    /// Looks whether anyone holds the run of `record`.
    pub fn look(store: &dyn Store, mut record: RunRecord) -> store::Result<Self> {
        let holder = store.holder(&record.new.run)?;
        if holder.is_none() && !has_ended(&record) {
            // It may have ended between the two looks; its end is durable
            // before it lets go.
            record = store.find(record.new.run.as_str())?;
        }
        Ok(Self { record, holder })
    }

    /// Returns the run.
    pub fn run(&self) -> &RunId {
        &self.record.new.run
    }

    /// Returns the status as it is: `running` with a holder, `crashed` without
    /// one and without an end, else as it ended. A word that this build does
    /// not know stays as it is.
    pub fn status(&self) -> &str {
        if self.holder.is_some() {
            Status::Running.as_str()
        } else if has_ended(&self.record) {
            &self.record.summary.status
        } else {
            Status::Crashed.as_str()
        }
    }

    /// Says what can be done about a run whose supervisor is gone.
    pub fn say_if_crashed(&self) {
        if self.status() == Status::Crashed.as_str() {
            super::say(&format!(
                "run {run} has crashed: its supervisor is gone. What was under way is settled when \
                 it goes on: agentguard resume {run}",
                run = self.run()
            ));
        }
    }

    /// Whether it plays another run again.
    pub fn is_replay(&self) -> bool {
        self.setup().is_ok_and(|setup| setup.replay_of.is_some())
    }

    /// Returns what stays true for the whole run.
    pub fn setup(&self) -> Result<Setup, Failure> {
        serde_json::from_str(&self.record.new.body).map_err(|error| {
            Failure::from_error(Kind::Environment, &error)
                .within(format!("the setup of run {} cannot be read", self.run()))
        })
    }

    /// Returns the run in figures: as stored with its end, or from its events
    /// where it has none.
    ///
    /// Errors: what cannot be read, in words.
    pub fn report(&self, store: &dyn Store) -> Result<Report, String> {
        if self.holder.is_none()
            && has_ended(&self.record)
            && let Ok(report) = serde_json::from_str(&self.record.summary.body)
        {
            return self.as_seen(store, report).map_err(|e| e.to_string());
        }
        let setup: Setup = serde_json::from_str(&self.record.new.body)
            .map_err(|error| format!("its setup cannot be read: {error}"))?;
        let state = recover::state(store, self.run(), &policy(&setup.task))
            .map_err(|error| error.to_string())?;
        let report = Report::of(self.run(), &state);
        self.as_seen(store, report).map_err(|e| e.to_string())
    }

    /// Corrects what the events alone cannot tell: whether it runs, and what humans
    /// said while no process of it was there.
    pub fn as_seen(&self, store: &dyn Store, mut report: Report) -> store::Result<Report> {
        self.hear_humans(store, &mut report)?;
        if self.holder.is_some() {
            report.status = match report.waits_for_human() {
                true => Status::Waiting,
                false => Status::Running,
            };
            report.error_class = None;
        } else if !has_ended(&self.record) {
            report.status = Status::Crashed;
            report.error_class = Some("crash".to_owned());
        } else {
            return Ok(report);
        }
        report.exit_code = None;
        report.outcome = None;
        report.end_time = None;
        Ok(report)
    }

    fn hear_humans(&self, store: &dyn Store, report: &mut Report) -> store::Result<()> {
        if report.questions.iter().all(|asked| asked.option.is_some()) {
            return Ok(());
        }
        let rows = store.questions(Some(self.run()), "", false)?;
        for entry in rows.into_iter().filter_map(|row| Entry::read(row).ok()) {
            let mut open = report.questions.iter_mut().filter(|it| it.option.is_none());
            if let Some(asked) = open.find(|it| it.id == entry.what.id) {
                asked.hear(entry.seen.as_ref(), entry.ruling.as_ref());
            }
        }
        Ok(())
    }
}

/// Whether the last attempt of a run has a written end.
pub fn has_ended(record: &RunRecord) -> bool {
    !matches!(record.summary.status.as_str(), "" | "running")
}
