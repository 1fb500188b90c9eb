//! Faults on purpose.
//!
//! [`point`] names every boundary at which the supervisor may be cut off, and
//! cuts it off there when asked. The crash suite walks through all of them.

pub mod point;

pub use point::{Boundary, Side, fault};
