//! The message that asks the model for another way.
//!
//! It names the call, how often it ran, what it last answered, and what to try
//! instead. The answer is quoted: it is data, not advice.

use super::finding::{Rung, Sighting};
use super::print::Print;

/// Returns the message for one sighting; `print` is the newest call.
pub(super) fn text(sighting: &Sighting, print: &Print, last: u64) -> String {
    let answer = match print.excerpt.is_empty() {
        true => "The last answer was empty.".to_owned(),
        false => format!("The last answer began: «{}».", print.excerpt),
    };
    format!(
        "[agentguard] You are repeating yourself: {} (calls {} to {last}). {answer} {} \
         If nothing is left to try, say what blocks you and finish. If this goes on, the run will be stopped.",
        sighting.why,
        sighting.first,
        advice(sighting.rung)
    )
}

fn advice(rung: Rung) -> &'static str {
    match rung {
        Rung::Deaths => {
            "The process died each time this call was running. Do not make it again; split the work into smaller pieces."
        }
        Rung::SameCallError | Rung::RecurrenceError => {
            "The same call will fail the same way. Read the error, change what causes it, or take another tool."
        }
        Rung::SameError => {
            "Other arguments do not help. Find out what the tool needs, or reach the goal without it."
        }
        Rung::SameCall | Rung::Recurrence => {
            "You have this answer already. Use it, or do something that changes the situation first."
        }
        Rung::Cycle | Rung::Density => {
            "These steps bring nothing new. Leave the cycle: state what you know, and choose a step you have not taken."
        }
        Rung::Reversal => {
            "Both versions were tried. Decide for one with a reason, or look for the cause elsewhere."
        }
        Rung::Growth => "Write the argument anew, short, without what it already contains.",
        Rung::Stagnation => {
            "What you look for is probably not there. Look somewhere else, or go on without it."
        }
        Rung::Polls => {
            "Waiting brought no change. Do other work, wait much longer between looks, or report what is pending."
        }
        Rung::Storm => "The service does not answer. Go on without it, or report that it is down.",
    }
}
