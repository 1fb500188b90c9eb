//! Ends processes: ask, wait, kill, look again until none is left.
//!
//! Who belongs is found anew at every look (`Scope`): by descent, because
//! agents start their tools in sessions of their own; by the mark in the
//! environment, because a guardian may have been killed; and by adoption,
//! because what a dead guardian kept falls to us.
//!
//! Killing freezes first: a process that is stopped cannot fork away. Rounds
//! are bounded in time, and what is left then is reported, never ignored.
//!
//! Everything here blocks; the async functions put it on another thread.

use std::collections::BTreeSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, waitpid};

use super::launch::Registry;
use super::tree::{self, Identity, Process, Signalled, Snapshot};
use super::{Mark, spec};

/// How long killing goes on before the rest is reported. A process that waits
/// for a dead disk cannot be killed at all.
const KILL_MS_MAX: u64 = 10_000;

/// How long another supervisor's shim gets to notice its end, in milliseconds.
const SHIM_MS_MAX: u64 = 2_000;

/// How many generations of a process that forks and exits are chased per look.
const CHASE_MAX: usize = 400;

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// How many processes were asked to end (SIGTERM).
    pub asked: usize,
    /// How many had to be killed (SIGKILL).
    pub killed: usize,
    /// What is still there.
    pub survivors: Vec<Survivor>,
}

/// A process that could not be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its number.
    pub pid: i32,
    /// Its short name, as the kernel has it.
    pub name: String,
}

/// Ends every process of this user that carries the mark, what is beneath a
/// guardian of the run, and all that descends from them.
///
/// For use before a resume, and at the end of a run. We, our ancestors and our
/// own guardians are spared. `grace_ms` of 0 kills at once.
pub async fn sweep_marked(mark: &Mark, grace_ms: u64) -> Swept {
    let scope = Scope {
        mark: Some(mark.clone()),
        whole_run: true,
        ..Scope::default()
    };
    sweep(scope, grace_ms).await
}

/// Sweeps on another thread.
pub(super) async fn sweep(scope: Scope, grace_ms: u64) -> Swept {
    match tokio::task::spawn_blocking(move || sweep_blocking(scope, grace_ms)).await {
        Ok(swept) => swept,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime is going down, and with it our sockets to the shims.
        Err(_) => Swept::default(),
    }
}

/// Sweeps on this thread.
pub(super) fn sweep_blocking(scope: Scope, grace_ms: u64) -> Swept {
    let mut sweep = Sweep {
        scope,
        ..Sweep::default()
    };
    let none_left = grace_ms > 0 && sweep.ask(Duration::from_millis(grace_ms));
    if !none_left {
        sweep.kill();
    }
    sweep.end_foreign_shims();
    sweep.finish()
}

/// Whom a sweep is about.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// All beneath this guardian, the guardian itself not.
    pub(super) shim: Option<i32>,
    /// All in this process group. Only where orphans are lost: on Linux they
    /// are beneath the guardian anyway.
    pub(super) group: Option<i32>,
    /// All that carries this mark, unless another guardian of ours has it.
    pub(super) mark: Option<Mark>,
    /// All beneath any guardian of the mark's run too.
    pub(super) whole_run: bool,
}

/// Who belongs to a scope at one look.
struct Members {
    /// To be ended.
    processes: Vec<Process>,
    /// Guardians whose supervisor is not us.
    foreign_shims: Vec<Process>,
}

impl Scope {
    /// Returns the guardian while it is ours, or us: afterwards its number may
    /// mean anybody.
    fn guardian(&self) -> Option<i32> {
        let is_us = |shim: i32| shim == getpid().as_raw_nonzero().get();
        self.shim
            .filter(|shim| is_us(*shim) || Registry::read().shims.contains(shim))
    }

    fn members(&self, snapshot: &Snapshot, tracked: &BTreeSet<Identity>) -> Members {
        let own = getpid().as_raw_nonzero().get();
        let registry = Registry::read();
        let mut spared = snapshot.with_ancestors(own);
        spared.extend(&registry.shims);

        let marks = self.marked(snapshot, &spared);
        let mut roots = marks.marked;
        roots.extend(orphans(snapshot, own, &registry));
        if cfg!(not(target_os = "linux")) {
            let same_group = |process: &&Process| Some(process.group) == self.group;
            let group = snapshot.0.values().filter(same_group);
            roots.extend(group.map(|process| process.pid));
        }
        roots.extend(tracked.iter().filter_map(|identity| {
            let same = snapshot
                .0
                .get(&identity.0)
                .is_some_and(|found| found.identity() == *identity);
            same.then_some(identity.0)
        }));
        roots.retain(|pid| !spared.contains(pid));
        let mut shims = marks.shims;
        shims.extend(self.guardian());
        let guardians = registry.shims.iter().filter(|shim| !shims.contains(shim));
        let guarded_by_others = snapshot.descendants(&guardians.copied().collect());

        let tops = roots.union(&shims).copied().collect();
        let mut members = snapshot.descendants(&tops);
        members.extend(&roots);
        members.retain(|pid| {
            !spared.contains(pid) && !shims.contains(pid) && !guarded_by_others.contains(pid)
        });
        let look_up = |pid: &i32| snapshot.0.get(pid).filter(|found| !found.zombie).cloned();
        let foreign = shims
            .iter()
            .filter(|shim| !spared.contains(shim) && self.shim != Some(**shim));
        Members {
            processes: members.iter().filter_map(look_up).collect(),
            foreign_shims: foreign.filter_map(look_up).collect(),
        }
    }

    /// Reads the environments.
    fn marked(&self, snapshot: &Snapshot, spared: &BTreeSet<i32>) -> Marks {
        let mut marks = Marks::default();
        let Some(mark) = &self.mark else { return marks };
        let environs = tree::Environs::take();
        let shim_entry = format!("{}={}", spec::SHIM_VARIABLE, mark.run_id());
        for process in snapshot.0.values().filter(|process| !process.zombie) {
            // Also of those that are spared: our own guardians of this run.
            let Some(environ) = environs.of(process.pid) else {
                continue;
            };
            let mut entries = environ.split(|byte| *byte == 0);
            if self.whole_run && entries.any(|entry| entry == shim_entry.as_bytes()) {
                marks.shims.insert(process.pid);
            } else if !spared.contains(&process.pid) && mark.is_on(&environ) {
                marks.marked.insert(process.pid);
            }
        }
        marks
    }
}

#[derive(Default)]
struct Marks {
    marked: BTreeSet<i32>,
    shims: BTreeSet<i32>,
}

/// Returns what fell to us because its guardian was killed.
///
/// A guardian begins a session of its own, and no process can join one later:
/// so a child of ours in another session that is no guardian came from beneath one.
fn orphans(snapshot: &Snapshot, own: i32, registry: &Registry) -> BTreeSet<i32> {
    if !cfg!(target_os = "linux") || !registry.used {
        return BTreeSet::new();
    }
    let own_session = snapshot.0.get(&own).map(|process| process.session);
    let adopted = snapshot.0.values().filter(|process| {
        process.parent == own
            && Some(process.session) != own_session
            && !registry.shims.contains(&process.pid)
    });
    for zombie in adopted.clone().filter(|process| process.zombie) {
        if !registry.children.contains(&zombie.pid) {
            reap(zombie.pid);
        }
    }
    adopted.map(|process| process.pid).collect()
}

/// Takes the status of a dead child that nobody waits for.
fn reap(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid.max(0)) {
        let _: Result<_, _> = waitpid(Some(pid), WaitOptions::NOHANG);
    }
}

/// A sweep under way.
#[derive(Default)]
struct Sweep {
    scope: Scope,
    asked: BTreeSet<Identity>,
    killed: BTreeSet<Identity>,
    /// All that were ever members: their children are, whatever they became.
    tracked: BTreeSet<Identity>,
    /// The members at the last look.
    left: Vec<Process>,
    foreign_shims: Vec<Process>,
}

impl Sweep {
    fn look(&mut self) -> Vec<Process> {
        let members = self.scope.members(&Snapshot::take(), &self.tracked);
        self.tracked
            .extend(members.processes.iter().map(Process::identity));
        self.foreign_shims = members.foreign_shims;
        self.left.clone_from(&members.processes);
        members.processes
    }

    /// Asks each member once, and waits for all to go. Returns whether there
    /// never was one: then there is nothing to make sure of.
    fn ask(&mut self, grace: Duration) -> bool {
        let deadline = Instant::now() + grace;
        let mut pause = Pause::default();
        loop {
            let members = self.look();
            if members.is_empty() {
                return self.tracked.is_empty() && !self.chase();
            }
            for member in &members {
                if self.asked.insert(member.identity()) {
                    tree::signal(member.pid, member.start, Signal::TERM);
                    // One that is stopped would not notice before it goes on.
                    tree::signal(member.pid, member.start, Signal::CONT);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            pause.wait(left);
        }
    }

    /// Freezes and kills until none is left, or the time is up.
    fn kill(&mut self) {
        let deadline = Instant::now() + Duration::from_millis(KILL_MS_MAX);
        let mut pause = Pause::default();
        loop {
            let frozen = self.look();
            for member in &frozen {
                tree::signal(member.pid, member.start, Signal::STOP);
            }
            // Those that were born while the others were being stopped, too.
            let members = if frozen.is_empty() {
                frozen
            } else {
                self.look()
            };
            let mut refused = 0;
            for member in &members {
                match tree::signal(member.pid, member.start, Signal::KILL) {
                    Signalled::Sent => _ = self.killed.insert(member.identity()),
                    Signalled::Refused => refused += 1,
                    Signalled::Gone => {}
                }
            }
            let none_can_be = refused == members.len() && !self.chase();
            if none_can_be || Instant::now() >= deadline {
                return;
            }
            pause.wait(Duration::MAX);
        }
    }

    /// Kills the direct children of the guardian as they turn up; returns
    /// whether there were any.
    ///
    /// One that forks and exits, over and over, is gone from any full look by
    /// the time it is taken, and is always a direct child. When there are only
    /// zombies twice in a row, nothing is beneath: what a zombie had, it has
    /// passed on before.
    fn chase(&mut self) -> bool {
        let (mut chased, mut quiet) = (false, None);
        for _ in 0..CHASE_MAX {
            let Some(shim) = self.scope.guardian() else {
                break;
            };
            let children = tree::children_of(shim);
            let mut alive = false;
            for process in children.iter().filter_map(|child| tree::process(*child)) {
                if !process.zombie && process.parent == shim {
                    let sent = tree::signal(process.pid, process.start, Signal::KILL);
                    if sent == Signalled::Sent {
                        alive = true;
                        self.killed.insert(process.identity());
                    }
                }
            }
            if !alive && quiet.as_ref() == Some(&children) {
                break;
            }
            quiet = Some(children).filter(|_| !alive);
            chased |= alive;
        }
        chased
    }

    /// A guardian that lost its supervisor ends by itself, unless somebody
    /// stopped it. Nothing of the run may start before it is gone: it would
    /// take the new agent for the old one.
    fn end_foreign_shims(&mut self) {
        let shims = std::mem::take(&mut self.foreign_shims);
        if shims.is_empty() {
            return;
        }
        let deadline = Instant::now() + Duration::from_millis(SHIM_MS_MAX);
        for shim in &shims {
            tree::signal(shim.pid, shim.start, Signal::CONT);
        }
        let mut pause = Pause::default();
        while !shims.iter().all(is_gone) && Instant::now() < deadline {
            pause.wait(Duration::MAX);
        }
        for shim in shims.iter().filter(|shim| !is_gone(shim)) {
            tree::signal(shim.pid, shim.start, Signal::KILL);
            self.killed.insert(shim.identity());
            self.tracked.insert(shim.identity());
        }
        self.kill();
    }

    fn finish(self) -> Swept {
        let left = self.left.into_iter().filter(|process| !is_gone(process));
        let survivor = |process: Process| Survivor {
            pid: process.pid,
            name: process.name,
        };
        let survivors = left.map(survivor).collect();
        Swept {
            asked: self.asked.len(),
            killed: self.killed.len(),
            survivors,
        }
    }
}

fn is_gone(process: &Process) -> bool {
    let now = tree::process(process.pid);
    now.is_none_or(|now| now.zombie || now.start != process.start)
}

/// Waits between looks: short at first, then up to 20 ms.
#[derive(Default)]
struct Pause {
    doublings: u32,
}

impl Pause {
    fn wait(&mut self, at_most: Duration) {
        sleep(Duration::from_millis((1 << self.doublings).min(20)).min(at_most));
        self.doublings = (self.doublings + 1).min(5);
    }
}
