//! The answer of the classifier: what, by which rule, on what evidence.

use serde::Serialize;
use serde_json::Value;

use super::class::{Class, Layer};
use super::text::clip;

/// Longest evidence kept, in bytes.
const EVIDENCE_BYTES_MAX: usize = 240;

/// One classified result, as `agentguard classify --json` prints it (after the id).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What the result is.
    pub class: Class,
    /// The layer that deals with it; follows from the class.
    pub layer: Layer,
    /// Whether the call, or for `partial` the slice in `retry_items`, may be repeated.
    pub retryable: bool,
    /// How long the other side asked to wait, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Ids of the items worth repeating, in input order; only for several items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_items: Option<Vec<Value>>,
    /// Id of the rule that matched, stable, e.g. `cost.words`.
    pub rule: String,
    /// The rule's sentence.
    pub why: String,
    /// What the rule saw and where, at most a few hundred bytes, e.g. `status 429`.
    pub evidence: String,
}

impl Verdict {
    /// Makes a verdict; layer and retryability follow from the class.
    pub(super) fn new(class: Class, rule: &str, why: &str, evidence: &str) -> Self {
        Self {
            class,
            layer: class.layer(),
            retryable: class.is_retryable(),
            retry_after_ms: None,
            retry_items: None,
            rule: rule.to_owned(),
            why: why.to_owned(),
            evidence: clip(evidence, EVIDENCE_BYTES_MAX),
        }
    }

    /// Adds the wait the other side asked for.
    pub(super) fn with_hint(mut self, hint_ms: Option<u64>) -> Self {
        self.retry_after_ms = hint_ms;
        self
    }

    /// Adds the ids worth repeating; a partial result with such a slice is retryable.
    pub(super) fn with_items(mut self, items: Option<Vec<Value>>) -> Self {
        if let (Class::Partial, Some(items)) = (self.class, &items) {
            self.retryable = !items.is_empty();
        }
        self.retry_items = items;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_line_has_no_empty_optional_fields() {
        let verdict = Verdict::new(Class::Success, "delivered", "nothing failed", "status 200");
        assert_eq!(
            serde_json::to_string(&verdict).expect("plain data"),
            r#"{"class":"success","layer":"none","retryable":false,"rule":"delivered","why":"nothing failed","evidence":"status 200"}"#
        );
    }

    #[test]
    fn a_partial_result_is_retryable_by_its_slice_only() {
        let partial = |items| Verdict::new(Class::Partial, "r", "w", "e").with_items(Some(items));
        assert!(partial(vec![Value::from("a")]).retryable);
        assert!(!partial(vec![]).retryable);
    }
}
