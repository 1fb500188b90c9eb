//! Why the tools of a task cannot be made ready.

use std::io;
use std::path::PathBuf;

/// Why the tools of a task cannot be made ready. All of it is found before the
/// agent starts, so that no run dies of it hours later.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A schema does not compile.
    #[error("the {which} schema of tool `{tool}` is not a JSON Schema: {why}")]
    Schema {
        /// The tool.
        tool: String,
        /// `input` or `output`.
        which: &'static str,
        /// What the compiler says.
        why: String,
    },

    /// A template names a variable that is not set.
    #[error("tool `{tool}` needs the environment variable `{variable}`, which is not set")]
    Variable {
        /// The tool.
        tool: String,
        /// The variable.
        variable: String,
    },

    /// A variable's value cannot stand where the template puts it. The value is not shown.
    #[error("tool `{tool}`: {why}")]
    VariableValue {
        /// The tool.
        tool: String,
        /// What is wrong, with the variable's name.
        why: String,
    },

    /// A header's name is not one.
    #[error("tool `{tool}`: `{name}` cannot be the name of a header")]
    HeaderName {
        /// The tool.
        tool: String,
        /// The name.
        name: String,
    },

    /// The folder for output cannot be made.
    #[error("cannot make the folder {path} for the output of tools", path = .path.display())]
    OutputFolder {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Returns the next thing the reader can do, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Variable { variable, .. } => Some(format!(
                "set it before you start the run: export {variable}=..."
            )),
            Self::VariableValue { .. } => {
                Some("look for a line break at the end of the variable's value".into())
            }
            Self::HeaderName { .. } => {
                Some("a header's name has letters, digits and `-` only".into())
            }
            Self::Schema { .. } | Self::OutputFolder { .. } => None,
        }
    }
}
