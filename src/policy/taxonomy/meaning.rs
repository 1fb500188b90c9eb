//! What one piece of evidence says, before the rules weigh it against the others.

/// What a code, a phrase or a status means taken by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Meaning {
    /// A human has to do something.
    Human,
    /// Quota, credit, budget or context is used up.
    Cost,
    /// A request rate is exceeded; the hint decides how bad that is.
    Rate,
    /// Wrong until somebody changes something outside the run.
    Persistent,
    /// The input is wrong.
    Semantic,
    /// Somebody else holds a lock or the same operation is under way.
    Lock,
    /// Passes by itself.
    Transient,
    /// What came is not fit for use: cut off, filtered, refused.
    Unfit,
}

/// How much a piece of evidence weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Weight {
    /// A code with one meaning: `insufficient_quota`, SQLSTATE 40P01, curl 6.
    Exact,
    /// A phrase of an error message.
    Words,
    /// A code as broad as a status: `INVALID_ARGUMENT`, `UNAVAILABLE`.
    Broad,
    /// The status of the transport or the exit code.
    Status,
}
