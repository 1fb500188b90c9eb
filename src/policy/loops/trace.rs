//! Judges past traces: the input and output of `agentguard loops`.
//!
//! One trace a line in, one answer a line out. A trace is judged as its run
//! would have been: the detector sees call after call, and is saved, dropped
//! and restored where the trace says so.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{Config, ToolTraits};
use super::detector::Detector;
use super::finding::{Finding, Level, Rung};
use super::print::Print;
use super::trouble::ErrorKind;

/// One past run. Unknown fields are ignored, so labelled sets can be judged as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// The caller's name for it; any JSON value.
    #[serde(default)]
    pub id: Value,
    /// Its calls, in order.
    pub calls: Vec<Call>,
    /// After these numbers of calls the detector is saved, dropped and restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resume_after: Vec<u64>,
    /// What a task file would say about tools, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, ToolTraits>,
}

/// One finished call of a past run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// The tool's name.
    #[serde(default)]
    pub tool: String,
    /// Its arguments; malformed ones as text.
    #[serde(default)]
    pub args: Value,
    /// Its result, whole.
    #[serde(default)]
    pub result: Value,
    /// Whether the result was marked as an error.
    #[serde(default)]
    pub is_error: bool,
    /// When it ended, in milliseconds, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<i64>,
    /// A human spoke just before this call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub after_human: bool,
}

/// What a trace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The stop level was reached.
    Loop,
    /// It was not.
    Ok,
}

/// The answer to one trace. All but `id`, `verdict` and `why` are of the stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The trace's name.
    pub id: Value,
    /// What the trace is.
    pub verdict: Verdict,
    /// The call at which the stop level was first reached, from 1.
    pub at_call: Option<u64>,
    /// The rule that matched.
    pub rung: Option<Rung>,
    /// Calls per lap, for cycles.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period: Option<u32>,
    /// The first call of the evidence.
    pub first: Option<u64>,
    /// The last call of the evidence.
    pub last: Option<u64>,
    /// One sentence for a person.
    pub why: String,
}

/// Returns the answer to one trace under the default thresholds.
pub fn judge(trace: &Trace) -> Answer {
    judge_with(trace, &Config::default())
}

/// Returns the answer to one trace under `config`.
pub fn judge_with(trace: &Trace, config: &Config) -> Answer {
    let none = ToolTraits::default();
    let mut detector = Detector::new(config.clone());
    let mut loudest: Option<Finding> = None;
    for (call, no) in trace.calls.iter().zip(1u64..) {
        if call.after_human {
            detector.human_input();
        }
        let traits = trace.tools.get(&call.tool).unwrap_or(&none);
        let print = Print::of(
            &call.tool,
            &call.args,
            &call.result,
            call.is_error,
            ErrorKind::None,
            traits,
        );
        if let Some(finding) = detector.observe(print, call.at_ms, None) {
            if finding.level == Level::Stop {
                return stopped(trace, finding);
            }
            loudest = loudest
                .filter(|loudest| loudest.level > finding.level)
                .or(Some(finding));
        }
        if trace.resume_after.contains(&no) {
            detector = restored(detector);
        }
    }
    let why = match loudest {
        Some(finding) => format!(
            "no stop; the loudest answer came at call {}: {}",
            finding.last, finding.why
        ),
        None => "no repetition worth a word".to_owned(),
    };
    Answer {
        id: trace.id.clone(),
        verdict: Verdict::Ok,
        at_call: None,
        rung: None,
        period: None,
        first: None,
        last: None,
        why,
    }
}

fn stopped(trace: &Trace, finding: Finding) -> Answer {
    Answer {
        id: trace.id.clone(),
        verdict: Verdict::Loop,
        at_call: Some(finding.last),
        rung: Some(finding.rung),
        period: finding.period,
        first: Some(finding.first),
        last: Some(finding.last),
        why: finding.why,
    }
}

/// Returns the detector as a resumed process would read it back.
fn restored(detector: Detector) -> Detector {
    let saved =
        serde_json::to_string(&detector).expect("plain data with text keys always serialises");
    drop(detector);
    serde_json::from_str(&saved).expect("what was just written reads back")
}
