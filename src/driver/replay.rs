//! A past run, played again: the loop from the input snapshot, in a copy of its
//! folder, with the answers that model and tools gave then.
//!
//! A replay is a run of its own, with a journal of its own; afterwards the two
//! are compared. Nothing goes out: what was not recorded is refused, unless the
//! user lets the replay go live from some step on. Nobody is notified, nothing is
//! committed.

use std::path::PathBuf;
use std::sync::Arc;

use crate::driver::host::{self, Error, Finished, Host, Setup};
use crate::driver::input;
use crate::driver::input::Snapshot;
use crate::driver::policy::policy;
use crate::driver::recording::{Answers, Parting, Recording, parting};
use crate::driver::recover::{self, Ready};
use crate::driver::session::Session;
use crate::driver::supervise::Ports;
use crate::ids::{RunId, StepNo};
use crate::machine::{Cause, Checkpoint, Event, Outcome, advance, checkpoints};

/// What a replay plays from.
pub struct Playback {
    /// The run it plays.
    pub source: RunId,
    /// What its tools gave.
    pub answers: Answers,
    /// The step after which calls are real; `None`: never.
    pub live_after: Option<StepNo>,
}

impl Playback {
    /// Whether calls made after `step` steps are real.
    pub fn is_live(&self, step: StepNo) -> bool {
        self.live_after.is_some_and(|after| step >= after)
    }

    /// Says why a model call is not let out.
    pub fn refusal(&self) -> String {
        format!(
            "the replay of {} has no recorded answer to this model call, so the agent asks \
             something else than it did then",
            self.source
        )
    }
}

/// How a run is played again.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// The checkpoint to begin at; a loop that knows nothing of us begins at its
    /// beginning all the same, and is compared from here.
    pub from_step: StepNo,
    /// The step after which calls are real.
    pub live_after: Option<StepNo>,
}

/// What a replay showed.
pub struct Replayed {
    /// The run that was played.
    pub source: RunId,
    /// How that one ended.
    pub then: Option<Outcome>,
    /// The replay's own run.
    pub run: RunId,
    /// Where they part, if they do.
    pub parting: Option<Parting>,
    /// Steps that were compared.
    pub steps: usize,
}

/// Plays the run that `asked` names again.
pub async fn play(mut host: Host, asked: &str, how: How) -> Result<(Replayed, Finished), Error> {
    host.outside.environment.keep_git_in_its_folder();
    let record = host.store.find(asked)?;
    let source = record.new.run.clone();
    let setup: Setup = serde_json::from_str(&record.new.body).map_err(|error| Error::Setup {
        run: source.clone(),
        source: error,
    })?;
    let entries = recover::entries(host.store.as_ref(), &source)?;
    let rules = policy(&setup.task);
    let heads = checkpoints(entries.clone(), &rules);
    let recording = Recording::read(entries, &rules);
    let from = usize::try_from(how.from_step.0).unwrap_or(usize::MAX);
    let Some(Checkpoint { head, .. }) = heads.get(from).cloned() else {
        return Err(Error::NoStep {
            run: source,
            step: how.from_step,
            last: StepNo(heads.len().saturating_sub(1) as u64),
        });
    };

    let run = host::new_run();
    let paths = host.store.paths();
    let folder = paths.run(&run);
    paths.make_run(&run)?;
    let folders = setup.task.folders().into_iter().enumerate();
    let moved: Vec<(PathBuf, PathBuf)> = folders
        .map(|(place, from)| (from, folder.join(format!("stage-{}", place + 1))))
        .collect();
    let old_input = paths.run(&source).join("input");
    let copied = input::copy_folder(&old_input, &folder.join("input"), None).and_then(|()| {
        let state = Some(paths.state());
        let mut moved = moved.iter();
        moved.try_for_each(|(from, to)| input::copy_folder(from, to, state))
    });
    if let Err(error) = copied {
        let _ = std::fs::remove_dir_all(&folder);
        return Err(error.into());
    }
    let task = staged(&setup, &source, &moved);
    let snapshot = Snapshot {
        hash: record.new.input_hash,
        prompt: setup.prompt,
        files: setup.files,
    };
    let (own, setup, created) = host::create(&host, &run, task, &setup.task_file, snapshot)?;
    let toolbox = host::toolbox(&host, &run, &setup.task)?;
    let own_rules = host::rules(&setup.task)?;
    let task = Arc::new(setup.task.clone());
    let policy = policy(&task);
    let (state, _) = advance(None, created.at, created.event, &policy);
    let Host {
        store,
        clock,
        observers,
        outside,
    } = host;
    let journal = Arc::clone(&store);
    let mut session = Session::new(own, task, policy, state, store, clock, observers);
    if how.from_step > StepNo::default() {
        // Sub-agents and what is beside are placed anew.
        let (step, heads) = (how.from_step, vec![]);
        session
            .feed_and_wait(Event::Branched { step, head, heads })
            .await?;
    }
    let calls = recording.calls.iter().filter(|it| it.step >= how.from_step);
    let playback = Playback {
        source: source.clone(),
        answers: Answers::new(calls.cloned()),
        live_after: how.live_after,
    };
    let ports = Ports {
        outside,
        toolbox,
        rules: own_rules,
        standing: host::standing(&setup, &folder, Cause::Fresh, None),
        folder,
        playback: Some(playback),
    };
    let begin = Ready::Start {
        cause: Cause::Fresh,
        note: None,
    };
    let (ending, _) = host::see_through(&mut session, ports, &setup, begin).await?;
    let rules = session.policy.clone();
    let replay = Recording::read(recover::entries(journal.as_ref(), &run)?, &rules);
    // From its beginning, where it could not be begun in the middle.
    let offset = match replay.steps.len() + from <= recording.steps.len() || from == 0 {
        true => from,
        false => 0,
    };
    let parting = parting(&recording, &replay, offset);
    let finished = Finished {
        run: run.clone(),
        ending,
    };
    let replayed = Replayed {
        source,
        then: recording.outcome,
        run,
        parting,
        steps: replay.steps.len(),
    };
    Ok((replayed, finished))
}

/// Returns the task as a replay has it: in the copy, nobody is told, and
/// nothing is rolled back.
fn staged(
    setup: &Setup,
    source: &RunId,
    moved: &[(PathBuf, PathBuf)],
) -> crate::task::resolved::Resolved {
    let mut task = setup.task.clone();
    task.name = format!("{} (replay of {source})", task.name);
    task.move_to(moved);
    task.reach_beside();
    task.notify.clear();
    // Nothing real happened again, so nothing is taken back.
    task.rollback_on.clear();
    task.ask_nobody();
    task
}
