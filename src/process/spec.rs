//! What to start: arguments, folder, environment, stdin, and the mark.
//!
//! Plain data. The environment is complete: nothing of our own leaks into the
//! child unless the caller lists it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use crate::ids::{CallId, RunId};

/// The variable by which a process of a run is recognised, whatever it did to
/// its parents, group and session.
pub const RUN_VARIABLE: &str = "AGENTGUARD_RUN_ID";

/// The variable that also names the tool call a process belongs to.
pub const CALL_VARIABLE: &str = "AGENTGUARD_CALL_ID";

/// The variable that tells a guardian from the processes it guards.
pub(super) const SHIM_VARIABLE: &str = "AGENTGUARD_SHIM_OF";

/// What to start.
#[derive(Clone)]
pub struct Spec {
    /// The program and its arguments; at least one. A program without a slash
    /// is looked up in the `PATH` of `env`, one with a slash from `cwd`.
    pub argv: Vec<OsString>,
    /// The folder to start in.
    pub cwd: PathBuf,
    /// The whole environment; a later entry wins over an earlier one. The mark
    /// is added by whoever starts it.
    pub env: Vec<(OsString, OsString)>,
    /// What the child reads.
    pub stdin: Stdin,
}

/// What a child finds on its stdin.
#[derive(Clone, Default)]
pub enum Stdin {
    /// Nothing: `/dev/null`. Several agents hang on a stdin that is open and
    /// silent, so this is the default.
    #[default]
    Null,
    /// A pipe that the caller writes to ([`Agent::take_stdin`]). A tool call
    /// finds it empty and closed.
    ///
    /// [`Agent::take_stdin`]: super::Agent::take_stdin
    Piped,
    /// What we find on ours. A tool call finds nothing.
    Inherit,
    /// These bytes, then the end. A child that does not read them all is fine.
    Bytes(Vec<u8>),
}

impl Spec {
    /// Makes a spec that reads nothing and has no environment.
    pub fn new<A: Into<OsString>>(
        argv: impl IntoIterator<Item = A>,
        cwd: impl Into<PathBuf>,
    ) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            cwd: cwd.into(),
            env: Vec::new(),
            stdin: Stdin::Null,
        }
    }

    /// Adds one variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Replaces what the child reads.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdin) -> Self {
        self.stdin = stdin;
        self
    }

    /// Returns the value of a variable, as the child will see it.
    pub(super) fn variable(&self, name: &str) -> Option<&OsString> {
        self.env
            .iter()
            .rev()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value)
    }
}

/// By hand: an environment holds keys, an input may hold anything.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("argv", &self.argv)
            .field("cwd", &self.cwd)
            .field("env", &format_args!("{} variables", self.env.len()))
            .field("stdin", &self.stdin)
            .finish()
    }
}

impl fmt::Debug for Stdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Piped => f.write_str("Piped"),
            Self::Inherit => f.write_str("Inherit"),
            Self::Bytes(bytes) => write!(f, "Bytes({})", bytes.len()),
        }
    }
}

/// Whose process it is: a run's, and perhaps one tool call's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    run: RunId,
    call: Option<CallId>,
}

impl Mark {
    /// Marks the agent of a run, and what else serves the run as a whole.
    pub fn run(run: RunId) -> Self {
        Self { run, call: None }
    }

    /// Marks one tool call of a run.
    pub fn call(run: RunId, call: CallId) -> Self {
        Self {
            run,
            call: Some(call),
        }
    }

    /// Returns the run.
    pub fn run_id(&self) -> &RunId {
        &self.run
    }

    /// Returns whether it marks one tool call.
    pub fn is_call(&self) -> bool {
        self.call.is_some()
    }

    /// Returns the variables that carry the mark.
    pub fn variables(&self) -> Vec<(OsString, OsString)> {
        let run = (RUN_VARIABLE.into(), self.run.as_str().into());
        let call = self
            .call
            .map(|call| (CALL_VARIABLE.into(), call.to_string().into()));
        std::iter::once(run).chain(call).collect()
    }

    /// Reads a mark from the variables that carry it.
    pub(super) fn from_variables(variables: &[(OsString, OsString)]) -> Option<Self> {
        let value = |name: &str| variables.iter().find(|(key, _)| key == name)?.1.to_str();
        let run = value(RUN_VARIABLE)?.parse().ok()?;
        Some(Self {
            run,
            call: value(CALL_VARIABLE)
                .and_then(|call| call.parse().ok())
                .map(CallId),
        })
    }

    /// Returns whether an environment, as `NAME=value` entries that each end
    /// in a NUL, carries this mark. The mark of a run is on all its calls.
    pub(super) fn is_on(&self, environ: &[u8]) -> bool {
        self.variables().iter().all(|(name, value)| {
            let entry = [name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat();
            environ.split(|byte| *byte == 0).any(|found| found == entry)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_value_of_the_environment_and_no_input() {
        let spec = Spec::new(["tool"], "/work")
            .env("KEY", "not-a-real-key")
            .stdin(Stdin::Bytes(b"private".to_vec()));
        let text = format!("{spec:?}");
        assert_eq!(
            text,
            r#"Spec { argv: ["tool"], cwd: "/work", env: 1 variables, stdin: Bytes(7) }"#
        );
    }

    #[test]
    fn marks_are_found_in_an_environment() {
        let run = RunId::from_bits(7);
        let other = RunId::from_bits(8);
        let agent = format!("A=1\0{RUN_VARIABLE}={run}\0");
        let call = format!("{RUN_VARIABLE}={run}\0{CALL_VARIABLE}=3\0");
        #[rustfmt::skip]
        let rows = [
            ("the agent of the run", Mark::run(run.clone()), agent.as_str(), true),
            ("a call of the run", Mark::run(run.clone()), call.as_str(), true),
            ("the very call", Mark::call(run.clone(), CallId(3)), call.as_str(), true),
            ("another call", Mark::call(run.clone(), CallId(33)), call.as_str(), false),
            ("the agent is no call", Mark::call(run.clone(), CallId(3)), agent.as_str(), false),
            ("another run", Mark::run(other), agent.as_str(), false),
            ("a value that only begins alike", Mark::run(run.clone()),
             &format!("{RUN_VARIABLE}={run}x\0"), false),
            ("a name that only ends alike", Mark::run(run.clone()),
             &format!("X{RUN_VARIABLE}={run}\0"), false),
            ("nothing", Mark::run(run), "", false),
        ];
        for (name, mark, environ, want) in rows {
            assert_eq!(mark.is_on(environ.as_bytes()), want, "row: {name}");
        }
    }
}
