//! The folder that the agent works on: staged before its first attempt, committed
//! after the last; and the locks that the run holds.
//!
//! What is done and what is not is seen on disk: a part that a crash cut off is
//! begun anew, and `staging::commit` knows what of it is in place.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::drill::point::{Between, fault_between};
use crate::drill::{Boundary, Side, fault};
use crate::driver::conclude::{deadline, stopped};
use crate::driver::session::{Error, Session};
use crate::driver::supervise::{Outside, Ports};
use crate::ids::RunId;
use crate::machine::event::{CommitMethod, FileCounts, Refusal, Staged, StoppedBy, TimeLimit};
use crate::machine::{Event, Phase};
use crate::staging::change::Counts;
use crate::staging::commit::{self, Checked, Done, Ready};
use crate::staging::diff::{self, Sides};
use crate::staging::moment::Moment;
use crate::staging::stage::{Asked, Method, Stage};
use crate::staging::{self, Halt, tree::as_text};
use crate::store::path_lock::{self, Held, Owner, PathLock, Taken};
use crate::store::{self, Paths};
use crate::task::resolved::{CommitMode, Resolved};
use crate::task::template::{Place, Template};

/// The variable that names the stage to the agent, its tools and its checks.
pub const WORKSPACE_VARIABLE: &str = "AGENTGUARD_WORKSPACE";

/// How often a commit is tried while others write to the folder.
const TRIES: u32 = 5;
/// Paths that an event names at most.
const NAMED_MAX: usize = 20;
/// How often a lock that somebody holds is asked for.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// Returns what is to be staged for `task`, if something is.
pub fn asked(task: &Resolved, run: &RunId, paths: &Paths) -> Option<Asked> {
    let target = task.workspace.stage.clone()?;
    let state = paths.state();
    Some(Asked {
        target,
        exclude: task.workspace.exclude.clone(),
        ours: vec![state.canonicalize().unwrap_or_else(|_| state.to_owned())],
        method: match task.workspace.commit {
            CommitMode::Auto => None,
            CommitMode::Exchange => Some(Method::Exchange),
            CommitMode::Files => Some(Method::Files),
        },
        run: run.to_string(),
        git: task.workspace.git,
    })
}

/// Moves the task into the stage: the agent's folder, if it is in the target, and
/// the variable that names it. The stage need not be there yet.
pub fn moved(mut task: Resolved, run: &RunId, paths: &Paths) -> Result<Resolved, staging::Error> {
    task.reach_beside();
    let Some(asked) = asked(&task, run, paths) else {
        return Ok(task);
    };
    let stage = Stage::planned(&asked, &paths.run(run))?;
    task.agent.cwd = stage.mapped(&task.agent.cwd);
    let escaped = stage
        .tree
        .to_string_lossy()
        .replace('{', "{{")
        .replace('}', "}}");
    if let Ok(value) = Template::parse(&escaped) {
        task.agent
            .env
            .0
            .insert(WORKSPACE_VARIABLE.to_owned(), value);
    }
    Ok(task)
}

/// Moves the task into the stage as long as there is one. What is done after the commit
/// is done in the folder itself.
pub fn moved_if_there(
    mut task: Resolved,
    run: &RunId,
    paths: &Paths,
) -> Result<Resolved, staging::Error> {
    match Stage::find(&paths.run(run))? {
        Some(stage) if stage.exists() && !commit::is_in_place(&stage) => moved(task, run, paths),
        _ => {
            task.reach_beside();
            Ok(task)
        }
    }
}

/// Returns the variable that names the stage, where there is one.
pub fn variable(task: &Resolved) -> Option<(OsString, OsString)> {
    let template = task.agent.env.0.get(WORKSPACE_VARIABLE)?;
    let path = template
        .render(Place::Word, &serde_json::Value::Null, &|_| None)
        .ok()?;
    Some((WORKSPACE_VARIABLE.into(), path.into()))
}

/// Sees to it that the stage is there before the agent starts. Where that fails the
/// run has ended, the session says how, and `false` is returned.
pub async fn stage(session: &mut Session, ports: &mut Ports) -> Result<bool, Error> {
    let paths = session.store.paths().clone();
    let Some(asked) = asked(&session.task, &session.run, &paths) else {
        return Ok(true);
    };
    let folder = ports.folder.clone();
    if session.state().workspace.staged.is_some()
        && let Ok(Some(stage)) = Stage::find(&folder)
        && stage.exists()
        && !commit::is_in_place(&stage)
    {
        // A plan that is not carried out any more.
        let never = std::future::pending();
        let rewound = aside(&mut ports.outside, never, move |_| commit::rewind(&stage)).await;
        if let Err(why) = rewound {
            broke(session, "the stage cannot be used", why).await?;
            return Ok(false);
        }
        return Ok(true);
    }
    let began = session.clock.now();
    let (state, clock) = (session.state(), &session.clock);
    // A resume is refused at its deadline, and its attempt looks at the clock at once.
    let is_first = matches!(state.phase, Phase::Created);
    let late = async {
        match is_first {
            true => deadline(state, || clock.now()).await,
            false => std::future::pending().await,
        }
    };
    let made = aside(&mut ports.outside, late, move |halt| {
        Stage::make(&asked, &folder, halt, &between)
    })
    .await;
    let (stage, made) = match made {
        Ok(made) => made,
        Err(why) => {
            broke(session, "the workspace cannot be staged", why).await?;
            return Ok(false);
        }
    };
    let left_out = made
        .left_out
        .iter()
        .map(|(path, why)| format!("{} ({why})", shown(path)));
    let staged = Staged {
        target: shown(&stage.target),
        stage: shown(&stage.tree),
        hash: made.hash,
        files: made.files,
        bytes: made.bytes,
        left_out: left_out.take(NAMED_MAX).collect(),
        took_ms: session.clock.now().since(began),
    };
    session.feed_and_wait(Event::Staged(staged)).await?;
    fault(Boundary::Staged, Side::AfterRelease);
    Ok(true)
}

/// Returns the change so far as a unified diff, cut behind `bytes_max` bytes; `None`
/// where nothing is staged.
///
/// Reads files: not for the thread of the run.
///
/// Errors: those of the disk.
pub fn change(folder: &Path, bytes_max: usize) -> staging::Result<Option<String>> {
    let Some(stage) = Stage::find(folder)?.filter(Stage::exists) else {
        return Ok(None);
    };
    let sides = Sides {
        old: &stage.target,
        new: &stage.tree,
    };
    let mut text = String::new();
    for change in commit::so_far(&stage)? {
        if text.len() > bytes_max {
            break;
        }
        text.push_str(&diff::show(&change, &sides).text);
    }
    Ok(Some(text))
}

/// Commits what the agent made, or says why it cannot be.
///
/// - `is_started`: whether a commit was cut off after it had begun.
pub async fn commit(
    session: &mut Session,
    ports: &mut Ports,
    is_started: bool,
) -> Result<(), Error> {
    let stage = match Stage::find(&ports.folder) {
        Ok(Some(stage)) => stage,
        Ok(None) => {
            let staged = session.state().workspace.staged.as_ref();
            let stage = staged.map(|it| it.stage.clone()).unwrap_or_default();
            return refused(session, Refusal::Gone { stage }).await;
        }
        Err(error) => {
            let failed = Stop::Failed(error);
            return broke(session, "the change cannot be committed", failed).await;
        }
    };
    let target = [stage.target.clone()];
    let _lock = match locked(session, ports, &target).await? {
        Ok(lock) => lock,
        Err(Waited::Stopped(by)) => {
            session.feed_and_wait(Event::StopRequested { by }).await?;
            return Ok(());
        }
        Err(Waited::Busy(held)) => {
            let refusal = Refusal::Locked {
                why: in_words(&held),
            };
            return refused(session, refusal).await;
        }
    };
    let mut is_started = is_started;
    for _ in 0..TRIES {
        let mut ready = None;
        if !is_started {
            let looked = stage.clone();
            let never = std::future::pending();
            let look = move |halt: &Halt| commit::check(&looked, halt);
            match aside(&mut ports.outside, never, look).await {
                Ok(Checked::Nothing) => {
                    return committed(session, ports, FileCounts::default()).await;
                }
                Ok(Checked::Conflicts(paths)) => {
                    let count = paths.len() as u64;
                    let paths = paths
                        .iter()
                        .take(NAMED_MAX)
                        .map(|path| shown(path))
                        .collect();
                    return refused(session, Refusal::Conflict { paths, count }).await;
                }
                Ok(Checked::Ready(found)) => {
                    session.feed_and_wait(started(&found)).await?;
                    fault(Boundary::CommitStarted, Side::AfterRelease);
                    ready = Some(found);
                }
                Err(Stop::Failed(staging::Error::Gone(stage))) => {
                    let stage = shown(&stage);
                    return refused(session, Refusal::Gone { stage }).await;
                }
                Err(why) => return broke(session, "the change cannot be committed", why).await,
            }
        }
        let counts = session.state().workspace.committing.unwrap_or_default();
        let carried = stage.clone();
        // Not cut off by a signal: it takes moments, and half of it is no good.
        let carry = move || commit::carry_out(&carried, ready.as_deref(), &between);
        let done = match tokio::task::spawn_blocking(carry).await {
            Ok(done) => done.map_err(Stop::Failed),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        };
        match done {
            Ok(Done::Committed) => return committed(session, ports, counts).await,
            Ok(Done::Again) => is_started = false,
            Err(why) => return broke(session, "the change cannot be committed", why).await,
        }
    }
    let (paths, count) = (vec![], 0);
    refused(session, Refusal::Conflict { paths, count }).await
}

/// Clears away what a commit left whose run was killed right after it.
pub fn tidy_up(session: &Session, folder: &Path) {
    let workspace = &session.state().workspace;
    if workspace.staged.is_none() && workspace.committed.is_some() {
        clean(folder);
    }
}

fn started(ready: &Ready) -> Event {
    Event::CommitStarted {
        method: match ready.method {
            Method::Exchange => CommitMethod::Exchange,
            Method::Files => CommitMethod::Files,
        },
        why: ready.why.clone(),
        counts: counts(ready.counts),
        hash: ready.hash.clone(),
    }
}

fn counts(counts: Counts) -> FileCounts {
    FileCounts {
        added: counts.added,
        changed: counts.changed,
        deleted: counts.deleted,
    }
}

async fn committed(session: &mut Session, ports: &Ports, counts: FileCounts) -> Result<(), Error> {
    session.feed_and_wait(Event::Committed { counts }).await?;
    clean(&ports.folder);
    fault(Boundary::Committed, Side::AfterRelease);
    Ok(())
}

/// Removes the stage of a commit that is durable. What cannot be removed is no
/// failure of the run; `agentguard gc` tries again.
fn clean(folder: &Path) {
    if let Err(error) = commit::clean(folder) {
        tracing::warn!(%error, "the stage cannot be removed");
    }
}

async fn refused(session: &mut Session, refusal: Refusal) -> Result<(), Error> {
    session
        .feed_and_wait(Event::CommitRefused { refusal })
        .await?;
    fault(Boundary::CommitRefused, Side::AfterRelease);
    Ok(())
}

fn between(moment: Moment) {
    fault_between(match moment {
        Moment::Made => Between::StageMade,
        Moment::Filled => Between::StageFilled,
        Moment::Half => Between::CommitHalf,
        Moment::InPlace => Between::CommitInPlace,
    });
}

/// Why work aside came to nothing.
enum Stop {
    Failed(staging::Error),
    Stopped(StoppedBy),
    Late,
}

/// Does work on many files on another thread; a stop cuts it off, and so does `late`.
async fn aside<T: Send + 'static>(
    outside: &mut Outside,
    late: impl Future<Output = ()>,
    work: impl FnOnce(&Halt) -> Result<T, staging::Error> + Send + 'static,
) -> Result<T, Stop> {
    let halt = Halt::default();
    let theirs = halt.clone();
    let mut worker = tokio::task::spawn_blocking(move || work(&theirs));
    let stop = tokio::select! {
        done = &mut worker => Ok(done),
        by = stopped(&mut outside.stops) => Err(Stop::Stopped(by)),
        () = late => Err(Stop::Late),
    };
    let (done, stop) = match stop {
        Ok(done) => (done, None),
        Err(stop) => {
            halt.halt();
            (worker.await, Some(stop))
        }
    };
    let done = match done {
        Ok(done) => done,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    match (done, stop) {
        (_, Some(stop)) => Err(stop),
        (Ok(done), None) => Ok(done),
        (Err(error), None) => Err(Stop::Failed(error)),
    }
}

/// Ends the run for now.
async fn broke(session: &mut Session, what: &str, why: Stop) -> Result<(), Error> {
    let event = match why {
        Stop::Stopped(by) => Event::StopRequested { by },
        Stop::Late => Event::TimeUp {
            limit: TimeLimit::Deadline,
        },
        Stop::Failed(error) => Event::Broke {
            error: format!("{what}: {error}"),
        },
    };
    session.feed_and_wait(event).await?;
    Ok(())
}

/// Why a lock was not had.
pub enum Waited {
    /// Somebody else has it.
    Busy(Box<Held>),
    /// Somebody wants the run to stop.
    Stopped(StoppedBy),
}

/// Takes the locks of the task, for as long as the run has a process.
///
/// - `told`: for whom is waited, once.
pub async fn lock(
    task: &Resolved,
    run: &RunId,
    paths: &Paths,
    now: crate::clock::UnixMs,
    outside: &mut Outside,
    told: &mut dyn FnMut(&str),
) -> Result<Result<Option<PathLock>, Waited>, store::Error> {
    let locks = &task.workspace.locks;
    if locks.is_empty() {
        return Ok(Ok(None));
    }
    let owner = Owner::here(Some(run.clone()), None, now);
    let wait_ms = task.workspace.lock_wait_ms;
    let taken = wait(paths, locks, &owner, wait_ms, outside, told).await?;
    Ok(taken.map(Some))
}

async fn locked(
    session: &Session,
    ports: &mut Ports,
    wanted: &[PathBuf],
) -> Result<Result<PathLock, Waited>, Error> {
    // As a command of the run: it may lie within what the run has locked, and is
    // still kept from what the run's other commands do.
    let doing = Some("commit".to_owned());
    let owner = Owner::here(Some(session.run.clone()), doing, session.clock.now());
    let wait_ms = session.task.workspace.lock_wait_ms;
    let paths = session.store.paths().clone();
    let outside = &mut ports.outside;
    Ok(wait(&paths, wanted, &owner, wait_ms, outside, &mut |_| ()).await?)
}

async fn wait(
    paths: &Paths,
    wanted: &[PathBuf],
    owner: &Owner,
    wait_ms: u64,
    outside: &mut Outside,
    told: &mut dyn FnMut(&str),
) -> Result<Result<PathLock, Waited>, store::Error> {
    let until = tokio::time::Instant::now() + Duration::from_millis(wait_ms);
    let mut announced = None;
    loop {
        let held = match path_lock::take(paths, wanted, owner)? {
            Taken::Ours(lock) => return Ok(Ok(lock)),
            Taken::Busy(held) => held,
        };
        if tokio::time::Instant::now() >= until {
            return Ok(Err(Waited::Busy(held)));
        }
        if announced.is_none() {
            announced = Some(path_lock::announce(paths, wanted, owner)?);
            told(&in_words(&held));
        }
        tokio::select! {
            () = tokio::time::sleep(ASK_AGAIN) => {}
            by = stopped(&mut outside.stops) => return Ok(Err(Waited::Stopped(by))),
        }
    }
}

/// Returns who holds what, as a sentence.
pub fn in_words(held: &Held) -> String {
    format!(
        "{} is locked by {}",
        shown(&held.path),
        held.owner.describe()
    )
}

fn shown(path: &Path) -> String {
    as_text::write(path)
}
