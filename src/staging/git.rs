//! A stage that is a worktree of the target's git repository.
//!
//! The worktree stands at the commit that is checked out, without a branch; its files
//! are those of the target, committed or not, without what git ignores. The change
//! comes back as files: index, branches and `HEAD` of the target stay as they are.
//!
//! Everything is asked of the `git` program, as the user's own git would answer it.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::{Error, Result};
use super::rules::MARK;

/// Variables by which git looks at another repository than that of its folder; a hook
/// that starts a run has them.
///
/// Source: `git rev-parse --local-env-vars`, without those that hold settings, and the
/// quarantine of `git receive-pack`.
pub const MISLEADING: &[&str] = &[
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_DIR",
    "GIT_GRAFT_FILE",
    "GIT_IMPLICIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_NAMESPACE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_PREFIX",
    "GIT_QUARANTINE_PATH",
    "GIT_SHALLOW_FILE",
    "GIT_WORK_TREE",
];

/// Returns the commit that is checked out in `target`.
///
/// Errors: there is no git, `target` is not the top of a work tree, or nothing is
/// committed yet.
pub(super) fn head(target: &Path) -> Result<String> {
    let unfit = |why: String| Error::Unfit {
        path: target.to_owned(),
        why,
    };
    if !target.is_dir() {
        let why = "`git: true` wants a git repository, and it is not there".to_owned();
        return Err(unfit(why));
    }
    let top = match run(target, &["rev-parse", "--show-toplevel"]) {
        Ok(top) => PathBuf::from(OsString::from_vec(top)),
        Err(Error::Git { why, .. }) => {
            let why = format!("`git: true` wants a git repository: {why}");
            return Err(unfit(why));
        }
        Err(error) => return Err(error),
    };
    if top.canonicalize().ok().as_deref() != Some(target) {
        let why = format!(
            "`git: true` wants the top of a git repository, which is {}",
            top.display()
        );
        return Err(unfit(why));
    }
    match run(
        target,
        &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"],
    ) {
        Ok(head) => Ok(String::from_utf8_lossy(&head).into_owned()),
        Err(Error::Git { .. }) => Err(unfit(
            "`git: true` wants a repository with a commit, and it has none yet".to_owned(),
        )),
        Err(error) => Err(error),
    }
}

/// Makes the worktree at `tree`, without any file, for the commit `head`.
pub(super) fn add(target: &Path, tree: &Path, head: &str) -> Result<()> {
    let words = ["worktree", "add", "--quiet", "--detach", "--no-checkout"];
    let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    words.extend([tree.as_os_str(), OsStr::new(head)]);
    run(target, &words)?;
    // So that `git status` there speaks of what is not committed, as in the target.
    run(tree, &["read-tree", "HEAD"]).map(drop)
}

/// Has the repository forget the worktree at `tree`, whose files are gone.
pub(super) fn forget(target: &Path, tree: &Path) {
    let words = ["worktree", "remove", "--force", "--force"];
    let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
    words.push(tree.as_os_str());
    // A repository that is gone, or never had it, has nothing to forget.
    if let Err(error) = run(target, &words) {
        tracing::debug!(%error, "git did not remove the worktree");
        forget_half(target, tree);
    }
}

/// Removes what git keeps of a worktree whose making was killed: git does not know it as
/// one, and its lock keeps `git worktree prune` away.
fn forget_half(target: &Path, tree: &Path) {
    let Ok(common) = run(target, &["rev-parse", "--git-common-dir"]) else {
        return;
    };
    let records = target.join(OsString::from_vec(common)).join("worktrees");
    // Git writes some letters of the name in another way; the run's stay.
    let name = tree
        .file_name()
        .map(OsStr::to_string_lossy)
        .unwrap_or_default();
    let Some((_, run)) = name.rsplit_once(MARK) else {
        return;
    };
    let ours = format!("{MARK}{run}");
    for record in std::fs::read_dir(&records).into_iter().flatten().flatten() {
        if record.file_name().to_string_lossy().ends_with(&ours) {
            let removed = std::fs::remove_dir_all(record.path());
            tracing::debug!(?removed, "removed what was half a worktree");
        }
    }
    // As git does with the last one.
    let _ = std::fs::remove_dir(records);
}

/// Returns what git looks at in the worktree at `root`: what is tracked, and what is
/// new and not ignored; with the folders above. Paths are relative to `root`.
pub(super) fn listed(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let words = [
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ];
    let names = run(root, &words)?;
    let mut paths = BTreeSet::new();
    for name in names.split(|byte| *byte == 0).filter(|it| !it.is_empty()) {
        with_folders(&mut paths, Path::new(&OsString::from_vec(name.to_vec())));
    }
    Ok(paths)
}

/// Adds a path and the folders above it.
pub(super) fn with_folders(paths: &mut BTreeSet<PathBuf>, path: &Path) {
    for path in path.ancestors() {
        if !paths.insert(path.to_owned()) {
            return;
        }
    }
}

/// Returns the last commit that was made in the worktree since it stood at `head`.
pub(super) fn made_since(tree: &Path, head: &str) -> Option<String> {
    let now = run(tree, &["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]).ok()?;
    let now = String::from_utf8_lossy(&now).into_owned();
    (now != head).then_some(now)
}

/// Runs git in `folder`; returns what it printed, without the end of the last line.
fn run(folder: &Path, words: &[impl AsRef<OsStr>]) -> Result<Vec<u8>> {
    let mut command = Command::new("git");
    command.arg("-C").arg(folder).args(words);
    command.env("GIT_OPTIONAL_LOCKS", "0").env("LC_ALL", "C");
    for name in MISLEADING {
        command.env_remove(name);
    }
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Err(Error::NoGit),
        Err(cause) => return Err(Error::io("run git in", folder, cause)),
    };
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = said.lines().next().unwrap_or_default();
        let said = said.trim_start_matches("fatal: ");
        return Err(Error::Git {
            path: folder.to_owned(),
            why: match said {
                "" => output.status.to_string(),
                said => said.escape_debug().to_string(),
            },
        });
    }
    let mut said = output.stdout;
    if said.last() == Some(&b'\n') {
        said.pop();
    }
    Ok(said)
}
