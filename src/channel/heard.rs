//! The messages of a model call, as far as they tell the conversation it belongs to.

use std::sync::Arc;

use super::gateway::wire::Digest;

/// Who speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Speaker {
    /// The operator (`system`, `developer`).
    Operator,
    /// The model.
    Model,
    /// The user, or a tool.
    #[default]
    Other,
}

/// A message as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// What it means.
    pub meaning: Digest,
    /// Whether the model says it.
    pub is_reply: bool,
}

impl Words {
    /// Reads a message. What operators say is put in and taken out at will, and
    /// reasoning (which means nothing) dropped: neither has a place.
    pub fn of(meaning: Option<Digest>, speaker: Speaker) -> Option<Self> {
        let is_reply = speaker == Speaker::Model;
        let meaning = meaning.filter(|_| speaker != Speaker::Operator)?;
        Some(Self { meaning, is_reply })
    }
}

/// A message of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its place among all messages of the call, from 0.
    pub index: usize,
    /// What is said.
    pub words: Words,
    /// What all up to it say.
    pub so_far: Digest,
}

/// All messages of a call. Whoever adds one to many only adds one, as long as nobody
/// else holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    messages: usize,
    marks: Arc<Vec<Mark>>,
}

impl Heard {
    /// Adds a message.
    pub fn push(&mut self, meaning: Option<Digest>, speaker: Speaker) {
        let index = self.messages;
        self.messages += 1;
        if let Some(words) = Words::of(meaning, speaker) {
            let marks = Arc::make_mut(&mut self.marks);
            let before = marks.last().map_or(Digest::NONE, |last| last.so_far);
            marks.push(Mark {
                index,
                words,
                so_far: before.then(words.meaning),
            });
        }
    }

    /// Leaves only the first messages.
    pub fn truncate(&mut self, messages: usize) {
        self.messages = self.messages.min(messages);
        let kept = self.marks.partition_point(|mark| mark.index < messages);
        if kept < self.marks.len() {
            Arc::make_mut(&mut self.marks).truncate(kept);
        }
    }

    /// Returns those that are compared.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Returns what is said from a message on; `None` for what is not compared.
    pub fn behind(&self, from: usize) -> Vec<Option<Words>> {
        let mut behind = vec![None; self.messages.saturating_sub(from)];
        let first = self.marks.partition_point(|mark| mark.index < from);
        for mark in &self.marks[first..] {
            behind[mark.index - from] = Some(mark.words);
        }
        behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_off_and_said_again_is_the_same() {
        let said = |number: u8| (number != 0).then_some(Digest([number; 32]));
        let mut heard = Heard::default();
        for number in [1, 0, 2, 3] {
            heard.push(said(number), Speaker::Other);
        }
        heard.push(said(9), Speaker::Operator);
        let whole = heard.clone();
        heard.truncate(2);
        assert_eq!(heard.marks(), &whole.marks()[..1]);
        heard.push(said(2), Speaker::Other);
        heard.push(said(3), Speaker::Other);
        heard.push(None, Speaker::Other);
        assert_eq!(heard, whole);
        let words = |number: u8| Words::of(said(number), Speaker::Other);
        assert_eq!(whole.behind(1), [None, words(2), words(3), None]);
        heard.truncate(3);
        heard.push(said(4), Speaker::Other);
        let [.., one, other] = [heard.marks()[2], whole.marks()[2]];
        assert_ne!(one.so_far, other.so_far);
    }
}
