//! The data of `genai-prices`, decoded as far as it is asked for.
//!
//! All of it takes 100 ms and 16 MB to decode, for the two or three models of a
//! run. So `catalogue.txt` has it by provider: first every provider with its rules
//! and one model that matches all names, to find whose a name is; then a line for
//! each, `ID TAB JSON`, with the providers that it falls back on. Matching and
//! arithmetic are the crate's. Only providers that a model's name leads to are
//! there, without words for people; `tests/it/prices.rs` makes the file from the
//! crate's data, and holds both together.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use genai_prices::{Calculator, PriceRequest, Usage};

const DATA: &str = include_str!("catalogue.txt");

/// Decodes the part of the catalogue that a model's name leads to.
///
/// None: no provider has such names.
pub(super) fn part_for(model: &str) -> Option<(String, Arc<Calculator>)> {
    static HEADS: LazyLock<Calculator> = LazyLock::new(|| {
        let line = DATA.lines().next().unwrap_or_default();
        Calculator::from_json(line).expect("a test decodes it")
    });
    let nothing = Usage::new();
    let found = HEADS.calculate(&PriceRequest::new(model, &nothing)).ok()?;
    let part = part(&found.provider_id)?;
    Some((found.provider_id, part))
}

/// Decodes a provider, and those it falls back on; once.
pub(super) fn part(provider: &str) -> Option<Arc<Calculator>> {
    static DECODED: Mutex<Option<HashMap<String, Arc<Calculator>>>> = Mutex::new(None);
    let mut decoded = DECODED.lock().unwrap_or_else(PoisonError::into_inner);
    let decoded = decoded.get_or_insert_default();
    if let Some(part) = decoded.get(provider) {
        return Some(Arc::clone(part));
    }
    let mut lines = DATA
        .lines()
        .skip(1)
        .filter_map(|line| line.split_once('\t'));
    let (_, data) = lines.find(|(id, _)| *id == provider)?;
    let part = Arc::new(Calculator::from_json(data).expect("a test decodes it"));
    decoded.insert(provider.to_owned(), Arc::clone(&part));
    Some(part)
}
