//! What a call tells of the conversation that it belongs to.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use hyper::header::HeaderMap;
use sha2::{Digest as _, Sha256};

use super::super::body::Answer;
use super::super::known::Known;
use super::super::memory;
use super::super::wire::request::{Offered, ToolKind};
use super::super::wire::said::{Role, Said};
use super::super::wire::{Digest, Reply};
use super::{Asking, told_off};
use crate::channel::method::{self, Call, Caller, Heard, Pulse, Speaker};

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

/// Shortest line that one text can quote from another, in characters.
const LINE_CHARS_MIN: usize = 40;

/// Most lines of a text that are kept.
const LINES_MAX: usize = 256;

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
        for place in &self.placed.new {
            if let Some(said) = self.history.get_mut(*place) {
                Known::in_full(&self.asked, said, *place);
            }
        }
        Ok(())
    }

    /// What the call tells.
    pub(super) fn caller(&self) -> Caller {
        let asked = &self.asked;
        let messages = self.meanings.iter().zip(&self.history);
        let messages: Vec<Heard> = messages
            .map(|(meaning, said)| Heard {
                meaning: *meaning,
                speaker: speaker(said),
            })
            .collect();
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
        let operators = messages.iter();
        let operators = operators.take_while(|it| it.speaker == Speaker::Operator);
        for meaning in operators.filter_map(|it| it.meaning) {
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
            lines: lines(before_the_first_answer(&self.history)),
            messages,
            pulse: Pulse::of(&self.life),
        }
    }

    /// What is told of an answer besides its messages.
    pub(super) fn answered(&self, reply: &Reply) -> method::Wire {
        let volatile = &self.shared.settings.volatile;
        let meaning = |message: &serde_json::Value| -> Option<Digest> {
            let json = message.to_string();
            memory::meaning(
                self.api(),
                &json,
                &Said::from_tree(self.api(), message),
                volatile,
            )
        };
        method::Wire {
            ticket: Some(self.placed.ticket),
            meanings: reply.messages.iter().map(meaning).collect(),
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

pub(in super::super) fn speaker(said: &Said) -> Speaker {
    match said.role {
        Role::System => Speaker::Operator,
        Role::Assistant => Speaker::Model,
        Role::User | Role::Tool | Role::Other => Speaker::Other,
    }
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

fn before_the_first_answer(history: &[Arc<Said>]) -> impl Iterator<Item = &str> {
    let before = history.iter();
    let before = before.take_while(|said| said.role != Role::Assistant);
    before.map(|said| said.text.as_str())
}

/// Returns digests of the longer lines of texts.
fn lines<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let lines = texts.flat_map(str::lines).map(str::trim);
    let long = lines.filter(|line| line.chars().nth(LINE_CHARS_MIN - 1).is_some());
    long.take(LINES_MAX)
        .map(|line| {
            let mut hasher = DefaultHasher::new();
            line.hash(&mut hasher);
            hasher.finish()
        })
        .collect()
}
