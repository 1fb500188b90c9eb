//! The program that tells whether a call in doubt happened.

use crate::machine::event::{Content, Settlement};
use crate::process::{ExecLimits, Exit, Mark, exec};
use crate::task::resolved::Tool;

use super::Job;
use super::command::{self, as_a_shell_says};
use super::content;
use super::home::Home;

/// Output in memory, in bytes; the model reads no more.
const KEEP_BYTES: usize = 2 * content::TEXT_BYTES_MAX;

/// Of each stream, written to disk at most, in bytes.
const DISK_BYTES_MAX: u64 = 64 << 20;

/// Asks the probe. It reads nothing on stdin.
pub(super) async fn ask(home: &Home, tool: &Tool, job: &Job) -> Settlement {
    let unknown = |why: String| Settlement::Unknown {
        why: home.secrets.hide(&why).into_owned(),
    };
    let Some(probe) = &tool.probe else {
        return unknown(format!("tool `{}` has no probe", job.tool));
    };
    let spec = match command::spec(home, tool, &probe.argv, job) {
        Ok(spec) => spec,
        Err(error) => return unknown(format!("the probe cannot be called: {error}")),
    };
    let limits = ExecLimits {
        timeout_ms: probe.timeout_ms,
        grace_ms: home.grace_ms,
        keep_bytes: KEEP_BYTES,
        disk_bytes_max: DISK_BYTES_MAX,
    };
    let mark = Mark::call(home.run.clone(), job.call);
    let executed = match exec(
        &home.launcher,
        &spec,
        &mark,
        limits,
        home.files(job, "probe."),
    )
    .await
    {
        Ok(executed) => executed,
        Err(error) => {
            return unknown(format!(
                "the probe did not start: {}",
                as_a_shell_says(&error)
            ));
        }
    };
    let stdout = command::stream(home, executed.stdout);
    let stderr = command::stream(home, executed.stderr);
    match executed.exit {
        _ if executed.timed_out => unknown(format!(
            "the probe took longer than {} ms",
            probe.timeout_ms
        )),
        Exit::Code(0) => Settlement::Happened {
            content: happened(&stdout),
        },
        Exit::Code(1) => Settlement::NotHappened,
        exit => {
            let words = if stderr.text.trim().is_empty() {
                &stdout.text
            } else {
                &stderr.text
            };
            let words: String = words.trim().chars().take(500).collect();
            let words = if words.is_empty() {
                words
            } else {
                format!(": {words}")
            };
            unknown(format!(
                "the probe ended with {exit}, expected exit status 0 or 1{words}"
            ))
        }
    }
}

fn happened(stdout: &content::Stream) -> Content {
    if stdout.text.trim().is_empty() {
        let text =
            "Done. The result itself was lost in a crash; a check found that the call happened.";
        return Content {
            text: text.to_owned(),
            ..Content::default()
        };
    }
    content::of_body(None, stdout, false)
}
