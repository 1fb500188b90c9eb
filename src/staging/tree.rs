//! What a folder holds, as data: paths, kinds, modes, contents by hash.
//!
//! Pure but for [`Manifest::save`] and [`Manifest::load`]. Paths are relative to the
//! folder and may be any bytes; the folder itself is the empty path.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{Error, Named, Result};

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Kind {
    /// A file.
    File {
        /// Its bytes.
        size: u64,
        /// SHA-256 of its content, hexadecimal.
        sha256: String,
    },
    /// A folder.
    Folder,
    /// A symbolic link.
    Link {
        /// Where it leads, as written in it.
        #[serde(with = "as_text")]
        to: PathBuf,
    },
}

/// What is compared: two nodes that are equal are the same to us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// What it is.
    #[serde(flatten)]
    pub kind: Kind,
    /// Its permissions, `0o7777` at most; 0 for links, which have none.
    pub mode: u32,
}

impl Node {
    /// Returns whether it is a folder.
    pub fn is_folder(&self) -> bool {
        self.kind == Kind::Folder
    }
}

/// What the kernel says of a file, by which one that was read before is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the content, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Last change of the inode, in nanoseconds since 1970; nobody can set it back.
    pub ctime_ns: i64,
}

/// A node with its stamp.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What it is.
    pub node: Node,
    /// How it is known again.
    pub stamp: Stamp,
}

/// A folder as it was read.
pub type Tree = BTreeMap<PathBuf, Seen>;

/// A path of the [`Manifest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// What it was.
    #[serde(flatten)]
    pub node: Node,
    /// The target's, where its stamp can be trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Stamp>,
    /// The stage's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stamp>,
}

/// The base: what target and stage both were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest(pub BTreeMap<PathBuf, Entry>);

/// One line of a manifest's file.
#[derive(Serialize, Deserialize)]
struct Line {
    #[serde(with = "as_text")]
    path: PathBuf,
    #[serde(flatten)]
    entry: Entry,
}

impl Manifest {
    /// Returns a hash over paths, kinds, modes and contents, hexadecimal. Times
    /// and inodes are no part of it: the same tree elsewhere has the same hash.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        for (path, entry) in &self.0 {
            let path = path.as_os_str().as_bytes();
            hash.update((path.len() as u64).to_le_bytes());
            hash.update(path);
            hash.update(entry.node.mode.to_le_bytes());
            match &entry.node.kind {
                Kind::File { size, sha256 } => {
                    hash.update(b"f");
                    hash.update(size.to_le_bytes());
                    hash.update(sha256);
                }
                Kind::Folder => hash.update(b"d"),
                Kind::Link { to } => {
                    let to = to.as_os_str().as_bytes();
                    hash.update(b"l");
                    hash.update((to.len() as u64).to_le_bytes());
                    hash.update(to);
                }
            }
        }
        hex(&hash.finalize())
    }

    /// Returns how many files it has, and their bytes.
    pub fn amounts(&self) -> (u64, u64) {
        self.0
            .values()
            .fold((0, 0), |(files, bytes), entry| match entry.node.kind {
                Kind::File { size, .. } => (files + 1, bytes + size),
                Kind::Link { .. } => (files + 1, bytes),
                Kind::Folder => (files, bytes),
            })
    }

    /// Writes it to a file that is durable when this returns.
    pub fn save(&self, path: &Path) -> Result<()> {
        let lines = self.0.iter().map(|(path, entry)| Line {
            path: path.clone(),
            entry: entry.clone(),
        });
        save_lines(path, lines)
    }

    /// Reads it back.
    pub fn load(path: &Path) -> Result<Self> {
        let lines = load_lines::<Line>(path)?;
        Ok(Self(
            lines
                .into_iter()
                .map(|line| (line.path, line.entry))
                .collect(),
        ))
    }
}

/// Writes JSON lines to a file, whole and durable or not at all.
pub(super) fn save_lines<T: Serialize>(
    path: &Path,
    lines: impl IntoIterator<Item = T>,
) -> Result<()> {
    let unfinished = path.with_extension("unfinished");
    let write = || -> std::io::Result<()> {
        let file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        let mut out = BufWriter::new(file);
        for line in lines {
            serde_json::to_writer(&mut out, &line)?;
            out.write_all(b"\n")?;
        }
        out.into_inner()
            .map_err(|error| error.into_error())?
            .sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_folder(path.parent().unwrap_or(Path::new(".")))
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written.named("write", path)
}

/// Reads JSON lines.
pub(super) fn load_lines<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let file = File::open(path).named("open", path)?;
    let bad = |why: String| Error::Record {
        path: path.to_owned(),
        why,
    };
    BufReader::new(file)
        .lines()
        .map(|line| {
            let line = line.named("read", path)?;
            serde_json::from_str(&line).map_err(|error| bad(error.to_string()))
        })
        .collect()
}

/// Makes the entries of a folder durable.
pub(super) fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Returns the place of `path` below `root`; the empty path is `root` itself.
pub fn at(root: &Path, path: &Path) -> PathBuf {
    if path.as_os_str().is_empty() {
        root.to_owned()
    } else {
        root.join(path)
    }
}

/// Writes bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Paths as text that holds any bytes: what is no UTF-8, and `\`, is `\xNN`.
pub mod as_text {
    use super::*;
    use serde::{Deserializer, Serializer, de};

    /// Writes a path.
    pub fn write(path: &Path) -> String {
        let mut text = String::new();
        for chunk in path.as_os_str().as_bytes().utf8_chunks() {
            text.push_str(&chunk.valid().replace('\\', "\\x5c"));
            for byte in chunk.invalid() {
                let _ = std::fmt::Write::write_fmt(&mut text, format_args!("\\x{byte:02x}"));
            }
        }
        text
    }

    /// Reads what [`write`] wrote.
    pub fn read(text: &str) -> Option<PathBuf> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("\\x") {
            bytes.extend_from_slice(before.as_bytes());
            bytes.push(u8::from_str_radix(after.get(..2)?, 16).ok()?);
            rest = &after[2..];
        }
        bytes.extend_from_slice(rest.as_bytes());
        Some(OsString::from_vec(bytes).into())
    }

    /// For serde.
    pub fn serialize<S: Serializer>(
        path: &Path,
        serializer: S,
    ) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&write(path))
    }

    /// For serde.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> std::result::Result<PathBuf, D::Error> {
        let text = String::deserialize(deserializer)?;
        read(&text).ok_or_else(|| de::Error::custom("a path with a broken `\\x`"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_come_back_as_they_were(bytes in proptest::collection::vec(1_u8..=255, 0..60)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            prop_assert_eq!(as_text::read(&as_text::write(&path)), Some(path));
        }

        #[test]
        fn reading_never_panics(text in "\\PC{0,40}|(\\\\x[0-9a-g]{0,3}){0,5}") {
            let _ = as_text::read(&text);
        }
    }

    #[test]
    fn a_name_of_two_parts_is_not_hashed_as_two_names() {
        let folder = |mode| Entry {
            node: Node {
                kind: Kind::Folder,
                mode,
            },
            target: None,
            stage: None,
        };
        let of = |paths: &[&str]| {
            Manifest(
                paths
                    .iter()
                    .map(|path| (path.into(), folder(0o755)))
                    .collect(),
            )
            .hash()
        };
        assert_ne!(of(&["ab"]), of(&["a", "b"]));
        assert_eq!(of(&["a", "b"]), of(&["b", "a"]));
    }
}
