//! What a call tells of the conversation that it belongs to.

use std::sync::Arc;

use hyper::header::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::super::body::Answer;
use super::super::history::{lines, meaning, speaker};
use super::super::wire::request::{Offered, ToolKind};
use super::super::wire::said::Said;
use super::super::wire::{Digest, Reply};
use super::{Asking, told_off};
use crate::channel::heard::Speaker;
use crate::channel::method::{self, Call, Caller, Pulse};

/// Headers by which agents tell their sessions apart, sub-agents included.
const IDS: [&str; 7] = [
    "x-claude-code-session-id",
    AGENT,
    "session-id",
    "session_id",
    "thread-id",
    "x-session-id",
    "x-affinity",
];

/// The one that names a sub-agent.
const AGENT: &str = "x-claude-code-agent-id";

/// Longest id that is taken, in characters.
const ID_CHARS_MAX: usize = 120;

/// Tools that the upstream names by type and the agent runs all the same.
const RUN_BY_AGENT: [&str; 7] = [
    "apply_patch",
    "bash",
    "computer",
    "local_shell",
    "memory",
    "shell",
    "text_editor",
];

impl Asking<'_> {
    /// Learns which conversation the call belongs to.
    ///
    /// Errors: what the agent is told.
    pub(super) async fn place(&mut self) -> Result<(), Answer> {
        let caller = Box::new(self.caller());
        match self.shared.hub.ask(Call::Place(caller)).await {
            Ok(method::Answer::Placed(placed)) => self.placed = placed,
            Ok(_) => {}
            Err(error) => return Err(told_off(self.api(), &error)),
        }
        Ok(())
    }

    /// What the call tells.
    pub(super) fn caller(&self) -> Caller {
        let asked = &self.asked;
        let headers = &self.request.headers;
        let ids: Vec<&str> = IDS.iter().filter_map(|id| header(headers, id)).collect();
        let mut tools = Sha256::new();
        for tool in &asked.tools {
            tools.update(&tool.name);
            tools.update([0]);
        }
        // Chat and Responses put the system prompt before the messages.
        let mut system = Sha256::new();
        system.update(self.system);
        let messages = self.history.said().zip(self.history.meanings());
        let operators = messages.take_while(|(said, _)| speaker(said) == Speaker::Operator);
        for meaning in operators.filter_map(|(_, meaning)| meaning) {
            system.update(meaning.0);
        }
        Caller {
            api: asked.api.name().to_owned(),
            ids: (!ids.is_empty()).then(|| ids.join(" ")),
            agent: header(headers, AGENT).map(str::to_owned),
            system: short(system),
            tools: short(tools),
            offers_tools: asked.tools.iter().any(is_run_by_agent),
            follows: asked.previous_response_id.clone(),
            lines: self.history.lines().to_vec(),
            messages: self.history.heard().clone(),
            pulse: Pulse::of(&self.life),
        }
    }

    /// What is told of an answer besides its messages.
    pub(super) fn answered(&self, reply: &Reply) -> method::Wire {
        let volatile = &self.shared.settings.volatile;
        let meant = |message: &serde_json::Value| -> Option<Digest> {
            let json = message.to_string();
            let said = Said::from_tree(self.api(), message);
            meaning(self.api(), &json, &said, volatile)
        };
        method::Wire {
            ticket: Some(self.placed.ticket),
            meanings: reply.messages.iter().map(meant).collect(),
            lines: lines(std::iter::once(reply.text.as_str())),
            id: reply.id.clone(),
            ..method::Wire::default()
        }
    }
}

/// Holds as long as somebody waits for the call.
pub(super) fn life() -> Arc<()> {
    Arc::new(())
}

fn is_run_by_agent(tool: &Offered<'_>) -> bool {
    let is_known = |name: &&str| tool.name.starts_with(*name);
    tool.kind != ToolKind::BuiltIn || RUN_BY_AGENT.iter().any(is_known)
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?.trim();
    let end = value.char_indices().nth(ID_CHARS_MAX);
    let value = &value[..end.map_or(value.len(), |(end, _)| end)];
    (!value.is_empty()).then_some(value)
}

fn short(digest: Sha256) -> String {
    let bytes: [u8; 32] = digest.finalize().into();
    bytes[..8]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
