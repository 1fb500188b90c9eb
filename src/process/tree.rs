//! Who descends from whom, and who carries the mark.
//!
//! A snapshot is never the present: processes come and go while it is taken.
//! Whoever acts on it looks again afterwards, and signals by [`signal`], which
//! never hits a process that got a number second-hand.

use std::collections::{BTreeMap, BTreeSet};

#[cfg_attr(target_os = "linux", path = "tree/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "tree/other.rs")]
mod system;

/// Compiled here too, so that it is not forgotten and its reading is tested.
#[cfg(all(test, target_os = "linux"))]
#[expect(dead_code, reason = "used on other systems")]
mod other;

pub(super) use system::{Environs, adopt_orphans, children_of, process, signal};

/// One process, as it was when looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) parent: i32,
    /// Its process group.
    pub(super) group: i32,
    /// Its session; where that cannot be seen, its group.
    pub(super) session: i32,
    /// When it started, in the system's own unit: with the pid, its identity.
    pub(super) start: u64,
    /// It has ended, and nobody has asked for its status yet.
    pub(super) zombie: bool,
    /// Its short name.
    pub(super) name: String,
}

impl Process {
    /// Returns what tells it from a later process with the same number.
    pub(super) fn identity(&self) -> Identity {
        (self.pid, self.start)
    }
}

/// A pid and a start time.
pub(super) type Identity = (i32, u64);

/// How a signal went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signalled {
    /// It is on its way.
    Sent,
    /// There is no such process any more.
    Gone,
    /// We may not; it runs as another user.
    Refused,
}

/// All processes at about one moment.
#[derive(Debug, Default)]
pub(super) struct Snapshot(pub(super) BTreeMap<i32, Process>);

impl Snapshot {
    /// Looks at all processes.
    pub(super) fn take() -> Self {
        Self(
            system::processes()
                .into_iter()
                .map(|process| (process.pid, process))
                .collect(),
        )
    }

    /// Returns all that descends from one of `roots`, without the roots.
    pub(super) fn descendants(&self, roots: &BTreeSet<i32>) -> BTreeSet<i32> {
        let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
        for process in self.0.values() {
            children
                .entry(process.parent)
                .or_default()
                .push(process.pid);
        }
        let mut found = BTreeSet::new();
        let mut open: Vec<i32> = roots.iter().copied().collect();
        while let Some(parent) = open.pop() {
            for child in children.get(&parent).into_iter().flatten() {
                if !roots.contains(child) && found.insert(*child) {
                    open.push(*child);
                }
            }
        }
        found
    }

    /// Returns the process itself, its parent, and so on up.
    pub(super) fn with_ancestors(&self, pid: i32) -> BTreeSet<i32> {
        let parent = |pid: &i32| self.0.get(pid).map(|process| process.parent);
        let mut line = BTreeSet::new();
        let mut next = Some(pid);
        // A snapshot that is torn by recycled numbers may hold a circle.
        while let Some(pid) = next.filter(|pid| line.insert(*pid)) {
            next = parent(&pid);
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(parents: &[(i32, i32)]) -> Snapshot {
        let process = |(pid, parent): &(i32, i32)| Process {
            pid: *pid,
            parent: *parent,
            group: 1,
            session: 1,
            start: 0,
            zombie: false,
            name: String::new(),
        };
        Snapshot(parents.iter().map(|pair| (pair.0, process(pair))).collect())
    }

    #[test]
    fn descent_goes_all_the_way_and_ends_on_a_circle() {
        let tree = snapshot(&[
            (1, 0),
            (2, 1),
            (3, 2),
            (4, 3),
            (5, 1),
            (6, 5),
            (8, 9),
            (9, 8),
        ]);
        #[rustfmt::skip]
        let rows = [
            ("one root", vec![2], vec![3, 4]),
            ("a root beneath a root is a root", vec![2, 3], vec![4]),
            ("two roots", vec![3, 5], vec![4, 6]),
            ("a circle", vec![8], vec![9]),
            ("an unknown root", vec![77], vec![]),
        ];
        for (name, roots, want) in rows {
            let found = tree.descendants(&roots.into_iter().collect());
            assert_eq!(found, want.into_iter().collect(), "row: {name}");
        }
        assert_eq!(tree.with_ancestors(4), BTreeSet::from([0, 1, 2, 3, 4]));
        assert_eq!(tree.with_ancestors(9), BTreeSet::from([8, 9]));
    }
}
