//! Which dead letters are meant.

use super::Which;
use crate::cli::error::Failure;
use crate::cli::look::{self, Seen};
use crate::cli::open;
use crate::machine::Status as RunStatus;
use crate::machine::batch::Status;
use crate::observe::plain;
use crate::store::{Filter, ItemFilter, ItemNo, Store, StoredItem};

/// Something that failed for good.
pub enum Letter {
    /// An item of a batch.
    Item(Box<StoredItem>),
    /// A run.
    Run(Box<RunLetter>),
}

/// A run that failed, with why.
pub struct RunLetter {
    /// The run.
    pub seen: Seen,
    /// What its report calls the failure.
    pub class: String,
    /// Why, as a sentence.
    pub why: String,
}

impl Letter {
    /// Returns what names it.
    pub fn id(&self) -> String {
        match self {
            Self::Item(item) => item.no.to_string(),
            Self::Run(run) => run.seen.run().to_string(),
        }
    }

    /// Returns it in a line: `i17 (mail 7, r-7f3ak2m9)`.
    pub fn text(&self) -> String {
        match self {
            Self::Item(item) => format!(
                "{} ({} `{}`, {})",
                item.no,
                plain::excerpt(&item.at.tool, 80),
                plain::excerpt(&item.at.item, 80),
                item.run
            ),
            Self::Run(run) => format!("{} (run, {})", run.seen.run(), run.seen.status()),
        }
    }
}

/// Statuses of runs that are dead letters.
fn is_dead(status: &str) -> bool {
    let fine = [RunStatus::Running, RunStatus::Done, RunStatus::Interrupted];
    !fine.iter().any(|fine| fine.as_str() == status)
}

/// Returns the dead letters that the filters let through, the latest first: runs, then
/// items.
pub fn letters(store: &dyn Store, which: &Which) -> Result<Vec<Letter>, Failure> {
    let now = open::clock().now();
    let since = which.since.map(|since| since.before(now));
    let run = which.run.as_deref().map(|asked| store.find(asked));
    let run = run.transpose()?.map(|record| record.new.run);
    let mut found = Vec::new();
    if !which.items && which.tool.is_none() {
        let filter = Filter {
            task: which.task.clone(),
            ..Filter::default()
        };
        for record in store.runs(&filter)? {
            let is_new = since.is_none_or(|since| record.last_at >= since);
            let is_asked = run.as_ref().is_none_or(|run| *run == record.new.run);
            if record.is_dropped || !is_new || !is_asked {
                continue;
            }
            let seen = Seen::look(store, record)?;
            if is_dead(seen.status()) && !seen.is_replay() {
                let letter = run_letter(store, seen);
                let matches = |reason: &String| *reason == letter.class;
                if which.reason.as_ref().is_none_or(matches) {
                    found.push(Letter::Run(Box::new(letter)));
                }
            }
        }
    }
    if !which.runs {
        let mut statuses = vec![Status::Dead.as_str().to_owned()];
        if which.queued {
            statuses.push(Status::Queued.as_str().to_owned());
        }
        let items = store.items(&ItemFilter {
            statuses,
            run,
            since,
            dropped_too: false,
        })?;
        let wanted = items.into_iter().filter(|item| {
            let has = |wanted: &Option<String>, value: &str| {
                wanted.as_ref().is_none_or(|wanted| wanted == value)
            };
            has(&which.tool, &item.at.tool)
                && has(&which.task, &item.task)
                && (has(&which.reason, &item.at.rule) || has(&which.reason, &item.at.class))
        });
        found.extend(wanted.map(|item| Letter::Item(Box::new(item))));
    }
    Ok(found)
}

fn run_letter(store: &dyn Store, seen: Seen) -> RunLetter {
    let report = seen.report(store);
    let (class, why) = match report {
        Ok(report) => (
            report
                .error_class
                .unwrap_or_else(|| seen.status().to_owned()),
            report.last_error.or(report.outcome).unwrap_or_default(),
        ),
        Err(problem) => (seen.status().to_owned(), problem),
    };
    RunLetter { seen, class, why }
}

/// Finds the letter that `id` names: `i17`, a run, or an item by its own id. Also one
/// that is on no list: an item that was dropped or is in doubt, a run that ended well.
pub fn named(store: &dyn Store, id: &str) -> Result<Letter, Failure> {
    let number = id.strip_prefix('i').and_then(|number| number.parse().ok());
    let unknown = match number {
        Some(_) => None,
        None => match store.find(id) {
            Ok(record) => {
                let letter = run_letter(store, Seen::look(store, record)?);
                return Ok(Letter::Run(Box::new(letter)));
            }
            Err(error) => Some(error),
        },
    };
    let all = store.items(&ItemFilter {
        dropped_too: true,
        ..ItemFilter::default()
    })?;
    let is_it = |item: &StoredItem| match number {
        Some(number) => item.no == ItemNo(number),
        None => item.at.item == id,
    };
    let mut found: Vec<StoredItem> = all.into_iter().filter(is_it).collect();
    if let (Some(item), true) = (found.pop(), found.is_empty()) {
        return Ok(Letter::Item(Box::new(item)));
    }
    Err(match (found.len(), unknown) {
        (0, None) => Failure::usage(format!("there is no item `{}`", plain::excerpt(id, 80)))
            .hint("`agentguard dead-letters list` shows them"),
        (0, Some(error)) => {
            Failure::from(error).hint("`agentguard dead-letters list` shows items and runs")
        }
        (others, _) => Failure::usage(format!(
            "{} have the id `{}`",
            look::counted(others as u64 + 1, "item"),
            plain::excerpt(id, 80)
        ))
        .hint("name one by its number, such as `i17`: `agentguard dead-letters list`"),
    })
}
