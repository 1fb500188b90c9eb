//! The conversations of a run, as `show` lists them.
//!
//! Pure. The main one first, then those of its own, then the calls beside.

use serde::Serialize;

use crate::ids::ConversationNo;
use crate::machine::{Conversation, Kind, State};

/// A conversation in figures. Field names are part of `--json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Its name: `main`, `sub-3`, `side-1`.
    pub name: String,
    /// `main`, `sub` or `side`.
    pub kind: &'static str,
    /// What the agent calls it, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The name of the conversation whose beginning it shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Answers that were taken; of a side call they are no steps.
    pub turns: u64,
    /// Tokens of every kind, of calls that failed too.
    pub tokens: u64,
    /// The same in US dollars as text, exact.
    pub cost_usd: String,
    /// The model that answered last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Times its history was replaced by another one.
    pub rewrites: u64,
    /// Times the agent went back in it and asked otherwise.
    pub branches: u64,
}

/// Lists the conversations in which something was said or used.
pub fn list(state: &State) -> Vec<(ConversationNo, Told)> {
    let is_there = |(_, it): &(&ConversationNo, &Conversation)| it.turns > 0 || it.usage.tokens > 0;
    let mut found: Vec<_> = state
        .conversations
        .iter()
        .filter(is_there)
        .map(|(number, it)| (state.kind(*number), *number, told(state, *number, it)))
        .collect();
    found.sort_by_key(|(kind, number, _)| (rank(*kind), *number));
    found
        .into_iter()
        .map(|(_, number, told)| (number, told))
        .collect()
}

fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::Main => 0,
        Kind::Sub => 1,
        Kind::Side => 2,
    }
}

fn told(state: &State, number: ConversationNo, it: &Conversation) -> Told {
    let branches = it.left.iter().filter(|left| !left.rewritten).count();
    Told {
        name: state.conversation_name(number),
        kind: state.kind(number).as_str(),
        agent: it.place.agent.clone(),
        parent: it
            .place
            .parent
            .map(|parent| state.conversation_name(parent)),
        turns: it.turns,
        tokens: it.usage.tokens,
        cost_usd: it.usage.cost.to_string(),
        model: it.model.clone(),
        rewrites: it.rewrites,
        branches: branches as u64,
    }
}

impl Told {
    /// Returns what stands above its messages.
    pub fn heading(&self) -> String {
        let turns = match (self.kind, self.turns) {
            ("side", _) => "no step".to_owned(),
            (_, 1) => "1 step".to_owned(),
            (_, turns) => format!("{turns} steps"),
        };
        let mut parts = vec![
            turns,
            format!("{} tokens", self.tokens),
            format!("{} USD", self.cost_usd),
        ];
        parts.extend(self.model.clone());
        parts.extend(self.agent.as_ref().map(|agent| format!("agent {agent}")));
        let parent = self.parent.as_ref();
        parts.extend(parent.map(|parent| format!("begins as {parent}")));
        format!("{}: {}", self.name, parts.join(", "))
    }
}
