//! `agentguard verify`

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use rand::Rng as _;
use serde::Serialize;

use super::error::{Failure, Kind};
use super::{Global, Result, look};
use crate::driver::launch::{Environment, check_environment};
use crate::exit_code;
use crate::ids::RunId;
use crate::machine::event::{CheckEnd, CheckVerdict};
use crate::observe::plain;
use crate::observe::timeline::span;
use crate::process::Launcher;
use crate::task::resolved::{Resolved, Verify};
use crate::verify::{self, Site};

/// Make the checks of a task now
///
/// For whoever writes checks: each is made as at the end of a run, in the agent's
/// folder as it is now. No agent is started and nothing is stored. A check of the
/// agent's result fails, since there is none. Exit code 0 if every check passes,
/// else 24.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  agentguard verify task.yaml
  agentguard verify task.yaml --json | jq '.checks[] | select(.verdict != \"passed\")'")]
pub struct VerifyArgs {
    /// The task file
    #[arg(value_name = "TASK")]
    task: PathBuf,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// What `--json` prints; its fields are promised to stay.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    passed: bool,
    checks: &'a [CheckEnd],
}

/// Runs it.
pub fn main(global: &Global, args: VerifyArgs) -> Result {
    let (mut task, _) = super::run::read(global, &args.task)?;
    task.reach_beside();
    let Some(mut verify) = task.verify.take() else {
        return Err(
            Failure::usage(format!("{} has no `verify`", args.task.display()))
                .hint("add `verify:` with `- command: [make, test]`"),
        );
    };
    verify::take_in(&mut verify).map_err(Failure::usage)?;
    let run = RunId::from_bits(rand::rng().next_u64());
    // In the folder for what is thrown away; nobody else may look into it.
    let output_dir = std::env::temp_dir().join(format!("agentguard-verify-{run}"));
    let mut make = fs::DirBuilder::new();
    make.mode(0o700)
        .create(&output_dir)
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let checks = checked(&task, &verify, &run, &output_dir);
    let _ = fs::remove_dir_all(&output_dir);
    let checks = checks?;
    let passed = checks
        .iter()
        .all(|check| check.verdict == CheckVerdict::Passed);
    match args.json {
        true => look::print_json(&Document {
            v: look::JSON_VERSION,
            passed,
            checks: &checks,
        })?,
        false => look::print(&page(&checks))?,
    }
    Ok(match passed {
        true => exit_code::DONE,
        false => exit_code::VERIFICATION,
    })
}

fn checked(
    task: &Resolved,
    verify: &Verify,
    run: &RunId,
    output_dir: &Path,
) -> std::result::Result<Vec<CheckEnd>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from_error(Kind::Environment, &error))?;
    let env = check_environment(task, &Environment::read())
        .map_err(|error| Failure::from_error(Kind::Usage, &error))?;
    let launcher = Launcher::this_binary();
    // It stays on this user's terminal.
    let hide = |text: &str| text.to_owned();
    let site = Site {
        run,
        launcher: &launcher,
        workspace: &task.agent.cwd,
        env,
        output_dir: output_dir.to_owned(),
        grace_ms: task.agent.grace_ms,
        result: None,
        hide: &hide,
    };
    let checks = runtime.block_on(async {
        let mut ended = Vec::with_capacity(verify.checks.len());
        for (index, check) in verify.checks.iter().enumerate() {
            ended.push(verify::check(&site, index + 1, check).await);
        }
        ended
    });
    // A look at a dead disk holds nobody up.
    runtime.shutdown_background();
    Ok(checks)
}

/// Returns checks as a table, with what they found below it.
pub(super) fn page(checks: &[CheckEnd]) -> String {
    let verdict = |check: &CheckEnd| match check.verdict {
        CheckVerdict::Passed => "passed",
        CheckVerdict::Failed => "failed",
        CheckVerdict::Unchecked => "unchecked",
    };
    let cells = |check: &CheckEnd| {
        vec![
            plain::line(&check.name),
            verdict(check).to_owned(),
            span(check.took_ms),
            plain::excerpt(&check.why, 100),
        ]
    };
    let rows: Vec<_> = checks.iter().map(cells).collect();
    let heads = ["CHECK", "SAYS", "TOOK", "WHY"];
    let mut text = look::table::table(&heads, &rows, look::columns());
    for check in checks.iter().filter(|check| !check.findings.is_empty()) {
        text.push_str(&format!("\n{}:\n", plain::line(&check.name)));
        for line in plain::text(&check.findings).lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}
