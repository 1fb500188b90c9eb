//! What tokens cost: by the task file, else by the catalogue.
//!
//! The catalogue is the data of the crate `genai-prices`, as of its release: dated
//! prices with tiers and cache rates, no network. A price in the task file goes
//! before it. Amounts are rounded up to the next nano-USD.

use genai_prices::{PriceRequest, Usage, UsageKey};

use crate::money::NanoUsd;
use crate::task::resolved::{Price, Resolved};

/// Tokens of one call, by what they cost; none is counted twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    /// Input that was neither read from nor written to a cache.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Input read from a cache.
    pub cached: u64,
    /// Input written to a cache.
    pub cache_write: u64,
}

/// The price of a model.
#[derive(Clone, Copy, Debug)]
pub enum Rate<'a> {
    /// From the task file.
    Listed(&'a Price),
    /// From the catalogue, which knows this model.
    Catalogue(&'a str),
}

impl<'a> Rate<'a> {
    /// Looks a model up; `None` if nobody knows its price.
    pub fn of(model: &'a str, task: &'a Resolved) -> Option<Self> {
        let listed = task.prices.get(model).map(Self::Listed);
        listed
            .or_else(|| catalogue(model, &Tokens::default()).map(|_| Self::Catalogue(model)))
            .or_else(|| task.prices.get("*").map(Self::Listed))
    }

    /// Returns what a call costs.
    pub fn cost(&self, tokens: &Tokens) -> NanoUsd {
        match self {
            Self::Listed(price) => NanoUsd(price.input_nanousd)
                .per_million(tokens.input)
                .plus(NanoUsd(price.output_nanousd).per_million(tokens.output))
                .plus(NanoUsd(price.cached_input_nanousd).per_million(tokens.cached))
                .plus(NanoUsd(price.cache_write_nanousd).per_million(tokens.cache_write)),
            // A known model has a price for any count; should that fail, it
            // costs more than any cap.
            Self::Catalogue(model) => catalogue(model, tokens).unwrap_or(NanoUsd(u64::MAX)),
        }
    }

    /// Returns the most that a call can cost: its input may be written to a cache.
    pub fn worst(&self, input: u64, output: u64) -> NanoUsd {
        let plain = self.cost(&Tokens {
            input,
            output,
            ..Tokens::default()
        });
        let written = self.cost(&Tokens {
            cache_write: input,
            output,
            ..Tokens::default()
        });
        plain.max(written)
    }
}

fn catalogue(model: &str, tokens: &Tokens) -> Option<NanoUsd> {
    let Tokens {
        input,
        output,
        cached,
        cache_write,
    } = *tokens;
    // The catalogue counts cached tokens as a part of the input.
    let all = input.saturating_add(cached).saturating_add(cache_write);
    let usage = Usage::from([
        (UsageKey::INPUT_TOKENS, all as f64),
        (UsageKey::CACHE_READ_TOKENS, cached as f64),
        (UsageKey::CACHE_WRITE_TOKENS, cache_write as f64),
        (UsageKey::OUTPUT_TOKENS, output as f64),
    ]);
    let price = genai_prices::calculate(&PriceRequest::new(model, &usage)).ok()?;
    // A hair less, so that the noise of the last digit is not rounded up.
    let nano = (price.total_price * 1e9 - 1e-3).ceil();
    (nano >= 0.0).then_some(NanoUsd(nano as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_knows_cache_rates() {
        let rate = Rate::Catalogue("claude-sonnet-4-5");
        let million = 1_000_000;
        let one = |tokens: Tokens| rate.cost(&tokens).0;
        let input = one(Tokens {
            input: 1000,
            ..Tokens::default()
        });
        let cached = one(Tokens {
            cached: 1000,
            ..Tokens::default()
        });
        let written = one(Tokens {
            cache_write: 1000,
            ..Tokens::default()
        });
        assert_eq!((input, cached, written), (3 * million, 300_000, 3_750_000));
        assert_eq!(rate.worst(1000, 0).0, 3_750_000);
        assert!(catalogue("no-such-model-at-all", &Tokens::default()).is_none());
    }
}
