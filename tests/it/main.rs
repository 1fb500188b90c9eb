//! The tests that need more than one room: one binary, one file a subject.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod crash;
mod deps;
mod look;
mod process;
mod run;
mod simulation;
mod store;
mod support;
mod tidy;
mod tools;
