//! `src/driver/prices/catalogue.txt`: the data of `genai-prices`, by provider.
//!
//! After an update of the crate: `AGENTGUARD_BLESS=1 cargo test --test it prices::`
//! writes it anew; review the difference and commit it.

use std::path::Path;

use agentguard::channel::method::Terms;
use agentguard::driver::prices::{Rate, Tokens, window};
use genai_prices::{Calculator, PriceRequest, Usage, UsageKey};
use serde_json::{Map, Value, json};

use crate::deps::packages;

const FILE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/driver/prices/catalogue.txt"
);

/// The crate's data, as it was released.
fn released() -> String {
    let packages = packages();
    let is_it = |package: &&Value| package["name"] == "genai-prices";
    let package = packages.iter().find(is_it).expect("it is a dependency");
    let manifest = package["manifest_path"].as_str().expect("a path");
    let folder = Path::new(manifest).parent().expect("a folder");
    std::fs::read_to_string(folder.join("data/prices.json")).expect("the crate has its data")
}

#[test]
fn the_catalogue_is_the_data_of_the_crate() {
    let providers: Vec<Value> = serde_json::from_str(&released()).unwrap();
    let made = by_provider(&providers);
    if std::env::var_os("AGENTGUARD_BLESS").is_some() {
        std::fs::write(FILE, made).unwrap();
        return;
    }
    let there = std::fs::read_to_string(FILE).unwrap();
    assert!(
        there == made,
        "it is not: `AGENTGUARD_BLESS=1 cargo test --test it prices::` writes it anew"
    );
}

fn by_provider(providers: &[Value]) -> String {
    // Others are only found by a name that nobody gives: their own.
    let named: Vec<&Value> = providers
        .iter()
        .filter(|provider| !provider["model_match"].is_null())
        .collect();
    let heads: Vec<Value> = named
        .iter()
        .map(|provider| {
            let any = json!({"id": "any", "match": {"contains": ""}, "prices": {}});
            without_words(provider, vec![any])
        })
        .collect();
    let mut text = format!("{}\n", Value::Array(heads));
    for provider in named {
        let falls_back_on = |other: &&Value| {
            let fallbacks = provider["fallback_model_providers"].as_array();
            fallbacks.is_some_and(|ids| ids.contains(&other["id"]))
        };
        let part: Vec<Value> = std::iter::once(provider)
            .chain(providers.iter().filter(falls_back_on))
            .map(|provider| {
                let models = provider["models"].as_array().expect("models");
                let keys = ["id", "match", "context_window", "prices", "price_variants"];
                let models = models.iter().map(|model| only(model, &keys)).collect();
                without_words(provider, models)
            })
            .collect();
        let id = provider["id"].as_str().expect("an id");
        text += &format!("{id}\t{}\n", Value::Array(part));
    }
    text
}

/// The provider with other models, and an address that nobody asks by.
fn without_words(provider: &Value, models: Vec<Value>) -> Value {
    let mut bare = only(provider, &["id", "model_match", "fallback_model_providers"]);
    bare["name"] = provider["id"].clone();
    bare["api_pattern"] = json!("-");
    bare["models"] = Value::Array(models);
    bare
}

fn only(of: &Value, keys: &[&str]) -> Value {
    let fields = of.as_object().expect("an object");
    let kept = fields
        .iter()
        .filter(|(key, _)| keys.contains(&key.as_str()));
    Value::Object(
        kept.map(|(k, v)| (k.clone(), v.clone()))
            .collect::<Map<_, _>>(),
    )
}

/// Every name that the whole data knows costs the same by the part.
#[test]
fn every_model_costs_what_the_whole_catalogue_says() {
    let whole = Calculator::from_json(released()).unwrap();
    let task = agentguard::task::load("agent: {command: [agent]}\n", "task.yaml").unwrap();
    let terms = Terms::default();
    let counted = Tokens {
        input: 7_000,
        output: 3_000,
        cached: 2_000,
        cache_write: 1_000,
        hour_write: 0,
    };
    let usage = Usage::from([
        (UsageKey::INPUT_TOKENS, 10_000.0),
        (UsageKey::CACHE_READ_TOKENS, 2_000.0),
        (UsageKey::CACHE_WRITE_TOKENS, 1_000.0),
        (UsageKey::OUTPUT_TOKENS, 3_000.0),
    ]);
    let (mut known, mut unknown, mut windows) = (0, 0, 0);
    for model in whole.providers().flat_map(|provider| provider.models()) {
        // As it is, as gateways write it, and with a date behind.
        for name in [
            model.id().to_owned(),
            format!("us.{}", model.id()),
            format!("{}-20260102", model.id()),
        ] {
            let asked = PriceRequest::new(&name, &usage);
            let ours = Rate::of(&[&name], &terms, &task).map(|rate| rate.cost(&counted, 0).0);
            match (whole.calculate(&asked), ours) {
                (Ok(price), Ok(ours)) => {
                    let theirs = (price.total_price * 1e9 - 1e-3).ceil() as u64;
                    assert_eq!(ours, theirs, "{name}");
                    known += 1;
                }
                (Err(_), Err(_)) => unknown += 1,
                (theirs, ours) => panic!("{name}: {theirs:?}, and by its part {ours:?}"),
            }
            windows += usize::from(window(&name).is_some());
        }
    }
    println!("{known} names have a price, {unknown} have none; {windows} have a window");
    assert!(known > 500 && unknown > 500 && windows > 300);
}
