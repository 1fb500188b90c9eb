//! One run's copy of a folder: where it lies, and how it is found again.
//!
//! ```text
//! projects/app                        the target
//! projects/.app.agentguard-r-7f3a…    the stage, beside it: `../lib` is the same there
//! <state>/runs/r-7f3a…/stage/         what is known of it
//!   record.json                       where it is; written before it is made
//!   base.jsonl                        what both were; written when it is whole
//!   plan.jsonl, changes.jsonl, …      the commit's (see `commit`)
//! ```
//! A target that is a mount point, or in a folder where nothing can be made, has its
//! stage in the run's folder; it is committed file by file.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::{Error, Named, Result};
use super::moment::Moment;
use super::rules::{MARK, Rules};
use super::scan::{self, Halt, Scan, is_mount_point};
use super::tree::{Manifest, Tree, as_text, save_lines};
use super::{copy, exchange, git};

/// How long nobody writes to a new stage: longer than a tick of any kernel's clock,
/// so that every later write has a later stamp.
const SETTLE: Duration = Duration::from_millis(20);
/// Longest name beside the target, with room for more at its end.
const NAME_MAX: usize = 240;
/// The mode of a stage while the agent works in it.
const PRIVATE: u32 = 0o700;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The folder, as the user named it; absolute.
    pub target: PathBuf,
    /// Patterns of what is left out.
    pub exclude: Vec<String>,
    /// Absolute paths that are left out: ours.
    pub ours: Vec<PathBuf>,
    /// How it is to be committed, where that is not left to us.
    pub method: Option<Method>,
    /// The run's name, part of the stage's.
    pub run: String,
    /// Whether the stage is to be a worktree of the target's git repository.
    pub git: bool,
}

/// How a change comes into the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// The whole folder is exchanged in one system call.
    Exchange,
    /// File by file, by a plan on disk.
    Files,
}

/// A stage that is there.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The folder that is staged.
    pub target: PathBuf,
    /// The copy.
    pub tree: PathBuf,
    /// How it is committed, as far as that is known when it is made.
    pub method: Method,
    /// Why not by exchange.
    pub why: Option<String>,
    /// Whether the user asked for this method.
    pub is_asked: bool,
    /// The mode that the folder itself has, or is to have.
    pub(super) root_mode: u32,
    /// The folder of what is known of it.
    pub records: PathBuf,
    /// Of a worktree of git: the commit that it began with.
    pub(super) git: Option<String>,
    pub(super) rules: Rules,
}

/// What making a stage gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The hash of the base (see [`Manifest::hash`]).
    pub hash: String,
    /// Files and links.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What it does not have, with the reason; relative paths.
    pub left_out: Vec<(PathBuf, &'static str)>,
}

/// `record.json`.
#[derive(Serialize, Deserialize)]
struct Record {
    #[serde(with = "as_text")]
    target: PathBuf,
    #[serde(with = "as_text")]
    tree: PathBuf,
    method: Method,
    #[serde(default)]
    why: Option<String>,
    #[serde(default)]
    is_asked: bool,
    #[serde(default)]
    root_mode: u32,
    exclude: Vec<String>,
    /// Absolute paths, as text.
    ours: Vec<String>,
    /// Whether the copy is whole.
    is_ready: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    git: Option<String>,
}

impl Record {
    fn new(target: PathBuf, tree: PathBuf, asked: &Asked) -> Result<Self> {
        Ok(Self {
            git: asked.git.then(|| git::head(&target)).transpose()?,
            target,
            tree,
            method: Method::Files,
            why: None,
            is_asked: asked.method.is_some(),
            root_mode: 0,
            exclude: asked.exclude.clone(),
            ours: asked.ours.iter().map(|it| as_text::write(it)).collect(),
            is_ready: false,
        })
    }
}

/// What a copy has of a folder, before it is made.
#[derive(Clone, Debug)]
pub struct Extent {
    /// The folder; its real path.
    pub target: PathBuf,
    rules: Rules,
}

impl Extent {
    /// - `git`: whether the copy is a worktree.
    ///
    /// Errors: what cannot be staged.
    pub fn of(target: &Path, exclude: &[String], git: bool) -> Result<Self> {
        let target = resolve(target)?;
        let mut rules = Rules::new(exclude, vec![]);
        if git {
            rules = rules.within(git::listed(&target)?);
        }
        Ok(Self { target, rules })
    }

    /// Returns where in the copy that is which stands at `path`, absolute; `None` where
    /// nothing does, or the copy does not have it. The last name may be that of a link.
    pub fn inside(&self, path: &Path) -> Option<PathBuf> {
        fs::symlink_metadata(path).ok()?;
        let place = match path.file_name() {
            Some(name) => path.parent()?.canonicalize().ok()?.join(name),
            None => path.canonicalize().ok()?,
        };
        let inside = place.strip_prefix(&self.target).ok()?;
        let is_out = inside.ancestors().any(|above| {
            !above.as_os_str().is_empty()
                && (!self.rules.looks_at(above) || self.rules.leave_out(&self.target, above))
        });
        (!is_out).then(|| inside.to_owned())
    }
}

impl Stage {
    /// Finds the stage of the run whose folder is `run`, if it is whole.
    pub fn find(run: &Path) -> Result<Option<Self>> {
        let Some(record) = read_record(run)? else {
            return Ok(None);
        };
        Ok(record.is_ready.then(|| Self::of(record, run)))
    }

    /// Returns whether the copy is there.
    pub fn exists(&self) -> bool {
        self.tree.is_dir()
    }

    /// Returns the place in the stage that stands for `path`, which may be outside
    /// of the target and is then itself.
    pub fn mapped(&self, path: &Path) -> PathBuf {
        let path = real(path);
        match path.strip_prefix(&self.target) {
            Ok(inside) => super::tree::at(&self.tree, inside),
            Err(_) => path,
        }
    }

    /// Returns the stage that the run whose folder is `run` has, or that
    /// [`make`](Self::make) would give it.
    pub fn planned(asked: &Asked, run: &Path) -> Result<Self> {
        if let Some(record) = read_record(run)? {
            return Ok(Self::of(record, run));
        }
        let target = resolve(&asked.target)?;
        let (tree, _) = place(&target, &asked.run, &records(run))?;
        let record = Record::new(target, tree, asked)?;
        Ok(Self::of(record, run))
    }

    /// Copies the target. What a former try left is removed first.
    ///
    /// - `run`: the folder of the run.
    /// - `moment`: told of moments in between.
    ///
    /// On error nothing is left but the record, by which [`discard`] finds the rest.
    pub fn make(
        asked: &Asked,
        run: &Path,
        halt: &Halt,
        moment: &dyn Fn(Moment),
    ) -> Result<(Self, Made)> {
        discard(run)?;
        let target = resolve(&asked.target)?;
        let records = records(run);
        if records.starts_with(&target) && !asked.ours.iter().any(|it| records.starts_with(it)) {
            let why = "the run's own files are in it".to_owned();
            return Err(Error::Unfit { path: target, why });
        }
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE)
            .create(&records)
            .named("make", &records)?;
        let (tree, mut why) = place(&target, &asked.run, &records)?;
        let mut record = Record::new(target, tree.clone(), asked)?;
        save_record(&records, &record)?;
        let filled = fill(&record, asked, &mut why, halt, moment).and_then(|filled| {
            // Until it is committed it is nobody else's.
            record.root_mode = close(&tree)?;
            Ok(filled)
        });
        if filled.is_err() {
            remove(&record)?;
        }
        let (mut manifest, left_out) = filled?;
        moment(Moment::Filled);
        if let Some(root) = manifest.0.get(Path::new("")) {
            record.root_mode = root.node.mode;
        }
        manifest
            .0
            .values_mut()
            .for_each(|it| it.stage = it.stage.filter(|_| !it.node.is_folder()));
        if why.is_none() && asked.method == Some(Method::Files) {
            why = Some("the task says so".to_owned());
        }
        record.method = if why.is_none() {
            Method::Exchange
        } else {
            Method::Files
        };
        record.why = why;
        manifest.save(&records.join("base.jsonl"))?;
        std::thread::sleep(SETTLE);
        record.is_ready = true;
        save_record(&records, &record)?;
        let (files, bytes) = manifest.amounts();
        let hash = manifest.hash();
        let made = Made {
            hash,
            files,
            bytes,
            left_out,
        };
        Ok((Self::of(record, run), made))
    }

    /// Reads what the agent made of it so far.
    ///
    /// - `base`: what it was.
    pub(super) fn present(&self, base: &Manifest, halt: &Halt) -> Result<Scan> {
        if !self.exists() {
            return Err(Error::Gone(self.tree.clone()));
        }
        let known = |path: &Path| {
            let entry = base.0.get(path)?;
            Some((entry.node.clone(), entry.stage?))
        };
        let look = || {
            let rules = self.rules_at(&self.tree, base.0.keys())?;
            scan::scan(&self.tree, &rules, known, halt)
        };
        if self.git.is_some() {
            // Git passes by what it may not read.
            open_up(&self.tree)?;
        }
        let mut scan = match look() {
            Err(error) if error.is_denied() => {
                open_up(&self.tree)?;
                look()
            }
            looked => looked,
        }?;
        if let Some(root) = scan.tree.get_mut(Path::new(""))
            && root.node.mode == PRIVATE
        {
            root.node.mode = self.root_mode;
        }
        Ok(scan)
    }

    /// Reads what became of the target meanwhile; empty where it is not there.
    ///
    /// - `base`, `present`: what it was, and what the agent made of it.
    pub(super) fn target_now(&self, base: &Manifest, present: &Tree, halt: &Halt) -> Result<Scan> {
        if !self.target.exists() {
            return Ok(Scan::default());
        }
        let known = |path: &Path| {
            let entry = base.0.get(path)?;
            Some((entry.node.clone(), entry.target?))
        };
        let rules = self.rules_at(&self.target, base.0.keys().chain(present.keys()))?;
        scan::scan(&self.target, &rules, known, halt)
    }

    /// Returns the rules for a look at one side, which git may have words in.
    ///
    /// - `known`: what the other sides have; ignored here or not, it counts.
    fn rules_at<'a>(&self, root: &Path, known: impl Iterator<Item = &'a PathBuf>) -> Result<Rules> {
        if self.git.is_none() {
            return Ok(self.rules.clone());
        }
        let mut listed = git::listed(root)?;
        known.for_each(|path| git::with_folders(&mut listed, path));
        Ok(self.rules.within(listed))
    }

    /// Reads what target and stage both were.
    pub(super) fn base(&self) -> Result<Manifest> {
        Manifest::load(&self.records.join("base.jsonl"))
    }

    fn of(record: Record, run: &Path) -> Self {
        let ours = record.ours.iter().filter_map(|text| as_text::read(text));
        Self {
            rules: Rules::new(&record.exclude, ours.collect()),
            target: record.target,
            tree: record.tree,
            root_mode: record.root_mode,
            method: record.method,
            why: record.why,
            is_asked: record.is_asked,
            git: record.git,
            records: records(run),
        }
    }
}

/// Removes the stage of the run whose folder is `run`, whole or not, and its record.
/// What was committed stays known.
pub fn discard(run: &Path) -> Result<()> {
    let Some(record) = read_record(run)? else {
        return Ok(());
    };
    super::commit::forget(&record.target, &record.tree, &records(run))?;
    remove(&record)?;
    for name in ["base.jsonl", "steps.jsonl", "done.json", "record.json"] {
        let path = records(run).join(name);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io("remove", &path, cause));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes the copy, and what the repository knows of it.
fn remove(record: &Record) -> Result<()> {
    remove_tree(&record.tree)?;
    if record.git.is_some() {
        git::forget(&record.target, &record.tree);
    }
    Ok(())
}

/// Returns whether the run whose folder is `run` has a stage, whole or not.
pub fn is_recorded(run: &Path) -> bool {
    records(run).join("record.json").exists()
}

/// Returns the folder of what is known of a stage.
pub fn records(run: &Path) -> PathBuf {
    run.join("stage")
}

/// Copies the target to its stage. `why` learns what speaks against an exchange.
fn fill(
    record: &Record,
    asked: &Asked,
    why: &mut Option<String>,
    halt: &Halt,
    moment: &dyn Fn(Moment),
) -> Result<(Manifest, Vec<(PathBuf, &'static str)>)> {
    let (target, tree) = (&record.target, &record.tree);
    let is_exchange_asked = asked.method == Some(Method::Exchange);
    if !target.exists() {
        DirBuilder::new()
            .mode(0o777)
            .create(tree)
            .named("make", tree)?;
        moment(Moment::Made);
        return Ok((Manifest::default(), vec![]));
    }
    let mut rules = Rules::new(&asked.exclude, asked.ours.clone());
    if record.git.is_some() {
        rules = rules.within(git::listed(target)?);
        why.get_or_insert_with(|| "it is a worktree of git".to_owned());
    }
    let walk = scan::walk(target, &rules, halt)?;
    has_room(target, tree, &walk)?;
    if let Some(head) = &record.git {
        git::add(target, tree, head)?;
        close(tree)?;
    }
    moment(Moment::Made);
    let lost = copy::Lost::default();
    let manifest = copy::tree(target, &walk, tree, &lost, halt)?;
    // Its mode may keep us out; it is known from the target.
    close(tree)?;
    if why.is_none() {
        *why = exchange::probe(tree)?;
    }
    if why.is_none()
        && let Some((path, reason)) = walk.left_out.first()
    {
        *why = Some(format!("{path:?} is not staged: {reason}"));
    }
    if is_exchange_asked && let Some(why) = why {
        return Err(Error::NoExchange(why.clone()));
    }
    // What is only not the same as before, the user may want all the same.
    if !is_exchange_asked && why.is_none() {
        if lost.owner.load(Ordering::Relaxed) {
            *why = Some("it holds files of other users".to_owned());
        } else if let Some(path) = &walk.shared {
            *why = Some(format!("{path:?} has a second name (hard link)"));
        }
    }
    Ok((manifest, walk.left_out))
}

/// Closes a folder to others and returns the mode it had.
fn close(folder: &Path) -> Result<u32> {
    let mode = scan::mode(&fs::metadata(folder).named("read", folder)?);
    let private = fs::Permissions::from_mode(PRIVATE);
    fs::set_permissions(folder, private).named("set the mode of", folder)?;
    Ok(mode)
}

/// Returns the real path of what may not be there yet.
fn real(path: &Path) -> PathBuf {
    match (path.canonicalize(), path.parent(), path.file_name()) {
        (Ok(real), ..) => real,
        (Err(_), Some(parent), Some(name)) => real(parent).join(name),
        (Err(_), ..) => path.to_owned(),
    }
}

/// Returns the real path of a folder that may not be there yet.
fn resolve(target: &Path) -> Result<PathBuf> {
    match target.canonicalize() {
        Ok(real) if real.parent().is_none() => Err(Error::Unfit {
            path: real,
            why: "it is the root of the file system".to_owned(),
        }),
        Ok(real) if real.is_dir() => Ok(real),
        Ok(real) => Err(Error::NotFolder(real)),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
                return Err(Error::io("find", target, cause));
            };
            if target.is_symlink() {
                return Err(Error::io("follow", target, cause));
            }
            let parent = parent.canonicalize().named("find", parent)?;
            Ok(parent.join(name))
        }
        Err(cause) => Err(Error::io("find", target, cause)),
    }
}

/// Chooses where the stage lies, and says what speaks against an exchange there.
fn place(target: &Path, run: &str, records: &Path) -> Result<(PathBuf, Option<String>)> {
    let inside = || records.join("tree");
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Ok((inside(), Some("it has no folder above".to_owned())));
    };
    let beside = fs::metadata(parent).named("read", parent)?;
    let is_mounted = is_mount_point(target)
        || fs::metadata(target).is_ok_and(|found| found.dev() != beside.dev());
    if is_mounted {
        return Ok((inside(), Some("it is a mount point".to_owned())));
    }
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(MARK);
    hidden.push(run);
    if hidden.len() > NAME_MAX {
        return Ok((inside(), Some("its name is very long".to_owned())));
    }
    let tree = parent.join(hidden);
    match rustix::fs::access(parent, rustix::fs::Access::WRITE_OK) {
        Ok(()) => Ok((tree, None)),
        Err(_) if target.exists() => Ok((
            inside(),
            Some("the folder above it cannot be written".to_owned()),
        )),
        Err(cause) => Err(Error::io("write", parent, cause)),
    }
}

/// Says early what would come late.
fn has_room(target: &Path, tree: &Path, walk: &scan::Walk) -> Result<()> {
    let needed: u64 = walk
        .entries
        .iter()
        .map(|(_, found)| {
            if found.is_file() {
                found.len().min(found.blocks() * 512)
            } else {
                0
            }
        })
        .sum();
    let parent = tree.parent().unwrap_or(tree);
    let Ok(room) = rustix::fs::statvfs(parent) else {
        return Ok(());
    };
    let free = room.f_bavail.saturating_mul(room.f_frsize);
    if needed <= free || exchange::shares_blocks(parent) {
        return Ok(());
    }
    Err(Error::NoRoom {
        target: target.to_owned(),
        needed,
        free,
    })
}

fn save_record(records: &Path, record: &Record) -> Result<()> {
    save_lines(&records.join("record.json"), [record])
}

fn read_record(run: &Path) -> Result<Option<Record>> {
    let path = records(run).join("record.json");
    match fs::read(&path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::Record {
                path,
                why: error.to_string(),
            }),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(Error::io("read", &path, cause)),
    }
}

/// Removes a tree of ours, if it is there. Folders that the agent closed are opened
/// first; one with a mount point in it is refused, lest what is mounted goes too.
pub(super) fn remove_tree(tree: &Path) -> Result<()> {
    open_folders(tree, &|_| Ok(()))?;
    match fs::remove_dir_all(tree) {
        Ok(()) => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(cause) if cause.kind() == io::ErrorKind::NotADirectory => {
            fs::remove_file(tree).named("remove", tree)
        }
        Err(cause) => Err(Error::io("remove", tree, cause)),
    }
}

/// Lets the user into what the agent closed to its own user, folders and files: nobody
/// could read the change, or put it in place.
fn open_up(tree: &Path) -> Result<()> {
    open_folders(tree, &|file| let_in(file, 0o400))
}

/// Opens every folder of a tree; `file` is called with every path that is none.
///
/// Errors: a mount point inside.
fn open_folders(tree: &Path, file: &dyn Fn(&Path) -> Result<()>) -> Result<()> {
    let mut folders = vec![tree.to_owned()];
    while let Some(folder) = folders.pop() {
        match fs::symlink_metadata(&folder) {
            Ok(metadata) if !metadata.is_dir() => continue,
            Ok(_) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => continue,
            Err(cause) => return Err(Error::io("read", &folder, cause)),
        }
        if is_mount_point(&folder) {
            return Err(Error::MountInside(folder));
        }
        let_in(&folder, 0o700)?;
        for entry in fs::read_dir(&folder).named("list", &folder)? {
            let entry = entry.named("list", &folder)?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(entry.path());
            } else {
                file(&entry.path())?;
            }
        }
    }
    Ok(())
}

/// Adds permissions of its user to a file or folder that lacks some of them.
fn let_in(path: &Path, wanted: u32) -> Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.named("read", path)?,
    };
    let mode = scan::mode(&metadata);
    let has_mode = metadata.is_dir() || metadata.is_file();
    if !has_mode || mode & wanted == wanted {
        return Ok(());
    }
    let open = fs::Permissions::from_mode(mode | wanted);
    fs::set_permissions(path, open).named("open", path)
}
