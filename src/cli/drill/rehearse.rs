//! One rehearsal: files, a real `agentguard run`, and what its journal says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::super::error::{Failure, Kind};
use super::super::look;
use super::human::Human;
use super::{Global, stop};
use crate::drill::faults::HumanFault;
use crate::drill::judge::Evidence;
use crate::drill::point::{Point, VARIABLE};
use crate::drill::rehearsal::{Baseline, Ground, Material, Rehearsal, prepare};
use crate::drill::stand_in::{PLAN, read_ledger};
use crate::drill::{Boundary, Fault, Side};
use crate::driver::host::Setup;
use crate::driver::input;
use crate::driver::policy::policy;
use crate::driver::recording::Recording;
use crate::driver::recover;
use crate::exit_code;
use crate::ids::Seq;
use crate::machine::{Event, Outcome};
use crate::staging::git;
use crate::store::sqlite::Options;
use crate::store::{Paths, Sqlite, Store};
use crate::task::resolved::Resolved;

/// Resumes after a kill before it is given up.
const RESUMES_MAX: u32 = 10;

/// How often an ended process is looked for.
const LOOK: Duration = Duration::from_millis(3);

/// How long a process that was asked to end may take.
const GRACE: Duration = Duration::from_secs(15);

/// Why a rehearsal says nothing.
pub enum Error {
    /// The task cannot meet the fault.
    NotReached(String),
    /// The rehearsal itself went wrong.
    Failed(String),
}

/// A rehearsal that came to its end.
pub struct Played {
    /// The task as it was rehearsed.
    pub task: Resolved,
    /// What is known of it.
    pub evidence: Evidence,
    /// How long it took.
    pub took_ms: u64,
    baseline: Baseline,
    boundaries: Vec<Boundary>,
}

impl Played {
    /// Whether something was saved at `boundary`.
    pub fn comes_by(&self, boundary: Boundary) -> bool {
        self.boundaries.contains(&boundary)
    }
}

/// Where rehearsals take place. Its folder goes with it, unless it is kept.
pub struct Stage<'a> {
    material: Material<'a>,
    base: PathBuf,
    root: PathBuf,
    is_kept: bool,
    timeout: Duration,
}

impl<'a> Stage<'a> {
    /// Makes the folder.
    ///
    /// - `base`: the folder of the task file.
    pub fn new(
        material: Material<'a>,
        base: &Path,
        keep: Option<PathBuf>,
        timeout_ms: u64,
    ) -> Result<Self, Failure> {
        let is_kept = keep.is_some();
        let root = keep.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("agentguard-drill-{}", std::process::id()))
        });
        let make = || {
            fs::create_dir_all(&root)?;
            fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
            root.canonicalize()
        };
        let root = make().map_err(|error| {
            Failure::from_error(Kind::Environment, &error)
                .within(format!("cannot make the folder `{}`", root.display()))
        })?;
        Ok(Self {
            material,
            base: base.to_owned(),
            root,
            is_kept,
            timeout: Duration::from_millis(timeout_ms),
        })
    }

    /// Plays the task as it is.
    pub fn rehearse_well(&self) -> Result<Played, Error> {
        let folder = self.folder("0-well", "").map_err(Error::Failed)?;
        self.play(&folder, None, None)
    }

    /// Plays the task with `fault`.
    pub fn rehearse(&self, fault: &Fault, well: &Played, place: usize) -> Result<Played, Error> {
        let name = format!(
            "{}-{}",
            place + 1,
            fault.to_string().replace([':', '/'], "-")
        );
        let name = name.as_str();
        let points: Vec<(&str, String)> = match fault {
            Fault::Crash(boundary) => {
                if !well.comes_by(*boundary) {
                    return Err(Error::NotReached(
                        "this task does not come by, when nothing goes wrong".into(),
                    ));
                }
                Side::ALL
                    .map(|side| (side.as_str(), Point(*boundary, side).to_string()))
                    .into()
            }
            Fault::CrashBetween(moment) => vec![("", moment.as_str().to_owned())],
            // Others come in between the agent's end and the commit.
            Fault::Conflict => vec![("", before(Boundary::CommitStarted))],
            Fault::Human(HumanFault::Early) => vec![("", after(Boundary::Escalated))],
            _ => {
                let folder = self.folder(name, "").map_err(Error::Failed)?;
                return self.play(&folder, Some((fault, &well.baseline)), None);
            }
        };
        let mut worst: Option<Played> = None;
        let mut kills = 0;
        for (side, point) in points {
            let folder = self.folder(name, side).map_err(Error::Failed)?;
            let played = self.play(&folder, Some((fault, &well.baseline)), Some(&point))?;
            kills += played.evidence.kills;
            let judged =
                crate::drill::judge::judge(fault, &played.task, &played.evidence, &well.evidence);
            let is_worst = !judged.passed || worst.is_none() || played.evidence.kills > 0;
            if is_worst {
                worst = Some(played);
            }
            if !judged.passed {
                break;
            }
        }
        let mut played =
            worst.ok_or_else(|| Error::Failed("no side of the save was played".into()))?;
        if kills == 0 {
            return Err(Error::NotReached("nothing was cut off there".into()));
        }
        played.evidence.kills = kills;
        Ok(played)
    }

    fn folder(&self, name: &str, side: &str) -> Result<PathBuf, String> {
        let name = match side {
            "" => name.to_owned(),
            side => format!("{name}-{side}"),
        };
        let folder = self.root.join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|error| error.to_string())?;
        Ok(folder)
    }

    fn play(
        &self,
        folder: &Path,
        fault: Option<(&Fault, &Baseline)>,
        point: Option<&str>,
    ) -> Result<Played, Error> {
        let failed = |what: &'static str| {
            move |error: std::io::Error| Error::Failed(format!("{what}: {error}"))
        };
        let folders = self.material.task.folders().into_iter().enumerate();
        let ground = Ground {
            folder: folder.to_owned(),
            moved: folders
                .map(|(place, from)| (from, folder.join(format!("work-{}", place + 1))))
                .collect(),
        };
        let rehearsal = prepare(&self.material, &ground, fault).map_err(Error::NotReached)?;
        for (from, to) in &ground.moved {
            input::copy_folder(from, to, Some(&self.root))
                .map_err(|error| Error::Failed(format!("the agent's folder: {error}")))?;
        }
        let task_file = folder.join("task.json");
        write(folder, &task_file, &rehearsal)
            .map_err(failed("the files of the rehearsal cannot be written"))?;
        let began = Instant::now();
        let mut kills = 0;
        let task_file = task_file.to_string_lossy().into_owned();
        let mut human = match fault {
            Some((Fault::Human(HumanFault::Silent), _)) => None,
            _ => Some(Human::new(self.material.program, folder.join("state"))),
        };
        let mut others = None;
        // Also where `CI` says that nobody waits: somebody here does.
        let begin = ["run", "--resolved", &task_file, "--quiet", "--attach"];
        let mut status = self.run(folder, &begin, point, human.as_mut())?;
        while status.signal() == Some(9) {
            kills += 1;
            if kills > RESUMES_MAX {
                break;
            }
            if let Some((Fault::Conflict, baseline)) = fault {
                others = Others::write(&rehearsal.task, &baseline.changed);
            }
            if let Some(human) = &mut human {
                // What is asked is answered while no process of the run is there.
                human.look();
            }
            let has_run = self.store(folder)?.find("latest").is_ok();
            let go_on = ["resume", "latest", "--quiet", "--attach"];
            status = match has_run {
                true => self.run(folder, &go_on, None, human.as_mut())?,
                // It was killed before there was anything to resume.
                false => self.run(folder, &begin, None, human.as_mut())?,
            };
        }
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut played = self.read(folder, rehearsal.task, took_ms)?;
        if let Some(stage) = &played.task.workspace.stage {
            played.evidence.files = files(stage);
            played.baseline.changed = self.changed(folder);
        }
        played.evidence.others_kept = others.is_some_and(|it| it.are_kept());
        played.evidence.kills = kills;
        if status.code() == Some(exit_code::IN_DOUBT.into()) {
            // A crash lost the agent, and what it left behind holds the run back.
            played.evidence.exit_code = exit_code::IN_DOUBT;
        }
        if !self.is_kept {
            let _ = fs::remove_dir_all(folder);
        }
        Ok(played)
    }

    /// Runs agentguard and waits until it ends.
    fn run(
        &self,
        folder: &Path,
        args: &[&str],
        point: Option<&str>,
        mut human: Option<&mut Human<'_>>,
    ) -> Result<ExitStatus, Error> {
        if stop::stopped().is_some() {
            return Err(Error::Failed("it was stopped".into()));
        }
        let failed = |error: std::io::Error| Error::Failed(error.to_string());
        let log = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join("run.log"))
            .map_err(failed)?;
        let mut command = Command::new(self.material.program);
        command
            .args(args)
            .current_dir(&self.base)
            .env("AGENTGUARD_STATE", folder.join("state"))
            .env_remove(VARIABLE)
            .env_remove("AGENTGUARD_SUMMARY")
            .env_remove("GITHUB_STEP_SUMMARY")
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(failed)?)
            .stderr(log);
        if let Some(point) = point {
            command.env(VARIABLE, point);
        }
        for name in git::MISLEADING {
            command.env_remove(name);
        }
        let mut child = command.spawn().map_err(failed)?;
        let mut until = Instant::now() + self.timeout;
        let mut is_asked = false;
        loop {
            if let Some(status) = child.try_wait().map_err(failed)? {
                return match is_asked {
                    false => Ok(status),
                    true => Err(Error::Failed(format!(
                        "it took longer than {} (--timeout); its log: {}",
                        super::super::open::duration(
                            u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX)
                        ),
                        tail(folder)
                    ))),
                };
            }
            if let Some(human) = &mut human {
                human.look_now_and_then();
            }
            let now = Instant::now();
            if stop::stopped().is_some() {
                until = until.min(now);
            }
            if now >= until && !is_asked {
                is_asked = true;
                let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
                if let Some(pid) = pid {
                    let _ = kill_process(pid, Signal::TERM);
                }
            }
            if now >= until + GRACE {
                let _ = child.kill();
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Returns the files that the agent changed in the staged folder.
    fn changed(&self, folder: &Path) -> Vec<String> {
        let mut command = Command::new(self.material.program);
        command
            .args(["diff", "latest", "--name-only"])
            .env("AGENTGUARD_STATE", folder.join("state"))
            .stdin(Stdio::null());
        let out = command.output().map(|it| it.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&out).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    fn store(&self, folder: &Path) -> Result<Sqlite, Error> {
        let paths = Paths::new(folder.join("state"));
        Sqlite::open(paths, Options::default()).map_err(|error| Error::Failed(error.to_string()))
    }

    /// Reads what the journal and the ledger say.
    fn read(&self, folder: &Path, task: Resolved, took_ms: u64) -> Result<Played, Error> {
        let failed = |error: &dyn std::error::Error| {
            Error::Failed(format!("{error}; its log: {}", tail(folder)))
        };
        let store = self.store(folder)?;
        let record = store.find("latest").map_err(|error| failed(&error))?;
        let run = record.new.run;
        let policy = policy(&task);
        let entries = recover::entries(&store, &run).map_err(|error| failed(&error))?;
        let state = recover::state(&store, &run, &policy).map_err(|error| failed(&error))?;
        let stored = store.events(&run, Seq(1)).map_err(|error| failed(&error))?;
        let decisions = stored
            .iter()
            .flat_map(|stored| &stored.notes)
            .filter_map(|note| serde_json::from_str(note).ok())
            .collect();
        let ledger = read_ledger(folder).map_err(|error| failed(&error))?;
        let outcome = state.outcome();
        let mut evidence = Evidence {
            exit_code: outcome.map_or(70, Outcome::exit_code),
            outcome: outcome.map_or_else(|| "it did not end".into(), Outcome::describe),
            decisions,
            ledger,
            cost: state.spend.cost,
            tool_calls: state.spend.tool_calls,
            questions: state
                .questions
                .iter()
                .map(|it| it.ruling.as_ref().map(|ruling| ruling.source))
                .collect(),
            unsent: store
                .letters(Some(&run))
                .map_err(|error| failed(&error))?
                .into_iter()
                .map(|letter| letter.error.unwrap_or_default())
                .collect(),
            ..Evidence::default()
        };
        let mut baseline = Baseline {
            cost: state.spend.cost,
            took_ms,
            questions: state.questions.len(),
            ..Baseline::default()
        };
        let mut boundaries = Vec::new();
        for entry in &entries {
            let boundary = Boundary::of(&entry.event);
            if !boundaries.contains(&boundary) {
                boundaries.push(boundary);
            }
            match &entry.event {
                Event::ToolCalled(call)
                    if call.refused.is_none() && !baseline.tools.contains(&call.tool) =>
                {
                    baseline.tools.push(call.tool.clone());
                }
                Event::BatchCalled(batch) => {
                    if !baseline.tools.contains(&batch.tool) {
                        baseline.tools.push(batch.tool.clone());
                    }
                    baseline.batched.push(batch.tool.clone());
                    evidence.batched.insert(batch.tool.clone());
                }
                Event::TurnReported(turn) if turn.from_wire && turn.error.is_none() => {
                    evidence.asks_model = true;
                    baseline.model_calls += 1;
                    let asked = turn.exchange.as_ref().map(|it| it.model.clone());
                    baseline.model = baseline.model.take().or(asked);
                }
                _ => {}
            }
        }
        Ok(Played {
            task,
            evidence,
            took_ms,
            baseline,
            boundaries,
        })
    }
}

/// What somebody else did to the staged folder.
struct Others {
    file: PathBuf,
}

impl Others {
    const TEXT: &str = "somebody else was here\n";

    /// Writes to a file that the agent changes as well.
    fn write(task: &Resolved, changed: &[String]) -> Option<Self> {
        let stage = task.workspace.stage.as_ref()?;
        let file = stage.join(changed.first()?);
        fs::create_dir_all(file.parent()?).ok()?;
        fs::write(&file, Self::TEXT).ok()?;
        Some(Self { file })
    }

    fn are_kept(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|text| text == Self::TEXT)
    }
}

fn before(boundary: Boundary) -> String {
    Point(boundary, Side::BeforeSave).to_string()
}

fn after(boundary: Boundary) -> String {
    Point(boundary, Side::AfterSave).to_string()
}

/// Returns the paths of all that is in a folder.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let path = entry.path();
            if let Ok(inside) = path.strip_prefix(folder) {
                found.insert(inside.to_string_lossy().into_owned());
            }
            if entry.file_type().is_ok_and(|it| it.is_dir()) {
                open.push(path);
            }
        }
    }
    found
}

/// Writes what a rehearsal needs beside the task's own files.
fn write(folder: &Path, task_file: &Path, rehearsal: &Rehearsal) -> std::io::Result<()> {
    fs::write(task_file, serde_json::to_vec(&rehearsal.task)?)?;
    fs::write(folder.join(PLAN), serde_json::to_vec(&rehearsal.plan)?)?;
    for (name, text) in &rehearsal.scripts {
        fs::write(folder.join(name), text)?;
    }
    Ok(())
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}

/// The end of what a rehearsal printed.
fn tail(folder: &Path) -> String {
    const CHARS: usize = 300;
    let text = fs::read_to_string(folder.join("run.log")).unwrap_or_default();
    let text = text.trim();
    let from = text.chars().count().saturating_sub(CHARS);
    text.chars().skip(from).collect()
}

/// Returns what the tools of a past run answered.
pub fn recorded_answers(
    global: &Global,
    asked: &str,
) -> Result<BTreeMap<String, Vec<(Value, String)>>, Failure> {
    let (store, record) = look::find(global, asked)?;
    let setup: Setup = serde_json::from_str(&record.new.body)
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let entries = recover::entries(store.as_ref(), &record.new.run)
        .map_err(|error| look::unreadable(&error))?;
    let recording = Recording::read(entries, &policy(&setup.task));
    let mut answers: BTreeMap<String, Vec<(Value, String)>> = BTreeMap::new();
    for call in recording.calls {
        if !call.content.is_error {
            let known = answers.entry(call.tool).or_default();
            known.push((call.args, call.content.text));
        }
    }
    Ok(answers)
}
