//! Circuit breakers of all runs, as opaque rows.
//!
//! The state machine is `policy::breaker`. Here is only what it needs to be one
//! breaker for many processes: its decision runs inside the transaction.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::clock::UnixMs;

use super::{Pending, Result, Store};

/// What a decision does to a breaker's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Leave it; nothing is written.
    Keep,
    /// Write this state, as JSON.
    Put(String),
    /// Remove the row: as if it had never been touched.
    Remove,
}

/// Decides on a breaker by its present state; `None` for one never touched.
pub type Decide = Box<dyn FnOnce(Option<&str>) -> Change + Send>;

/// A change to one breaker.
pub struct BreakerEdit {
    /// The breaker, such as `tool:weather`.
    pub name: String,
    /// When.
    pub at: UnixMs,
    /// Runs inside the transaction, once, on another thread. What it learns is
    /// true only once the transaction is durable; see [`decide`].
    pub decide: Decide,
}

impl BreakerEdit {
    /// Makes an edit.
    pub fn new(
        name: impl Into<String>,
        at: UnixMs,
        decide: impl FnOnce(Option<&str>) -> Change + Send + 'static,
    ) -> Self {
        Self {
            name: name.into(),
            at,
            decide: Box::new(decide),
        }
    }
}

impl fmt::Debug for BreakerEdit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerEdit")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// One breaker as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerRow {
    /// Its name.
    pub name: String,
    /// Its state, as JSON.
    pub state: String,
    /// When it last changed.
    pub at: UnixMs,
}

/// Edits a breaker and returns what the decision said besides, such as whether
/// this caller got the probe.
///
/// Answers when the change is durable; not before, since a commit that fails
/// takes the decision back.
pub async fn decide<R: Send + 'static>(
    store: &dyn Store,
    name: &str,
    at: UnixMs,
    decide: impl FnOnce(Option<&str>) -> (Change, R) + Send + 'static,
) -> Result<R> {
    let (pending, said) = begin(store, name, at, decide);
    pending.await?;
    Ok(take(&said))
}

/// [`decide`] for callers without a runtime; blocks.
pub fn decide_now<R: Send + 'static>(
    store: &dyn Store,
    name: &str,
    at: UnixMs,
    decide: impl FnOnce(Option<&str>) -> (Change, R) + Send + 'static,
) -> Result<R> {
    let (pending, said) = begin(store, name, at, decide);
    pending.wait()?;
    Ok(take(&said))
}

/// Where the decision leaves its word for the caller.
type Said<R> = Arc<Mutex<Option<R>>>;

fn begin<R: Send + 'static>(
    store: &dyn Store,
    name: &str,
    at: UnixMs,
    decide: impl FnOnce(Option<&str>) -> (Change, R) + Send + 'static,
) -> (Pending<Option<String>>, Said<R>) {
    let said: Said<R> = Arc::default();
    let slot = Arc::clone(&said);
    let edit = BreakerEdit::new(name, at, move |state| {
        let (change, word) = decide(state);
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(word);
        change
    });
    (store.edit_breaker(edit), said)
}

fn take<R>(said: &Said<R>) -> R {
    said.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .expect("a durable edit has run its decision")
}
