//! Replies: read from one API, written for another, whole or as they stream.
//!
//! Readers put what they see into an `Answer`; `stream` looks what is
//! new in it, and tells the writer piece by piece. A whole reply goes the same
//! way and is written once. Each API has a file that reads it and writes it.

mod chat;
mod form;
mod messages;
mod responses;
mod stream;

pub use stream::{Stream, reply};
