//! `agentguard escalate`

use clap::Args;

use super::inside::{self, AnswerArgs};
use super::{Global, Result};
use crate::channel::flags::{self, EscalateFlags};
use crate::exit_code;
use crate::task::units;

/// Inside a run: ask a human
///
/// Waits for the answer and prints the option that was chosen; words that came
/// with it go to stderr. When nobody answers by the deadline, the default stands:
/// do nothing for what cannot be taken back, else proceed. The same question again
/// is answered from the record. Exit code 0: decided; 25: the run is suspended
/// until there is an answer, ask again after the resume; any other from 20 on: the
/// run is ending.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  choice=$(agentguard escalate --question 'Two customers are called Lee. Which one?' --option u17='Ann Lee' --option u92='Bo Lee' --default u17) || exit
  agentguard escalate --question 'Delete the old index?' --irreversible --evidence \"$(du -sh index)\" --deadline 10m
  agentguard escalate --question 'Is this refund covered by our terms?' --kind uncovered --confidence 0.4 --json")]
pub struct EscalateArgs {
    /// The question
    #[arg(long, value_name = "TEXT")]
    question: String,
    /// What can be chosen; may be repeated. Default: `yes` and `no`
    #[arg(long = "option", short = 'o', value_name = "ID[=LABEL]")]
    options: Vec<String>,
    /// The option that stands when nobody answers in time
    #[arg(long, value_name = "ID")]
    default: Option<String>,
    /// What you would do
    #[arg(long = "recommend", value_name = "TEXT")]
    recommendation: Option<String>,
    /// What a human should have seen first
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    evidence: Option<String>,
    /// The smallest decision that is needed
    #[arg(long, value_name = "TEXT")]
    decision: Option<String>,
    /// Why it is asked: `agent`, `low_confidence` or `uncovered`
    #[arg(long, value_name = "KIND")]
    kind: Option<String>,
    /// What follows cannot be taken back
    #[arg(long)]
    irreversible: bool,
    /// The money at stake, in US dollars
    #[arg(long, value_name = "USD")]
    cost_usd: Option<String>,
    /// How sure you are, from 0 to 1
    #[arg(long, value_name = "SHARE")]
    confidence: Option<f64>,
    /// How long a human has, such as `10m`. Default: as the task file says
    #[arg(long, value_name = "TIME")]
    deadline: Option<units::Duration>,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Asks.
pub fn main(_: &Global, args: EscalateArgs) -> Result {
    let params = flags::escalate(&EscalateFlags {
        question: args.question,
        options: args.options,
        default: args.default,
        recommendation: args.recommendation,
        evidence: args.evidence,
        decision: args.decision,
        kind: args.kind,
        is_irreversible: args.irreversible,
        cost_usd: args.cost_usd,
        confidence: args.confidence,
        deadline_ms: args.deadline.map(|deadline| deadline.0),
    })
    .map_err(inside::usage)?;
    let (told, answer) = inside::ask("escalate", &params, &args.answer)?;
    let answer_text = |name: &str| {
        let value: serde_json::Value = serde_json::from_str(answer.get()).ok()?;
        Some(value.get(name)?.as_str()?.to_owned())
    };
    if let Some(note) = answer_text("note").filter(|_| !args.answer.json) {
        let by = answer_text("by").unwrap_or_default();
        super::look::say(&crate::observe::plain::line(&format!("{by}: {note}")));
    }
    inside::print(
        &args.answer,
        &told,
        &answer,
        answer_text("option").as_deref(),
    )?;
    Ok(inside::stop_code(&told).unwrap_or(exit_code::DONE))
}
