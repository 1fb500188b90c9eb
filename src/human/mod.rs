//! The way to humans and back: what they are told, and how they answer.
//!
//! ```text
//! event + question + letters ─► journal ─► outbox ─► command, webhook ─► human
//!                                  ▲                                      │
//!                                  └──── inbox: one conditional write ◄───┘ answer, token
//! ```
//! - [`inbox`]: between a question and its row; deciding one, by an answer or by
//!   its deadline;
//! - [`letter`]: what a notification says, and in which shape;
//! - [`outbox`]: sending at least once;
//! - [`token`]: answers that travel.
//!
//! Not here: when a human is asked, and what becomes of the answer
//! (`machine::escalation`); which events are told (`driver::notify`); what is
//! printed (`cli`).

pub mod inbox;
pub mod letter;
pub mod outbox;
pub mod token;
