//! A run from the outside: begin one, or go on with one.
//!
//! This is what `agentguard run` and `agentguard resume` call; everything they
//! print is an observer's business.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::channel::method::Input;
use crate::clock::Clock;
use crate::drill::{Boundary, Side, fault};
use crate::driver::conclude::{conclude, stopped};
use crate::driver::human;
use crate::driver::input::{self, Snapshot};
use crate::driver::launch::Environment;
use crate::driver::notify::Notifier;
use crate::driver::policy::{own_rules, policy};
use crate::driver::recover::{self, Ready};
use crate::driver::session::{self, Session};
use crate::driver::staging::{self, Waited};
use crate::driver::supervise::{Outside, Ports, attempt};
use crate::driver::translate::Standing;
use crate::human::outbox::{Post, Sending};
use crate::ids::{EscalationId, RunId, StepNo};
use crate::machine::event::StoppedBy;
use crate::machine::{
    Cause, Checkpoint, Entry, Escalation, Event, Outcome, Part, Phase, Saga, State, Status,
    advance, checkpoints,
};
use crate::observe::Observer;
use crate::policy::budget::Resource;
use crate::policy::escalation::Kind;
use crate::policy::taxonomy::custom;
use crate::store::path_lock::PathLock;
use crate::store::{self, Draft, NewRun, Ownership, RunRecord, Store};
use crate::task::resolved::{InheritEnv, Resolved};
use crate::tools::{ToolHome, Toolbox};
use crate::verify;

/// What is needed to supervise, besides the run.
pub struct Host {
    /// The journal.
    pub store: Arc<dyn Store>,
    /// Where the time comes from.
    pub clock: Arc<dyn Clock>,
    /// Those who look on.
    pub observers: Vec<Box<dyn Observer>>,
    /// What the process lends to an attempt.
    pub outside: Outside,
}

/// What stays true for the whole run, as stored with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Setup {
    /// The task as it was resolved when the run began.
    pub task: Resolved,
    /// The task file.
    pub task_file: PathBuf,
    /// The prompt's text.
    pub prompt: Option<String>,
    /// The input files, relative to the folder of the snapshot.
    pub files: Vec<PathBuf>,
    /// The run that this one plays again, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<RunId>,
}

/// How to go on with a run.
#[derive(Clone, Debug, Default)]
pub struct GoOn {
    /// Limits to raise first; `None` is the deadline.
    pub raise: Vec<(Option<Resource>, Raise)>,
    /// The checkpoint to go back to.
    pub from_step: Option<StepNo>,
}

/// How far a limit is raised, in its unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raise {
    /// To this.
    To(u64),
    /// By this.
    By(u64),
}

/// How a call of `run` or `resume` ended.
#[derive(Debug)]
pub struct Finished {
    /// The run.
    pub run: RunId,
    /// How it ended.
    pub ending: Ending,
}

/// How a call of `rollback` ended.
#[derive(Debug)]
pub struct RolledBack {
    /// The run.
    pub run: RunId,
    /// Whether there is nothing left to be tried.
    pub is_through: bool,
    /// What became of what it did.
    pub saga: Saga,
    /// The open question about what is not undone.
    pub question: Option<EscalationId>,
    /// A call that a human has to settle first.
    pub doubt: Option<Ready>,
}

/// What came of it.
#[derive(Debug)]
pub enum Ending {
    /// The agent was started, and this came of it.
    Ran(Outcome),
    /// The same in a replay, which nobody goes on with.
    Played(Outcome),
    /// The run was done before.
    WasDone(Outcome),
    /// The same limit would stop it at once; nothing was started.
    Refused(Outcome),
    /// A human has to settle a call first.
    InDoubt(Ready),
    /// A human has to decide first.
    Waiting(Box<Escalation>),
}

/// Why nothing could be begun.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input could not be taken.
    #[error(transparent)]
    Input(#[from] input::Error),
    /// The folder that the agent works on cannot be staged.
    #[error(transparent)]
    Staging(#[from] crate::staging::Error),
    /// Somebody else holds a lock that the task asks for.
    #[error("{0}")]
    Locked(String),
    /// Somebody wanted it to stop before it had begun.
    #[error("stopped before the run had begun")]
    Stopped(StoppedBy),
    /// A check of the task cannot be used.
    #[error("verify: {0}")]
    Verify(String),
    /// The tools of the task cannot be used.
    #[error("the tools of the task cannot be used")]
    Tools(#[from] crate::tools::Error),
    /// A rule of the task cannot be used.
    #[error("rule `{id}` of the task cannot be used")]
    Rule {
        /// The rule.
        id: String,
        /// Why.
        #[source]
        source: custom::Error,
    },
    /// The journal.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The run's journal cannot be read back.
    #[error(transparent)]
    Read(#[from] recover::ReadError),
    /// The run was broken off: the journal could not be written.
    #[error("the run cannot go on")]
    Session(#[from] session::Error),
    /// The run's setup cannot be read.
    #[error("the setup of run {run} cannot be read")]
    Setup {
        /// The run.
        run: RunId,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It is played again, not gone on with.
    #[error("run {run} is a replay of {of}, and a replay is not gone on with")]
    Replay {
        /// The run.
        run: RunId,
        /// What it played.
        of: RunId,
    },
    /// A limit is not raised by this.
    #[error("{key} is {present} already; {asked} would not raise it")]
    NotRaised {
        /// The limit.
        key: &'static str,
        /// Its value.
        present: String,
        /// What was asked for.
        asked: String,
    },
    /// There is no limit to raise.
    #[error("run {run} has no limit on {key}")]
    NoLimit {
        /// The run.
        run: RunId,
        /// The limit.
        key: &'static str,
    },
    /// There is no such checkpoint.
    #[error("run {run} has no checkpoint at step {step}; its steps are 0 to {last}")]
    NoStep {
        /// The run.
        run: RunId,
        /// The step asked for.
        step: StepNo,
        /// The last one there is.
        last: StepNo,
    },
}

/// Begins a run of `task` and sees its first attempt through.
pub async fn begin(
    host: Host,
    mut task: Resolved,
    task_file: &Path,
    base: &Path,
) -> Result<Finished, Error> {
    if let Some(checks) = &mut task.verify {
        verify::take_in(checks).map_err(Error::Verify)?;
    }
    let run = new_run();
    let rules = rules(&task)?;
    let mut host = host;
    if task.workspace.stage.is_some() {
        host.outside.environment.keep_git_in_its_folder();
    }
    let _locks = lock(&mut host, &task, &run).await?;
    let folder = host.store.paths().run(&run);
    host.store.paths().make_run(&run)?;
    let paths = host.store.paths().clone();
    // What cannot be staged at all is told before there is a run.
    let moved = staging::moved(task.clone(), &run, &paths).map_err(Error::from);
    let created = moved.and_then(|moved| {
        let snapshot = input::take(&task, base, &folder.join("input"))?;
        let (own, setup, created) = create(&host, &run, task, task_file, snapshot, None)?;
        Ok((own, setup, created, moved))
    });
    let (own, setup, created, task) = match created {
        Ok(created) => created,
        Err(error) => {
            // A run that never came to be leaves nothing behind.
            let _ = fs::remove_dir_all(&folder);
            return Err(error);
        }
    };
    let toolbox = toolbox(&host, &run, &task)?;
    let task = Arc::new(task);
    let policy = policy(&task);
    let (state, _) = advance(None, created.at, created.event, &policy);
    let Host {
        store,
        clock,
        observers,
        outside,
    } = host;
    let mut session = Session::new(own, task, policy, state, store, clock, observers);
    session.toolbox = Some(Arc::clone(&toolbox));
    let sending = with_notifier(&mut session, &outside.environment)?;
    let begin = Ready::Start {
        cause: Cause::Fresh,
        note: None,
    };
    let standing = standing(&setup, &folder, Cause::Fresh, None);
    let ports = Ports {
        outside,
        toolbox,
        rules,
        folder,
        standing,
        playback: None,
    };
    let (ending, mut ports) = see_through(&mut session, ports, &setup, begin).await?;
    finish(sending, stopped(&mut ports.outside.stops)).await;
    Ok(Finished { run, ending })
}

/// Goes on with the run that `asked` names.
pub async fn go_on(host: Host, asked: &str, how: &GoOn) -> Result<Finished, Error> {
    let (record, own) = own(&host, asked)?;
    go_on_with(host, &record, own, how).await
}

/// Goes on with a run that is owned.
async fn go_on_with(
    host: Host,
    record: &RunRecord,
    own: Ownership,
    how: &GoOn,
) -> Result<Finished, Error> {
    if let Some(of) = setup(record)?.replay_of {
        // What answered it is not there any more: all it asked for would go out.
        let run = record.new.run.clone();
        return Err(Error::Replay { run, of });
    }
    let TakenUp {
        locks: _locks,
        mut session,
        ports,
        setup,
        sending,
    } = take_up(host, record, own, staging::moved).await?;
    let run = session.run.clone();
    for (resource, raise) in &how.raise {
        let limit = raised(&session, *resource, *raise)?;
        session
            .feed_and_wait(Event::Raised {
                resource: *resource,
                limit,
            })
            .await?;
    }
    if let Some(step) = how.from_step {
        let event = branch(&session, step)?;
        session.feed_and_wait(event).await?;
    }
    let ready = recover::ready(&mut session, &ports.toolbox, &ports.rules).await?;
    let (ending, mut ports) = see_through(&mut session, ports, &setup, ready).await?;
    finish(sending, stopped(&mut ports.outside.stops)).await;
    Ok(Finished { run, ending })
}

/// Takes a run up whose agent is not started again.
async fn take_up_alone(host: Host, asked: &str) -> Result<TakenUp, Error> {
    let (record, own) = own(&host, asked)?;
    take_up(host, &record, own, staging::moved_if_there).await
}

/// Takes back what the run that `asked` names did, last call first.
pub async fn roll_back(host: Host, asked: &str) -> Result<RolledBack, Error> {
    let TakenUp {
        locks: _locks,
        mut session,
        mut ports,
        sending,
        ..
    } = take_up_alone(host, asked).await?;
    human::catch_up(&mut session).await?;
    let doubt = recover::settle(&mut session, &ports.toolbox, &ports.rules).await?;
    if doubt.is_none() {
        let is_under_way = matches!(session.state().part(), Some(Part::RollingBack { .. }));
        if !is_under_way {
            session.feed_and_wait(Event::RollbackStarted).await?;
        }
        conclude(&mut session, &mut ports).await?;
    }
    finish(sending, stopped(&mut ports.outside.stops)).await;
    Ok(RolledBack {
        run: session.run.clone(),
        is_through: doubt.is_none() && session.state().part().is_none(),
        saga: session.state().saga.clone(),
        question: session.state().question_about_rollback(),
        doubt,
    })
}

/// Stops a run that no process holds and that would have gone on: one that waits for a
/// human, or for a model to be back. Others are left as they are.
pub async fn give_up(host: Host, asked: &str) -> Result<(), Error> {
    let TakenUp {
        locks: _locks,
        mut session,
        mut ports,
        sending,
        ..
    } = take_up_alone(host, asked).await?;
    human::catch_up(&mut session).await?;
    if session.state().outcome().is_some_and(Outcome::goes_on) {
        let by = StoppedBy::User;
        session.feed_and_wait(Event::StopRequested { by }).await?;
        conclude(&mut session, &mut ports).await?;
    }
    finish(sending, stopped(&mut ports.outside.stops)).await;
    Ok(())
}

/// Moves a task to where the run works.
type Moved = fn(Resolved, &RunId, &store::Paths) -> Result<Resolved, crate::staging::Error>;

/// A run that is owned, with nothing of its last attempt left.
struct TakenUp {
    /// Held for as long as the run has a process.
    locks: Option<PathLock>,
    session: Session,
    ports: Ports,
    setup: Setup,
    sending: Option<Sending>,
}

/// Finds the run that `asked` names, and holds it from here on.
fn own(host: &Host, asked: &str) -> Result<(RunRecord, Ownership), Error> {
    let record = host.store.find(asked)?;
    let own = host.store.own(&record.new.run, host.clock.now())?;
    Ok((record, own))
}

/// Reads what stays true for a whole run.
pub(super) fn setup(record: &RunRecord) -> Result<Setup, Error> {
    serde_json::from_str(&record.new.body).map_err(|source| Error::Setup {
        run: record.new.run.clone(),
        source,
    })
}

/// - `moved`: where the task's tools are run.
async fn take_up(
    mut host: Host,
    record: &RunRecord,
    own: Ownership,
    moved: Moved,
) -> Result<TakenUp, Error> {
    let run = record.new.run.clone();
    let setup = setup(record)?;
    let rules = rules(&setup.task)?;
    if setup.task.workspace.stage.is_some() {
        host.outside.environment.keep_git_in_its_folder();
    }
    let locks = lock(&mut host, &setup.task, &run).await?;
    let task = moved(setup.task.clone(), &run, host.store.paths())?;
    let toolbox = toolbox(&host, &run, &task)?;
    let folder = host.store.paths().run(&run);
    let Host {
        store,
        clock,
        observers,
        outside,
    } = host;
    let task = Arc::new(task);
    let mut session = recover::take_up(own, task, store, clock, observers)?;
    session.toolbox = Some(Arc::clone(&toolbox));
    let sending = with_notifier(&mut session, &outside.environment)?;
    recover::clear(&mut session).await?;
    staging::tidy_up(&session, &folder);
    let standing = standing(&setup, &folder, Cause::Verbatim, None);
    let ports = Ports {
        outside,
        toolbox,
        rules,
        folder,
        standing,
        playback: None,
    };
    Ok(TakenUp {
        locks,
        session,
        ports,
        setup,
        sending,
    })
}

/// Takes the locks of the task, before anything of the run is there or goes on.
async fn lock(host: &mut Host, task: &Resolved, run: &RunId) -> Result<Option<PathLock>, Error> {
    let (paths, now) = (host.store.paths().clone(), host.clock.now());
    let Host {
        observers, outside, ..
    } = host;
    let mut told = |why: &str| observers.iter_mut().for_each(|it| it.waits(why));
    match staging::lock(task, run, &paths, now, outside, &mut told).await? {
        Ok(lock) => Ok(lock),
        Err(Waited::Busy(held)) => Err(Error::Locked(staging::in_words(&held))),
        Err(Waited::Stopped(by)) => Err(Error::Stopped(by)),
    }
}

/// Waits until humans have decided what the run that `asked` names waits for, then
/// goes on with it.
///
/// The run is not held meanwhile: others may answer, resume or stop it.
pub async fn wait(mut host: Host, asked: &str) -> Result<Finished, Error> {
    let run = host.store.find(asked)?.new.run;
    // What an earlier process left is sent meanwhile.
    let sending = Some(send(
        &host.store,
        &host.clock,
        &host.outside.environment,
        &run,
    ));
    // Whether a run whose process was lost had asked something.
    let mut had_asked = None;
    loop {
        let is_held = host.store.holder(&run)?.is_some();
        let record = host.store.find(run.as_str())?;
        if is_held {
            had_asked = None;
        } else {
            let asks = match record.summary.status.as_str() {
                "" | "running" => match had_asked {
                    Some(asked) => asked,
                    None => *had_asked.insert(is_asking(&host, &record)?),
                },
                status => [Status::Waiting, Status::InDoubt]
                    .iter()
                    .any(|it| it.as_str() == status),
            };
            if !asks {
                return left_as_it_is(&host, &record);
            }
            if !human::is_undecided(host.store.as_ref(), &run, host.clock.now()).await? {
                match host.store.own(&run, host.clock.now()) {
                    Ok(own) => {
                        // A slow receiver does not hold up what was decided.
                        let ended = go_on_with(host, &record, own, &GoOn::default()).await;
                        finish(sending, std::future::pending()).await;
                        return ended;
                    }
                    // Another one that waited was first: its end is waited for.
                    Err(store::Error::Held { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        let stopped = tokio::select! {
            () = tokio::time::sleep(human::LOOK) => None,
            by = stopped(&mut host.outside.stops) => Some(by),
        };
        if let Some(by) = stopped {
            let ending = Ending::Ran(Outcome::Stopped { by });
            return Ok(Finished { run, ending });
        }
    }
}

/// How a run ended that nobody has to go on with.
fn left_as_it_is(host: &Host, record: &RunRecord) -> Result<Finished, Error> {
    let state = standing_of(host, record)?;
    let lost = Outcome::Crashed {
        exit: crate::machine::event::Exit::Lost,
    };
    let ending = match state.outcome().cloned() {
        Some(outcome @ Outcome::Done { .. }) => Ending::WasDone(outcome),
        other => Ending::Refused(other.unwrap_or(lost)),
    };
    let run = record.new.run.clone();
    Ok(Finished { run, ending })
}

/// Whether the journal of a run that nobody holds ends with an open question.
fn is_asking(host: &Host, record: &RunRecord) -> Result<bool, Error> {
    let state = standing_of(host, record)?;
    let mut open = state.open_questions();
    // What could not be undone holds nobody up.
    Ok(open.any(|it| it.what.ask.kind != Kind::Undo))
}

fn standing_of(host: &Host, record: &RunRecord) -> Result<State, Error> {
    let policy = policy(&setup(record)?.task);
    Ok(recover::state(
        host.store.as_ref(),
        &record.new.run,
        &policy,
    )?)
}

/// Sees attempts and their ends through until the run has ended for good: one that
/// was parked goes on by itself when its time has come, and so does one whose work
/// failed the checks while the agent has tries left.
pub(super) async fn see_through(
    session: &mut Session,
    mut ports: Ports,
    setup: &Setup,
    mut ready: Ready,
) -> Result<(Ending, Ports), session::Error> {
    let mut has_run = false;
    let ending = loop {
        match ready {
            Ready::Start { cause, note } => {
                ports.standing = standing(setup, &ports.folder, cause, note);
                if staging::stage(session, &mut ports).await? {
                    let next = session.state().attempt.next();
                    ports = attempt(session, ports, next).await?;
                }
            }
            Ready::Conclude => {}
            Ready::Done { outcome } if has_run => break Ending::Ran(outcome),
            Ready::Done { outcome } => break Ending::WasDone(outcome),
            Ready::Waiting { question } => break Ending::Waiting(question),
            Ready::Refused { outcome } if has_run => {
                break Ending::Ran(refused(session, outcome).await?);
            }
            Ready::Refused { outcome } => break Ending::Refused(outcome),
            Ready::InDoubt { .. } => break Ending::InDoubt(ready),
        }
        has_run = true;
        conclude(session, &mut ports).await?;
        if let Some(outcome) = ended(session, &mut ports).await? {
            break Ending::Ran(outcome);
        }
        ready = recover::ready(session, &ports.toolbox, &ports.rules).await?;
    };
    Ok((ending, ports))
}

/// Returns how the run has ended; `None` where it goes on by itself.
async fn ended(
    session: &mut Session,
    ports: &mut Ports,
) -> Result<Option<Outcome>, session::Error> {
    let outcome = match &session.state().phase {
        Phase::Concluding {
            part: Part::Returning,
        } => return Ok(None),
        Phase::Ended { outcome } | Phase::Ending { outcome } => outcome.clone(),
        Phase::Created | Phase::Running | Phase::Concluding { .. } => Outcome::Broke {
            error: "the attempt has no outcome".into(),
        },
    };
    let stops = &mut ports.outside.stops;
    let by = match &outcome {
        Outcome::Parked { until, .. } => {
            let wait = Duration::from_millis(until.since(session.clock.now()));
            tokio::select! {
                () = tokio::time::sleep(wait) => return Ok(None),
                by = stopped(stops) => by,
            }
        }
        Outcome::Waiting { .. } if !ports.outside.is_detached => {
            match human::wait(session, stops).await? {
                Some(by) => by,
                // A human may have ended it.
                None => {
                    let now = session.state().outcome().cloned();
                    return Ok(now.filter(|now| *now != outcome));
                }
            }
        }
        _ => return Ok(Some(outcome)),
    };
    session.feed_and_wait(Event::StopRequested { by }).await?;
    conclude(session, ports).await?;
    Ok(Some(session.state().outcome().cloned().unwrap_or(outcome)))
}

/// Ends a run that would have gone on by itself, had a limit not passed meanwhile.
async fn refused(session: &mut Session, outcome: Outcome) -> Result<Outcome, session::Error> {
    if let (Phase::Concluding { .. }, Outcome::TimeUp { limit }) =
        (&session.state().phase, &outcome)
    {
        let limit = *limit;
        session.feed_and_wait(Event::TimeUp { limit }).await?;
    }
    Ok(outcome)
}

/// Has the run tell people, where the task file asks for it.
fn with_notifier(
    session: &mut Session,
    environment: &Environment,
) -> store::Result<Option<Sending>> {
    let notifier = Notifier::new(&session.task.notify, session.store.paths());
    let wants = notifier.is_some();
    session.notify(notifier);
    Ok(wants.then(|| send(&session.store, &session.clock, environment, &session.run)))
}

/// Sends what the run has to say.
fn send(
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    environment: &Environment,
    run: &RunId,
) -> Sending {
    let environment = environment.clone();
    Sending::start(Post {
        store: Arc::clone(store),
        clock: Arc::clone(clock),
        variables: Arc::new(move |name| environment.variable(name)),
        run: Some(run.clone()),
    })
}

/// Waits until each notification had its first try. `stop` ends the wait: what is not
/// sent stays in the outbox.
async fn finish(sending: Option<Sending>, stop: impl Future<Output = StoppedBy>) {
    if let Some(sending) = sending {
        tokio::select! {
            () = sending.finish() => {}
            _ = stop => {}
        }
    }
}

/// Names a run.
pub(super) fn new_run() -> RunId {
    RunId::from_bits(rand::rng().next_u64())
}

/// Stores the run with its first event.
pub(super) fn create(
    host: &Host,
    run: &RunId,
    task: Resolved,
    task_file: &Path,
    snapshot: Snapshot,
    replay_of: Option<&RunId>,
) -> Result<(Ownership, Setup, Entry), Error> {
    let at = host.clock.now();
    let event = Event::Created {
        name: task.name.clone(),
        input_hash: snapshot.hash.clone(),
        seed: rand::rng().next_u64(),
    };
    let setup = Setup {
        task,
        task_file: task_file.to_owned(),
        prompt: snapshot.prompt,
        files: snapshot.files,
        replay_of: replay_of.cloned(),
    };
    let encode = |source| Error::Session(session::Error::Encode(source));
    let new = NewRun {
        run: run.clone(),
        task: setup.task.name.clone(),
        at,
        input_hash: snapshot.hash,
        body: serde_json::to_string(&setup).map_err(encode)?,
    };
    let draft = Draft::new(
        event.kind(),
        at,
        serde_json::to_string(&event).map_err(encode)?,
    );
    fault(Boundary::Created, Side::BeforeSave);
    let own = host.store.create(new, draft)?;
    fault(Boundary::Created, Side::AfterSave);
    Ok((
        own,
        setup,
        Entry {
            seq: crate::ids::Seq(1),
            at,
            event,
        },
    ))
}

pub(super) fn rules(task: &Resolved) -> Result<Vec<custom::Rule>, Error> {
    own_rules(task).map_err(|(id, source)| Error::Rule { id, source })
}

pub(super) fn toolbox(host: &Host, run: &RunId, task: &Resolved) -> Result<Arc<Toolbox>, Error> {
    let environment = host.outside.environment.clone();
    let mut env = environment.inherited(&InheritEnv::All);
    env.extend(staging::variable(task));
    let home = ToolHome {
        run: run.clone(),
        cwd: task.agent.cwd.clone(),
        output_dir: host.store.paths().run(run).join("calls"),
        env,
        variables: Box::new(move |name| environment.variable(name)),
    };
    Ok(Arc::new(Toolbox::new(
        task,
        home,
        host.outside.launcher.clone(),
    )?))
}

pub(super) fn standing(
    setup: &Setup,
    folder: &Path,
    cause: Cause,
    note: Option<String>,
) -> Standing {
    let dir = folder.join("input");
    Standing {
        cause,
        note,
        input: Input {
            prompt: setup.prompt.clone(),
            params: setup.task.input.params.clone().into_iter().collect(),
            dir: (!setup.files.is_empty()).then(|| dir.to_string_lossy().into_owned()),
        },
    }
}

/// Returns the new value of a limit.
fn raised(session: &Session, resource: Option<Resource>, raise: Raise) -> Result<u64, Error> {
    let limits = &session.state().limits;
    let (key, present) = match resource {
        Some(resource) => (resource.key(), limits.of(resource)),
        None => ("deadline", limits.deadline_ms),
    };
    let Some(present) = present else {
        return Err(Error::NoLimit {
            run: session.run.clone(),
            key,
        });
    };
    let limit = match raise {
        Raise::To(limit) => limit,
        Raise::By(more) => present.saturating_add(more),
    };
    if limit > present {
        return Ok(limit);
    }
    let show = |amount| match resource {
        Some(resource) => resource.show(amount),
        None => format!("{amount} ms"),
    };
    Err(Error::NotRaised {
        key,
        present: show(present),
        asked: show(limit),
    })
}

/// Finds the checkpoint of `step`, the latest one of that number.
fn branch(session: &Session, step: StepNo) -> Result<Event, Error> {
    let entries = recover::entries(session.store.as_ref(), &session.run)?;
    let found = checkpoints(entries, &session.policy);
    match usize::try_from(step.0)
        .ok()
        .and_then(|place| found.get(place).cloned())
    {
        Some(Checkpoint { head, heads }) => Ok(Event::Branched { step, head, heads }),
        None => {
            let last = StepNo(found.len().saturating_sub(1) as u64);
            Err(Error::NoStep {
                run: session.run.clone(),
                step,
                last,
            })
        }
    }
}
