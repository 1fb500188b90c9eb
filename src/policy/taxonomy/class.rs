//! The eight classes of a result, the layer each belongs to, and what is done about it.
//!
//! A closed table: adding a class asks the compiler for its layer, its
//! retryability and its pattern. Start at [`Class::pattern`].
//!
//! Not here: how a result gets its class (see `rules`).

use serde::{Deserialize, Serialize};

/// What a result is, as far as the next step of the supervisor is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The call did what it was asked to; its payload may talk about errors.
    Success,
    /// A later identical call has a fair chance.
    Transient,
    /// The same call will fail until somebody changes something outside the run.
    Persistent,
    /// Out of quota, credit, budget or context; a cheaper or smaller call may pass.
    CostPressure,
    /// Delivered, but unfit: empty, cut off, refused, not the promised shape.
    Quality,
    /// The input is wrong in a way the model can see and correct.
    Semantic,
    /// Several items in one answer, not all with the same end.
    Partial,
    /// Only a human can go on from here.
    Unrecoverable,
}

/// Where a failure lives; the two layers are never mixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Below the model: the supervisor deals with it.
    Transport,
    /// The model's business: it gets the text as it is.
    Semantic,
    /// Neither: nothing failed, or nothing automatic is left to do.
    None,
}

impl Class {
    /// Every class, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Success,
        Self::Transient,
        Self::Persistent,
        Self::CostPressure,
        Self::Quality,
        Self::Semantic,
        Self::Partial,
        Self::Unrecoverable,
    ];

    /// Returns the name used in JSON, task files and the journal.
    pub fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Transient => "transient",
            Self::Persistent => "persistent",
            Self::CostPressure => "cost_pressure",
            Self::Quality => "quality",
            Self::Semantic => "semantic",
            Self::Partial => "partial",
            Self::Unrecoverable => "unrecoverable",
        }
    }

    /// Returns the class with this name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.name() == name)
    }

    /// Returns the layer that deals with this class.
    pub fn layer(self) -> Layer {
        match self {
            Self::Transient | Self::Persistent | Self::CostPressure => Layer::Transport,
            Self::Quality | Self::Semantic => Layer::Semantic,
            Self::Success | Self::Partial | Self::Unrecoverable => Layer::None,
        }
    }

    /// Whether the program may repeat the whole call.
    ///
    /// For [`Class::Partial`] only a slice may be repeated; the verdict lists it.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Transient)
    }

    /// Returns the pattern that answers this class, in one sentence.
    pub fn pattern(self) -> &'static str {
        match self {
            Self::Success => "go on",
            Self::Transient => {
                "back off with full jitter, honour the hint, stay within the retry budget; the model does not see it"
            }
            Self::Persistent => {
                "fail fast, count on the breaker, take the fallback or tell the model what is unavailable"
            }
            Self::CostPressure => "degrade along the chain; the conclusion reaches the model",
            Self::Quality => {
                "tell the model once what was wrong, count on the breaker, then the next model"
            }
            Self::Semantic => "hand the text to the model as it is; never repeat it by program",
            Self::Partial => {
                "commit the successes, queue the retryable slice, dead-letter the rest"
            }
            Self::Unrecoverable => "escalate to a human in a structured way",
        }
    }
}

impl Layer {
    /// Returns the name used in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transport => "transport",
            Self::Semantic => "semantic",
            Self::None => "none",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_both_ways_and_match_serde() {
        for class in Class::ALL {
            assert_eq!(Class::from_name(class.name()), Some(class));
            let json = serde_json::to_string(&class).expect("a unit variant serialises");
            assert_eq!(json, format!("\"{}\"", class.name()));
        }
        assert_eq!(Class::from_name("flaky"), None);
    }

    #[test]
    fn only_transport_failures_are_repeated_by_program() {
        for class in Class::ALL {
            assert!(
                !class.is_retryable() || class.layer() == Layer::Transport,
                "{}",
                class.name()
            );
        }
    }
}
