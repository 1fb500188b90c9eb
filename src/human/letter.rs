//! What a notification says, and in which shape.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::clock::UnixMs;
use crate::human::inbox::Entry;
use crate::human::token::{LIFE_MS, Secret};
use crate::task::resolved::{Occasion, Target, WebhookFormat};

/// A notification as the outbox keeps it: complete, so that any later process can
/// send it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Letter {
    /// To whom.
    pub to: Target,
    /// What.
    pub message: Message,
}

/// What is told. Its JSON is what a command reads and a webhook is sent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Message {
    /// The version of this shape.
    pub v: u64,
    /// Names the notification; the same when it comes twice.
    pub id: String,
    /// What it is about.
    pub occasion: Occasion,
    /// The same in a sentence.
    pub text: String,
    /// The run in figures.
    pub report: Value,
    /// The question, where one is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub escalation: Option<Value>,
    /// How it can be answered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
}

/// One way to answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Action {
    /// The option.
    pub option: String,
    /// What it means.
    pub label: String,
    /// What to run on this machine.
    pub command: String,
    /// What answers by itself, once and until the deadline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// Returns the ways to answer a question.
pub fn actions(entry: &Entry, secret: Option<&Secret>) -> Vec<Action> {
    let what = &entry.what;
    let latest = what.opened_at.plus(LIFE_MS);
    let expires_at = what
        .deadline
        .map_or(latest, |deadline| deadline.min(latest));
    let action = |choice: &crate::machine::escalation::Choice| Action {
        option: choice.id.clone(),
        label: choice.label.clone(),
        command: format!("agentguard answer {} --choose {}", what.id, choice.id),
        token: secret.map(|secret| secret.sign(&what.id, &choice.id, expires_at)),
    };
    what.ask.options.iter().map(action).collect()
}

/// Returns a question as it goes into a notification.
pub fn question(entry: &Entry, now: UnixMs) -> Value {
    json!(entry.view(now))
}

/// Returns what is posted to a webhook.
pub fn body(message: &Message, format: WebhookFormat) -> Value {
    match format {
        WebhookFormat::Json => json!(message),
        WebhookFormat::Slack => slack(message),
    }
}

/// A message as Slack takes it: a text for the notification, blocks for the channel.
/// The ways to answer are commands, since there is no server behind a button.
fn slack(message: &Message) -> Value {
    let Some(question) = &message.escalation else {
        return json!({ "text": message.text });
    };
    let field = |name: &str| {
        question
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let section = |text: String| {
        // Slack refuses longer ones.
        let text: String = text.chars().take(2_900).collect();
        json!({"type": "section", "text": {"type": "mrkdwn", "text": text}})
    };
    let mut blocks = vec![section(format!("*{}*", escape(&message.text)))];
    for (title, name) in [
        ("Evidence", "evidence"),
        ("Recommended", "recommendation"),
        ("Decide", "decision"),
        ("Without an answer", "default"),
    ] {
        let value = field(name);
        if !value.is_empty() {
            blocks.push(section(format!("*{title}:* {}", escape(value))));
        }
    }
    for action in &message.actions {
        let answer = match &action.token {
            Some(token) => format!("agentguard answer --token {token}"),
            None => action.command.clone(),
        };
        let label = escape(&action.label);
        blocks.push(section(format!(
            "*{}* ({label}): `{answer}`",
            escape(&action.option)
        )));
    }
    json!({ "text": message.text, "blocks": blocks })
}

/// Slack's three special letters.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
