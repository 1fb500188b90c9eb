//! Which conversation of the run a model call belongs to.
//!
//! An agent sends its whole history with each call. A call whose history begins
//! with all of a conversation goes on with it; messages are compared by what they
//! mean, so that clients may write them anew. What an agent says of itself in its
//! headers goes first: calls under different ids are never one conversation.
//!
//! ```text
//! the history begins with the whole conversation      goes on
//! it has a beginning in common, with an answer in it  a branch: the agent went back
//! it quotes the last answer, or keeps later messages  a new base: a summary
//! neither, or the conversation is busy                another conversation
//! no tools, where others offer some                   a call beside
//! ```
//!
//! Pure but for the liveness of calls. What a conversation is to the run (main,
//! sub-agent, side) is the machine's to say.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use crate::channel::gateway::wire::Digest;
use crate::channel::heard::{Heard, Mark, Speaker, Words};
use crate::channel::method::{Caller, Placed, Pulse, Wire};
use crate::ids::ConversationNo;
use crate::machine::State;
use crate::machine::event::Place;
use crate::store::{Head, Message};

mod fit;

use fit::{Fit, Lines, Link};

/// Conversations that calls are compared with; the oldest are forgotten.
const LINES_MAX: usize = 512;

/// Ends of a conversation that were left, and that it may come back to.
const LEFT_MAX: usize = 4;

/// The conversations of an attempt.
#[derive(Debug, Default)]
pub(super) struct Conversations {
    lines: BTreeMap<ConversationNo, Line>,
    open: BTreeMap<u64, Open>,
    next: ConversationNo,
    /// Numbers of conversations that came to nothing.
    free: Vec<ConversationNo>,
    next_ticket: u64,
    /// Whether nothing of this attempt has been placed: then it begins where the
    /// attempt before did, however it words it.
    begins_again: bool,
    /// The main one, as the run knew it when the attempt began.
    main: ConversationNo,
}

/// A conversation.
#[derive(Debug, Default)]
struct Line {
    ids: Ids,
    offers_tools: bool,
    system: String,
    tools: String,
    /// Its messages that mean something.
    chain: Arc<Vec<Link>>,
    left: Vec<Arc<Vec<Link>>>,
    /// Its tip, as far as it is durable or on its way.
    head: Head,
    /// What its last answer said, line by line.
    words: Lines,
    /// The id of its last answer, where the upstream keeps the history.
    answer: Option<String>,
    /// Tool results that were told of behind its tip.
    told: HashSet<Digest>,
}

/// Under which ids of the agent a conversation is led.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Ids {
    /// Nothing of it was heard in this attempt.
    Former,
    Own(Option<String>),
}

impl Default for Ids {
    fn default() -> Self {
        Self::Own(None)
    }
}

/// A call under way.
#[derive(Debug)]
struct Open {
    place: Place,
    pulse: Pulse,
    /// The conversation it goes on from.
    chain: Arc<Vec<Link>>,
    /// How many messages of it.
    kept: usize,
    rewritten: bool,
    /// The messages behind them.
    new: Vec<Option<Words>>,
    /// What tells the request from others.
    whole: Heard,
}

/// Where the messages of a turn go.
pub(super) struct Base {
    /// The conversation.
    pub conversation: ConversationNo,
    /// What they are put behind.
    pub head: Head,
    /// Messages that were kept, where the end of the conversation was left.
    pub back_to: Option<u64>,
    /// Whether a summary stands in its place.
    pub rewritten: bool,
}

impl Conversations {
    /// Takes up the conversations of the attempts before.
    ///
    /// - `read`: returns what leads to a tip, in words of an API: what each message
    ///   means and who speaks.
    pub fn of(
        state: &State,
        read: impl Fn(&str, &Head) -> Vec<(String, Option<Digest>, Speaker)>,
    ) -> Self {
        let (mut lines, mut free) = (BTreeMap::new(), Vec::new());
        let last = state.conversations.keys().next_back();
        for (number, it) in &state.conversations {
            let head: Option<Head> = it.head.as_deref().and_then(|head| head.parse().ok());
            let Some(head) = head else {
                free.extend((it.turns == 0).then_some(*number));
                continue;
            };
            let mut chain = Vec::new();
            let mut tip = Head::EMPTY;
            for (body, meaning, speaker) in read(&it.place.api, &head) {
                tip = tip.then(&body);
                fit::push(&mut chain, Words::of(meaning, speaker), tip);
            }
            let line = Line {
                ids: Ids::Former,
                offers_tools: it.place.offers_tools,
                system: it.place.system.clone(),
                tools: it.place.tools.clone(),
                chain: Arc::new(chain),
                head,
                ..Line::default()
            };
            lines.insert(*number, line);
        }
        Self {
            begins_again: !lines.is_empty(),
            lines,
            open: BTreeMap::new(),
            next: last.map_or(ConversationNo::FIRST, |last| last.next()),
            free: free.into_iter().rev().collect(),
            next_ticket: 1,
            main: state.main(),
        }
    }

    /// Finds the conversation of a call that is about to be made.
    pub fn place(&mut self, caller: Caller) -> Placed {
        self.open.retain(|_, open| open.pulse.beats());
        let found = self.find(&caller);
        let is_new = found.number.is_none();
        let number = found.number.or_else(|| self.unanswered(&caller));
        let number = number.or_else(|| self.free.pop()).unwrap_or_else(|| {
            let next = self.next.next();
            std::mem::replace(&mut self.next, next)
        });
        let others_offer = self.lines.values().any(|line| line.offers_tools);
        self.forget_oldest();
        let line = self.lines.entry(number).or_default();
        line.ids = Ids::Own(caller.ids.clone());
        line.offers_tools |= caller.offers_tools;
        line.system.clone_from(&caller.system);
        line.tools.clone_from(&caller.tools);
        self.begins_again &= !caller.offers_tools && others_offer;
        let known: HashSet<Digest> = match found.rewritten {
            true => found.chain.iter().map(|it| it.words.meaning).collect(),
            false => HashSet::new(),
        };
        let base = fit::head_at(&found.chain, found.kept);
        let mut so_far = Digest(base.hash.0);
        let mut new = Vec::new();
        for mark in marks_from(&caller.messages, found.from) {
            so_far = so_far.then(mark.words.meaning);
            if line.told.insert(so_far) && !known.contains(&mark.words.meaning) {
                new.push(mark.index);
            }
        }
        let open = Open {
            place: Place {
                conversation: number,
                offers_tools: caller.offers_tools,
                api: caller.api,
                agent: caller.agent,
                parent: found.parent.filter(|_| is_new),
                system: caller.system,
                tools: caller.tools,
            },
            pulse: caller.pulse,
            kept: found.kept,
            rewritten: found.rewritten,
            new: caller.messages.behind(found.from),
            whole: caller.messages,
            chain: found.chain,
        };
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.open.insert(ticket, open);
        Placed {
            ticket,
            conversation: number,
            from: found.from,
            new,
            is_side: is_new && !caller.offers_tools && others_offer,
        }
    }

    /// Takes note of a call that was answered from the record.
    pub fn replayed(&mut self, caller: &Caller) {
        self.begins_again = false;
        let marks = caller.messages.marks();
        let begins = |line: &&mut Line| {
            line.ids == Ids::Former && fit::common(&line.chain, marks) == marks.len()
        };
        if let Some(line) = self.lines.values_mut().find(begins) {
            line.ids = Ids::Own(caller.ids.clone());
        }
    }

    /// Returns the conversation of a call under way.
    ///
    /// - `state`: with what it knows already, only the number is given.
    pub fn of_call(&self, ticket: u64, state: &State) -> Option<Place> {
        let place = &self.open.get(&ticket)?.place;
        let known = state.conversations.get(&place.conversation);
        let same = |known: &Place| {
            let of = |it: &Place| [it.api.clone(), it.system.clone(), it.tools.clone()];
            of(known) == of(place) && known.agent == place.agent
        };
        Some(match known.is_some_and(|it| same(&it.place)) {
            false => place.clone(),
            true => Place {
                conversation: place.conversation,
                offers_tools: place.offers_tools,
                ..Place::default()
            },
        })
    }

    /// Returns where the messages of a call that was answered go.
    pub fn base(&self, ticket: u64) -> Option<Base> {
        let open = self.open.get(&ticket)?;
        let conversation = open.place.conversation;
        let line = self.lines.get(&conversation)?;
        let head = fit::head_at(&open.chain, open.kept);
        let leaves = line.head != head && line.head != Head::EMPTY;
        Some(Base {
            conversation,
            head,
            back_to: leaves.then_some(head.len),
            rewritten: leaves && open.rewritten,
        })
    }

    /// Moves a conversation on.
    ///
    /// - `messages`: those that are new, as they are stored; the last of them are the
    ///   answer's;
    /// - `wire`: what else is known of the answer.
    pub fn moved(&mut self, ticket: u64, messages: &[Message], wire: Wire) {
        let Some(open) = self.open.remove(&ticket) else {
            return;
        };
        let Some(line) = self.lines.get_mut(&open.place.conversation) else {
            return;
        };
        let before = std::mem::take(&mut line.chain);
        let leaves = line.head != fit::head_at(&open.chain, open.kept);
        if leaves && !before.is_empty() {
            line.left.truncate(LEFT_MAX - 1);
            line.left.insert(0, before);
        } else {
            drop(before);
        }
        let mut chain = open.chain;
        let links = Arc::make_mut(&mut chain);
        links.truncate(open.kept);
        let said = wire
            .meanings
            .iter()
            .map(|meaning| Words::of(*meaning, Speaker::Model));
        let words = open.new.into_iter().chain(said);
        for (words, message) in words.zip(messages) {
            fit::push(links, words, message.head);
        }
        line.head = messages
            .last()
            .map_or_else(|| fit::head_at(&chain, open.kept), |last| last.head);
        line.chain = chain;
        line.words = Lines::of(wire.lines);
        line.answer = wire.id;
        line.told.clear();
        // Whoever sums a conversation up may do so beside it.
        let words = line.words.clone();
        let parent = open.place.parent.filter(|_| !open.place.offers_tools);
        if let Some(parent) = parent.and_then(|parent| self.lines.get_mut(&parent)) {
            parent.words = words;
        }
    }

    /// Returns a conversation whose first call came to nothing: it is asked again.
    fn unanswered(&self, caller: &Caller) -> Option<ConversationNo> {
        let ids = Ids::Own(caller.ids.clone());
        let is_it = |number: ConversationNo, line: &Line| {
            line.head == Head::EMPTY
                && line.ids == ids
                && line.offers_tools == caller.offers_tools
                && !self.is_busy(number)
        };
        let mut lines = self.lines.iter();
        let found = lines.find(|(number, line)| is_it(**number, line));
        found.map(|(number, _)| *number)
    }

    /// Forgets the oldest; calls beside the others first, and never the first of those
    /// that offer tools.
    fn forget_oldest(&mut self) {
        if self.lines.len() < LINES_MAX {
            return;
        }
        let offers = |(_, line): &(&ConversationNo, &Line)| line.offers_tools;
        let first = self.lines.iter().find(offers).or(self.lines.iter().next());
        let first = first.map(|(number, _)| *number);
        let idle = |(number, _): &(&ConversationNo, &Line)| {
            Some(**number) != first && !self.is_busy(**number)
        };
        let beside = self.lines.iter().filter(idle).find(|it| !offers(it));
        let oldest = beside.or_else(|| self.lines.iter().find(idle));
        if let Some(oldest) = oldest.map(|(number, _)| *number) {
            self.lines.remove(&oldest);
        }
    }

    fn is_busy(&self, number: ConversationNo) -> bool {
        let mut open = self.open.values();
        open.any(|open| open.place.conversation == number)
    }

    /// Whether a conversation can take the call: nothing is under way in it, but
    /// what may be the same call, asked again.
    fn is_free(&self, number: ConversationNo, caller: &Caller) -> bool {
        let of_it = |open: &&Open| open.place.conversation == number;
        let mut open = self.open.values().filter(of_it);
        let says = |heard: &Heard| {
            let marks = heard.marks();
            (marks.len(), marks.last().map(|last| last.so_far))
        };
        let asked = says(&caller.messages);
        caller.ids.is_some() || open.all(|open| says(&open.whole) == asked)
    }

    fn find(&self, caller: &Caller) -> Found {
        let marks = caller.messages.marks();
        let theirs = |line: &Line| match &line.ids {
            Ids::Former => true,
            Ids::Own(ids) => *ids == caller.ids,
        };
        let mut best = Candidates::default();
        for (number, line) in self.lines.iter().filter(|(_, line)| theirs(line)) {
            if let (Some(former), true) = (&caller.follows, line.answer.is_some())
                && line.answer.as_ref() == Some(former)
            {
                return Found::goes_on(*number, &line.chain, line.chain.len(), 0);
            }
            let chains = std::iter::once(&line.chain).chain(&line.left);
            best.0.extend(chains.map(|chain| Candidate {
                number: *number,
                line,
                chain,
                fit: fit::fit(chain, marks),
            }));
        }
        if let Some(found) = best.goes_on(self, caller) {
            return found;
        }
        if caller.follows.is_some()
            && let Some((number, line)) = self.lines.iter().next()
        {
            // The history lies with the upstream, and began before this attempt.
            return Found::goes_on(*number, &line.chain, line.chain.len(), 0);
        }
        let offers = self.lines.values().any(|line| line.offers_tools);
        if offers && !caller.offers_tools {
            return best.begin(marks);
        }
        if let Some(found) = best.leaves(self, caller) {
            return found;
        }
        if let Some(line) = self.lines.get(&self.main)
            && self.begins_again
        {
            let kept = fit::common(&line.chain, marks);
            return Found {
                rewritten: kept == 0,
                ..Found::goes_on(self.main, &line.chain, kept, behind(marks, kept))
            };
        }
        best.begin(marks)
    }
}

/// Returns the place of the first message behind so many that are compared.
fn behind(marks: &[Mark], kept: usize) -> usize {
    let last = kept.checked_sub(1).and_then(|last| marks.get(last));
    last.map_or(0, |mark| mark.index + 1)
}

/// The messages from a place on that are compared.
fn marks_from(heard: &Heard, from: usize) -> &[Mark] {
    let marks = heard.marks();
    &marks[marks.partition_point(|mark| mark.index < from)..]
}

/// The conversation of a call.
struct Found {
    /// `None`: a new one.
    number: Option<ConversationNo>,
    parent: Option<ConversationNo>,
    chain: Arc<Vec<Link>>,
    kept: usize,
    /// The first message that is new to it.
    from: usize,
    rewritten: bool,
}

impl Found {
    fn goes_on(number: ConversationNo, chain: &Arc<Vec<Link>>, kept: usize, from: usize) -> Self {
        Self {
            number: Some(number),
            parent: None,
            chain: Arc::clone(chain),
            kept,
            from,
            rewritten: false,
        }
    }
}

/// A conversation up to one of its ends, which a call may belong to.
struct Candidate<'a> {
    number: ConversationNo,
    line: &'a Line,
    chain: &'a Arc<Vec<Link>>,
    fit: Fit,
}

/// All of them.
#[derive(Default)]
struct Candidates<'a>(Vec<Candidate<'a>>);

impl Candidates<'_> {
    fn goes_on(&self, all: &Conversations, caller: &Caller) -> Option<Found> {
        let marks = caller.messages.marks();
        let fitting = self.0.iter().filter_map(|it| {
            let line = it.line;
            let is_alike = line.offers_tools == caller.offers_tools
                || line.system == caller.system
                || !line.offers_tools;
            match it.fit {
                Fit::Whole { marks, same } if is_alike => Some((it, marks, same)),
                Fit::Whole { .. } | Fit::Part => None,
            }
        });
        let free = fitting.filter(|(it, ..)| all.is_free(it.number, caller));
        let (it, held, same) = free.max_by_key(|(_, _, same)| *same)?;
        let index = behind(marks, held);
        if same == it.chain.len() {
            return Some(Found::goes_on(it.number, it.chain, same, index));
        }
        let chain = Arc::new(fit::reworded(it.chain, &marks[..held]));
        Some(Found::goes_on(it.number, &chain, held, index))
    }

    /// The agent left the end of a conversation.
    fn leaves(&self, all: &Conversations, caller: &Caller) -> Option<Found> {
        let marks = caller.messages.marks();
        let found = self.0.iter().filter_map(|it| {
            let (line, chain) = (it.line, it.chain);
            let is_alike = line.system == caller.system || line.tools == caller.tools;
            if !is_alike || !all.is_free(it.number, caller) || chain.is_empty() {
                return None;
            }
            let kept = fit::common(chain, marks);
            let rest = &marks[kept..];
            let quotes = line.words.are_quoted(&caller.lines);
            let is_summary = quotes || fit::keeps_later(&chain[kept..], rest);
            let shares = rest.is_empty() || chain[..kept].iter().any(|link| link.words.is_reply);
            let is_bound = caller.ids.is_some() && line.ids == Ids::Own(caller.ids.clone());
            (is_summary || shares || is_bound).then(|| {
                let rewritten = !rest.is_empty() && (is_summary || !shares);
                let index = behind(marks, kept);
                let found = Found::goes_on(it.number, chain, kept, index);
                (kept, Found { rewritten, ..found })
            })
        });
        let best = found.max_by_key(|(kept, _)| *kept);
        best.map(|(_, found)| found)
    }

    /// A conversation that is new; with a beginning that it shares with another, if
    /// there is an answer in it.
    fn begin(&self, marks: &[Mark]) -> Found {
        let shared = self.0.iter().filter_map(|it| {
            let kept = fit::common(it.chain, marks);
            let has_answer = it.chain[..kept].iter().any(|link| link.words.is_reply);
            has_answer.then_some((it.number, it.chain, kept))
        });
        let (parent, chain, kept) = match shared.max_by_key(|(_, _, kept)| *kept) {
            Some((number, chain, kept)) => (Some(number), Arc::clone(chain), kept),
            None => (None, Arc::default(), 0),
        };
        Found {
            number: None,
            parent,
            chain,
            kept,
            from: behind(marks, kept),
            rewritten: false,
        }
    }
}

#[cfg(test)]
mod tests;
