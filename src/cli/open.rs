//! The journal, as commands open it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Global;
use super::error::{Failure, Kind};
use crate::clock::{Clock, SystemClock, UnixMs};
use crate::store::sqlite::Options;
use crate::store::{Paths, Sqlite, Store};

/// Opens the journal, making it if it is not there.
pub fn store(global: &Global) -> Result<Arc<dyn Store>, Failure> {
    Ok(Arc::new(Sqlite::open(paths(global)?, Options::default())?))
}

/// Finds the state folder.
pub fn paths(global: &Global) -> Result<Paths, Failure> {
    match &global.state {
        // Children and their `agentguard` must find the same folder from elsewhere.
        Some(state) => std::path::absolute(state).map(Paths::new).map_err(|error| {
            Failure::from_error(Kind::Usage, &error).hint("give --state as an absolute path")
        }),
        None => Paths::resolve(|name| std::env::var_os(name))
            .map_err(|error| Failure::from_error(Kind::Environment, &error)),
    }
}

/// Returns the machine's clock.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

/// Writes an instant as people and machines read it: RFC 3339, UTC, seconds.
pub fn instant(at: UnixMs) -> String {
    jiff::Timestamp::from_millisecond(at.0)
        .map_or_else(|_| format!("{} ms", at.0), |at| format!("{at:.0}"))
}

/// Writes a length of time as people read it: `820ms`, `12s`, `3m 20s`, `2h 5m`.
pub fn duration(ms: u64) -> String {
    let (seconds, minutes, hours) = (ms / 1000, ms / 60_000, ms / 3_600_000);
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..60_000 => format!("{seconds}s"),
        60_000..3_600_000 => format!("{minutes}m {}s", seconds % 60),
        _ => format!("{hours}h {}m", minutes % 60),
    }
}

/// Reads a task file.
///
/// Returns its bytes (bounded; the parser refuses what is longer), its name for
/// messages, and the folder its paths are relative to.
pub fn task_file(file: &Path) -> Result<(Vec<u8>, String, PathBuf), Failure> {
    let failed = |error: &std::io::Error| {
        let failure = Failure::from_error(Kind::Usage, error);
        let what = format!("cannot read task file `{}`", file.display());
        failure
            .within(what)
            .hint("`agentguard init shell > task.yaml` writes one")
    };
    let bytes_max = crate::task::parse::BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    if file == Path::new("-") {
        let read = std::io::stdin().take(bytes_max).read_to_end(&mut bytes);
        read.map_err(|error| failed(&error))?;
        let here = std::env::current_dir().map_err(|error| failed(&error))?;
        return Ok((bytes, "task.yaml".into(), here));
    }
    let opened = std::fs::File::open(file).map_err(|error| failed(&error))?;
    opened
        .take(bytes_max)
        .read_to_end(&mut bytes)
        .map_err(|error| failed(&error))?;
    let whole = std::path::absolute(file).map_err(|error| failed(&error))?;
    let folder = whole.parent().unwrap_or(Path::new("/")).to_owned();
    Ok((bytes, file.display().to_string(), folder))
}
