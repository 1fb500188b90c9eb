//! Several items for one tool: each with its own key, its own tries, its own end.
//!
//! ```text
//! called ─┬─ recorded, refused, failed before ─────────────────► ended
//!         └─ Waiting ──Admit──► due ──► Open (a call carries it) ─┐
//!                 ▲                      ▲                        │
//!                 │ room for more        └── retryable slice ◄────┤ ended
//!                 └───────────────────────────────────────────────┴─► ended ─► all ended: answer
//! ```
//! - A call carries one item, or up to `size` where the tool takes many at once.
//! - An item ends as [`Status`] says; what it did is recorded under its own key.
//! - Items whose effect is in doubt leave their call and become calls of their own,
//!   so that a probe, the tool's own key or a human settles each by itself.
//!
//! - `items`: what is known of a batch; `begin`: from the request to the calls;
//!   `tries`: from the end of a call to the next try; `end`: how items and batches end.
//!
//! Not here: what an answer says about each item (`driver::judge`), and single
//! calls (`machine::tool`).

mod begin;
mod end;
mod items;
mod tries;

pub use items::{
    Batch, BatchAnswer, DeadItem, Item, ItemEnd, ItemRow, Members, Progress, Status, count,
};

pub(super) use begin::{called, due};
pub(super) use tries::{abandon, ended, not_let_out, settled};
