//! What the commands share that look at runs instead of carrying them on.
//!
//! - [`journal`], [`find`]: opening without leaving a trace where there is none;
//! - [`Seen`]: a run with what the kernel says about its holder;
//! - [`doubt`]: what its end left unclear;
//! - [`holder`]: signalling the process that holds a run, and no other;
//! - [`tail`]: a log that is written meanwhile;
//! - [`table`], [`print`]: how it gets onto the screen.

pub mod doubt;
pub mod holder;
pub mod seen;
pub mod table;
pub mod tail;

use std::io::Write;
use std::sync::Arc;

use rustix::termios::tcgetwinsize;

use super::error::{Failure, Kind};
use super::{Global, open};
use crate::driver::recover::ReadError;
use crate::store::{self, RunRecord, Store};

pub use seen::Seen;

/// The version of what `--json` prints.
pub const JSON_VERSION: u64 = 1;

/// Opens the journal, or returns `None` where nothing was ever stored: looking
/// makes no files.
pub fn journal(global: &Global) -> Result<Option<Arc<dyn Store>>, Failure> {
    match open::paths(global)?.database().try_exists() {
        Ok(false) => Ok(None),
        // What cannot be looked into is no empty folder: opening it says why.
        Ok(true) | Err(_) => open::store(global).map(Some),
    }
}

/// Opens the journal and finds the run that `asked` names.
pub fn find(global: &Global, asked: &str) -> Result<(Arc<dyn Store>, RunRecord), Failure> {
    let Some(store) = journal(global)? else {
        let asked = asked.chars().take(80).collect();
        return Err(store::Error::NoSuchRun { asked }.into());
    };
    let record = store.find(asked)?;
    Ok((store, record))
}

/// Prints to stdout what one would pipe.
///
/// A reader that went away (`| head`) has what it wanted: that is no failure.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    written(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints a value as one JSON document on a line of its own.
pub fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let mut text = serde_json::to_string(value)
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    text.push('\n');
    print(&text)
}

/// Takes a closed pipe for success.
pub fn written(result: std::io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::new(
            Kind::Environment,
            format!("cannot write to stdout: {error}"),
        )),
        _ => Ok(()),
    }
}

/// Says on stderr what is not for a pipe.
pub fn say(text: &str) {
    // Nobody is left to be told when stderr is closed.
    let _ = writeln!(std::io::stderr(), "agentguard: {text}");
}

/// Returns how many columns the terminal on stdout has, if it is one.
pub fn columns() -> Option<usize> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}

/// A run whose events cannot be read back.
pub fn unreadable(error: &ReadError) -> Failure {
    Failure::from_error(Kind::Environment, error)
}

/// Writes `count` of something: `1 run`, `3 runs`.
pub fn counted(count: u64, what: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {what}{s}")
}
