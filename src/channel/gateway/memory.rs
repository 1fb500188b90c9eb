//! What earlier calls tell about the next one.
//!
//! Agents send their whole history with every call. A history that begins like
//! one we have seen costs at most what that one cost, and its new bytes; and the
//! tool results in the part we have seen were told of already.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Weak};

use sha2::{Digest as _, Sha256};

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tokio::time::Instant;

use super::Recorded;
use super::call::Request;
use super::history::History;
use super::known::Known;
use super::quick::{Mark, Quick};
use super::wire::request::Expects;
use super::wire::{Asked, Digest, Framing, Refusal};
use crate::channel::method::Placed;
use crate::ids::ConversationNo;

/// Histories that are remembered; the oldest is forgotten.
const HISTORIES_MAX: usize = 1024;

/// Models whose way of counting is remembered; agents name few.
const MODELS_MAX: usize = 256;

/// Answers that are kept though nobody heard them.
const UNHEARD_MAX: usize = 16;

/// Bytes of a text that are one token in the worst case.
const TOKEN_BYTES: u64 = 2;

/// Tokens that an API adds by itself, generously.
const EXTRA_TOKENS: u64 = 64;

/// What is remembered of a run's calls.
#[derive(Default)]
pub(super) struct Memory {
    /// Histories that were read.
    pub known: Known,
    quick: Quick,
    seen: HashMap<Mark, Seen>,
    order: VecDeque<Mark>,
    /// Input tokens that a model was seen to count beyond what bounds a request that
    /// nothing was known of; there is an entry once one was answered.
    beyond: HashMap<String, u64>,
    /// Held by the call that shows how a model counts.
    proving: HashMap<String, Arc<Mutex<()>>>,
    /// What the model is told with the first call of the attempt.
    note: Option<String>,
    /// Texts for the model, to go out with the next call of their conversation.
    steers: HashMap<ConversationNo, String>,
    /// Tokens of the histories that lie with the upstream, by the answer they end
    /// with (Responses).
    carried: HashMap<String, u64>,
    carried_order: VecDeque<String>,
    /// Answers whose agent had hung up, by their request.
    unheard: HashMap<String, (String, Vec<u8>)>,
    /// Answers of earlier attempts, by their request, in the order they came.
    /// Gone once the agent asks something else.
    recorded: Option<HashMap<String, VecDeque<Recorded>>>,
    /// Conversations of which some were given.
    given: HashSet<ConversationNo>,
    /// Calls that failed for good, by their request.
    failed: HashMap<[u8; 32], Failure>,
    /// Calls under way, by their request.
    under_way: HashMap<String, UnderWay>,
}

/// A call that is under way.
struct UnderWay {
    /// Lives as long as its client listens.
    listener: Weak<()>,
    /// Locked until its end.
    ends: Arc<Mutex<()>>,
}

/// What a call that failed for good was answered.
#[derive(Clone)]
pub(super) struct Failure {
    /// How long whoever asks the same gets the same answer.
    pub until: Instant,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Failure {
    /// Makes one of our own words.
    pub(super) fn from_refusal(refusal: Refusal, until: Instant) -> Self {
        let headers = refusal.headers.iter().map(|(name, value)| {
            let name = hyper::header::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        Self {
            until,
            status: StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_GATEWAY),
            headers: headers.collect(),
            body: refusal.body.into(),
        }
    }
}

/// A history that was answered.
#[derive(Clone, Copy, Default)]
struct Seen {
    input_tokens: u64,
    around: Around,
}

/// What a request holds around its history.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Around {
    /// Its bytes.
    bytes: u64,
    /// What the model reads of it: system prompt and tools.
    mark: Mark,
}

/// The beginning of a history that was answered before.
#[derive(Clone, Copy, Default)]
pub(super) struct Beginning {
    /// How many messages it has.
    pub messages: usize,
    seen: Seen,
}

impl Beginning {
    /// Returns the most input tokens that a body takes that goes on from here.
    ///
    /// - `image_bytes`: those of its new messages that are no text.
    pub(super) fn input_bound(&self, asked: &Asked<'_>, around: Around, image_bytes: u64) -> u64 {
        let messages = asked.messages.iter().skip(self.messages);
        let messages: u64 = messages.map(|raw| raw.len() as u64).sum();
        // As long as it is the same it was counted; else nothing is known of it.
        let around = match around.mark == self.seen.around.mark {
            true => around.bytes.saturating_sub(self.seen.around.bytes),
            false => around.bytes,
        };
        let new = messages.saturating_sub(image_bytes).saturating_add(around);
        let bound = new.div_ceil(TOKEN_BYTES).saturating_add(EXTRA_TOKENS);
        self.seen.input_tokens.saturating_add(bound)
    }
}

impl Memory {
    /// Makes the memory of an attempt.
    pub(super) fn new(answers: Vec<Recorded>, note: Option<String>) -> Self {
        let mut recorded: HashMap<String, VecDeque<Recorded>> = HashMap::new();
        for answer in answers {
            let same = recorded.entry(answer.request.clone()).or_default();
            same.push_back(answer);
        }
        Self {
            note,
            recorded: (!recorded.is_empty()).then_some(recorded),
            ..Self::default()
        }
    }

    /// Keeps a text for the next call of a conversation.
    pub(super) fn steer(&mut self, conversation: ConversationNo, text: String) {
        self.steers.insert(conversation, text);
    }

    /// Takes what the model is told with a call. A call beside the conversation is
    /// told nothing.
    pub(super) fn take_steer(&mut self, placed: &Placed) -> Option<String> {
        let steer = self.steers.remove(&placed.conversation);
        match placed.is_side {
            true => steer,
            false => steer.or_else(|| self.note.take()),
        }
    }

    /// Returns the tokens of a history that lies with the upstream.
    pub(super) fn carried(&self, answer: &str) -> Option<u64> {
        self.carried.get(answer).copied()
    }

    /// Remembers what a history that lies with the upstream holds.
    pub(super) fn carry(&mut self, answer: String, tokens: u64) {
        if self.carried.insert(answer.clone(), tokens).is_none() {
            self.carried_order.push_back(answer);
        }
        if self.carried_order.len() > HISTORIES_MAX
            && let Some(oldest) = self.carried_order.pop_front()
        {
            self.carried.remove(&oldest);
        }
    }

    /// Takes the answer that this request was given before.
    pub(super) fn replay(&mut self, request: &str) -> Option<Recorded> {
        let found = self.recorded.as_mut()?.get_mut(request)?.pop_front()?;
        self.given.extend(found.conversation);
        Some(found)
    }

    /// Returns how many recorded answers nobody has asked for, the first time that
    /// there is something else to be asked.
    ///
    /// A sub-agent that has come to the end of its own answers, and a call beside the
    /// conversation, go to the model by themselves: what others were answered is still
    /// theirs.
    pub(super) fn goes_live(&mut self, placed: &Placed) -> Option<u64> {
        let left = self.recorded.as_ref()?.values().flatten();
        let (mut all, mut own) = (0, 0);
        for answer in left {
            all += 1;
            // Of whom it is not known, it may be everybody's.
            let is_own = answer
                .conversation
                .is_none_or(|it| it == placed.conversation);
            own += u64::from(is_own);
        }
        let is_at_its_end =
            !placed.conversation.is_first() && self.given.contains(&placed.conversation);
        if all > 0 && own == 0 && (placed.is_side || is_at_its_end) {
            return None;
        }
        self.recorded = None;
        Some(all)
    }

    /// Keeps an answer that was paid and that nobody heard.
    pub(super) fn keep_unheard(&mut self, request: String, content_type: String, body: Vec<u8>) {
        if self.unheard.len() < UNHEARD_MAX {
            self.unheard.insert(request, (content_type, body));
        }
    }

    /// Takes such an answer.
    pub(super) fn unheard(&mut self, request: &str) -> Option<(String, Vec<u8>)> {
        self.unheard.remove(request)
    }

    /// Notes that a call goes out; what this returns is held until its end.
    pub(super) fn goes_out(&mut self, request: &str, listener: Weak<()>) -> OwnedMutexGuard<()> {
        let ends = Arc::<Mutex<()>>::default();
        let held = Arc::clone(&ends).try_lock_owned();
        self.under_way.retain(|_, it| it.ends.try_lock().is_err());
        let call = UnderWay { listener, ends };
        self.under_way.insert(request.to_owned(), call);
        held.expect("nobody else has it yet")
    }

    /// Returns what is locked until the end of the same call, where its client hung up.
    pub(super) fn abandoned(&self, request: &str) -> Option<Arc<Mutex<()>>> {
        let call = self.under_way.get(request)?;
        let is_under_way = call.ends.try_lock().is_err();
        let is_heard = call.listener.strong_count() > 0;
        (is_under_way && !is_heard).then(|| Arc::clone(&call.ends))
    }

    /// Remembers a call that failed for good.
    pub(super) fn fail(&mut self, request: &Request, failure: Failure) {
        let now = Instant::now();
        self.failed.retain(|_, failure| now < failure.until);
        self.failed.insert(to_the_byte(request), failure);
    }

    /// Returns what the very same request was answered that failed a moment ago.
    pub(super) fn failed(&self, request: &Request) -> Option<Failure> {
        if self.failed.is_empty() {
            return None;
        }
        let failure = self.failed.get(&to_the_byte(request))?;
        (Instant::now() < failure.until).then(|| failure.clone())
    }

    /// Reads what a request holds around its history.
    ///
    /// - `body_bytes`: of the whole request.
    pub(super) fn around(&self, asked: &Asked<'_>, body_bytes: u64) -> Around {
        let history = asked.messages.iter().map(|raw| raw.len() as u64).sum();
        let tools = asked.tools.iter().map(|tool| {
            let schema = tool.schema.map_or("", |schema| schema.get());
            (tool.name.as_str(), schema)
        });
        let system = asked.system.map_or("", |raw| raw.get());
        Around {
            bytes: body_bytes.saturating_sub(history),
            mark: self.quick.of((system, tools.collect::<Vec<_>>())),
        }
    }

    /// Returns the longest beginning of a history that was seen.
    ///
    /// - `model`: that counted it; others count differently.
    pub(super) fn beginning(&self, history: &History, model: &str) -> Beginning {
        let mut seen = history.beginnings().filter_map(|(messages, mark)| {
            let seen = *self.seen.get(&self.quick.of((model, mark)))?;
            Some(Beginning { messages, seen })
        });
        seen.next().unwrap_or_default()
    }

    /// Remembers what a history took.
    pub(super) fn learn(
        &mut self,
        history: &History,
        model: &str,
        around: Around,
        input_tokens: u64,
    ) {
        let Some((_, mark)) = history.beginnings().next() else {
            return;
        };
        let mark = self.quick.of((model, mark));
        let seen = Seen {
            input_tokens,
            around,
        };
        if self.seen.insert(mark, seen).is_none() {
            self.order.push_back(mark);
        }
        if self.order.len() > HISTORIES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
    }

    /// Returns what a model counts beyond the bound of a request; `None` while nobody
    /// knows.
    pub(super) fn beyond(&self, model: &str) -> Option<u64> {
        self.beyond.get(model).copied()
    }

    /// Remembers how a model counted a request that nothing was known of.
    ///
    /// - `bound`: of its input tokens, by its bytes;
    /// - `input_tokens`: that it counted, if it says so.
    pub(super) fn counted(&mut self, model: &str, bound: u64, input_tokens: Option<u64>) {
        if self.beyond.len() >= MODELS_MAX && !self.beyond.contains_key(model) {
            self.beyond.clear();
        }
        let beyond = self.beyond.entry(model.to_owned()).or_default();
        *beyond = (*beyond).max(input_tokens.unwrap_or_default().saturating_sub(bound));
    }

    /// Returns what the call holds that shows how a model counts.
    pub(super) fn proving(&mut self, model: &str) -> Arc<Mutex<()>> {
        if self.proving.len() >= MODELS_MAX && !self.proving.contains_key(model) {
            self.proving.clear();
        }
        Arc::clone(self.proving.entry(model.to_owned()).or_default())
    }
}

/// Returns what identifies a request: all that the answer depends on and that
/// means something, so not ids, cache marks or the order of keys.
///
/// - `history`: what its messages mean.
pub(super) fn identity(
    asked: &Asked<'_>,
    model: &str,
    framing: Framing,
    history: Digest,
    system: &[u8; 32],
) -> String {
    let mut whole = Sha256::new();
    let mut add = |part: &[u8]| {
        whole.update((part.len() as u64).to_le_bytes());
        whole.update(part);
    };
    let expects = match asked.expects {
        Expects::Text => "",
        Expects::Json => "json",
        Expects::Schema(schema) => schema.get(),
    };
    let former = asked.previous_response_id.as_deref().unwrap_or_default();
    let settings = (asked.max_output, asked.thinking, asked.choices);
    add(format!("{:?} {framing:?} {settings:?}", asked.api).as_bytes());
    add(expects.as_bytes());
    add(former.as_bytes());
    add(model.as_bytes());
    add(system);
    for tool in &asked.tools {
        add(tool.name.as_bytes());
        add(tool.schema.map_or("", |schema| schema.get()).as_bytes());
    }
    add(&history.0);
    whole
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// What tells a request from any other: whoever changes a thing asks anew.
fn to_the_byte(request: &Request) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update(&request.path);
    for value in request.headers.get_all("anthropic-beta") {
        digest.update([0]);
        digest.update(value);
    }
    digest.update([0]);
    digest.update(&request.body);
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::super::volatile::Volatile;
    use super::super::wire::Api;
    use super::super::wire::request;
    use super::*;

    /// A request of these texts of the user, with a tool of so many letters.
    fn body(texts: &[&str], tool: usize) -> String {
        let message = |text: &&str| serde_json::json!({"role": "user", "content": text});
        let messages: Vec<_> = texts.iter().map(message).collect();
        let tool = serde_json::json!({"name": "t", "input_schema": {"d": "x".repeat(tool)}});
        serde_json::json!({"model": "m", "tools": [tool], "messages": messages}).to_string()
    }

    /// The bound of a request; it is learnt as `tokens` then.
    fn bound(memory: &mut Memory, texts: &[&str], tool: usize, tokens: u64) -> (usize, u64) {
        let body = body(texts, tool);
        let asked = request::read(Api::Messages, body.as_bytes()).unwrap();
        let whole = bytes::Bytes::from(body.clone());
        let history = memory
            .known
            .read(&asked, &whole, None, &Volatile::default());
        let around = memory.around(&asked, body.len() as u64);
        let seen = memory.beginning(&history, "m");
        let bound = seen.input_bound(&asked, around, 0);
        memory.learn(&history, "m", around, tokens);
        (seen.messages, bound)
    }

    #[test]
    fn only_what_is_new_is_bounded_by_its_bytes() {
        let mut memory = Memory::default();
        let long = "a".repeat(10_000);
        let (seen, first) = bound(&mut memory, &[&long], 0, 1_500);
        assert!(seen == 0 && first > 5_064, "{first}");
        let (seen, longer) = bound(&mut memory, &[&long, "b"], 0, 1_600);
        assert!(seen == 1 && (1_564..1_600).contains(&longer), "{longer}");
        let (seen, other) = bound(&mut memory, &["b", &long], 0, 1_600);
        assert!(seen == 0 && other > 5_064, "another beginning: {other}");
    }

    #[test]
    fn a_sub_agent_at_its_end_leaves_the_others_theirs() {
        let (main, one, two) = (ConversationNo(1), ConversationNo(2), ConversationNo(3));
        let answer = |request: &str, conversation| Recorded {
            request: request.to_owned(),
            event: crate::ids::Seq(1),
            content_type: String::new(),
            cost_nano_usd: 1,
            conversation: Some(conversation),
        };
        let placed = |conversation, is_side| Placed {
            conversation,
            is_side,
            ..Placed::default()
        };
        #[rustfmt::skip]
        let rows = [
            ("a sub-agent at its end",          vec!["a", "b"],           one, false, None),
            ("one that asks something else",    vec!["a"],                one, false, Some(3)),
            ("a new one",                       vec!["a", "b"],           ConversationNo(9), false, Some(2)),
            ("a title",                         vec!["a"],                ConversationNo(9), true, None),
            ("the main one at its end",         vec!["a", "b"],           main, false, Some(2)),
            ("the last one at its end",         vec!["a", "b", "c", "d"], two, false, Some(0)),
        ];
        for (name, given, conversation, is_side, want) in rows {
            let all = [("a", main), ("b", one), ("c", two), ("d", two)];
            let all = all.into_iter().map(|(request, of)| answer(request, of));
            let mut memory = Memory::new(all.collect(), None);
            for request in given {
                assert!(memory.replay(request).is_some(), "row: {name}");
            }
            let live = memory.goes_live(&placed(conversation, is_side));
            assert_eq!(live, want, "row: {name}");
            let is_kept = memory.recorded.is_some();
            assert_eq!(is_kept, want.is_none(), "row: {name}");
        }
    }

    #[test]
    fn tools_that_go_make_no_room_for_messages() {
        let mut memory = Memory::default();
        bound(&mut memory, &["a"], 20_000, 5_000);
        let (seen, new) = bound(&mut memory, &["a", &"b".repeat(20_000)], 0, 9_000);
        assert!(seen == 1 && new > 5_000 + 10_000, "{new}");
    }
}
