//! Checks of the work, after the agent said that it is done.
//!
//! What the agent made is untrusted: reading is bounded, patterns run in linear
//! time, programs run guarded and with a time limit, in an environment without the
//! keys of the supervisor. A check says one of three things: passed, failed, or
//! nothing, because it could not be carried out.
//!
//! - `program`: commands and scripts;
//! - `document`: JSON Schemas;
//! - `files`: what must or must not be in files;
//! - `review`: what a model is shown and asked, and how its answer is read. Asking it
//!   is a matter of the run that pays for it (`driver::review`).
//!
//! Not here: when checks are made and what follows (`machine::conclude`,
//! `driver::conclude`).

mod document;
mod files;
mod program;
pub mod review;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::ids::RunId;
use crate::machine::event::{CheckEnd, CheckVerdict};
use crate::process::Launcher;
use crate::task::resolved::{Check, Look, Schema, Verify};

/// Longest findings of one check, in bytes.
const FINDINGS_BYTES_MAX: usize = 4 * 1024;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// Where checks are made.
pub struct Site<'a> {
    /// The run whose work it is.
    pub run: &'a RunId,
    /// Starts programs.
    pub launcher: &'a Launcher,
    /// The folder with the work.
    pub workspace: &'a Path,
    /// The whole environment of programs.
    pub env: Vec<(OsString, OsString)>,
    /// The folder for whole output, which is there.
    pub output_dir: PathBuf,
    /// Between asking and killing, in milliseconds.
    pub grace_ms: u64,
    /// What the agent gave as its result.
    pub result: Option<&'a Value>,
    /// Hides secrets in what is kept.
    pub hide: &'a (dyn Fn(&str) -> String + Sync),
}

/// What a check says.
pub struct Said {
    verdict: CheckVerdict,
    /// A clause that follows the name of the check.
    why: String,
    findings: String,
}

impl Said {
    fn passed(why: impl Into<String>) -> Self {
        Self::new(CheckVerdict::Passed, why, String::new())
    }

    fn failed(why: impl Into<String>, findings: impl Into<String>) -> Self {
        Self::new(CheckVerdict::Failed, why, findings)
    }

    /// It says nothing.
    pub fn unchecked(why: impl Into<String>, findings: impl Into<String>) -> Self {
        Self::new(CheckVerdict::Unchecked, why, findings)
    }

    fn new(verdict: CheckVerdict, why: impl Into<String>, findings: impl Into<String>) -> Self {
        Self {
            verdict,
            why: why.into(),
            findings: findings.into(),
        }
    }
}

/// Makes one check. Never fails: what goes wrong is what it says.
///
/// - `place`: its place in the task, from 1; names its output.
///
/// Dropping the future ends what it started.
pub async fn check(site: &Site<'_>, place: usize, check: &Check) -> CheckEnd {
    let started = Instant::now();
    let said = match &check.look {
        Look::Command(words) => program::command(site, place, check.timeout_ms, words).await,
        Look::Script(text) => program::script(site, place, check.timeout_ms, text).await,
        Look::Schema { file, schema } => {
            let work = document::check(site, file.as_deref(), schema);
            in_time(check.timeout_ms, work).await
        }
        Look::Files { .. } => {
            let work = files::check(site.workspace.to_owned(), check.look.clone());
            in_time(check.timeout_ms, work).await
        }
        Look::Model(_) => Said::unchecked("asks a model, which only a run does", ""),
    };
    ended(check, said, started, site.hide)
}

/// How a check ended, bounded and without secrets.
pub fn ended(
    check: &Check,
    said: Said,
    started: Instant,
    hide: &(dyn Fn(&str) -> String + Sync),
) -> CheckEnd {
    let mut findings = hide(said.findings.trim_end());
    if findings.len() > FINDINGS_BYTES_MAX {
        findings.truncate(findings.floor_char_boundary(FINDINGS_BYTES_MAX));
        findings.push('…');
    }
    CheckEnd {
        name: check.name.clone(),
        verdict: said.verdict,
        why: hide(&said.why),
        findings,
        took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

async fn in_time(timeout_ms: u64, work: impl Future<Output = Said>) -> Said {
    match tokio::time::timeout(Duration::from_millis(timeout_ms), work).await {
        Ok(said) => said,
        Err(_) => too_slow(timeout_ms),
    }
}

/// A check took too long.
pub fn too_slow(timeout_ms: u64) -> Said {
    let why = format!("took longer than {timeout_ms} ms, its time limit");
    Said::unchecked(why, "")
}

/// Puts the schemas that stand in files into the task itself: what the work must
/// meet is settled before the agent can touch it.
///
/// Errors: a sentence about a schema that cannot be read or used.
pub fn take_in(verify: &mut Verify) -> Result<(), String> {
    for check in &mut verify.checks {
        if let Look::Schema { schema, .. } = &mut check.look
            && let Schema::File(file) = schema
        {
            let read = document::read(file)
                .map_err(|why| format!("the schema of check `{}` {why}", check.name))?;
            crate::task::schema::compile(&read).map_err(|error| {
                let file = file.display();
                format!(
                    "the schema of check `{}`, {file}, is no JSON Schema: {error}",
                    check.name
                )
            })?;
            *schema = Schema::Inline(read);
        }
    }
    Ok(())
}
