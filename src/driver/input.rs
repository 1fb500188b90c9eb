//! The input snapshot: what the agent works on, as it was when the run began.
//!
//! Prompt and files are copied into the run's folder and hashed, so that a
//! resume and a replay see what the first attempt saw.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::task::resolved::{Prompt, Resolved};

/// Most bytes of input files that are copied.
pub const INPUT_BYTES_MAX: u64 = 1024 * 1024 * 1024;

/// The input as it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// SHA-256 over the resolved task, the prompt, and each file's name and
    /// bytes, hexadecimal.
    pub hash: String,
    /// The prompt's text.
    pub prompt: Option<String>,
    /// The files, relative to the folder of the snapshot.
    pub files: Vec<PathBuf>,
}

/// Why the input could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read.
    #[error("input file {path} cannot be read", path = .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The snapshot could not be written.
    #[error("the input snapshot {path} cannot be written", path = .path.display())]
    Write {
        /// The copy.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A pattern matched nothing.
    #[error("input.files: `{pattern}` matches no file")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// A pattern is not a glob.
    #[error("input.files: `{pattern}` is not a pattern: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: String,
    },
    /// Too much.
    #[error("there are more than {INPUT_BYTES_MAX} bytes to copy")]
    TooLarge,
}

/// Copies the input of `task` into the folder `to`, which is made.
///
/// - `base`: the folder of the task file; copies keep their path below it.
pub fn take(task: &Resolved, base: &Path, to: &Path) -> Result<Snapshot, Error> {
    let mut hash = Sha256::new();
    hash.update(serde_json::to_vec(task).unwrap_or_default());
    let prompt = prompt(task)?;
    hash.update(prompt.as_deref().unwrap_or_default());
    let mut files = Vec::new();
    let mut bytes_left = INPUT_BYTES_MAX;
    for path in matches(task)? {
        let name = below(&path, base);
        hash.update(name.as_os_str().as_encoded_bytes());
        copy(&path, &to.join(&name), &mut hash, &mut bytes_left)?;
        files.push(name);
    }
    let hash = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Ok(Snapshot {
        hash,
        prompt,
        files,
    })
}

/// Copies a folder with all that is in it, symlinks as they are; one that is not
/// there is empty.
///
/// - `but`: a folder inside that is left out.
pub fn copy_folder(from: &Path, to: &Path, but: Option<&Path>) -> Result<(), Error> {
    fs::create_dir_all(to).map_err(|source| Error::Write {
        path: to.to_owned(),
        source,
    })?;
    let mut bytes_left = INPUT_BYTES_MAX;
    match from.exists() {
        true => copy_below(from, to, but, &mut bytes_left),
        false => Ok(()),
    }
}

fn copy_below(
    from: &Path,
    to: &Path,
    but: Option<&Path>,
    bytes_left: &mut u64,
) -> Result<(), Error> {
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Read { path, source }
    };
    let unwritable = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Write { path, source }
    };
    for entry in fs::read_dir(from).map_err(unreadable(from))? {
        let entry = entry.map_err(unreadable(from))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if but == Some(&*source) {
            continue;
        }
        let about = entry.metadata().map_err(unreadable(&source))?;
        if about.is_symlink() {
            let leads_to = fs::read_link(&source).map_err(unreadable(&source))?;
            symlink(leads_to, &target).map_err(unwritable(&target))?;
        } else if about.is_dir() {
            fs::create_dir_all(&target).map_err(unwritable(&target))?;
            copy_below(&source, &target, but, bytes_left)?;
        } else if about.is_file() {
            *bytes_left = bytes_left.checked_sub(about.len()).ok_or(Error::TooLarge)?;
            fs::copy(&source, &target).map_err(unwritable(&target))?;
        }
    }
    Ok(())
}

fn prompt(task: &Resolved) -> Result<Option<String>, Error> {
    match &task.input.prompt {
        None => Ok(None),
        Some(Prompt::Text(text)) => Ok(Some(text.clone())),
        Some(Prompt::File(path)) => {
            fs::read_to_string(path)
                .map(Some)
                .map_err(|source| Error::Read {
                    path: path.clone(),
                    source,
                })
        }
    }
}

/// Returns the files that the patterns name, sorted, each once.
fn matches(task: &Resolved) -> Result<Vec<PathBuf>, Error> {
    let mut found = std::collections::BTreeSet::new();
    for pattern in &task.input.files {
        let paths = glob::glob(pattern).map_err(|error| Error::Pattern {
            pattern: pattern.clone(),
            why: error.to_string(),
        })?;
        let before = found.len();
        let mut any = false;
        for path in paths {
            let path = path.map_err(|error| Error::Read {
                path: error.path().to_owned(),
                source: error.into(),
            })?;
            any = true;
            if path.is_file() {
                found.insert(path);
            }
        }
        if !any && found.len() == before {
            return Err(Error::NoMatch {
                pattern: pattern.clone(),
            });
        }
    }
    Ok(found.into_iter().collect())
}

/// Names a copy: its path below `base`, or its file name from elsewhere.
fn below(path: &Path, base: &Path) -> PathBuf {
    let inside = path.strip_prefix(base).unwrap_or(path);
    let plain: PathBuf = inside
        .components()
        .filter(|part| matches!(part, Component::Normal(_)))
        .collect();
    if inside.is_absolute() {
        plain.file_name().map(PathBuf::from).unwrap_or(plain)
    } else {
        plain
    }
}

fn copy(from: &Path, to: &Path, hash: &mut Sha256, bytes_left: &mut u64) -> Result<(), Error> {
    let unreadable = |source| Error::Read {
        path: from.to_owned(),
        source,
    };
    let unwritable = |source| Error::Write {
        path: to.to_owned(),
        source,
    };
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(unwritable)?;
    }
    let mut source = fs::File::open(from).map_err(unreadable)?;
    let mut target = fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(to)
        .map_err(unwritable)?;
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let read = source.read(&mut chunk).map_err(unreadable)?;
        if read == 0 {
            return Ok(());
        }
        *bytes_left = bytes_left.checked_sub(read as u64).ok_or(Error::TooLarge)?;
        hash.update(&chunk[..read]);
        target.write_all(&chunk[..read]).map_err(unwritable)?;
    }
}
