//! stub
pub mod class;
pub use class::{Class, Layer};
#[derive(Default)]
pub struct History {
    pub consecutive_transients: u32,
}
pub struct Observation;
impl Observation {
    pub fn from_value(_: serde_json::Value) -> Self {
        Self
    }
}
pub struct Verdict {
    pub class: Class,
    pub retry_after_ms: Option<u64>,
    pub rule: String,
    pub why: String,
    pub evidence: String,
}
pub fn classify(_: &Observation, _: &[custom::Rule], _: &History) -> Verdict {
    Verdict {
        class: Class::Success,
        retry_after_ms: None,
        rule: String::new(),
        why: String::new(),
        evidence: String::new(),
    }
}
pub mod custom {
    pub struct Rule;
    #[derive(Debug, thiserror::Error)]
    #[error("x")]
    pub struct Error;
}
