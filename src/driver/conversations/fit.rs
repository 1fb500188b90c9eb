//! How a history fits a conversation that is known.

use std::collections::HashSet;

use crate::channel::gateway::wire::Digest;
use crate::channel::heard::{Mark, Words};
use crate::store::Head;

/// A message of a known conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub words: Words,
    /// What all up to it say.
    pub so_far: Digest,
    /// The conversation up to here, with what follows and means nothing.
    pub head: Head,
}

/// How a history fits a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    /// It holds all of it in its first `marks` messages, `same` of them word for word.
    Whole { marks: usize, same: usize },
    /// It does not.
    Part,
}

/// Adds a message.
pub(super) fn push(chain: &mut Vec<Link>, words: Option<Words>, head: Head) {
    match (words, chain.last_mut()) {
        (Some(words), last) => {
            let before = last.map_or(Digest::NONE, |last| last.so_far);
            chain.push(Link {
                words,
                so_far: before.then(words.meaning),
                head,
            });
        }
        (None, Some(last)) => last.head = head,
        (None, None) => {}
    }
}

/// Returns the conversation up to its first `kept` messages.
pub(super) fn head_at(chain: &[Link], kept: usize) -> Head {
    let last = kept.checked_sub(1).and_then(|last| chain.get(last));
    last.map_or(Head::EMPTY, |link| link.head)
}

/// Returns how many messages at the beginning are the same.
pub(super) fn common(chain: &[Link], marks: &[Mark]) -> usize {
    let shorter = chain.len().min(marks.len());
    let mut both = chain.iter().zip(marks);
    let is_same = |(link, mark): &(&Link, &Mark)| link.so_far == mark.so_far;
    match shorter
        .checked_sub(1)
        .and_then(|last| both.clone().nth(last))
    {
        Some(last) if is_same(&last) => shorter,
        _ => both.by_ref().take_while(is_same).count(),
    }
}

/// Looks how a history fits.
pub(super) fn fit(chain: &[Link], marks: &[Mark]) -> Fit {
    let same = common(chain, marks);
    if same == chain.len() && !chain.is_empty() {
        return Fit::Whole { marks: same, same };
    }
    // Some agents write the answer in their own words.
    let answers = chain
        .iter()
        .rev()
        .take_while(|link| link.words.is_reply)
        .count();
    let before = chain.len() - answers;
    if answers > 0 && before > 0 && same >= before {
        let theirs = marks[same..]
            .iter()
            .take_while(|mark| mark.words.is_reply)
            .count();
        if theirs > 0 {
            let marks = same + theirs;
            return Fit::Whole { marks, same };
        }
        return Fit::Part;
    }
    // Others change what was said long ago (old results are cleared).
    if let Some(last) = chain.len().checked_sub(1)
        && marks.get(last).map(|mark| mark.words.meaning)
            == chain.get(last).map(|link| link.words.meaning)
    {
        let both = chain.iter().zip(marks);
        let equal = both.filter(|(link, mark)| link.words.meaning == mark.words.meaning);
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
        words: mark.words,
        so_far: mark.so_far,
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
    let is_reply = |link: &&Link| link.words.is_reply;
    let said: HashSet<Digest> = chain
        .iter()
        .filter(is_reply)
        .map(|link| link.words.meaning)
        .collect();
    let mut replies = marks.iter().filter(|mark| mark.words.is_reply);
    !said.is_empty() && replies.any(|mark| said.contains(&mark.words.meaning))
}

/// The longer lines of a text, by digests.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(HashSet<u64>);

impl Lines {
    pub fn of(lines: Vec<u64>) -> Self {
        Self(lines.into_iter().collect())
    }

    /// Whether one of them stands in another text.
    pub fn are_quoted(&self, lines: &[u64]) -> bool {
        lines.iter().any(|line| self.0.contains(line))
    }
}
