//! The tests that need more than one room: one binary, one file a subject.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests")]

mod agents;
mod batch;
mod chain;
mod check;
mod classify;
mod cli_support;
mod conversations;
mod crash;
mod degrade;
mod deps;
mod drill;
mod fuzz;
mod gateway;
mod gateway_money;
mod gateway_security;
mod hostile;
mod init;
mod inside;
mod look;
mod loops;
mod loops_cli;
mod loops_properties;
mod man;
mod process;
mod replay;
mod rollback;
mod run;
mod sdk;
mod simulation;
mod store;
mod support;
mod taxonomy;
mod tidy;
mod tools;
mod verify;
