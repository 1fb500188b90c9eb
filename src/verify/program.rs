//! Checks that are programs: their exit code says what they found.
//!
//! | exit | says |
//! |---|---|
//! | 0 | passed |
//! | 126, 127; killed from outside; the time limit | nothing: it could not be checked |
//! | anything else, a crash of its own too | failed |

use super::{Said, Site, too_slow};
use crate::ids::CallId;
use crate::process::{
    Captured, ExecLimits, Executed, Exit, Mark, OutputFiles, Spec, exec, sweep_marked,
};

/// Of each stream, written to disk at most, in bytes.
const DISK_BYTES_MAX: u64 = 64 << 20;

/// Of each stream, told as a finding, in bytes.
const TAIL_BYTES_MAX: usize = 1_900;

/// No call has this number: it marks what the checks of a run start.
const CHECKS: CallId = CallId(0);

/// Signals by which somebody else ends a program: hang-up, Ctrl-C, kill, SIGTERM.
const FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];

/// What a shell adds to a signal in an exit code.
const SHELL_SIGNAL: i32 = 128;

/// Runs a command.
pub(super) async fn command(
    site: &Site<'_>,
    place: usize,
    timeout_ms: u64,
    words: &[String],
) -> Said {
    run(site, place, timeout_ms, Spec::new(words, site.workspace)).await
}

/// Runs a script.
pub(super) async fn script(site: &Site<'_>, place: usize, timeout_ms: u64, text: &str) -> Said {
    run(
        site,
        place,
        timeout_ms,
        Spec::new(["sh", "-c", text], site.workspace),
    )
    .await
}

async fn run(site: &Site<'_>, place: usize, timeout_ms: u64, mut spec: Spec) -> Said {
    spec.env = site.env.clone();
    let limits = ExecLimits {
        timeout_ms,
        grace_ms: site.grace_ms,
        keep_bytes: 4 * TAIL_BYTES_MAX,
        disk_bytes_max: DISK_BYTES_MAX,
    };
    let file = |stream: &str| site.output_dir.join(format!("{place}.{stream}"));
    let files = OutputFiles {
        stdout: file("stdout"),
        stderr: file("stderr"),
    };
    let mark = Mark::call(site.run.clone(), CHECKS);
    let ended = exec(site.launcher, &spec, &mark, limits, files).await;
    // What it left running would meddle with the next check.
    sweep_marked(&mark, 0).await;
    match ended {
        Ok(executed) => said(&executed, timeout_ms),
        Err(error) => Said::unchecked("could not be started", error.to_string()),
    }
}

fn said(executed: &Executed, timeout_ms: u64) -> Said {
    let findings = [&executed.stdout, &executed.stderr].map(tail).join("");
    if executed.timed_out {
        return Said {
            findings,
            ..too_slow(timeout_ms)
        };
    }
    let code = |code: i32| format!("exited with code {code}");
    match executed.exit {
        Exit::Code(0) => Said::passed(code(0)),
        Exit::Code(126) => Said::unchecked("cannot be executed (code 126)", findings),
        Exit::Code(127) => Said::unchecked("was not found (code 127)", findings),
        Exit::Code(number) if FROM_OUTSIDE.contains(&(number - SHELL_SIGNAL)) => {
            Said::unchecked(format!("was killed (code {number})"), findings)
        }
        Exit::Code(number) => Said::failed(code(number), findings),
        Exit::Signal(signal) if FROM_OUTSIDE.contains(&signal) => {
            Said::unchecked(format!("was killed by signal {signal}"), findings)
        }
        Exit::Signal(signal) => Said::failed(format!("crashed with signal {signal}"), findings),
        Exit::Lost => Said::unchecked("was lost", findings),
    }
}

/// Returns the end of a stream: that is where programs say what is wrong.
fn tail(captured: &Captured) -> String {
    let text = captured.text.trim_end();
    let start = text.ceil_char_boundary(text.len().saturating_sub(TAIL_BYTES_MAX));
    let tail = match text[start..].split_once('\n') {
        Some((_, whole_lines)) if start > 0 => whole_lines,
        _ => &text[start..],
    };
    if tail.is_empty() {
        return String::new();
    }
    let cut = if start > 0 { "[…]\n" } else { "" };
    format!("{cut}{tail}\n")
}
