//! What was asked, what became of it, and what it cost.
//!
//! One entry a request, known when its answer begins: also for an answer that
//! nobody heard to its end. In the file an entry is one line of JSON; a later
//! line with the same number replaces it (the client hung up). A model that is
//! opened on a file that exists goes on behind it: its count of faults too.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::file::{Price, Usage};

/// The entries kept to be shown; older ones are only counted.
const SHOWN_MAX: usize = 10_000;
/// Longest text of a request that is kept, in characters.
const TEXT_CHARS_MAX: usize = 200;

/// One request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Which request it was, from 1.
    pub(super) nth: u64,
    /// When it came, in milliseconds since 1970.
    pub(super) at_ms: i64,
    /// The API: `messages`, `chat`, `responses`, `gemini`, `count_tokens`.
    pub(super) api: String,
    /// The path, without its query.
    pub(super) path: String,
    pub(super) model: String,
    /// Whether a stream was asked for.
    pub(super) is_stream: bool,
    /// The number of the turn in its conversation; absent beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) turn: Option<u64>,
    pub(super) outcome: Outcome,
    /// Which fault of the script, by its place: `turns[2].faults[0]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fault: Option<String>,
    /// What went wrong, or why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// What `x-stainless-retry-count` said: above 0, the client tries again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) retry_count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_agent: Option<String>,
    /// What is billed.
    pub(super) usage: Usage,
    pub(super) cost_nano_usd: u64,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// A turn was answered, to its end.
    #[default]
    Answered,
    /// A request beside the conversation was answered.
    Side,
    /// A fault of the script.
    Fault,
    /// The script has no answer to it.
    Refused,
    /// The client was gone before the end of its answer.
    HungUp,
    /// Tokens were counted, which costs nothing.
    Counted,
}

/// All requests of one model.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    file: Option<File>,
    price: Option<Price>,
    next: u64,
    shown: BTreeMap<u64, Entry>,
    outcomes: BTreeMap<Outcome, u64>,
    /// How often each fault has happened.
    faults: HashMap<String, u64>,
    billed: Usage,
    /// In millionths of a nano-USD.
    cost: u128,
}

impl Ledger {
    /// Opens a ledger, behind what its file holds already.
    ///
    /// Errors: the file's. A line that cannot be read is passed over: the last
    /// one of a killed process may be half a line.
    pub(super) fn open(file: Option<&Path>, price: Option<Price>) -> io::Result<Self> {
        let mut ledger = Self {
            price,
            next: 1,
            ..Self::default()
        };
        let Some(path) = file else {
            return Ok(ledger);
        };
        let mut options = File::options();
        let mut file = options.create(true).append(true).open(path)?;
        let known = std::fs::read_to_string(path)?;
        for entry in known
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
        {
            ledger.count(entry);
        }
        if !known.is_empty() && !known.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        ledger.file = Some(file);
        Ok(ledger)
    }

    /// Returns how often the fault at this place of the script has happened.
    pub(super) fn happened(&self, fault: &str) -> u64 {
        self.faults.get(fault).copied().unwrap_or(0)
    }

    /// Enters a request; returns its number.
    pub(super) fn enter(&mut self, mut entry: Entry) -> u64 {
        entry.nth = self.next;
        for text in [&mut entry.path, &mut entry.model] {
            *text = text.chars().take(TEXT_CHARS_MAX).collect();
        }
        let short = |text: String| text.chars().take(TEXT_CHARS_MAX).collect();
        entry.user_agent = entry.user_agent.map(short);
        let cost = self.price.map_or(0, |price| price.cost(&entry.usage));
        entry.cost_nano_usd = u64::try_from(cost / 1_000_000).unwrap_or(u64::MAX);
        let nth = entry.nth;
        self.write(&entry);
        self.count(entry);
        nth
    }

    /// Notes that the client of a request was gone before the end.
    pub(super) fn hung_up(&mut self, nth: u64) {
        let Some(mut entry) = self.shown.get(&nth).cloned() else {
            return;
        };
        entry.outcome = Outcome::HungUp;
        self.write(&entry);
        self.count(entry);
    }

    fn write(&mut self, entry: &Entry) {
        if let (Some(file), Ok(line)) = (&mut self.file, serde_json::to_string(entry))
            && let Err(error) = writeln!(file, "{line}")
        {
            tracing::warn!(%error, "the ledger of the scripted model cannot be written");
        }
    }

    /// Counts an entry, or the new state of one that is known.
    fn count(&mut self, entry: Entry) {
        *self.outcomes.entry(entry.outcome).or_default() += 1;
        if let Some(known) = self.shown.get(&entry.nth) {
            *self.outcomes.entry(known.outcome).or_default() -= 1;
        } else {
            let usage = &entry.usage;
            self.billed.input += usage.input;
            self.billed.output += usage.output;
            self.billed.cache_read += usage.cache_read;
            self.billed.cache_write += usage.cache_write;
            self.cost += self.price.map_or(0, |price| price.cost(usage));
            if let Some(fault) = &entry.fault {
                *self.faults.entry(fault.clone()).or_default() += 1;
            }
        }
        self.next = self.next.max(entry.nth + 1);
        self.shown.insert(entry.nth, entry);
        while self.shown.len() > SHOWN_MAX {
            self.shown.pop_first();
        }
    }

    /// Returns the ledger as it is shown.
    pub(super) fn show(&self) -> Value {
        let of = |outcome| self.outcomes.get(&outcome).copied().unwrap_or(0);
        let counted = of(Outcome::Counted);
        let cost = self.price.map(|_| u64::try_from(self.cost / 1_000_000));
        json!({
            "calls": self.outcomes.values().sum::<u64>() - counted,
            "answered": of(Outcome::Answered),
            "sides": of(Outcome::Side),
            "faults": of(Outcome::Fault),
            "refused": of(Outcome::Refused),
            "hung_up": of(Outcome::HungUp),
            "counted": counted,
            "tokens": self.billed,
            "cost_nano_usd": cost.map(|cost| cost.unwrap_or(u64::MAX)),
            "requests": self.shown.values().collect::<Vec<_>>(),
        })
    }
}
