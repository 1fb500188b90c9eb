//! Why a child could not be started.

use std::io;
use std::path::PathBuf;

/// Why a child could not be started. Once it runs, nothing here happens any
/// more: how it ended is an [`Exit`](super::Exit).
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no program to start.
    #[error("the command is empty, expected a program and its arguments")]
    EmptyCommand,

    /// No folder of `PATH` has the program, or the path leads nowhere.
    #[error("cannot find the program `{program}`{place}", place = searched_in(.searched))]
    NotFound {
        /// As written.
        program: String,
        /// The `PATH` that was searched; `None` for a path with a slash.
        searched: Option<String>,
        /// Programs with nearly the same name, nearest first.
        near: Vec<String>,
    },

    /// The file is there and cannot be executed.
    #[error("cannot execute {path}: {reason}", path = .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The script or binary names an interpreter that is not there.
    #[error("cannot execute {path}: its interpreter {interpreter} is missing", path = .path.display())]
    BadInterpreter {
        /// The script.
        path: PathBuf,
        /// What its first line names, or the loader of a binary.
        interpreter: String,
    },

    /// The folder to start in is not one.
    #[error("cannot start in {path}: {reason}", path = .path.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },

    /// The kernel takes no NUL in arguments, names, values or paths.
    #[error("{what} contains a NUL byte")]
    NulByte {
        /// Which of them, with its name or number.
        what: String,
    },

    /// A variable's name is empty or contains `=`.
    #[error("`{name}` cannot be the name of an environment variable")]
    VariableName {
        /// The name.
        name: String,
    },

    /// Arguments and environment together pass what the kernel takes.
    #[error("the arguments and environment of `{program}` are too long, {bytes} bytes")]
    TooLong {
        /// As written.
        program: String,
        /// Of all arguments and variables.
        bytes: usize,
    },

    /// The kernel refused for another reason.
    #[error("cannot start `{program}`")]
    Start {
        /// As written.
        program: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },

    /// The guardian process could not be started, or broke before it answered.
    #[error("cannot start the guardian process {path}", path = .path.display())]
    Shim {
        /// Our own binary.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },

    /// A file for captured output could not be made.
    #[error("cannot write the output to {path}", path = .path.display())]
    OutputFile {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },

    /// No pipe, thread or descriptor was left for the child's streams.
    #[error("cannot connect the streams of `{program}`")]
    Streams {
        /// As written.
        program: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

fn searched_in(searched: &Option<String>) -> String {
    match searched {
        Some(path) if path.is_empty() => ", and PATH is empty".into(),
        Some(path) => format!(" in PATH ({path})"),
        None => String::new(),
    }
}

impl Error {
    /// Returns the next thing the reader can do, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotFound { near, .. } if !near.is_empty() => {
                Some(format!("did you mean `{}`?", near.join("`, `")))
            }
            Self::NotFound {
                searched: Some(_),
                program,
                ..
            } => Some(format!(
                "install `{program}`, write its full path, or set PATH in the task file's environment"
            )),
            Self::NotFound { searched: None, .. } => {
                Some("a relative path is looked up from the working folder of the task".into())
            }
            Self::NotExecutable { path, reason } if *reason == NO_PERMISSION => {
                Some(format!("run `chmod +x {}`", path.display()))
            }
            Self::BadInterpreter { interpreter, .. } => Some(format!(
                "install {interpreter}, or correct the first line of the file"
            )),
            Self::NoFolder { .. } => Some("create the folder, or correct `cwd`".into()),
            Self::TooLong { .. } => Some("hand large input over on stdin or in a file".into()),
            Self::EmptyCommand
            | Self::NotExecutable { .. }
            | Self::NulByte { .. }
            | Self::VariableName { .. }
            | Self::Start { .. }
            | Self::Shim { .. }
            | Self::OutputFile { .. }
            | Self::Streams { .. } => None,
        }
    }
}

/// The reason that a `chmod` would remove.
pub(super) const NO_PERMISSION: &str = "it has no permission to be executed";
