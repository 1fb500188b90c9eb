//! How a failed command looks: what, the chain of causes, the fix; one exit
//! code per kind.
//!
//! ```text
//! error: cannot resume run r-7f3ak2m9
//!   because: run r-7f3ak2m9 is held by process 4711
//! hint: wait for it, or stop it with `agentguard stop r-7f3ak2m9`
//! ```

use std::error::Error as StdError;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::{ColorWhen, Global};
use crate::exit_code;
use crate::task::Colour;
use crate::task::problem::{Problem, Problems};

/// Why a command could not do its work.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    causes: Vec<String>,
    hints: Vec<String>,
    /// Text that is printed as it is instead of message and causes.
    rendered: Option<String>,
    /// What is wrong with the task file.
    problems: Box<[Problem]>,
}

/// What a command with `--json` prints of its failure; its fields are promised to
/// stay.
#[derive(Serialize)]
struct Document<'a> {
    v: u64,
    error: Told<'a>,
}

#[derive(Serialize)]
struct Told<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    causes: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hints: &'a [String],
    /// The same as in `check --json`.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    problems: &'a [Problem],
    exit_code: u8,
}

/// Whose matter a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The command line or the task file.
    Usage,
    /// The machine: disk, permissions, another process.
    Environment,
    /// The supervisor is gone or the run is over, seen from inside a run.
    Stopping(u8),
}

impl Kind {
    fn exit_code(self) -> u8 {
        match self {
            Self::Usage => exit_code::USAGE,
            Self::Environment => exit_code::INTERNAL,
            Self::Stopping(code) => code,
        }
    }
}

impl Failure {
    /// Whether it is such a matter.
    pub fn is_of(&self, kind: Kind) -> bool {
        self.kind == kind
    }

    /// Returns what went wrong, in one sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Makes a failure of the command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// Makes a failure with a message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            causes: vec![],
            hints: vec![],
            rendered: None,
            problems: Box::default(),
        }
    }

    /// Makes a failure from an error and its chain of causes.
    pub fn from_error(kind: Kind, error: &dyn StdError) -> Self {
        let mut failure = Self::new(kind, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            let known = failure.causes.last().unwrap_or(&failure.message);
            // A transparent error repeats its cause.
            if !known.ends_with(&text) {
                failure.causes.push(text);
            }
            source = cause.source();
        }
        failure
    }

    /// Makes a failure of a task file with `problems`.
    pub fn task(problems: Problems, colour: Colour) -> Self {
        let first = problems.0.first().map(|first| first.message.clone());
        Self {
            rendered: Some(problems.render(colour)),
            problems: problems.0.into_boxed_slice(),
            ..Self::new(Kind::Usage, first.unwrap_or_default())
        }
    }

    /// Puts a message before what was the message.
    #[must_use]
    pub fn within(mut self, message: String) -> Self {
        let inner = std::mem::replace(&mut self.message, message);
        self.causes.insert(0, inner);
        self
    }

    /// Adds the fix.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the fix, if there is one.
    #[must_use]
    pub fn maybe_hint(self, hint: Option<String>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Prints it to stdout as one JSON object, for the program that reads there.
    pub fn print_json(&self) {
        let told = Document {
            v: crate::observe::json::VERSION,
            error: Told {
                message: &self.message,
                causes: &self.causes,
                hints: &self.hints,
                problems: &self.problems,
                exit_code: self.kind.exit_code(),
            },
        };
        if let Ok(line) = serde_json::to_string(&told) {
            // Nobody is left to be told when stdout is closed.
            let _ = super::jsonl::print(&format!("{line}\n"));
        }
    }

    /// Prints it to stderr and returns its exit code.
    pub fn print(&self, global: &Global) -> ExitCode {
        let (red, bold, plain) = if use_color(global) {
            ("\x1b[1;31m", "\x1b[1m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        let mut text = match &self.rendered {
            Some(rendered) => rendered.clone(),
            None => format!("{red}error{plain}: {}\n", self.message),
        };
        for cause in &self.causes {
            text.push_str(&format!("  because: {cause}\n"));
        }
        for hint in &self.hints {
            text.push_str(&format!("{bold}hint{plain}: {hint}\n"));
        }
        // Nobody is left to be told when stderr is closed.
        let _ = std::io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.kind.exit_code())
    }
}

impl From<crate::store::Error> for Failure {
    fn from(error: crate::store::Error) -> Self {
        let kind = match error {
            crate::store::Error::NoSuchRun { .. }
            | crate::store::Error::NoSuchQuestion { .. }
            | crate::store::Error::Ambiguous { .. }
            | crate::store::Error::Held { .. } => Kind::Usage,
            _ => Kind::Environment,
        };
        Self::from_error(kind, &error).maybe_hint(error.hint())
    }
}

/// Prints what clap has to say: help on stdout, errors on stderr.
pub fn usage(error: &clap::Error) -> ExitCode {
    // Nobody is left to be told when the stream is closed.
    let _ = error.print();
    ExitCode::from(if error.use_stderr() {
        exit_code::USAGE
    } else {
        exit_code::DONE
    })
}

/// Whether stderr gets colour.
pub fn use_color(global: &Global) -> bool {
    match global.color {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => {
            std::io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}

/// The same for the task file's problems.
pub fn colour(global: &Global) -> Colour {
    if use_color(global) {
        Colour::Always
    } else {
        Colour::Never
    }
}
