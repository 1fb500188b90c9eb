//! The conversations of a run: which model call belongs to which, and what they
//! are to each other.
//!
//! ```text
//! main    offers tools, came first          turns are steps
//! sub-N   any other with turns              turns are steps
//! side-N  one call without tools, beside    cost and tokens only
//! ```
//!
//! What a conversation is follows from what was seen so far: a lone call without
//! tools is the main conversation until somebody offers tools (an agent asks for
//! the title of its session before it begins), and one that goes on is no side call.

use crate::ids::ConversationNo;
use crate::machine::State;
use crate::machine::event::Place;
use crate::money::NanoUsd;
use crate::policy::budget::Usage;
use crate::policy::loops::{Config, Detector, Digest};

/// Ends of the same conversation that are remembered after the agent left them.
const LEFT_MAX: usize = 64;

/// A conversation of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// What is known of it; from its first call.
    pub place: Place,
    /// Its tip; `None` while it is empty.
    pub head: Option<String>,
    /// Answers that were taken.
    pub turns: u64,
    /// What its calls used, those that failed too.
    pub usage: Usage,
    /// The model that answered last.
    pub model: Option<String>,
    /// Times the agent replaced its history by another one.
    pub rewrites: u64,
    /// Ends that the agent left, the oldest first.
    pub left: Vec<Left>,
    /// What the loop detector remembers of it; `None` where it is switched off.
    pub detector: Option<Detector>,
    /// What it remembered at the conversation's last turn: calls of a step that a
    /// crash cut short are made again, and are no loop.
    pub detector_then: Option<Detector>,
    /// A text that its model should see with the next call.
    pub steer: Option<String>,
    /// What its model last asked of the agent's tools, in this attempt.
    pub asking: Asking,
}

/// What a model asked of the agent's tools with its last answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Asking {
    /// All calls of the answer; none where it asked for nothing.
    pub calls: Digest,
    /// Answers in a row that asked for the same.
    pub times: u32,
}

impl Asking {
    /// Takes note of what an answer asks for.
    ///
    /// - `is_again`: the agent went back, and asked once more.
    fn note(&mut self, calls: Digest, is_again: bool) {
        let is_same = self.calls == calls && !is_again;
        *self = Self {
            calls,
            times: match (calls.is_none(), is_same) {
                (true, _) => 0,
                (false, true) => self.times.saturating_add(1),
                (false, false) => 1,
            },
        };
    }
}

/// An end of a conversation that the agent left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its tip.
    pub head: String,
    /// Messages that what came instead has in common with it.
    pub kept: u64,
    /// Whether what came instead is a summary, not another way.
    pub rewritten: bool,
}

/// What a conversation is to the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The one that does the task.
    Main,
    /// One of its own: a sub-agent, or another task.
    Sub,
    /// A call beside the others: a title, a router.
    Side,
}

impl Conversation {
    pub(super) fn new(loops: Option<&Config>) -> Self {
        let detector = loops.cloned().map(Detector::new);
        Self {
            detector_then: detector.clone(),
            detector,
            ..Self::default()
        }
    }

    /// Takes note of an answer that is a turn of it.
    ///
    /// - `asks`: what it asks of the agent's tools, where that is known.
    pub(super) fn turn(
        &mut self,
        head: Option<String>,
        back_to: Option<u64>,
        rewritten: bool,
        asks: Option<Digest>,
    ) {
        let is_again = back_to.is_some() && !rewritten;
        self.asking.note(asks.unwrap_or_default(), is_again);
        if let (Some(kept), Some(before)) = (back_to, self.head.take()) {
            if self.left.len() == LEFT_MAX {
                self.left.remove(0);
            }
            let head = before;
            self.left.push(Left {
                head,
                kept,
                rewritten,
            });
        }
        self.rewrites += u64::from(rewritten);
        self.head = head;
        self.turns += 1;
        self.detector_then.clone_from(&self.detector);
    }

    /// Counts what one of its calls used.
    pub(super) fn used(&mut self, usage: &Usage) {
        self.usage.tokens = self.usage.tokens.saturating_add(usage.tokens);
        self.usage.cost = NanoUsd(self.usage.cost.0.saturating_add(usage.cost.0));
    }
}

impl Kind {
    /// Returns the word that names begin with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Main => "main",
            Self::Sub => "sub",
            Self::Side => "side",
        }
    }
}

impl State {
    /// Returns the conversation that does the task; where none has begun, the first.
    pub fn main(&self) -> ConversationNo {
        let is_side = |it: &Conversation| self.is_side(it);
        let first = self.conversations.iter().find(|(_, it)| !is_side(it));
        first.map_or(ConversationNo::FIRST, |(number, _)| *number)
    }

    /// Returns what a conversation is to the run.
    pub fn kind(&self, number: ConversationNo) -> Kind {
        match self.conversations.get(&number) {
            Some(it) if self.is_side(it) => Kind::Side,
            _ if number == self.main() => Kind::Main,
            _ => Kind::Sub,
        }
    }

    /// Returns the name by which people call a conversation.
    pub fn conversation_name(&self, number: ConversationNo) -> String {
        match self.kind(number) {
            Kind::Main => Kind::Main.as_str().to_owned(),
            kind => format!("{}-{number}", kind.as_str()),
        }
    }

    /// Returns the tip of a conversation.
    pub fn head_of(&self, number: ConversationNo) -> Option<&str> {
        self.conversations.get(&number)?.head.as_deref()
    }

    /// Returns the tip of the main conversation.
    pub fn head(&self) -> Option<&str> {
        self.head_of(self.main())
    }

    fn is_side(&self, it: &Conversation) -> bool {
        self.offers_tools && !it.place.offers_tools && it.turns <= 1
    }

    /// Returns a conversation to change it; made if it is new.
    pub(super) fn conversation(&mut self, number: ConversationNo) -> &mut Conversation {
        let loops = self.loops.as_ref();
        let entry = self.conversations.entry(number);
        entry.or_insert_with(|| Conversation::new(loops))
    }

    /// Takes note of the conversation of a call that goes out.
    pub(super) fn enters(&mut self, place: Place) {
        let before = self.steps_taken();
        self.offers_tools |= place.offers_tools;
        let it = self.conversation(place.conversation);
        let offers_tools = it.place.offers_tools || place.offers_tools;
        if !place.api.is_empty() {
            let parent = place.parent.or(it.place.parent);
            it.place = Place { parent, ..place };
        }
        it.place.offers_tools = offers_tools;
        self.recount(before);
    }

    /// Turns that are steps.
    pub(super) fn steps_taken(&self) -> u64 {
        let counts = self.conversations.values().filter(|it| !self.is_side(it));
        counts.map(|it| it.turns).sum()
    }

    /// Counts steps again, now that more is known of what is one.
    ///
    /// - `before`: what was counted.
    pub(super) fn recount(&mut self, before: u64) {
        let now = self.steps_taken();
        let more = now.saturating_sub(before);
        // Keys of writes go by the step: no number is given twice once a tool ran.
        let fewer = match self.spend.tool_calls {
            0 => before.saturating_sub(now).min(self.step.0),
            _ => 0,
        };
        self.step.0 = self.step.0 + more - fewer;
        self.spend.steps = self.spend.steps.saturating_add(more).saturating_sub(fewer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::UnixMs;
    use crate::machine::event::Turn;
    use crate::machine::{Event, Policy, advance};

    /// Feeds calls, each `NUMBER` or with `+` if it offers tools: asked, and answered
    /// behind a `.`; tells steps and names.
    fn told(calls: &str) -> String {
        let policy = Policy::default();
        let created = Event::Created {
            name: "task".to_owned(),
            input_hash: String::new(),
            seed: 1,
        };
        let started = Event::AttemptStarted {
            attempt: crate::ids::AttemptNo(1),
            cause: crate::machine::Cause::Fresh,
            note: None,
            how: crate::machine::How::Restart,
        };
        let (state, _) = advance(None, UnixMs(0), created, &policy);
        let (mut state, _) = advance(Some(state), UnixMs(0), started, &policy);
        for word in calls.split(' ') {
            let digits: String = word.chars().filter(char::is_ascii_digit).collect();
            let conversation = ConversationNo(digits.parse().expect("a number"));
            let event = match word.starts_with('.') {
                true => Event::TurnReported(Turn {
                    conversation,
                    from_wire: true,
                    ..Turn::default()
                }),
                false => Event::Reserved {
                    request: 1,
                    worst: Usage::default(),
                    max_tokens: 1,
                    link: Some(0),
                    unasked: None,
                    place: Some(Place {
                        conversation,
                        offers_tools: word.ends_with('+'),
                        api: "messages".to_owned(),
                        ..Place::default()
                    }),
                },
            };
            state = advance(Some(state), UnixMs(0), event, &policy).0;
        }
        assert_eq!(state.step.0, state.spend.steps);
        let names = state.conversations.keys();
        let names: Vec<_> = names.map(|it| state.conversation_name(*it)).collect();
        format!("{} {}", state.step, names.join(" "))
    }

    #[test]
    fn what_is_a_step_table() {
        #[rustfmt::skip]
        let rows = [
            ("turns of the only one",                "1+ .1 1+ .1",             "2 main"),
            ("without tools anywhere, all are",      "1 .1 2 .2 1 .1",          "3 main sub-2"),
            ("a title first is none in the end",     "1 .1 2+ .2",              "1 side-1 main"),
            ("nor one that ends behind the start",   "1 2+ .1 .2",              "1 side-1 main"),
            ("a title later",                        "1+ .1 2 .2 1+ .1",        "2 main side-2"),
            ("sub-agents are",                       "1+ .1 2+ 3+ .3 .2 1+ .1", "4 main sub-2 sub-3"),
            ("what goes on without tools is",        "1+ .1 2 .2 2 .2",         "3 main sub-2"),
            ("a plan before the tools stays first",  "1 .1 1 .1 2+ .2",         "3 main sub-2"),
            ("a call that failed is none",           "1+ .1 2+",                "1 main sub-2"),
        ];
        for (name, calls, want) in rows {
            assert_eq!(told(calls), want, "row: {name}");
        }
    }
}
