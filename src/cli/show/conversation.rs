//! The conversations of a run, as transcripts and as JSON.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::cli::error::{Failure, Kind};
use crate::ids::ConversationNo;
use crate::machine::{Left, State};
use crate::observe::conversations::{self, Told};
use crate::observe::{plain, transcript};
use crate::store::{Head, Store};

type Result<T> = std::result::Result<T, Failure>;

/// Longest heading, in characters.
const HEADING_CHARS_MAX: usize = 300;

/// A conversation in `--json`.
#[derive(Serialize)]
pub(super) struct Document {
    #[serde(flatten)]
    told: Told,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<Vec<Box<RawValue>>>,
    /// What was said at ends that the agent left.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left: Vec<LeftDocument>,
}

/// An end of a conversation that the agent left.
#[derive(Serialize)]
struct LeftDocument {
    /// Messages that it has in common with what came instead.
    kept: u64,
    /// Whether a summary came instead.
    rewritten: bool,
    /// What came behind those.
    messages: Vec<Box<RawValue>>,
}

/// Chooses conversations by name: all, without one.
///
/// Errors: no conversation has that name.
pub(super) fn choose(state: &State, name: Option<&str>) -> Result<Vec<(ConversationNo, Told)>> {
    let all = conversations::list(state);
    let name = match name {
        None | Some("all") => return Ok(all),
        Some(name) => name,
    };
    let is_it = |told: &Told| told.name == name || told.agent.as_deref() == Some(name);
    let names: Vec<String> = all.iter().map(|(_, told)| told.name.clone()).collect();
    let found: Vec<_> = all.into_iter().filter(|(_, told)| is_it(told)).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let there = match names.is_empty() {
        true => "it has none yet".to_owned(),
        false => format!("it has {}", names.join(", ")),
    };
    let name = plain::excerpt(name, 80);
    let failure = Failure::usage(format!("the run has no conversation `{name}`"));
    Err(failure.hint(there))
}

/// Returns conversations as `--json` has them.
pub(super) fn documents(
    store: &dyn Store,
    state: &State,
    chosen: &[(ConversationNo, Told)],
    with_messages: bool,
) -> Result<Vec<Document>> {
    let document = |(number, told): &(ConversationNo, Told)| {
        let told = told.clone();
        if !with_messages {
            return Ok(Document {
                told,
                messages: None,
                left: vec![],
            });
        }
        let left = left(state, *number).iter().map(|left| {
            Ok(LeftDocument {
                kept: left.kept,
                rewritten: left.rewritten,
                messages: raw(behind(store, left)?)?,
            })
        });
        Ok(Document {
            told,
            messages: Some(raw(messages(store, state.head_of(*number))?)?),
            left: left.collect::<Result<_>>()?,
        })
    };
    chosen.iter().map(document).collect()
}

/// Returns the messages of the first of them.
pub(super) fn first(documents: &[Document]) -> Vec<Box<RawValue>> {
    let first = documents.first().and_then(|first| first.messages.clone());
    first.unwrap_or_default()
}

/// Returns conversations as people read them.
pub(super) fn transcript(
    store: &dyn Store,
    state: &State,
    chosen: &[(ConversationNo, Told)],
) -> Result<String> {
    let mut text = String::new();
    let is_alone = chosen.len() == 1 && state.conversations.len() == 1;
    for (number, told) in chosen {
        if !is_alone {
            let heading = plain::excerpt(&told.heading(), HEADING_CHARS_MAX);
            text.push_str(&format!("\n{heading}\n"));
        }
        for (place, body) in messages(store, state.head_of(*number))?.iter().enumerate() {
            text.push_str(&transcript::message(place + 1, body));
        }
        for left in left(state, *number) {
            let kept = left.kept;
            text.push_str(&match left.rewritten {
                true => format!("  before its history was rewritten, behind message {kept}:\n"),
                false => format!("  before it went back to message {kept}:\n"),
            });
            let first = usize::try_from(kept).unwrap_or(usize::MAX);
            for (place, body) in behind(store, left)?.iter().enumerate() {
                text.push_str(&transcript::message(first.saturating_add(place + 1), body));
            }
        }
    }
    Ok(text)
}

fn left(state: &State, number: ConversationNo) -> &[Left] {
    let it = state.conversations.get(&number);
    it.map_or(&[], |it| it.left.as_slice())
}

/// Returns what was said at an end that the agent left.
fn behind(store: &dyn Store, left: &Left) -> Result<Vec<String>> {
    let all = messages(store, Some(&left.head))?.into_iter();
    Ok(all
        .skip(usize::try_from(left.kept).unwrap_or(usize::MAX))
        .collect())
}

fn messages(store: &dyn Store, head: Option<&str>) -> Result<Vec<String>> {
    let Some(head) = head else {
        return Ok(vec![]);
    };
    let head: Head = head.parse().map_err(|error| {
        Failure::from_error(Kind::Environment, &error)
            .within("the conversation cannot be found".into())
    })?;
    Ok(store.conversation(&head)?)
}

/// Messages are JSON as they came; they stay so.
fn raw(bodies: Vec<String>) -> Result<Vec<Box<RawValue>>> {
    bodies
        .into_iter()
        .map(|body| {
            RawValue::from_string(body)
                .map_err(|error| Failure::from_error(Kind::Environment, &error))
        })
        .collect()
}
