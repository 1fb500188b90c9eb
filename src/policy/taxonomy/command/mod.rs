//! Shell commands: split into programs, and what is known about those.

mod line;
mod programs;

pub(super) use line::Command;
pub(super) use programs::names_a_file;
