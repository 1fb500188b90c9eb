//! The words of a finding: why, for a person, and the steer, for the model.
//!
//! A steer names the call, how often it ran, what it last answered, and what
//! to try instead. The answer is quoted: it is data, not advice.

use super::finding::{Rung, Sighting};
use super::print::Print;
use super::window::Window;

/// Slots of a cycle that are named.
const SLOTS_SHOWN: usize = 3;

/// Returns one sentence for a person; `print` is the newest call.
pub(super) fn why(sighting: &Sighting, print: &Print, window: &Window) -> String {
    let Sighting { count, .. } = sighting;
    let (call, tool) = (print.picture(), &print.tool);
    match sighting.rung {
        Rung::Deaths => format!("the process died {count} times while {call} was running"),
        Rung::SameCallError => format!(
            "{call} was called {count} times in a row and failed with the same error each time"
        ),
        Rung::SameCall => {
            format!("{call} was called {count} times in a row and answered the same each time")
        }
        Rung::SameError => {
            format!("`{tool}` gave the same error {count} times, whatever its arguments")
        }
        Rung::Cycle => cycle(sighting, window),
        Rung::Reversal => format!(
            "edits brought a file back to a state it was in before, {count} times; last: {call}"
        ),
        Rung::Growth => format!(
            "an argument of `{tool}` grew by the same piece of text in {count} calls; last: {call}"
        ),
        Rung::RecurrenceError => format!(
            "{call} came back {count} times with the same error, and nothing new was changed in between"
        ),
        Rung::Recurrence => format!(
            "{call} came back {count} times with the same answer, and nothing new was changed in between"
        ),
        Rung::Stagnation => {
            format!("`{tool}` gave the same answer to {count} different questions; last: {call}")
        }
        Rung::Density => format!(
            "{count} of the last calls repeat an earlier call with the same result; last: {call}"
        ),
        Rung::Polls => format!("{call} was asked {count} times and nothing changed"),
        Rung::Storm => {
            format!("{count} infrastructure errors came without an answer; last from {call}")
        }
    }
}

fn cycle(sighting: &Sighting, window: &Window) -> String {
    let period = sighting.period.unwrap_or(0) as usize;
    let slots = (0..period)
        .rev()
        .filter_map(|back| window.back(back))
        .take(SLOTS_SHOWN);
    let pictures: Vec<String> = slots.map(|slot| slot.print.picture()).collect();
    let more = if period > SLOTS_SHOWN { ", …" } else { "" };
    format!(
        "a cycle of {period} calls ran {} times with the same results: {}{more}",
        sighting.count,
        pictures.join(", ")
    )
}

/// Returns the message for the model; `last` is the number of the newest call.
pub(super) fn steer(sighting: &Sighting, why: &str, print: &Print, last: u64) -> String {
    let answer = match print.excerpt.is_empty() {
        true => "The last answer was empty.".to_owned(),
        false => format!("The last answer began: «{}».", print.excerpt),
    };
    format!(
        "[agentguard] You are repeating yourself: {why} (calls {} to {last}). {answer} {} \
         If nothing is left to try, say what blocks you and finish. If this goes on, the run will be stopped.",
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
