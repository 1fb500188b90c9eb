//! Which model answers when the one that was asked does not: the chain, and the
//! tree that leads along it.
//!
//! Pure. A failed try of a model call gives a [`Signal`]; the [`TREE`] says for
//! each signal what comes first (wait, try again, leave at once, conclude), to
//! which level of the chain the call goes then, and what is left alone for a
//! while. What rests is asked again when its rest is over: the way back to the
//! primary needs nobody.
//!
//! Not here: how long to wait (`policy::retry`), shared breakers
//! (`policy::breaker`), how a request is put into another API's words
//! (`channel::gateway::wire::translate`).

use serde::{Deserialize, Serialize};

use crate::policy::breaker::Config;
use crate::policy::retry;
use crate::policy::taxonomy::Class;

/// What a model of the chain is to the one that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The one that was asked for.
    Primary,
    /// A cheaper or smaller one of the same provider.
    Cheaper,
    /// One of another provider.
    Other,
    /// One that we run ourselves.
    SelfHosted,
    /// No model: a fixed text.
    Fixed,
}

impl Level {
    /// Returns the name used in task files and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Cheaper => "cheaper",
            Self::Other => "other",
            Self::SelfHosted => "self_hosted",
            Self::Fixed => "fixed",
        }
    }
}

/// One link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Its name in journal and task file.
    pub name: String,
    /// Whose it is; links of one provider fail together.
    pub provider: String,
    /// What it is to the first one.
    pub level: Level,
}

/// What a failed try says about the model that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A rate limit that lifts within ten seconds.
    ShortLimit,
    /// A rate limit that lifts later, or does not say when.
    HardLimit,
    /// Quota, credit or a spend limit is used up.
    Quota,
    /// The key is not accepted.
    Credentials,
    /// There is no such model, or not for this key.
    NoModel,
    /// The model has too much to do.
    Overload,
    /// The provider fails or cannot be reached.
    ServerError,
    /// More than one provider fails.
    Outage,
    /// The reply was unfit: empty, cut, an invented tool.
    Unfit,
    /// The model or a filter before it refused.
    Refusal,
    /// The request itself is wrong, or too long for the model.
    Request,
    /// The answer broke off after its first words had gone out.
    Cut,
    /// The budget is nearly used up, or this model does not fit into it.
    Budget,
}

/// What is done first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// The same model is asked again after a wait; then the call moves on.
    Retry,
    /// The same model is asked again once; then the call moves on.
    RetryOnce,
    /// The call moves on at once; where it cannot, it waits as for a retry.
    Leave,
    /// The call moves on at once; where it cannot, it is over.
    LeaveOrConclude,
    /// The agent gets the answer as it is.
    Conclude,
}

/// What is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rests {
    /// Nothing.
    Nothing,
    /// The model.
    Model,
    /// Every model of the provider.
    Provider,
}

/// A row of the tree.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// What was seen.
    pub signal: Signal,
    /// What is done first.
    pub first: First,
    /// Where the call goes then.
    pub to: Option<Level>,
    /// What is left alone when it goes.
    pub rests: Rests,
    /// The row in a sentence.
    pub sentence: &'static str,
}

/// The tree, as data: one row for each signal.
#[rustfmt::skip]
pub const TREE: &[Row] = &[
    Row { signal: Signal::ShortLimit,  first: First::Retry,           to: Some(Level::Cheaper),    rests: Rests::Model,    sentence: "a rate limit that lifts within ten seconds is waited for" },
    Row { signal: Signal::HardLimit,   first: First::Leave,           to: Some(Level::Cheaper),    rests: Rests::Model,    sentence: "a rate limit that lifts later, or does not say when, moves the call to a cheaper model of the same provider" },
    Row { signal: Signal::Quota,       first: First::LeaveOrConclude, to: Some(Level::Other),      rests: Rests::Provider, sentence: "used-up quota or credit moves the call to another provider" },
    Row { signal: Signal::Credentials, first: First::LeaveOrConclude, to: Some(Level::Other),      rests: Rests::Provider, sentence: "a key that is not accepted moves the call to another provider" },
    Row { signal: Signal::NoModel,     first: First::LeaveOrConclude, to: Some(Level::Cheaper),    rests: Rests::Model,    sentence: "a model that is not there moves the call to the next one" },
    Row { signal: Signal::Overload,    first: First::Retry,           to: Some(Level::Cheaper),    rests: Rests::Model,    sentence: "an overloaded model is tried again, then the call moves to another model" },
    Row { signal: Signal::ServerError, first: First::Retry,           to: Some(Level::Other),      rests: Rests::Provider, sentence: "a provider that keeps failing after retries moves the call to another provider" },
    Row { signal: Signal::Outage,      first: First::Retry,           to: Some(Level::SelfHosted), rests: Rests::Provider, sentence: "when more than one provider fails the call moves to a self-hosted model" },
    Row { signal: Signal::Unfit,       first: First::RetryOnce,       to: Some(Level::Other),      rests: Rests::Nothing,  sentence: "an unfit reply is asked for once more, then of another model" },
    Row { signal: Signal::Refusal,     first: First::Conclude,        to: None,                    rests: Rests::Nothing,  sentence: "a refusal is an answer: the agent gets it" },
    Row { signal: Signal::Request,     first: First::Conclude,        to: None,                    rests: Rests::Nothing,  sentence: "a wrong request fails everywhere: the agent is told" },
    Row { signal: Signal::Cut,         first: First::Conclude,        to: None,                    rests: Rests::Nothing,  sentence: "after its first words an answer is not taken up by another model: the agent sees the break" },
    Row { signal: Signal::Budget,      first: First::Leave,           to: Some(Level::Cheaper),    rests: Rests::Nothing,  sentence: "a budget that is nearly used up moves calls to a cheaper model" },
];

/// How long a limit may last to be waited for, in milliseconds.
const SHORT_WAIT_MS: u64 = 10_000;

/// How long a model or provider rests that had to be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestConfig {
    /// Its first rest, in milliseconds; it doubles.
    pub first_ms: u64,
    /// The longest that we set ourselves, in milliseconds.
    pub max_ms: u64,
}

impl Default for RestConfig {
    fn default() -> Self {
        let Config {
            cool_down_ms,
            cool_down_max_ms,
            ..
        } = Config::default();
        Self {
            first_ms: cool_down_ms,
            max_ms: cool_down_max_ms,
        }
    }
}

impl Signal {
    /// Every signal, in the order of the tree.
    pub const ALL: [Self; 13] = [
        Self::ShortLimit,
        Self::HardLimit,
        Self::Quota,
        Self::Credentials,
        Self::NoModel,
        Self::Overload,
        Self::ServerError,
        Self::Outage,
        Self::Unfit,
        Self::Refusal,
        Self::Request,
        Self::Cut,
        Self::Budget,
    ];

    /// Returns the name used in the journal, such as `hard_limit`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShortLimit => "short_limit",
            Self::HardLimit => "hard_limit",
            Self::Quota => "quota",
            Self::Credentials => "credentials",
            Self::NoModel => "no_model",
            Self::Overload => "overload",
            Self::ServerError => "server_error",
            Self::Outage => "outage",
            Self::Unfit => "unfit",
            Self::Refusal => "refusal",
            Self::Request => "request",
            Self::Cut => "cut",
            Self::Budget => "budget",
        }
    }

    /// Returns the row of the tree.
    pub fn row(self) -> &'static Row {
        let row = TREE.iter().find(|row| row.signal == self);
        // Every signal has a row; a test says so.
        row.unwrap_or(&TREE[0])
    }

    /// Whether it says that the model or its provider is not well: 4xx of the
    /// request never count, limits have their own rest.
    pub fn is_strike(self) -> bool {
        matches!(
            self,
            Self::Overload | Self::ServerError | Self::Outage | Self::Unfit | Self::Cut
        )
    }
}

/// A failed try, as it was classed.
#[derive(Clone, Copy, Debug)]
pub struct Failed<'a> {
    /// Its class.
    pub class: Class,
    /// The rule that led to it.
    pub rule: &'a str,
    /// What it said.
    pub words: &'a str,
    /// The HTTP status; 0 where there was no answer.
    pub status: u16,
    /// The other side's own hint, in milliseconds.
    pub hint_ms: Option<u64>,
    /// The level of the model that was asked.
    pub level: Level,
}

/// Reads the signal of a failed try.
pub fn signal(failed: &Failed<'_>) -> Signal {
    let is_short = failed.hint_ms.is_some_and(|hint| hint < SHORT_WAIT_MS);
    let server = match failed.level {
        Level::Primary | Level::Cheaper => Signal::ServerError,
        Level::Other | Level::SelfHosted | Level::Fixed => Signal::Outage,
    };
    match (failed.class, failed.status) {
        (Class::Quality, 200..=299) if failed.rule == "delivered.refused" => Signal::Refusal,
        (Class::Quality, 200..=299) => Signal::Unfit,
        // A filter before the model says that the request is not to its taste.
        (Class::Quality, 400..) => Signal::Request,
        (Class::Quality, _) => Signal::Unfit,
        (Class::CostPressure, 400 | 413 | 422) => Signal::Request,
        // A spend limit is a quota, whatever its status; a rate limit is none.
        (class, 429) if class == Class::Transient || failed.rule.starts_with("rate.") => {
            if is_short {
                Signal::ShortLimit
            } else {
                Signal::HardLimit
            }
        }
        (Class::CostPressure, _) | (_, 402 | 429) => Signal::Quota,
        (_, 401 | 403) => Signal::Credentials,
        // Other things can be missing: an earlier response, a file.
        (_, 404) if misses_another_thing(failed.words) => Signal::Request,
        (_, 404) => Signal::NoModel,
        (_, 503 | 529) => Signal::Overload,
        (_, 0 | 408 | 409 | 425 | 500..) => server,
        (Class::Transient | Class::Persistent, 200..=299) => server,
        _ => Signal::Request,
    }
}

fn misses_another_thing(words: &str) -> bool {
    let words = words.to_lowercase();
    let things = [
        "response",
        "file",
        "cached",
        "conversation",
        "thread",
        "item",
    ];
    !words.contains("model") && things.iter().any(|thing| words.contains(thing))
}

/// What is done about a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The same model is asked again.
    Again {
        /// Milliseconds to wait first.
        delay_ms: u64,
    },
    /// Another link is asked.
    Leave {
        /// Its place in the chain.
        to: usize,
    },
    /// The agent is told.
    Conclude,
}

/// Decides what is done about a failed try of the link at `at`.
///
/// - `attempt`: tries of this link for this call so far, from 1.
/// - `retry`: what the retry budget and the deadline allow.
/// - `is_out`: whether a link is not to be asked now.
pub fn decide(
    chain: &[Link],
    at: usize,
    signal: Signal,
    attempt: u32,
    retry: &retry::Decision,
    is_out: impl Fn(usize) -> bool,
) -> Step {
    let row = signal.row();
    let target = row
        .to
        .and_then(|to| target(chain, at, to, row.rests, is_out));
    let again = match retry {
        retry::Decision::Retry { delay_ms } => Some(Step::Again {
            delay_ms: *delay_ms,
        }),
        retry::Decision::GiveUp { .. } => None,
    };
    let leave = target.map(|to| Step::Leave { to });
    let step = match row.first {
        First::Retry => again.or(leave),
        First::RetryOnce => again.filter(|_| attempt < 2).or(leave),
        First::Leave => leave.or(again),
        First::LeaveOrConclude => leave,
        First::Conclude => None,
    };
    step.unwrap_or(Step::Conclude)
}

/// Finds the link a call moves to: of the level the tree names, else of the
/// levels behind it, else of those before it; never one that rests with the one
/// that failed.
fn target(
    chain: &[Link],
    at: usize,
    to: Level,
    rests: Rests,
    is_out: impl Fn(usize) -> bool,
) -> Option<usize> {
    let from = chain.get(at)?;
    let usable = |place: &usize| {
        let link = &chain[*place];
        *place != at
            && !is_out(*place)
            && !(rests == Rests::Provider && link.provider == from.provider)
    };
    let places = || (0..chain.len()).filter(usable);
    let is_at = |place: &usize| chain[*place].level == to;
    let is_behind = |place: &usize| chain[*place].level > to;
    places()
        .find(is_at)
        .or_else(|| {
            places()
                .filter(is_behind)
                .min_by_key(|place| chain[*place].level)
        })
        .or_else(|| places().next())
}

/// Returns the order in which links are asked: as they stand, those that rest
/// behind, the one whose rest is over first before the others.
///
/// - `links`: places that can take the call;
/// - `is_pressed`: the budget is nearly used up; cheaper ones come first;
/// - `rests`: until when a link rests, in any unit of time.
pub fn order(
    chain: &[Link],
    links: &[usize],
    is_pressed: bool,
    rests: impl Fn(usize) -> Option<i64>,
) -> Vec<usize> {
    let mut order: Vec<usize> = links
        .iter()
        .copied()
        .filter(|it| *it < chain.len())
        .collect();
    let is_cheaper = |place: usize| is_pressed && chain[place].level == Level::Cheaper;
    order.sort_by_key(|place| {
        (
            rests(*place).unwrap_or(i64::MIN),
            !is_cheaper(*place),
            *place,
        )
    });
    order
}

/// Returns how long something rests that had to be left, in milliseconds.
///
/// - `times`: how often in a row before.
pub fn rest_ms(config: &RestConfig, times: u32, hint_ms: Option<u64>) -> u64 {
    let doubled = config.first_ms.saturating_mul(1 << times.min(20));
    let doubled = doubled.min(config.max_ms.max(config.first_ms));
    hint_ms.unwrap_or(0).max(doubled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(name: &str, provider: &str, level: Level) -> Link {
        Link {
            name: name.into(),
            provider: provider.into(),
            level,
        }
    }

    fn chain() -> Vec<Link> {
        vec![
            link("opus", "anthropic", Level::Primary),
            link("haiku", "anthropic", Level::Cheaper),
            link("gpt", "openai", Level::Other),
            link("qwen", "localhost", Level::SelfHosted),
            link("sorry", "fixed", Level::Fixed),
        ]
    }

    fn failed(class: Class, status: u16, hint_ms: Option<u64>) -> Failed<'static> {
        Failed {
            class,
            rule: "",
            words: "",
            status,
            hint_ms,
            level: Level::Primary,
        }
    }

    #[test]
    fn every_signal_has_one_row() {
        for signal in Signal::ALL {
            let rows = TREE.iter().filter(|row| row.signal == signal).count();
            assert_eq!(rows, 1, "row: {signal:?}");
        }
        assert_eq!(TREE.len(), Signal::ALL.len());
    }

    #[test]
    fn signal_table() {
        use Class::{CostPressure, Persistent, Quality, Semantic, Transient, Unrecoverable};
        #[rustfmt::skip]
        let rows = [
            ("a short Retry-After",         failed(Transient, 429, Some(3_000)), Signal::ShortLimit),
            ("a long one",                  failed(Transient, 429, Some(120_000)), Signal::HardLimit),
            ("429 without a word",          failed(Transient, 429, None), Signal::HardLimit),
            ("a limit classed as lasting",  Failed { rule: "rate.long_wait", ..failed(CostPressure, 429, Some(600_000)) }, Signal::HardLimit),
            ("quota under 429",             failed(CostPressure, 429, None), Signal::Quota),
            ("no credit",                   failed(CostPressure, 402, None), Signal::Quota),
            ("a spend limit under 400 is told; contexts too long look the same", failed(CostPressure, 400, None), Signal::Request),
            ("a wrong key",                 failed(Unrecoverable, 401, None), Signal::Credentials),
            ("no access",                   failed(Persistent, 403, None), Signal::Credentials),
            ("no such model",               Failed { words: "model: nope", ..failed(Persistent, 404, None) }, Signal::NoModel),
            ("something else is not there", Failed { words: "previous response not found", ..failed(Persistent, 404, None) }, Signal::Request),
            ("a filter before the model",   failed(Quality, 403, None), Signal::Request),
            ("overloaded",                  failed(Transient, 529, None), Signal::Overload),
            ("unavailable",                 failed(Transient, 503, None), Signal::Overload),
            ("an internal error",           failed(Transient, 500, None), Signal::ServerError),
            ("no answer at all",            failed(Transient, 0, None), Signal::ServerError),
            ("the fallback's, too",         Failed { level: Level::Other, ..failed(Transient, 500, None) }, Signal::Outage),
            ("an error behind a 200",       failed(Transient, 200, None), Signal::ServerError),
            ("an empty reply",              failed(Quality, 200, None), Signal::Unfit),
            ("a refusal",                   Failed { rule: "delivered.refused", ..failed(Quality, 200, None) }, Signal::Refusal),
            ("a wrong argument",            failed(Semantic, 400, None), Signal::Request),
        ];
        for (name, failed, want) in rows {
            assert_eq!(signal(&failed), want, "row: {name}");
        }
    }

    #[test]
    fn the_tree_leads_along_the_chain() {
        let retry = retry::Decision::Retry { delay_ms: 70 };
        let over = retry::Decision::GiveUp {
            reason: retry::GaveUp::Attempts,
        };
        let again = Step::Again { delay_ms: 70 };
        let to = |to| Step::Leave { to };
        #[rustfmt::skip]
        let rows = [
            // H2, row by row.
            ("a short limit is waited for",            Signal::ShortLimit,  0, 1, &retry, again),
            ("a hard limit takes the cheaper model",   Signal::HardLimit,   0, 1, &retry, to(1)),
            ("a wrong key takes another provider",     Signal::Credentials, 0, 1, &retry, to(2)),
            ("5xx is tried again first",               Signal::ServerError, 0, 1, &retry, again),
            ("5xx that stays takes another provider",  Signal::ServerError, 0, 4, &over,  to(2)),
            ("an outage takes our own",                Signal::Outage,      2, 4, &over,  to(3)),
            ("a used-up budget takes the cheaper one", Signal::Budget,      0, 1, &retry, to(1)),
            // And beyond.
            ("a cheaper one that is limited, too",     Signal::HardLimit,   1, 1, &retry, to(2)),
            ("overload takes another model",           Signal::Overload,    0, 4, &over,  to(1)),
            ("an unfit reply is asked for again",      Signal::Unfit,       0, 1, &retry, again),
            ("and only once",                          Signal::Unfit,       0, 2, &retry, to(2)),
            ("our own down, the fixed text is left",   Signal::Outage,      3, 4, &over,  to(4)),
            ("a wrong request is told",                Signal::Request,     0, 1, &retry, Step::Conclude),
            ("a refusal is told",                      Signal::Refusal,     0, 1, &retry, Step::Conclude),
            ("a cut answer is told",                   Signal::Cut,         0, 1, &retry, Step::Conclude),
        ];
        // Providers that failed before rest already.
        let is_out = |at: usize| move |place: usize| place < at;
        for (name, signal, at, attempt, retry, want) in rows {
            let got = decide(&chain(), at, signal, attempt, retry, is_out(at));
            assert_eq!(got, want, "row: {name}");
        }
    }

    #[test]
    fn a_chain_of_one_waits_or_concludes() {
        let alone = vec![link("opus", "anthropic", Level::Primary)];
        let retry = retry::Decision::Retry { delay_ms: 70 };
        let decide = |signal| decide(&alone, 0, signal, 1, &retry, |_| false);
        assert_eq!(decide(Signal::HardLimit), Step::Again { delay_ms: 70 });
        assert_eq!(decide(Signal::Credentials), Step::Conclude);
        assert_eq!(decide(Signal::Quota), Step::Conclude);
    }

    #[test]
    fn those_that_rest_come_last() {
        let all = [0, 1, 2, 3, 4];
        let order = |links, is_pressed, rests: fn(usize) -> Option<i64>| {
            super::order(&chain(), links, is_pressed, rests)
        };
        assert_eq!(order(&all, false, |_| None), [0, 1, 2, 3, 4]);
        assert_eq!(
            order(&all, false, |it| (it == 0).then_some(9)),
            [1, 2, 3, 4, 0]
        );
        assert_eq!(order(&all, true, |_| None), [1, 0, 2, 3, 4]);
        assert_eq!(order(&[0, 3], false, |it| Some(9 - it as i64)), [3, 0]);
    }

    #[test]
    fn rests_double_up_to_their_cap() {
        let rest = RestConfig::default();
        assert_eq!(rest_ms(&rest, 0, None), 30_000);
        assert_eq!(rest_ms(&rest, 2, None), 120_000);
        assert_eq!(rest_ms(&rest, 9, None), 300_000);
        assert_eq!(
            rest_ms(&rest, 0, Some(900_000)),
            900_000,
            "the hint is a floor"
        );
    }
}
