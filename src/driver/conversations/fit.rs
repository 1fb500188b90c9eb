//! How a history fits a conversation that is known.

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use crate::channel::gateway::wire::Digest;
use crate::channel::method::Speaker;
use crate::store::Head;

/// A message of a known conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub meaning: Digest,
    pub is_reply: bool,
    /// The conversation up to here, with what follows and means nothing.
    pub head: Head,
}

/// A message of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its place among all messages of the call.
    pub index: usize,
    pub meaning: Digest,
    pub is_reply: bool,
}

/// How a history fits a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It holds all of it in its first `marks` messages, `same` of them word for word.
    Whole { marks: usize, same: usize },
    /// It does not.
    Part,
}

/// Returns a message as it is compared. What operators say is put in and taken out
/// at will, and reasoning dropped: neither has a place.
pub(super) fn mark(meaning: Option<Digest>, speaker: Speaker) -> Option<(Digest, bool)> {
    match speaker {
        Speaker::Operator => None,
        Speaker::Other => Some((meaning?, false)),
        Speaker::Model => Some((meaning?, true)),
    }
}

/// Adds a message.
pub(super) fn push(chain: &mut Vec<Link>, mark: Option<(Digest, bool)>, head: Head) {
    match (mark, chain.last_mut()) {
        (Some((meaning, is_reply)), _) => chain.push(Link {
            meaning,
            is_reply,
            head,
        }),
        (None, Some(last)) => last.head = head,
        (None, None) => {}
    }
}

/// Returns the conversation up to its first `kept` messages.
pub(super) fn head_at(chain: &[Link], kept: usize) -> Head {
    let last = kept.checked_sub(1).and_then(|last| chain.get(last));
    last.map_or(Head::EMPTY, |link| link.head)
}

/// Returns a digest of what came before and a message.
pub(super) fn joined(before: [u8; 32], meaning: Digest) -> [u8; 32] {
    let digest = Sha256::new().chain_update(before);
    digest.chain_update(meaning.0).finalize().into()
}

/// Returns how many messages at the beginning are the same.
pub(super) fn common(chain: &[Link], marks: &[Mark]) -> usize {
    let both = chain.iter().zip(marks);
    both.take_while(|(link, mark)| link.meaning == mark.meaning)
        .count()
}

/// Looks how a history fits.
pub(super) fn fit(chain: &[Link], marks: &[Mark]) -> Fit {
    let same = common(chain, marks);
    if same == chain.len() && !chain.is_empty() {
        return Fit::Whole { marks: same, same };
    }
    // Some agents write the answer in their own words.
    let answers = chain.iter().rev().take_while(|link| link.is_reply).count();
    let before = chain.len() - answers;
    if answers > 0 && before > 0 && same >= before {
        let theirs = marks[same..]
            .iter()
            .take_while(|mark| mark.is_reply)
            .count();
        if theirs > 0 {
            let marks = same + theirs;
            return Fit::Whole { marks, same };
        }
        return Fit::Part;
    }
    // Others change what was said long ago (old results are cleared).
    if let Some(last) = chain.len().checked_sub(1)
        && marks.get(last).map(|mark| mark.meaning) == chain.get(last).map(|link| link.meaning)
    {
        let both = chain.iter().zip(marks);
        let equal = both.filter(|(link, mark)| link.meaning == mark.meaning);
        let same = equal.count();
        if same * 2 >= chain.len() {
            let marks = chain.len();
            return Fit::Whole { marks, same };
        }
    }
    Fit::Part
}

/// Returns a conversation in the words of an agent that has its own, so that its next
/// call is known by them.
///
/// - `marks`: those in which it was found.
pub(super) fn reworded(chain: &[Link], marks: &[Mark]) -> Vec<Link> {
    let tip = head_at(chain, chain.len());
    let heads = chain.iter().map(|link| link.head);
    let heads = heads.chain(std::iter::repeat(tip));
    let link = |(mark, head): (&Mark, Head)| Link {
        meaning: mark.meaning,
        is_reply: mark.is_reply,
        head,
    };
    let mut links: Vec<Link> = marks.iter().zip(heads).map(link).collect();
    if let Some(last) = links.last_mut() {
        last.head = tip;
    }
    links
}

/// Whether answers of a conversation come back in another place.
pub(super) fn keeps_later(chain: &[Link], marks: &[Mark]) -> bool {
    let is_reply = |link: &&Link| link.is_reply;
    let said: HashSet<Digest> = chain
        .iter()
        .filter(is_reply)
        .map(|link| link.meaning)
        .collect();
    let mut replies = marks.iter().filter(|mark| mark.is_reply);
    !said.is_empty() && replies.any(|mark| said.contains(&mark.meaning))
}

/// The longer lines of a text, by digests.
#[derive(Clone, Debug, Default)]
pub(super) struct Words(HashSet<u64>);

impl Words {
    pub fn of(lines: Vec<u64>) -> Self {
        Self(lines.into_iter().collect())
    }

    /// Whether one of them stands in another text.
    pub fn are_quoted(&self, lines: &[u64]) -> bool {
        lines.iter().any(|line| self.0.contains(line))
    }
}
