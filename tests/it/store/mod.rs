//! The journal: one body of tests for every store, then what only files can do.
//!
//! - `contract`  runs on SQLite and on memory
//! - `humans`    the same, about questions to humans and messages to them
//! - `process`   several processes, `kill -9`
//! - `disk`      full, read-only, damaged, foreign, newer

mod contract;
mod disk;
mod humans;
mod items;
mod process;
mod support;
