//! The journal: one body of tests for every store, then what only files can do.
//!
//! - `contract`  runs on SQLite and on memory
//! - `process`   several processes, `kill -9`
//! - `disk`      full, read-only, damaged, foreign, newer

mod contract;
mod disk;
mod process;
mod support;
