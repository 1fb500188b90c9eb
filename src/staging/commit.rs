//! From the stage to the target: all of the change, or none.
//!
//! ```text
//! check ──► conflicts, or a plan on disk ──► (event) ──► carry_out ──► (event) ──► clean
//! ```
//! [`check`] compares base, stage and target. What others changed meanwhile in paths
//! that the agent left alone is kept: for an exchange it is taken over into the
//! stage, and a change that comes while the folders are exchanged takes the exchange
//! back. [`carry_out`] can be called again after any crash: it looks at what is there.
//!
//! Nothing here knows whether the agent is done; whoever calls knows.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::change::{Change, Counts, between, merge};
use super::error::{Error, Named, Result};
use super::moment::Moment;
use super::scan::{self, Halt};
use super::stage::{Method, Stage, remove_tree};
use super::tree::{Entry, Manifest, Node, Tree, at, hex, load_lines, save_lines};
use super::{copy, diff, exchange, git, moves};

/// What a look at stage and target gave.
#[derive(Debug)]
pub enum Checked {
    /// The agent changed nothing that the target does not have already.
    Nothing,
    /// Both changed these paths, to different things.
    Conflicts(Vec<PathBuf>),
    /// The plan is on disk.
    Ready(Box<Ready>),
}

/// A commit that can be carried out.
#[derive(Debug)]
pub struct Ready {
    /// How.
    pub method: Method,
    /// Why not by exchange.
    pub why: Option<String>,
    /// How much.
    pub counts: Counts,
    /// A hash over the change, hexadecimal.
    pub hash: String,
    /// What the target was when it was looked at.
    target: Tree,
}

/// What came of carrying out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// The target has the change.
    Committed,
    /// The target is as it was, and must be [`check`]ed anew.
    Again,
}

/// `plan.json`; written last.
#[derive(Debug, Serialize, Deserialize)]
struct Plan {
    method: Method,
    /// The root of the stage, by which it is known at its new place.
    stage_root: (u64, u64),
    /// Whether there is a target.
    has_target: bool,
}

/// Looks at both sides and lays out the commit.
///
/// For an exchange the stage gets what others changed in the target meanwhile.
pub fn check(stage: &Stage, halt: &Halt) -> Result<Checked> {
    forget(&stage.target, &stage.tree, &stage.records)?;
    if fs::symlink_metadata(&stage.target).is_ok_and(|found| !found.is_dir()) {
        // Something else has taken the place of the folder itself.
        return Ok(Checked::Conflicts(vec![PathBuf::from(".")]));
    }
    let mut base = stage.base()?;
    let present = stage.present(&base, halt)?;
    let target = stage.target_now(&base, &present.tree, halt)?;
    let ours = between(nodes_of(&base), nodes(&present.tree));
    let theirs = between(nodes_of(&base), nodes(&target.tree));
    let merged = merge(ours, theirs);
    if !merged.conflicts.is_empty() {
        return Ok(Checked::Conflicts(merged.conflicts));
    }
    let (changes, theirs) = (merged.ours, merged.theirs);
    if changes.is_empty() {
        return Ok(Checked::Nothing);
    }
    let sides = diff::Sides {
        old: &stage.target,
        new: &stage.tree,
    };
    diff::keep(&changes, &sides, &stage.records)?;
    let left_out = target.left_out.first().or(present.left_out.first());
    let (method, why) = method(stage, &base, &target.tree, left_out)?;
    match method {
        Method::Exchange => {
            carry_over(stage, &mut base, &theirs)?;
            let mode = present
                .tree
                .get(Path::new(""))
                .map_or(0o755, |root| root.node.mode);
            let open = fs::Permissions::from_mode(mode);
            fs::set_permissions(&stage.tree, open).named("set the mode of", &stage.tree)?;
        }
        Method::Files => moves::prepare(stage, &changes, &target.tree, halt)?,
    }
    exchange::sync(&stage.tree)?;
    let plan = Plan {
        method,
        stage_root: identity(&stage.tree).named("read", &stage.tree)?,
        has_target: !target.tree.is_empty(),
    };
    save_lines(&plan_path(&stage.records), [&plan])?;
    Ok(Checked::Ready(Box::new(Ready {
        method,
        why,
        counts: Counts::of(&changes),
        hash: hash(&changes),
        target: target.tree,
    })))
}

/// Puts the change in place, or finishes what a crash cut off.
///
/// - `ready`: what [`check`] gave; `None` after a crash.
/// - `moment`: told of moments in between.
///
/// On an error the target is as it was; what cannot be taken back is by the next call.
pub fn carry_out(stage: &Stage, ready: Option<&Ready>, moment: &dyn Fn(Moment)) -> Result<Done> {
    if done_path(&stage.records).exists() {
        return Ok(Done::Committed);
    }
    let Some(plan) = plan(&stage.records)? else {
        return Ok(Done::Again);
    };
    if plan.method == Method::Files {
        return moves::carry_out(stage, moment);
    }
    if identity(&stage.target).ok() == Some(plan.stage_root) {
        return settled(stage);
    }
    let Some(ready) = ready else {
        return Ok(Done::Again);
    };
    if !plan.has_target {
        return match exchange::place(&stage.tree, &stage.target) {
            Ok(()) => {
                moment(Moment::InPlace);
                settled(stage)
            }
            Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => Ok(Done::Again),
            Err(cause) => Err(Error::io("move the stage to", &stage.target, cause)),
        };
    }
    match exchange::swap(&stage.tree, &stage.target) {
        Ok(()) => {}
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Done::Again),
        Err(cause) => return Err(Error::io("exchange", &stage.target, cause)),
    }
    // What was the target is at the stage's place now.
    if !held_still(stage, &ready.target)? {
        exchange::swap(&stage.tree, &stage.target).named("exchange back", &stage.target)?;
        return Ok(Done::Again);
    }
    moment(Moment::InPlace);
    settled(stage)
}

/// Returns whether the change is in place, whether or not anybody knows.
pub fn is_in_place(stage: &Stage) -> bool {
    let is_there = |plan: Plan| identity(&stage.target).ok() == Some(plan.stage_root);
    let exchanged = |plan: Plan| plan.method == Method::Exchange && is_there(plan);
    done_path(&stage.records).exists() || plan(&stage.records).ok().flatten().is_some_and(exchanged)
}

/// Forgets a plan that is not to be carried out any more, and takes back what of it
/// is half done.
pub fn rewind(stage: &Stage) -> Result<()> {
    forget(&stage.target, &stage.tree, &stage.records)
}

/// Removes the stage and the plan; what was committed stays known.
pub fn clean(run: &Path) -> Result<()> {
    super::stage::discard(run)
}

/// Takes back what of a plan is half done, and forgets it.
pub(super) fn forget(target: &Path, tree: &Path, records: &Path) -> Result<()> {
    if let Some(Plan {
        method: Method::Files,
        ..
    }) = plan(records)?
    {
        moves::take_back(target, tree, records)?;
    }
    moves::remove_leftovers(target, tree)?;
    remove_tree(&carried(tree))?;
    let path = plan_path(records);
    match fs::remove_file(&path) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            Err(Error::io("remove", &path, cause))
        }
        _ => Ok(()),
    }
}

/// The change is in place: from now on nothing of it is taken back.
pub(super) fn settled(stage: &Stage) -> Result<Done> {
    let parent = stage.target.parent().unwrap_or(&stage.target);
    super::tree::sync_folder(parent).named("sync", parent)?;
    let (plan, done) = (plan_path(&stage.records), done_path(&stage.records));
    fs::rename(&plan, &done).named("rename", &plan)?;
    super::tree::sync_folder(&stage.records).named("sync", &stage.records)?;
    Ok(Done::Committed)
}

/// Says how it is committed. What could not be known when the stage was made: whether
/// somebody sits in the target, whose folder would be the old one after an exchange.
fn method(
    stage: &Stage,
    base: &Manifest,
    target: &Tree,
    left_out: Option<&(PathBuf, &'static str)>,
) -> Result<(Method, Option<String>)> {
    if stage.method == Method::Files {
        let mut why = stage.why.clone().unwrap_or_default();
        if let Some(head) = &stage.git
            && let Some(made) = git::made_since(&stage.tree, head)
        {
            why.push_str(&format!(
                "; the agent's commits, the last of them {made}, are not taken over"
            ));
        }
        return Ok((Method::Files, Some(why).filter(|why| !why.is_empty())));
    }
    if let Some((path, reason)) = left_out {
        let why = format!("{path:?} is not staged: {reason}");
        return if stage.is_asked {
            Err(Error::NoExchange(why))
        } else {
            Ok((Method::Files, Some(why)))
        };
    }
    if base.0.is_empty() && !target.is_empty() {
        let why = "the folder was not there before".to_owned();
        return Ok((Method::Files, Some(why)));
    }
    if !stage.is_asked
        && let Some((pid, name)) = somebody_inside(&stage.target)
    {
        let why = format!("process {pid} ({name}) has its working folder in it");
        return Ok((Method::Files, Some(why)));
    }
    Ok((Method::Exchange, None))
}

/// Returns a process whose working folder is `folder` or below.
fn somebody_inside(folder: &Path) -> Option<(u32, String)> {
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let cwd = fs::read_link(entry.path().join("cwd")).ok()?;
        if !cwd.starts_with(folder) {
            return None;
        }
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        Some((pid, name.trim().escape_debug().to_string()))
    })
}

/// Takes over into the stage what others changed in the target, and into the base.
fn carry_over(stage: &Stage, base: &mut Manifest, theirs: &[Change]) -> Result<()> {
    if theirs.is_empty() {
        return Ok(());
    }
    let goes = |change: &&Change| match (&change.old, &change.new) {
        (Some(_), None) => true,
        (Some(old), Some(new)) => old.is_folder() != new.is_folder(),
        (None, _) => false,
    };
    for change in theirs.iter().rev().filter(goes) {
        let place = at(&stage.tree, &change.path);
        let is_folder = change.old.as_ref().is_some_and(Node::is_folder);
        let removed = if is_folder {
            fs::remove_dir(&place)
        } else {
            fs::remove_file(&place)
        };
        match removed {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &place, cause));
            }
            _ => drop(base.0.remove(&change.path)),
        }
    }
    for change in theirs {
        let Some(new) = &change.new else { continue };
        let to = at(&stage.tree, &change.path);
        let entry = if new.is_folder() && to.is_dir() {
            let mode = fs::Permissions::from_mode(new.mode);
            fs::set_permissions(&to, mode).named("set the mode of", &to)?;
            Entry {
                node: new.clone(),
                target: None,
                stage: None,
            }
        } else {
            // Half a file in the stage would pass for a change of the agent.
            let beside = carried(&stage.tree);
            remove_tree(&beside)?;
            let mut entry = copy::one(&at(&stage.target, &change.path), &beside)?;
            fs::rename(&beside, &to).named("make", &to)?;
            // It may be changed again in this very moment.
            entry.target = None;
            // Its new name has given it another time.
            entry.stage = None;
            entry
        };
        base.0.insert(change.path.clone(), entry);
    }
    base.save(&stage.records.join("base.jsonl"))
}

/// Returns where a file lies on its way from the target to the stage.
fn carried(tree: &Path) -> PathBuf {
    let mut name = tree.as_os_str().to_owned();
    name.push(".carried");
    name.into()
}

/// Returns whether the old target, which is at the stage's place now, is what it was
/// when the commit was laid out.
fn held_still(stage: &Stage, before: &Tree) -> Result<bool> {
    let walk = scan::walk(&stage.tree, &stage.rules, &Halt::default())?;
    let same = walk.entries.iter().all(|(path, metadata)| {
        before.get(path).is_some_and(|seen| {
            let is_same_folder = seen.node.is_folder() && metadata.is_dir();
            let is_same = is_same_folder || seen.stamp == scan::stamp(metadata);
            is_same && seen.node.mode == scan::mode(metadata)
        })
    });
    Ok(same && walk.left_out.is_empty() && walk.entries.len() == before.len())
}

fn plan(records: &Path) -> Result<Option<Plan>> {
    let path = plan_path(records);
    if !path.exists() {
        return Ok(None);
    }
    Ok(load_lines(&path)?.pop())
}

fn plan_path(records: &Path) -> PathBuf {
    records.join("plan.json")
}

/// The plan, once it is in place.
fn done_path(records: &Path) -> PathBuf {
    records.join("done.json")
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))
}

fn nodes(tree: &Tree) -> impl Iterator<Item = (&PathBuf, &Node)> {
    tree.iter().map(|(path, seen)| (path, &seen.node))
}

fn nodes_of(base: &Manifest) -> impl Iterator<Item = (&PathBuf, &Node)> {
    base.0.iter().map(|(path, entry)| (path, &entry.node))
}

fn hash(changes: &[Change]) -> String {
    let mut hash = Sha256::new();
    for change in changes {
        hash.update(serde_json::to_vec(change).unwrap_or_default());
        hash.update(b"\n");
    }
    hex(&hash.finalize())
}

/// What the agent changed in its stage so far, with both sides where they can be read.
pub fn so_far(stage: &Stage) -> Result<Vec<Change>> {
    let halt = Halt::default();
    let base = stage.base()?;
    let present = stage.present(&base, &halt)?;
    Ok(between(nodes_of(&base), nodes(&present.tree)))
}
