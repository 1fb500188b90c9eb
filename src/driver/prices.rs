//! What model calls cost: by the task file, else by the catalogue.
//!
//! The catalogue is the data of the crate `genai-prices`, as of its release: dated
//! prices with tiers and cache rates, no network. A price in the task file goes
//! before it, also one under the name the agent asked for, where the answer names
//! the model with its date. Amounts are rounded up to the next nano-USD.
//!
//! The worst case of a call covers every answer within its tokens: each rate is
//! linear in the tokens once the length of the input is given, so the dearest
//! answer has all of its input of one kind; and no rate falls with that length.
//!
//! What a price is not known for is an error, never the standard price: the
//! catalogue is silent about tiers that it does not know, so a dearer one counts
//! as known only if it is dearer there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use genai_prices::{Calculator, PriceRequest, Usage, UsageKey};

use crate::channel::method::Terms;
use crate::money::NanoUsd;
use crate::task::resolved::{Price, Resolved};

/// Fee of a provider's search where nobody knows it: 10 USD for a thousand.
const SEARCH: NanoUsd = NanoUsd(10_000_000);

/// How long after it was held back a call may be billed: some prices depend on
/// the time of day, and all on the date.
const BILLED_WITHIN: Duration = Duration::from_secs(3600);

/// Words for what costs the standard price, or was paid for beforehand.
const STANDARD: &[&str] = &[
    "auto",
    "default",
    "global",
    "not_available",
    "on_demand",
    "provisioned_throughput",
    "scale",
    "standard",
    "standard_only",
    "unspecified",
];

/// Words for what costs less; held back for at the standard price.
const CHEAPER: &[&str] = &["batch", "flex"];

/// Tokens of one call, by what they cost; none is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Input that was neither read from nor written to a cache.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input read from a cache.
    pub cached: u64,
    /// Input written to a cache, for a time that is usual.
    pub cache_write: u64,
    /// Input written to a cache for an hour.
    pub hour_write: u64,
}

/// Why the price of a call is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unpriced {
    /// Nobody knows the model's.
    Model,
    /// Nobody knows what the model costs under this term.
    Term {
        /// The field of the request.
        field: &'static str,
        /// Its value.
        word: String,
    },
}

/// The price of a model, on given terms.
#[derive(Clone, Copy, Debug)]
pub struct Rate<'a> {
    source: Source<'a>,
    /// Anthropic adds a tenth where a region is asked for.
    is_regional: bool,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// From the task file.
    Listed(&'a Price),
    /// From the catalogue, which knows this model.
    Catalogue {
        model: &'a str,
        /// A word that is neither standard nor unknown.
        tier: Option<Tier<'a>>,
    },
}

/// A tier that the catalogue knows.
#[derive(Clone, Copy, Debug)]
struct Tier<'a> {
    word: &'a str,
    is_dearer: bool,
}

impl<'a> Rate<'a> {
    /// Looks a model up.
    ///
    /// - `names`: of the model, the truest first: as the answer has it, as it was
    ///   asked for. The list of the task goes through all of them first.
    ///
    /// Errors: [`Unpriced::Model`], and [`Unpriced::Term`] for a tier, speed or
    /// region that may be dearer, and has no price of its own.
    pub fn of(names: &[&'a str], terms: &'a Terms, task: &'a Resolved) -> Result<Self, Unpriced> {
        let link = terms.link.and_then(|link| task.upstreams.get(link));
        if let Some(price) = link.and_then(|link| link.price.as_ref()) {
            return Ok(Self {
                source: Source::Listed(price),
                is_regional: false,
            });
        }
        let is_regional = match terms.region.as_deref() {
            Some("us") => true,
            word => unusual("inference_geo", word).map_or(Ok(false), Err)?,
        };
        let asked = [
            ("speed", terms.speed.as_deref()),
            ("service_tier", terms.service_tier.as_deref()),
        ];
        let mut tiers = asked.iter().filter_map(|(field, word)| {
            let word = word.map(plain)?;
            (!is_one_of(STANDARD, word)).then_some((*field, word))
        });
        let tier = tiers.next();
        if let Some((field, word)) = tiers.next() {
            let word = word.to_owned();
            return Err(Unpriced::Term { field, word });
        }
        Self::on_tier(names, tier, task).map(|source| Self {
            source,
            is_regional,
        })
    }

    fn on_tier(
        names: &[&'a str],
        tier: Option<(&'static str, &'a str)>,
        task: &'a Resolved,
    ) -> Result<Source<'a>, Unpriced> {
        let listed = |suffix: &str| {
            let mut found = names
                .iter()
                .filter_map(|name| task.prices.get(&format!("{name}{suffix}")));
            found.next().map(Source::Listed)
        };
        let known = names.iter().find(|name| has_price(name));
        let Some((field, word)) = tier else {
            let known = known.map(|model| Source::Catalogue { model, tier: None });
            let any = || task.prices.get("*").map(Source::Listed);
            return listed("").or(known).or_else(any).ok_or(Unpriced::Model);
        };
        if let Some(listed) = listed(&format!("/{}", word.to_lowercase())) {
            return Ok(listed);
        }
        let is_cheaper = is_one_of(CHEAPER, word);
        match (listed(""), known) {
            (Some(listed), _) if is_cheaper => Ok(listed),
            (None, Some(model)) if is_cheaper || is_dearer(model, word) => {
                let tier = Some(Tier {
                    word,
                    is_dearer: !is_cheaper,
                });
                Ok(Source::Catalogue { model, tier })
            }
            (None, None) if is_cheaper => {
                let any = task.prices.get("*").map(Source::Listed);
                any.ok_or(Unpriced::Model)
            }
            _ => Err(Unpriced::Term {
                field,
                word: word.to_owned(),
            }),
        }
    }

    /// Returns what a call costs.
    pub fn cost(&self, tokens: &Tokens, searches: u64) -> NanoUsd {
        self.tokens_at(tokens, SystemTime::now())
            .plus(self.fees(searches))
    }

    /// Returns the most that a call can cost whose input is text of at most
    /// `input` tokens, and its output text of at most `output`. Grows with both.
    ///
    /// - `is_long`: its caches may be written for an hour.
    pub fn worst(&self, input: u64, output: u64, is_long: bool) -> NanoUsd {
        let none = Tokens {
            output,
            ..Tokens::default()
        };
        let plain = Tokens { input, ..none };
        let written = match is_long {
            true => Tokens {
                hour_write: input,
                ..none
            },
            false => Tokens {
                cache_write: input,
                ..none
            },
        };
        let read = Tokens {
            cached: input,
            ..none
        };
        let now = SystemTime::now();
        let mut kinds = vec![plain, written];
        // No catalogue has a cache that makes dearer to read; a list may.
        if matches!(self.source, Source::Listed(_)) {
            kinds.push(read);
        }
        let at = |time| {
            let costs = kinds.iter().map(|tokens| self.held_at(tokens, time));
            costs.max().unwrap_or_default()
        };
        at(now).max(at(now + BILLED_WITHIN))
    }

    /// Reports whether the model has prices for output that is not plain text.
    pub fn makes_media(&self) -> bool {
        match self.source {
            Source::Listed(_) => false,
            Source::Catalogue { model, .. } => listing(model).is_some_and(|it| it.makes_media),
        }
    }

    /// Reports whether what caches cost that are written for an hour is known.
    pub fn knows_long_cache(&self) -> bool {
        let Source::Catalogue { model, .. } = self.source else {
            return true;
        };
        let million = 1_000_000;
        let cost = |tokens: Tokens| of_catalogue(model, None, &tokens, SystemTime::now());
        let plain = cost(Tokens {
            input: million,
            ..Tokens::default()
        });
        let written = cost(Tokens {
            cache_write: million,
            ..Tokens::default()
        });
        let hour = cost(Tokens {
            hour_write: million,
            ..Tokens::default()
        });
        // A catalogue without a price for the hour has that of 5 minutes here; where
        // writing costs nothing extra, it does for no time.
        hour > written || written <= plain
    }

    /// At the tier's price, and not below the standard one.
    fn held_at(&self, tokens: &Tokens, time: SystemTime) -> NanoUsd {
        let standard = match self.source {
            Source::Catalogue {
                model,
                tier: Some(_),
            } => Self {
                source: Source::Catalogue { model, tier: None },
                ..*self
            },
            _ => return self.tokens_at(tokens, time),
        };
        standard
            .tokens_at(tokens, time)
            .max(self.tokens_at(tokens, time))
    }

    fn tokens_at(&self, tokens: &Tokens, time: SystemTime) -> NanoUsd {
        let cost = match self.source {
            Source::Listed(price) => listed(price, tokens),
            Source::Catalogue { model, tier } => {
                let at = |tier| of_catalogue(model, tier, tokens, time);
                // A known model has a price for any count; should that fail, it
                // costs more than any cap.
                let known = |cost: Option<NanoUsd>| cost.unwrap_or(NanoUsd(u64::MAX));
                match tier {
                    None => known(at(None)),
                    // Long inputs are not always repriced in what a tier lists.
                    Some(tier) if tier.is_dearer => known(at(Some(tier.word))).max(known(at(None))),
                    Some(tier) => known(at(Some(tier.word))),
                }
            }
        };
        match self.is_regional {
            true => NanoUsd(cost.0.saturating_add(cost.0.div_ceil(10))),
            false => cost,
        }
    }

    fn fees(&self, searches: u64) -> NanoUsd {
        if searches == 0 {
            return NanoUsd(0);
        }
        let usual = NanoUsd(SEARCH.0.saturating_mul(searches));
        match self.source {
            Source::Listed(_) => usual,
            Source::Catalogue { model, .. } => {
                let usage = Usage::from([(UsageKey::WEB_SEARCHES, searches as f64)]);
                let known = listing(model).and_then(|it| it.price(it.ask(model, &usage)));
                known.filter(|fee| fee.0 > 0).unwrap_or(usual)
            }
        }
    }
}

/// Returns the most tokens that a model reads at once, if the catalogue knows it.
pub fn window(model: &str) -> Option<u64> {
    listing(model)?.window
}

/// Google says `ON_DEMAND_PRIORITY` on one of its platforms.
fn plain(word: &str) -> &str {
    let prefix = "on_demand_";
    match word.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => &word[prefix.len()..],
        _ => word,
    }
}

fn is_one_of(words: &[&str], word: &str) -> bool {
    words.iter().any(|known| known.eq_ignore_ascii_case(word))
}

fn unusual(field: &'static str, word: Option<&str>) -> Option<Unpriced> {
    let word = word.filter(|word| !is_one_of(STANDARD, word))?;
    Some(Unpriced::Term {
        field,
        word: word.to_owned(),
    })
}

fn listed(price: &Price, tokens: &Tokens) -> NanoUsd {
    let hour = price
        .cache_write_nanousd
        .max(price.input_nanousd.saturating_mul(2));
    let parts = [
        (price.input_nanousd, tokens.input),
        (price.output_nanousd, tokens.output),
        (price.cached_input_nanousd, tokens.cached),
        (price.cache_write_nanousd, tokens.cache_write),
        (hour, tokens.hour_write),
    ];
    // Rounded once, so that no mixture of kinds costs more than the dearest alone.
    let sum = parts.iter().fold(0_u128, |sum, (price, tokens)| {
        sum.saturating_add(u128::from(*price) * u128::from(*tokens))
    });
    NanoUsd(u64::try_from(sum.div_ceil(1_000_000)).unwrap_or(u64::MAX))
}

/// What the catalogue says of a model whatever is asked.
struct Listing {
    /// The part of the catalogue that has it.
    part: Arc<Calculator>,
    /// Whose name it has.
    provider: String,
    /// The most tokens that it reads at once.
    window: Option<u64>,
    /// It has a price for output that is not plain text.
    makes_media: bool,
}

impl Listing {
    fn ask<'a>(&'a self, model: &'a str, usage: &'a Usage) -> PriceRequest<'a> {
        PriceRequest::new(model, usage).with_provider_id(&self.provider)
    }

    fn price(&self, asked: PriceRequest<'_>) -> Option<NanoUsd> {
        let price = self.part.calculate(&asked).ok()?;
        // A hair less, so that the noise of the last digit is not rounded up.
        let nano = (price.total_price * 1e9 - 1e-3).ceil();
        (nano >= 0.0).then_some(NanoUsd(nano as u64))
    }

    /// Reports whether a model has a price for output that is not plain text.
    fn makes_media(&self, model: &str) -> bool {
        let each = 1_000.0;
        let kinds = [
            UsageKey::OUTPUT_IMAGE_TOKENS,
            UsageKey::OUTPUT_AUDIO_TOKENS,
            UsageKey::OUTPUT_VIDEO_TOKENS,
            UsageKey::OUTPUT_CITATION_TOKENS,
            UsageKey::OUTPUT_REASONING_TOKENS,
        ];
        let all = each * kinds.len() as f64;
        let cost = |usage: &Usage| self.price(self.ask(model, usage));
        let text = cost(&Usage::from([(UsageKey::OUTPUT_TOKENS, all)]));
        let mut media = Usage::from([(UsageKey::OUTPUT_TOKENS, all)]);
        for kind in kinds {
            media.insert(kind, each);
        }
        cost(&media) != text
    }
}

/// Models that are remembered; agents name few.
const LISTINGS_MAX: usize = 256;

/// Longest name that is remembered, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Looks a model up in the catalogue, whose thousands of rules take a while: the
/// first time only.
fn listing(model: &str) -> Option<Arc<Listing>> {
    type Listings = HashMap<String, Option<Arc<Listing>>>;
    static KNOWN: Mutex<Option<Listings>> = Mutex::new(None);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let known = known.get_or_insert_default();
    if let Some(listing) = known.get(model) {
        return listing.clone();
    }
    let listing = look_up(model).map(Arc::new);
    if model.len() > NAME_BYTES_MAX {
        return listing;
    }
    if known.len() >= LISTINGS_MAX {
        known.clear();
    }
    known.insert(model.to_owned(), listing.clone());
    listing
}

fn look_up(model: &str) -> Option<Listing> {
    let (provider, part) = catalogue::part_for(model)?;
    let nothing = Usage::new();
    let asked = PriceRequest::new(model, &nothing).with_provider_id(&provider);
    let found = part.calculate(&asked).ok()?;
    let window = part
        .providers()
        .flat_map(|provider| provider.models())
        .find(|model| model.id() == found.model_id)
        .and_then(|model| model.context_window());
    let mut listing = Listing {
        part,
        provider,
        window,
        makes_media: false,
    };
    listing.makes_media = listing.makes_media(model);
    Some(listing)
}

fn has_price(model: &str) -> bool {
    listing(model).is_some()
}

fn is_dearer(model: &str, tier: &str) -> bool {
    let tokens = Tokens {
        input: 1_000,
        output: 1_000,
        ..Tokens::default()
    };
    let cost = |tier| of_catalogue(model, tier, &tokens, SystemTime::now());
    cost(Some(tier)) > cost(None)
}

fn of_catalogue(
    model: &str,
    tier: Option<&str>,
    tokens: &Tokens,
    time: SystemTime,
) -> Option<NanoUsd> {
    let written = tokens.cache_write.saturating_add(tokens.hour_write);
    // The catalogue counts cached tokens as a part of the input.
    let all = tokens
        .input
        .saturating_add(tokens.cached)
        .saturating_add(written);
    let usage = Usage::from([
        (UsageKey::INPUT_TOKENS, all as f64),
        (UsageKey::CACHE_READ_TOKENS, tokens.cached as f64),
        (UsageKey::CACHE_WRITE_TOKENS, written as f64),
        (UsageKey::CACHE_WRITE_1H_TOKENS, tokens.hour_write as f64),
        (UsageKey::OUTPUT_TOKENS, tokens.output as f64),
    ]);
    let (tier, listing) = (tier.map(str::to_lowercase), listing(model)?);
    let mut asked = listing.ask(model, &usage).with_timestamp(time);
    if let Some(tier) = &tier {
        asked = asked.with_price_context("service_tier", tier);
    }
    listing.price(asked)
}

mod catalogue;
#[cfg(test)]
mod tests;
