//! Answers about several items: our own batches, and the shapes of other services.
//!
//! A shape is recognised by its own field names, so a list that merely carries a
//! `status` column is no batch. Services that list failures only imply that the rest
//! went well; [`Items::others_succeeded`] says so.
//!
//! - `item` one item; `shapes` the known JSON shapes; `split` what was done beside what failed;
//!   `lines` those that come as text; `answer` which item of a call is which in its answer.
//!
//! Not here: what follows from the items (`rules`).

mod answer;
mod apps;
mod aws;
mod generic;
mod google;
mod item;
mod lines;
mod shapes;
mod split;
mod stores;

pub(super) use answer::by_item;
pub(super) use item::own;
pub(super) use lines::{counted, foreign_text, sections};
pub(super) use shapes::foreign;
