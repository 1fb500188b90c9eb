//! The command line. The only room that prints, and the only one that knows
//! exit codes as numbers of a process.
//!
//! One file per command; its doc comment is its help text and its man page.

mod answer;
mod batch;
mod breakers;
mod chain;
mod check;
mod classify;
mod completions;
mod dead_letters;
mod diff;
pub mod drill;
mod error;
mod escalate;
mod failed;
mod gc;
mod help;
mod inbox;
mod init;
mod inside;
mod jsonl;
mod lock;
mod logs;
mod look;
mod loops;
pub mod man;
mod mcp;
mod notify;
mod open;
mod replay;
mod resume;
mod rm;
mod rollback;
mod run;
mod runs;
mod schema;
mod settle;
mod show;
mod stop;
mod supervise;
mod verify;
mod wait;
mod why;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

use error::Failure;

/// Supervises AI-agent runs: checkpoints every turn, retries what is worth it,
/// finds loops, holds budgets and deadlines, and goes on after any crash.
#[derive(Debug, Parser)]
#[command(
    name = "agentguard",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "Examples:
  agentguard init shell > task.yaml     write a commented task file
  agentguard run task.yaml              supervise the agent it describes
  agentguard resume latest              go on after a crash, a limit or Ctrl-C
  agentguard why latest                 every decision, with its rule and evidence";

/// What every command takes.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// Folder of the journal
    ///
    /// Default: `$XDG_STATE_HOME/agentguard`, or `~/.local/state/agentguard`.
    #[arg(
        long,
        global = true,
        env = "AGENTGUARD_STATE",
        hide_env_values = true,
        value_name = "DIR"
    )]
    state: Option<PathBuf>,

    /// When to use colour; `NO_COLOR` is respected
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    color: ColorWhen,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ColorWhen {
    /// In a terminal.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Resume(resume::ResumeArgs),
    Replay(replay::ReplayArgs),
    Init(init::InitArgs),
    Check(check::CheckArgs),
    Schema(schema::SchemaArgs),
    #[command(alias = "ls")]
    Runs(runs::RunsArgs),
    Show(show::ShowArgs),
    Why(why::WhyArgs),
    Diff(diff::DiffArgs),
    Locks(lock::LocksArgs),
    Logs(logs::LogsArgs),
    Stop(stop::StopArgs),
    Settle(settle::SettleArgs),
    Rollback(rollback::RollbackArgs),
    Failed(failed::FailedArgs),
    #[command(visible_alias = "dlq")]
    DeadLetters(dead_letters::DeadLettersArgs),
    Inbox(inbox::InboxArgs),
    Answer(answer::AnswerArgs),
    Wait(wait::WaitArgs),
    Notify(notify::NotifyArgs),
    Breakers(breakers::BreakersArgs),
    Rm(rm::RmArgs),
    Gc(gc::GcArgs),
    Chain(chain::ChainArgs),
    Drill(drill::DrillArgs),
    Verify(verify::VerifyArgs),
    Classify(classify::ClassifyArgs),
    Loops(loops::LoopsArgs),
    Turn(inside::TurnArgs),
    Tool(inside::ToolArgs),
    Batch(batch::BatchArgs),
    Report(inside::ReportArgs),
    Escalate(escalate::EscalateArgs),
    State(inside::StateArgs),
    Lock(lock::LockArgs),
    Mcp(mcp::McpArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let parsed = command().try_get_matches();
    let parsed = parsed.and_then(|matches| {
        let cli = Cli::from_arg_matches(&matches)?;
        Ok((cli, tells_json(&matches)))
    });
    let (cli, tells_json) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return error::usage(&error),
    };
    let Cli { global, command } = cli;
    let result = match command {
        Command::Run(args) => run::main(&global, args),
        Command::Resume(args) => resume::main(&global, args),
        Command::Replay(args) => replay::main(&global, args),
        Command::Init(args) => init::main(&global, args),
        Command::Check(args) => check::main(&global, args),
        Command::Schema(args) => schema::main(&global, args),
        Command::Runs(args) => runs::main(&global, args),
        Command::Show(args) => show::main(&global, args),
        Command::Why(args) => why::main(&global, args),
        Command::Diff(args) => diff::main(&global, args),
        Command::Locks(args) => lock::locks(&global, args),
        Command::Logs(args) => logs::main(&global, args),
        Command::Stop(args) => stop::main(&global, args),
        Command::Settle(args) => settle::main(&global, args),
        Command::Rollback(args) => rollback::main(&global, args),
        Command::Failed(args) => failed::main(&global, args),
        Command::DeadLetters(args) => dead_letters::main(&global, args),
        Command::Inbox(args) => inbox::main(&global, args),
        Command::Answer(args) => answer::main(&global, args),
        Command::Wait(args) => wait::main(&global, args),
        Command::Notify(args) => notify::main(&global, args),
        Command::Breakers(args) => breakers::main(&global, args),
        Command::Rm(args) => rm::main(&global, args),
        Command::Gc(args) => gc::main(&global, args),
        Command::Chain(args) => chain::main(&global, args),
        Command::Drill(args) => drill::main(&global, args),
        Command::Verify(args) => verify::main(&global, args),
        Command::Classify(args) => classify::main(&global, args),
        Command::Loops(args) => loops::main(&global, args),
        Command::Turn(args) => inside::turn(&global, args),
        Command::Tool(args) => inside::tool(&global, args),
        Command::Batch(args) => batch::main(&global, args),
        Command::Report(args) => inside::report(&global, args),
        Command::Escalate(args) => escalate::main(&global, args),
        Command::State(args) => inside::state(&global, args),
        Command::Lock(args) => lock::lock(&global, args),
        Command::Mcp(args) => mcp::main(&global, args),
        Command::Completions(args) => completions::main(&global, args),
        Command::Man(args) => man::main(&global, args),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if tells_json {
                failure.print_json();
            }
            failure.print(&global)
        }
    }
}

/// Whether a failure is told on stdout too: a script that reads the events of a run or
/// what is wrong with a task gets an object in any case.
fn tells_json(matches: &ArgMatches) -> bool {
    const TELLING: &[&str] = &["run", "resume", "check", "chain", "drill"];
    matches.subcommand().is_some_and(|(name, of)| {
        TELLING.contains(&name) && matches!(of.try_get_one("json"), Ok(Some(true)))
    })
}

/// Returns the argument parser, its commands in groups.
pub fn command() -> clap::Command {
    help::grouped(Cli::command())
}

/// Waits for what cannot be had at once.
fn block_on<T>(work: impl Future<Output = T>) -> std::result::Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let failed = |error| Failure::from_error(error::Kind::Environment, &error);
    Ok(runtime.map_err(failed)?.block_on(work))
}

/// What a command gives back: an exit code, or why it could not do its work.
type Result = std::result::Result<u8, Failure>;
