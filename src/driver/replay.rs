//! A past run, played again: the loop from the input snapshot, in a copy of its
//! folder, with the answers that model and tools gave then.
//!
//! A replay is a run of its own, with a journal of its own; afterwards the two
//! are compared. Nothing goes out: what was not recorded is refused, unless the
//! user lets the replay go live from some step on. Nobody is notified, nothing is
//! committed.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;

use crate::channel::frame;
use crate::driver::host::{self, Ending, Error, Finished, Host, Setup};
use crate::driver::input;
use crate::driver::input::Snapshot;
use crate::driver::policy::policy;
use crate::driver::recording::{self, Answers, Parting, RecordedCall, Recording};
use crate::driver::recover::{self, Ready};
use crate::driver::session::Session;
use crate::driver::supervise::Ports;
use crate::exit_code;
use crate::ids::{RunId, StepNo};
use crate::machine::escalation::Ruling;
use crate::machine::{Cause, Checkpoint, Event, Outcome, State, advance, checkpoints};
use crate::policy::budget::Resource;
use crate::store::{Head, Store};
use crate::task::resolved::Resolved;

/// What a replay plays from.
pub struct Playback {
    /// The run it plays.
    pub source: RunId,
    /// What its tools gave.
    pub answers: Answers,
    /// What was decided when its loop asked a human, by what makes two questions the
    /// same.
    pub rulings: HashMap<String, Ruling>,
    /// The step after which calls are real; `None`: never.
    pub live_after: Option<StepNo>,
    /// Answers of the model up to there, where the gateway gives them: such steps are
    /// counted by them.
    pub answers_before: Option<u64>,
}

impl Playback {
    /// Whether calls made now are real.
    pub fn is_live(&self, state: &State) -> bool {
        let Some(after) = self.live_after else {
            return false;
        };
        match self.answers_before {
            Some(all) => state.counters.replayed >= all,
            None => state.step >= after,
        }
    }

    /// Returns what was decided when the loop asked this before.
    ///
    /// Errors: nothing was, and nobody is asked now.
    pub fn decision(&self, key: &str) -> Result<Ruling, frame::Error> {
        let known = self.rulings.get(key).cloned();
        known.ok_or_else(|| frame::Error::Stopping {
            reason: format!(
                "the replay of {} has no recorded decision on this question",
                self.source
            ),
            exit_code: exit_code::WAITING,
        })
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
    /// Whether the recording was cut off: nothing is known of what came behind.
    pub is_cut_off: bool,
}

/// Plays the run that `asked` names again.
pub async fn play(mut host: Host, asked: &str, how: How) -> Result<(Replayed, Finished), Error> {
    host.outside.environment.keep_git_in_its_folder();
    let mut record = host.store.find(asked)?;
    let mut setup = host::setup(&record)?;
    if let (Some(of), "latest") = (&setup.replay_of, asked) {
        // The latest run, not the latest replay of it.
        record = host.store.find(of.as_str())?;
        setup = host::setup(&record)?;
    }
    let source = record.new.run.clone();
    let entries = recover::entries(host.store.as_ref(), &source)?;
    let rules = policy(&setup.task);
    let heads = checkpoints(entries.clone(), &rules);
    let recorded = Recording::read(entries, &rules);
    let from = usize::try_from(how.from_step.0).unwrap_or(usize::MAX);
    // A loop that said it was done at its last step does nothing behind it.
    let is_done = matches!(recorded.outcome, Some(Outcome::Done { .. }));
    let last = heads.len().saturating_sub(1 + usize::from(is_done));
    let Some(Checkpoint { head, .. }) = heads.get(from).filter(|_| from <= last).cloned() else {
        return Err(Error::NoStep {
            run: source,
            step: how.from_step,
            last: StepNo(last as u64),
        });
    };
    // Who knows nothing of us begins at its beginning, and is compared from there.
    let begins_at = match recorded.is_from_wire() {
        true => StepNo::default(),
        false => how.from_step,
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
    let task = staged(&setup, &source, &recorded, &moved);
    let snapshot = Snapshot {
        hash: record.new.input_hash,
        prompt: setup.prompt,
        files: setup.files,
    };
    let (own, setup, created) =
        host::create(&host, &run, task, &setup.task_file, snapshot, Some(&source))?;
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
    if begins_at > StepNo::default() {
        session
            .feed_and_wait(Event::Branched {
                step: begins_at,
                head,
                heads: vec![],
            })
            .await?;
    }
    // A loop that begins at its beginning all the same finds its first answers, too.
    let is_ahead = |it: &&RecordedCall| it.step >= begins_at;
    let (ahead, before): (Vec<_>, Vec<_>) = recorded.calls.iter().partition(is_ahead);
    let playback = Playback {
        source: source.clone(),
        answers: Answers::new(ahead.into_iter().chain(before).cloned()),
        rulings: recorded.rulings.clone(),
        live_after: how.live_after,
        answers_before: how
            .live_after
            .filter(|_| recorded.is_from_wire())
            .map(|after| {
                let before = recorded.answers.iter().filter(|at| **at <= after);
                before.count() as u64
            }),
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
    let begun_at = usize::try_from(begins_at.0).unwrap_or(usize::MAX);
    let mut parting = recording::parting(&recorded, &replay, from, begun_at);
    if begun_at > 0 && parting.is_some() {
        // It may have begun at its beginning all the same.
        parting = recording::parting(&recorded, &replay, from, 0).and(parting);
    }
    if let Some(parting) = &mut parting {
        say_words(parting, journal.as_ref());
    }
    let ending = match ending {
        Ending::Ran(outcome) => Ending::Played(outcome),
        other => other,
    };
    let finished = Finished {
        run: run.clone(),
        ending,
    };
    let replayed = Replayed {
        source,
        is_cut_off: recorded.is_cut_off(),
        then: recorded.outcome,
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
    recording: &Recording,
    moved: &[(PathBuf, PathBuf)],
) -> Resolved {
    let mut task = setup.task.clone();
    task.name = format!("{} (replay of {source})", task.name);
    task.move_to(moved);
    task.reach_beside();
    task.notify.clear();
    // Nothing real happened again, so nothing is taken back.
    task.rollback_on.clear();
    task.ask_nobody();
    for (resource, limit) in &recording.raised {
        let limits = &mut task.limits;
        let key = match resource {
            Some(Resource::CostUsd) => &mut limits.cost_nanousd,
            Some(Resource::Tokens) => &mut limits.tokens,
            Some(Resource::Steps) => &mut limits.steps,
            Some(Resource::ToolCalls) => &mut limits.tool_calls,
            None => &mut limits.deadline_ms,
        };
        *key = Some(*limit);
    }
    task
}

/// Puts the words that differ into a parting that is about words.
fn say_words(parting: &mut Parting, store: &dyn Store) {
    let read = |head: &str| -> Option<Vec<String>> {
        store.conversation(&head.parse::<Head>().ok()?).ok()
    };
    let heads = parting.heads.as_ref();
    let Some((was, is)) = heads.and_then(|(was, is)| read(was).zip(read(is))) else {
        return;
    };
    let longest = was.len().max(is.len());
    let Some(place) = (0..longest).find(|place| was.get(*place) != is.get(*place)) else {
        return;
    };
    let words = |all: &[String]| all.get(place).map(|body| words_of(body));
    let (was, is) = (words(&was), words(&is));
    let both = was.iter().flatten().zip(is.iter().flatten());
    let same = both.take_while(|(one, other)| one == other).count();
    let text = |words: Option<Vec<char>>| match words {
        Some(words) => format!("says {}", excerpt(&words, same)),
        None => "has no such message".to_owned(),
    };
    (parting.recorded, parting.replayed) = (text(was), text(is));
}

/// Returns what a message says, or all of it where that is not plain text.
fn words_of(body: &str) -> Vec<char> {
    let read: Option<Value> = serde_json::from_str(body).ok();
    let text = read.as_ref().and_then(|it| it.get("content")?.as_str());
    text.unwrap_or(body).chars().collect()
}

/// Returns what stands around the place where words begin to differ.
fn excerpt(words: &[char], differs_at: usize) -> String {
    const BEFORE: usize = 30;
    const CHARS: usize = 120;
    let from = differs_at.saturating_sub(BEFORE);
    let shown: String = words.iter().skip(from).take(CHARS).collect();
    let (left, right) = (from > 0, words.len() > from + CHARS);
    let mark = |is_cut: bool| if is_cut { "…" } else { "" };
    format!("{:?}", format!("{}{shown}{}", mark(left), mark(right)))
}
