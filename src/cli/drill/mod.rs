//! `agentguard drill`
//!
//! `rehearse` runs the task once with one fault, as a real process; `matrix`
//! prints what came of it; `stand_in` is what the guarded tools become, and `human`
//! who is asked; `stop` hears Ctrl-C.

mod human;
mod matrix;
mod rehearse;
pub mod stand_in;
mod stop;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::error::{Failure, Kind};
use super::{Global, Result, look, run};
use crate::drill::Fault;
use crate::drill::faults::HumanFault;
use crate::drill::judge::judge;
use crate::drill::rehearsal::{Material, plain_script};
use crate::exit_code;
use crate::task::resolved::{Place, Resolved};
use crate::task::units::Duration;
use matrix::{Row, Verdict};
use rehearse::{Stage, recorded_answers};

/// Rehearse a task against every kind of failure, offline
///
/// The task runs once as it is, then once for each fault, in a copy of its folder
/// and with a journal of its own. Models are scripted, guarded tools are replaced
/// by stand-ins that do nothing but keep count, nobody is notified. Whether the
/// right pattern fired is read from the journal and from the stand-ins' ledger.
/// What the agent's own tools do, they do (in the copy). A task that does not end
/// well without a fault is not played with one.
///
/// Exit codes: 0 every fault was answered as it has to be; 1 one was not, or the
/// task fails without any; 2 wrong usage or task file; 130 or 143 interrupted or
/// terminated.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DrillArgs {
    /// The task file (YAML)
    #[arg(value_name = "TASK")]
    task: PathBuf,

    /// Only this fault, or all whose name begins so: `tool`, `tool.transient`,
    /// `crash`; may be given several times
    #[arg(long, value_name = "NAME")]
    fault: Vec<String>,

    /// Print the faults that this task can meet, and do nothing
    #[arg(long)]
    list: bool,

    /// A scripted model; else the task's own `upstream: {script: …}`, else one that
    /// looks around and says that it is done
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,

    /// Let stand-ins answer what the tools answered in this run
    #[arg(long, value_name = "RUN")]
    from: Option<String>,

    /// How long one rehearsal may take
    #[arg(long, value_name = "TIME", default_value = "2m")]
    timeout: Duration,

    /// How many rehearsals run at once
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,

    /// Keep the folders of the rehearsals below this one
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Write the matrix as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  agentguard drill task.yaml
  agentguard drill task.yaml --fault tool --fault budget
  agentguard drill task.yaml --from latest --junit drill.xml";

/// Runs it.
pub fn main(global: &Global, args: DrillArgs) -> Result {
    let (task, base) = run::read(global, &args.task)?;
    let all = Fault::all(task.tools.keys());
    let chosen = choose(&all, &args.fault)?;
    if args.list {
        let names: String = chosen
            .iter()
            .map(|fault| format!("{:<32} {}\n", fault.to_string(), fault.expected()))
            .collect();
        look::print(&names)?;
        return Ok(exit_code::DONE);
    }
    let script = script(&task, args.script.as_deref())?;
    let recorded = match &args.from {
        Some(run) => recorded_answers(global, run)?,
        None => Default::default(),
    };
    let program =
        std::env::current_exe().map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    stop::listen();
    let stage = Stage::new(
        Material {
            task: &task,
            script: &script,
            recorded: &recorded,
            program: &program,
        },
        &base,
        args.keep.clone(),
        args.timeout.0,
    )?;
    if let Some(file) = &args.junit {
        // Better now than after all rehearsals.
        write(file, "")?;
    }
    let baseline = match stage.rehearse_well() {
        Ok(baseline) if baseline.evidence.exit_code == exit_code::DONE => baseline,
        other => {
            if let Some(code) = stop::stopped() {
                return Ok(code);
            }
            look::say(
                "the task does not end well without any fault, so none was played; where it needs \
                 a model that does more than look around, give one with --script FILE",
            );
            let document = matrix::Document::unwell(&task.name, other);
            return told(&args, &document);
        }
    };
    // Saves that this task does not come by are left out unless they are asked for.
    let is_met = |fault: &Fault| match fault {
        Fault::Crash(boundary) => baseline.comes_by(*boundary) || !args.fault.is_empty(),
        _ => true,
    };
    let chosen: Vec<Fault> = chosen.into_iter().filter(is_met).collect();
    let rows = play(&stage, &baseline, &chosen, usize::from(args.jobs));
    if let Some(code) = stop::stopped() {
        look::say("stopped; the matrix is not whole, so it is not printed");
        return Ok(code);
    }
    told(&args, &matrix::Document::new(&task.name, &baseline, rows))
}

/// Prints the matrix; returns the exit code.
fn told(args: &DrillArgs, document: &matrix::Document) -> Result {
    if let Some(file) = &args.junit {
        write(file, &document.junit())?;
    }
    match args.json {
        true => look::print_json(document)?,
        false => look::print(&document.table(look::columns()))?,
    }
    Ok(match document.has_failed() {
        true => exit_code::AGENT_FAILED,
        false => exit_code::DONE,
    })
}

fn write(file: &std::path::Path, text: &str) -> std::result::Result<(), Failure> {
    std::fs::write(file, text).map_err(|error| {
        Failure::from_error(Kind::Environment, &error)
            .within(format!("cannot write `{}`", file.display()))
    })
}

/// Finds the faults that are named; all where none is.
fn choose(all: &[Fault], names: &[String]) -> std::result::Result<Vec<Fault>, Failure> {
    for name in names {
        if !all.iter().any(|fault| fault.is_named(name)) {
            let known: Vec<String> = all.iter().map(Fault::to_string).collect();
            let failure = Failure::usage(format!("unknown fault `{name}`"));
            return Err(
                match crate::task::suggest::nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => failure.hint(format!("did you mean `{near}`?")),
                    None => failure.hint("`agentguard drill TASK --list` prints those there are"),
                },
            );
        }
    }
    let is_chosen =
        |fault: &&Fault| names.is_empty() || names.iter().any(|name| fault.is_named(name));
    Ok(all.iter().filter(is_chosen).cloned().collect())
}

/// Reads the scripted model.
fn script(task: &Resolved, file: Option<&std::path::Path>) -> std::result::Result<Value, Failure> {
    let own = task.upstreams.iter().find_map(|it| match &it.place {
        Place::Script(file) => Some(file.as_path()),
        _ => None,
    });
    let Some(file) = file.or(own) else {
        return Ok(plain_script());
    };
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::from_error(Kind::Usage, &error).within(format!("cannot read script `{name}`"))
    })?;
    crate::channel::gateway::script::parse(&text, &name).map_err(|error| {
        Failure::usage(error.to_string()).maybe_hint(error.hint().map(str::to_owned))
    })?;
    serde_yaml::from_str(&text)
        .map_err(|error| Failure::from_error(Kind::Usage, &error).within(name))
}

/// Plays every fault, several at once, in their order.
fn play(stage: &Stage<'_>, baseline: &rehearse::Played, faults: &[Fault], jobs: usize) -> Vec<Row> {
    let bar = ProgressBar::new(faults.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("drill {bar:30} {pos}/{len} {msg}") {
        bar.set_style(style);
    }
    let next = AtomicUsize::new(0);
    let rows: Mutex<Vec<Option<Row>>> = Mutex::new(vec![None; faults.len()]);
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(faults.len()) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(fault) = faults.get(place) else {
                        return;
                    };
                    if stop::stopped().is_some() {
                        return;
                    }
                    bar.set_message(fault.to_string());
                    let row = row(stage, baseline, fault, place);
                    bar.inc(1);
                    let mut rows = rows
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    rows[place] = Some(row);
                }
            });
        }
    });
    bar.finish_and_clear();
    let rows = rows
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    rows.into_iter().flatten().collect()
}

fn row(stage: &Stage<'_>, baseline: &rehearse::Played, fault: &Fault, place: usize) -> Row {
    let row = |verdict, fired: String, evidence: String, took_ms| Row {
        fault: fault.to_string(),
        expected: fault.expected(),
        verdict,
        fired,
        evidence,
        took_ms,
    };
    let played = match stage.rehearse(fault, baseline, place) {
        Ok(played) => played,
        Err(rehearse::Error::NotReached(why)) => {
            return row(Verdict::NotReached, "–".into(), why, 0);
        }
        Err(rehearse::Error::Failed(why)) => {
            return row(Verdict::Failed, "nothing".into(), why, 0);
        }
    };
    if *fault == Fault::Human(HumanFault::Webhook) && played.evidence.unsent.is_empty() {
        let why = "nothing happens that somebody is told of".into();
        return row(Verdict::NotReached, "–".into(), why, played.took_ms);
    }
    let judged = judge(fault, &played.task, &played.evidence, &baseline.evidence);
    // Guarded tools that its own code calls are no answer to its model.
    let follows = played.evidence.tool_calls > baseline.evidence.tool_calls;
    if *fault == Fault::Loop && !judged.passed && !follows {
        let why = "the agent does not call the tools that its model asks for".into();
        return row(Verdict::NotReached, "–".into(), why, played.took_ms);
    }
    let verdict = match judged.passed {
        true => Verdict::Passed,
        false => Verdict::Failed,
    };
    row(verdict, judged.fired, judged.evidence, played.took_ms)
}
