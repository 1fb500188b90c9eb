//! `agentguard diff`

use std::io::{IsTerminal, Read as _, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::error::{Failure, Kind};
use super::look::{self, Seen, counted};
use super::{Global, Result};
use crate::exit_code;
use crate::ids::RunId;
use crate::observe::plain;
use crate::staging::change::{Counts, What};
use crate::staging::diff::{self, Line, Sides, quoted};
use crate::staging::stage::{self, Stage};
use crate::staging::tree::as_text;
use crate::staging::{self, commit};
use crate::store::Store;

/// Show what a run changed in its staged folder
///
/// While the run goes on, and after it failed: what its agent has changed in the
/// copy so far (see `workspace.stage`). After the commit: what was committed. The
/// text is a unified diff as `git` writes it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DiffArgs {
    /// The run: an id, the start of one, or `latest`
    #[arg(value_name = "RUN", default_value = "latest")]
    run: String,

    /// Only list the paths, with how many lines came and went
    #[arg(long, conflicts_with_all = ["name_only", "json"])]
    stat: bool,

    /// Only list the paths
    #[arg(long, conflicts_with = "json")]
    name_only: bool,

    /// Print one JSON document, without the text of the change
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard diff latest
  agentguard diff r-7f3a --stat
  agentguard diff r-7f3a > change.patch && git apply --stat change.patch";

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    run_id: &'a RunId,
    /// `staged`, `committed`, or `removed`: the copy is gone and nothing came of it.
    state: &'static str,
    target: Option<String>,
    added: u64,
    changed: u64,
    deleted: u64,
    changes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    /// Bytes that are no UTF-8, and `\\`, are `\\xNN`.
    path: String,
    what: What,
    lines_added: Option<u64>,
    lines_deleted: Option<u64>,
    old_mode: Option<String>,
    new_mode: Option<String>,
}

/// A change, and where its text comes from.
struct Found {
    lines: Vec<Line>,
    /// The stage, while there is one.
    stage: Option<Stage>,
    /// The file of the text, once it was committed.
    patch: PathBuf,
}

/// Shows the change.
pub fn main(global: &Global, args: DiffArgs) -> Result {
    let (store, record) = look::find(global, &args.run)?;
    let seen = Seen::look(store.as_ref(), record)?;
    let run = seen.run();
    let folder = store.paths().run(run);
    let needs_lines = args.stat || args.json;
    let found = find(&folder, needs_lines).map_err(failure)?;
    let Some(found) = found else {
        return Err(
            Failure::new(Kind::Usage, format!("run {run} has no staged folder")).hint(
                "`workspace: {stage: FOLDER}` in the task file gives its agent a copy to work in",
            ),
        );
    };
    let workspace = seen.report(store.as_ref()).ok().and_then(|it| it.workspace);
    let state = match &workspace {
        _ if found.stage.is_some() => "staged",
        Some(workspace) if workspace.committed.is_some() => "committed",
        _ => "removed",
    };
    if args.json {
        let target = workspace.map(|it| it.target);
        return json(run, &found, state, target).map(|()| exit_code::DONE);
    }
    if args.name_only {
        let names = found
            .lines
            .iter()
            .map(|line| format!("{}\n", shown(&line.change.path)));
        look::print(&names.collect::<String>())?;
    } else if args.stat {
        stat(&found)?;
    } else {
        text(&found)?;
    }
    if state == "removed" {
        look::say("the copy was removed; nothing of it was committed");
    } else if found.lines.is_empty() {
        look::say("no changes");
    }
    Ok(exit_code::DONE)
}

/// Removes the stage of a run that goes, or whose stage goes.
pub fn discard(store: &dyn Store, run: &RunId) -> std::result::Result<(), Failure> {
    let folder = store.paths().run(run);
    stage::discard(&folder)
        .map_err(|error| failure(error).within(format!("cannot remove the stage of run {run}")))
}

fn find(folder: &Path, needs_lines: bool) -> staging::Result<Option<Found>> {
    let records = stage::records(folder);
    if let Some(stage) = Stage::find(folder)?
        && stage.exists()
        && !commit::is_in_place(&stage)
    {
        let changes = commit::so_far(&stage)?;
        let sides = sides(&stage);
        let line = |change| {
            if needs_lines {
                return diff::show(&change, &sides).line;
            }
            Line {
                change,
                lines: None,
            }
        };
        return Ok(Some(Found {
            lines: changes.into_iter().map(line).collect(),
            patch: PathBuf::new(),
            stage: Some(stage),
        }));
    }
    if let Some((lines, patch)) = diff::kept(&records)? {
        return Ok(Some(Found {
            lines,
            patch,
            stage: None,
        }));
    }
    let was_staged = records.is_dir();
    Ok(was_staged.then_some(Found {
        lines: vec![],
        patch: PathBuf::new(),
        stage: None,
    }))
}

fn sides(stage: &Stage) -> Sides<'_> {
    Sides {
        old: &stage.target,
        new: &stage.tree,
    }
}

fn json(
    run: &RunId,
    found: &Found,
    state: &'static str,
    target: Option<String>,
) -> std::result::Result<(), Failure> {
    let changes: Vec<_> = found.lines.iter().map(|line| line.change.clone()).collect();
    let counts = Counts::of(&changes);
    let mode = |node: &Option<crate::staging::tree::Node>| {
        node.as_ref().map(|node| format!("{:04o}", node.mode))
    };
    let row = |line: &Line| Row {
        path: as_text::write(&line.change.path),
        what: line.change.what(),
        lines_added: line.lines.map(|(added, _)| added),
        lines_deleted: line.lines.map(|(_, deleted)| deleted),
        old_mode: mode(&line.change.old),
        new_mode: mode(&line.change.new),
    };
    look::print_json(&Document {
        v: look::JSON_VERSION,
        run_id: run,
        state,
        target,
        added: counts.added,
        changed: counts.changed,
        deleted: counts.deleted,
        changes: found.lines.iter().map(row).collect(),
    })
}

fn stat(found: &Found) -> std::result::Result<(), Failure> {
    let mut out = String::new();
    for line in &found.lines {
        let what = match line.change.what() {
            What::Added => "added",
            What::Modified => "modified",
            What::Deleted => "deleted",
            What::Mode => "mode",
            What::Link => "link",
            What::Kind => "kind",
        };
        let lines = match line.lines {
            Some((added, deleted)) => format!("+{added} -{deleted}"),
            None => String::new(),
        };
        let path = shown(&line.change.path);
        out.push_str(format!("{what:<8}  {lines:<12}  {path}").trim_end());
        out.push('\n');
    }
    let changes: Vec<_> = found.lines.iter().map(|line| line.change.clone()).collect();
    let counts = Counts::of(&changes);
    out.push_str(&format!(
        "{} added, {} changed, {} deleted\n",
        counted(counts.added, "file"),
        counts.changed,
        counts.deleted
    ));
    look::print(&out)
}

/// Prints the change. On a terminal nothing in it acts on the terminal.
fn text(found: &Found) -> std::result::Result<(), Failure> {
    let to_terminal = std::io::stdout().is_terminal();
    let mut out = std::io::stdout().lock();
    let mut put = |bytes: &[u8]| {
        if to_terminal {
            out.write_all(plain::text(&String::from_utf8_lossy(bytes)).as_bytes())
        } else {
            out.write_all(bytes)
        }
    };
    let Some(stage) = &found.stage else {
        let Ok(mut patch) = std::fs::File::open(&found.patch) else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        patch
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
        return look::written(put(&bytes));
    };
    let mut printed = 0;
    for line in &found.lines {
        let shown = diff::show(&line.change, &sides(stage));
        printed += shown.text.len();
        if let Err(error) = put(shown.text.as_bytes()) {
            return look::written(Err(error));
        }
        if printed > diff::DIFF_BYTES_MAX {
            look::say("more changes are not shown; --stat lists them all");
            break;
        }
    }
    Ok(())
}

/// The folder itself is `.`.
fn shown(path: &Path) -> String {
    match quoted(path) {
        name if name.is_empty() => ".".to_owned(),
        name => name,
    }
}

fn failure(error: staging::Error) -> Failure {
    Failure::from_error(Kind::Environment, &error)
}
