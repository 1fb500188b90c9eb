//! Guarded execution: one try of one declared tool.
//!
//! A tool is a command or an HTTP request. A try renders it from the arguments,
//! runs it within its time, keeps all it gave on disk and a bounded part in
//! memory, and says three things that are easily mixed up:
//!
//! - the [`Observation`](crate::policy::taxonomy::Observation): what was seen,
//!   for the taxonomy to judge;
//! - the [`Delivery`](crate::machine::event::Delivery): whether the tool was
//!   reached, which decides whether a write is in doubt;
//! - the [`Content`](crate::machine::event::Content): what the model reads.
//!
//! ```text
//! refuse ──► (driver: key, intent durable) ──► try_once ──► judge ──► Tried::judged
//!                                              probe     (in doubt after a crash)
//! ```
//!
//! Not here: what a result means (`policy::taxonomy`), whether and when there
//! is another try (`machine`, `policy::retry`), keys and intents (`driver`,
//! `store`), and how children are started, ended and captured (`process`).
//! Nothing here repeats anything by itself.
//!
//! To start reading: [`toolbox`], then [`command`] or [`http`].
//!
//! | to change | open |
//! |---|---|
//! | what a program finds in its environment and on stdin | [`command`] |
//! | what came of a call that an MCP server ran | [`lent`] |
//! | which HTTP answers leave a write in doubt | [`http`], `answer` |
//! | which redirects are followed | `redirect` |
//! | proxies, certificates, connection reuse | `clients` |
//! | what the model reads | `content` |
//! | how arguments are refused | `schema` |
//! | what is hidden from models and the journal | `secrets` |

mod answer;
mod clients;
pub mod command;
mod content;
mod download;
mod error;
mod home;
pub mod http;
pub mod lent;
mod probe;
mod redirect;
pub mod schema;
mod secrets;
pub mod toolbox;

pub use clients::{client, client_builder};
pub use content::TEXT_BYTES_MAX;
pub use error::Error;
pub use home::{ToolHome, Variables};
pub use lent::GivenBack;
pub use toolbox::{Job, Toolbox, Tried, undo_name};
