//! What differs between two trees, and what of it collides. Pure.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::tree::{Kind, Node, as_text};

/// A path that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which; relative to the staged folder.
    #[serde(with = "as_text")]
    pub path: PathBuf,
    /// What was there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old: Option<Node>,
    /// What is there now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new: Option<Node>,
}

/// What became of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It is new.
    Added,
    /// Its content is another.
    Modified,
    /// It is gone.
    Deleted,
    /// Only its permissions are others.
    Mode,
    /// A link leads elsewhere.
    Link,
    /// It is another kind of thing.
    Kind,
}

impl Change {
    /// Returns what became of the path.
    pub fn what(&self) -> What {
        let (Some(old), Some(new)) = (&self.old, &self.new) else {
            return if self.old.is_none() {
                What::Added
            } else {
                What::Deleted
            };
        };
        match (&old.kind, &new.kind) {
            (old, new) if old == new => What::Mode,
            (Kind::File { .. }, Kind::File { .. }) => What::Modified,
            (Kind::Link { .. }, Kind::Link { .. }) => What::Link,
            _ => What::Kind,
        }
    }

    /// Returns whether neither side is anything but a folder.
    pub fn is_of_folders(&self) -> bool {
        let sides = [&self.old, &self.new];
        sides.into_iter().flatten().all(Node::is_folder)
    }
}

/// How much a change is: files and links; folders are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// New ones.
    pub added: u64,
    /// Others than before, in content, kind or permissions.
    pub changed: u64,
    /// Gone.
    pub deleted: u64,
}

impl Counts {
    /// Counts.
    pub fn of(changes: &[Change]) -> Self {
        let mut counts = Self::default();
        for change in changes.iter().filter(|it| !it.is_of_folders()) {
            match change.what() {
                What::Added => counts.added += 1,
                What::Deleted => counts.deleted += 1,
                What::Modified | What::Mode | What::Link | What::Kind => counts.changed += 1,
            }
        }
        counts
    }
}

/// Returns what changed from `old` to `new`, by path; folders before what is in
/// them. Both are in the order of paths.
pub fn between<'a>(
    old: impl IntoIterator<Item = (&'a PathBuf, &'a Node)>,
    new: impl IntoIterator<Item = (&'a PathBuf, &'a Node)>,
) -> Vec<Change> {
    let mut sides: BTreeMap<&PathBuf, (Option<&Node>, Option<&Node>)> = BTreeMap::new();
    for (path, node) in old {
        sides.entry(path).or_default().0 = Some(node);
    }
    for (path, node) in new {
        sides.entry(path).or_default().1 = Some(node);
    }
    let changed = sides.into_iter().filter(|(_, (old, new))| old != new);
    changed
        .map(|(path, (old, new))| Change {
            path: path.clone(),
            old: old.cloned(),
            new: new.cloned(),
        })
        .collect()
}

/// What two changes of the same base are to each other.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// Ours that the target does not have yet.
    pub ours: Vec<Change>,
    /// Theirs that the stage does not have yet.
    pub theirs: Vec<Change>,
    /// Paths where the two cannot both be.
    pub conflicts: Vec<PathBuf>,
}

/// Puts two changes of the same base side by side.
///
/// A path that both changed to the same is no conflict. One that they changed to
/// different things is; so is a path below a folder that the other side does not
/// have any more, or does not have as a folder.
pub fn merge(ours: Vec<Change>, theirs: Vec<Change>) -> Merge {
    let by_path = |changes: &[Change]| -> BTreeMap<PathBuf, Option<Node>> {
        let pairs = changes.iter().map(|it| (it.path.clone(), it.new.clone()));
        pairs.collect()
    };
    let (our_new, their_new) = (by_path(&ours), by_path(&theirs));
    let mut conflicts: Vec<PathBuf> = Vec::new();
    let mut collide = |changes: &[Change], others: &BTreeMap<PathBuf, Option<Node>>| {
        for change in changes {
            let same = others
                .get(&change.path)
                .is_some_and(|new| *new != change.new);
            let above = change.new.is_some() && has_no_folder_above(&change.path, others);
            if same || above {
                conflicts.push(change.path.clone());
            }
        }
    };
    collide(&ours, &their_new);
    collide(&theirs, &our_new);
    conflicts.sort();
    conflicts.dedup();
    let is_news = |others: &BTreeMap<PathBuf, Option<Node>>, change: &Change| {
        others.get(&change.path) != Some(&change.new)
    };
    Merge {
        ours: ours
            .into_iter()
            .filter(|it| is_news(&their_new, it))
            .collect(),
        theirs: theirs
            .into_iter()
            .filter(|it| is_news(&our_new, it))
            .collect(),
        conflicts,
    }
}

/// Returns whether `others` took away a folder that `path` needs.
fn has_no_folder_above(path: &Path, others: &BTreeMap<PathBuf, Option<Node>>) -> bool {
    let mut above = path.ancestors().skip(1);
    above.any(|folder| match others.get(folder) {
        None => false,
        Some(new) => !new.as_ref().is_some_and(Node::is_folder),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(content: &str) -> Option<Node> {
        node(Kind::File {
            size: content.len() as u64,
            sha256: content.into(),
        })
    }

    fn folder() -> Option<Node> {
        node(Kind::Folder)
    }

    fn node(kind: Kind) -> Option<Node> {
        Some(Node { kind, mode: 0o644 })
    }

    fn change(path: &str, old: Option<Node>, new: Option<Node>) -> Change {
        Change {
            path: path.into(),
            old,
            new,
        }
    }

    #[test]
    fn merge_table() {
        #[rustfmt::skip]
        let rows = [
            ("different paths",
             vec![change("a", None, file("1"))], vec![change("b", None, file("2"))], vec![]),
            ("one path, two contents",
             vec![change("a", file("0"), file("1"))], vec![change("a", file("0"), file("2"))], vec!["a"]),
            ("one path, the same content",
             vec![change("a", file("0"), file("1"))], vec![change("a", file("0"), file("1"))], vec![]),
            ("we changed what they deleted",
             vec![change("a", file("0"), file("1"))], vec![change("a", file("0"), None)], vec!["a"]),
            ("both deleted it",
             vec![change("a", file("0"), None)], vec![change("a", file("0"), None)], vec![]),
            ("they added to a folder that we removed",
             vec![change("d", folder(), None), change("d/x", file("0"), None)],
             vec![change("d/y", None, file("1"))], vec!["d/y"]),
            ("we added to a folder that they replaced by a file",
             vec![change("d/y", None, file("1"))], vec![change("d", folder(), file("2"))], vec!["d/y"]),
            ("both made the same folder and put different files in",
             vec![change("d", None, folder()), change("d/x", None, file("1"))],
             vec![change("d", None, folder()), change("d/y", None, file("2"))], vec![]),
            ("a folder both removed, and what was in it",
             vec![change("d", folder(), None), change("d/x", file("0"), None)],
             vec![change("d", folder(), None), change("d/x", file("0"), None)], vec![]),
        ];
        for (name, ours, theirs, want) in rows {
            let got = merge(ours, theirs).conflicts;
            assert_eq!(
                got,
                want.iter().map(PathBuf::from).collect::<Vec<_>>(),
                "row: {name}"
            );
        }
    }

    /// A model of a folder: path to content, no path below another's file.
    fn model() -> impl Strategy<Value = BTreeMap<PathBuf, Node>> {
        let path = "[abc](/[abc]){0,2}";
        proptest::collection::btree_map(path, 0..3_u8, 0..8).prop_map(|files| {
            let mut tree = BTreeMap::new();
            for (path, content) in files {
                let path = PathBuf::from(path);
                let above: Vec<_> = path.ancestors().skip(1).map(PathBuf::from).collect();
                let is_free = !tree.contains_key(&path)
                    && above
                        .iter()
                        .all(|it| tree.get(it).is_none_or(Node::is_folder));
                if is_free {
                    let folders = above.into_iter().filter(|it| !it.as_os_str().is_empty());
                    for it in folders {
                        tree.insert(it, folder().expect("one"));
                    }
                    tree.insert(path, file(&content.to_string()).expect("one"));
                }
            }
            tree
        })
    }

    fn apply(tree: &BTreeMap<PathBuf, Node>, changes: &[Change]) -> BTreeMap<PathBuf, Node> {
        let mut tree = tree.clone();
        for change in changes {
            match &change.new {
                Some(node) => drop(tree.insert(change.path.clone(), node.clone())),
                None => drop(tree.remove(&change.path)),
            }
        }
        tree
    }

    fn is_whole(tree: &BTreeMap<PathBuf, Node>) -> bool {
        tree.keys().all(|path| {
            let mut above = path
                .ancestors()
                .skip(1)
                .filter(|it| !it.as_os_str().is_empty());
            above.all(|it| tree.get(it).is_some_and(Node::is_folder))
        })
    }

    proptest! {
        #[test]
        fn the_changes_lead_from_one_tree_to_the_other(old in model(), new in model()) {
            let changes = between(&old, &new);
            prop_assert_eq!(apply(&old, &changes), new.clone());
            prop_assert!(between(&new, &new).is_empty());
        }

        #[test]
        fn without_a_conflict_both_orders_give_the_same_whole_tree(
            base in model(), stage in model(), target in model(),
        ) {
            let merged = merge(between(&base, &stage), between(&base, &target));
            if merged.conflicts.is_empty() {
                let in_stage = apply(&stage, &merged.theirs);
                let in_target = apply(&target, &merged.ours);
                prop_assert_eq!(&in_stage, &in_target);
                prop_assert!(is_whole(&in_stage), "{:?}", in_stage);
            }
        }

        #[test]
        fn nothing_of_theirs_is_lost(base in model(), stage in model(), target in model()) {
            let theirs = between(&base, &target);
            let merged = merge(between(&base, &stage), theirs.clone());
            if merged.conflicts.is_empty() {
                let after = apply(&target, &merged.ours);
                for change in theirs {
                    prop_assert_eq!(after.get(&change.path), change.new.as_ref());
                }
            }
        }
    }
}
