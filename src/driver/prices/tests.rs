use proptest::prelude::*;

use super::*;

const MILLION: u64 = 1_000_000;

fn task(prices: &str) -> Resolved {
    let text = format!("agent: {{command: [agent]}}\nprices: {{{prices}}}\n");
    crate::task::load(&text, "task.yaml").unwrap_or_else(|problems| panic!("{problems}"))
}

fn tier(word: &str) -> Terms {
    Terms {
        service_tier: Some(word.to_owned()),
        ..Terms::default()
    }
}

fn fast() -> Terms {
    Terms {
        speed: Some("fast".to_owned()),
        ..Terms::default()
    }
}

fn region(word: &str) -> Terms {
    Terms {
        region: Some(word.to_owned()),
        ..Terms::default()
    }
}

fn tokens([input, output, cached, cache_write, hour_write]: [u64; 5]) -> Tokens {
    Tokens {
        input,
        output,
        cached,
        cache_write,
        hour_write,
    }
}

/// What 1,000 tokens of input and of output cost, in millionths of a dollar.
fn thousand(names: &[&str], terms: &Terms, task: &Resolved) -> Result<[u64; 2], Unpriced> {
    let rate = Rate::of(names, terms, task)?;
    let cost = |counts| rate.cost(&tokens(counts), 0).0 / 1000;
    Ok([cost([1000, 0, 0, 0, 0]), cost([0, 1000, 0, 0, 0])])
}

#[test]
fn rates_table() {
    let none = task("");
    let house =
        task("gpt-5.5: {input: 7, output: 8}, claude-opus-5/fast: {input: 30, output: 150}");
    let any = task("'*': {input: 1, output: 2}");
    let usual = Terms::default();
    let term = |field, word: &str| {
        let word = word.to_owned();
        Err(Unpriced::Term { field, word })
    };
    #[rustfmt::skip]
    let rows = [
        ("the catalogue's", &["gpt-5.5"][..], &usual, &none, Ok([5_000, 30_000])),
        ("the list goes first", &["gpt-5.5"], &usual, &house, Ok([7_000, 8_000])),
        ("also under the name that was asked for", &["gpt-5.5-2026-04-23", "gpt-5.5"], &usual, &house, Ok([7_000, 8_000])),
        ("an answer of a model nobody knows has the price of what was asked", &["house-9", "gpt-5.5"], &usual, &none, Ok([5_000, 30_000])),
        ("the star comes last", &["gpt-5.5"], &usual, &any, Ok([5_000, 30_000])),
        ("and is for all others", &["house-9"], &usual, &any, Ok([1_000, 2_000])),
        ("without it there is none", &["house-9"], &usual, &none, Err(Unpriced::Model)),
        ("a standard word changes nothing", &["gpt-5.5"], &tier("auto"), &none, Ok([5_000, 30_000])),
        ("in any case and spelling", &["gemini-2.5-pro"], &tier("ON_DEMAND"), &none, Ok([1_250, 10_000])),
        ("priority is dearer", &["gpt-5.5"], &tier("priority"), &none, Ok([12_500, 75_000])),
        ("flex is cheaper", &["gpt-5.5"], &tier("flex"), &none, Ok([2_500, 15_000])),
        ("a flex nobody knows is not", &["gpt-4o"], &tier("flex"), &none, Ok([2_500, 10_000])),
        ("a tier that the catalogue does not know", &["gpt-5.5"], &tier("ultra"), &none, term("service_tier", "ultra")),
        ("one it does not know for this model", &["gemini-2.5-pro"], &tier("priority"), &none, term("service_tier", "priority")),
        ("a list for the standard tells nothing of a dearer tier", &["gpt-5.5"], &tier("priority"), &house, term("service_tier", "priority")),
        ("nor does the star", &["house-9"], &tier("priority"), &any, term("service_tier", "priority")),
        ("a speed without a price", &["claude-opus-5-5"], &fast(), &none, term("speed", "fast")),
        ("a speed that is listed", &["claude-opus-5"], &fast(), &house, Ok([30_000, 150_000])),
        ("a region is a tenth dearer", &["claude-opus-5"], &region("us"), &none, Ok([5_500, 27_500])),
        ("of a listed price too", &["gpt-5.5"], &region("us"), &house, Ok([7_700, 8_800])),
        ("the whole world is not", &["claude-opus-5"], &region("global"), &none, Ok([5_000, 25_000])),
        ("nor what is not said", &["claude-opus-5"], &region("not_available"), &none, Ok([5_000, 25_000])),
        ("a region that is new", &["claude-opus-5"], &region("moon"), &none, term("inference_geo", "moon")),
    ];
    for (name, names, terms, task, want) in rows {
        assert_eq!(thousand(names, terms, task), want, "row: {name}");
    }
}

#[test]
fn costs_table() {
    let none = task("");
    let house =
        task("house: {input: 3, output: 15, cache_write: 3.75}, free: {input: 0, output: 0}");
    #[rustfmt::skip]
    let rows = [
        ("input", "claude-sonnet-4-5", [1000, 0, 0, 0, 0], 0, 3 * MILLION),
        ("read from a cache", "claude-sonnet-4-5", [0, 0, 1000, 0, 0], 0, 300_000),
        ("written to one", "claude-sonnet-4-5", [0, 0, 0, 1000, 0], 0, 3_750_000),
        ("written for an hour", "claude-sonnet-4-5", [0, 0, 0, 0, 1000], 0, 6 * MILLION),
        ("a long input reprices all of it", "gpt-5.5", [272_001, 1000, 0, 0, 0], 0, 2_720_010_000 + 45_000_000),
        ("up to there it does not", "gpt-5.5", [272_000, 1000, 0, 0, 0], 0, 1_360_000_000 + 30_000_000),
        ("what a cache holds makes it long too", "gpt-5.5", [1, 0, 272_000, 0, 0], 0, 10_000 + 272_000_000),
        ("searches have a fee", "claude-sonnet-4-5", [0, 0, 0, 0, 0], 3, 30_000_000),
        ("also where nobody knows it", "claude-3-opus-20240229", [0, 0, 0, 0, 0], 1, 10_000_000),
        ("listed, an hour is twice the input", "house", [0, 0, 0, 0, 1000], 1, 6 * MILLION + 10_000_000),
        ("parts are rounded up once", "house", [1, 0, 1, 1, 0], 0, 9_750),
        ("free is free", "free", [9, 9, 9, 9, 9], 0, 0),
    ];
    for (name, model, counts, searches, want) in rows {
        let task = if ["house", "free"].contains(&model) {
            &house
        } else {
            &none
        };
        let usual = Terms::default();
        let rate = Rate::of(&[model], &usual, task).unwrap();
        assert_eq!(rate.cost(&tokens(counts), searches).0, want, "row: {name}");
    }
}

#[test]
fn worst_table() {
    let none = task("");
    let worst = |model: &str, terms: &Terms, input, output, is_long| {
        Rate::of(&[model], terms, &none)
            .unwrap()
            .worst(input, output, is_long)
            .0
    };
    let usual = Terms::default();
    #[rustfmt::skip]
    let rows = [
        ("all may be written to a cache", worst("claude-sonnet-4-5", &usual, 1000, 0, false), 3_750_000),
        ("or for an hour, if that is asked for", worst("claude-sonnet-4-5", &usual, 1000, 0, true), 6_000_000),
        ("a model without caches costs its input", worst("o3", &usual, 1000, 0, true), 2_000_000),
        ("flex is held back for as usual", worst("gpt-5.5", &tier("flex"), 1000, 0, false), 5_000_000),
        ("priority is not", worst("gpt-5.5", &tier("priority"), 1000, 0, false), 12_500_000),
        ("a long input costs at least the standard, whatever its tier", worst("gpt-5.4", &tier("priority"), 300_000, 0, false), 1_500_000_000),
    ];
    for (name, found, want) in rows {
        assert_eq!(found, want, "row: {name}");
    }
}

#[test]
fn what_is_not_known_is_said() {
    let (none, usual) = (task(""), Terms::default());
    let rate = |model| Rate::of(&[model], &usual, &none).unwrap();
    #[rustfmt::skip]
    let rows = [
        ("Claude has a price for the hour", "claude-opus-5", true, false, Some(1_000_000)),
        ("writing costs nothing extra", "gpt-5.5", true, false, Some(1_000_000)),
        ("writing does, for minutes", "gpt-6-sol", false, false, None),
        ("pictures are dearer than text", "gemini-2.5-flash-image", true, true, None),
        ("so is sound", "gpt-audio", true, true, None),
    ];
    for (name, model, knows_hour, makes_media, reads) in rows {
        let rate = rate(model);
        assert_eq!(rate.knows_long_cache(), knows_hour, "row: {name}");
        assert_eq!(rate.makes_media(), makes_media, "row: {name}");
        if reads.is_some() {
            assert_eq!(window(model), reads, "row: {name}");
        }
    }
    assert_eq!(window("house-9"), None);
}

/// Every model of a provider whose price the catalogue finds by its name.
fn catalogued(providers: &[&str]) -> Vec<String> {
    let parts = providers.iter().filter_map(|id| catalogue::part(id));
    let models = parts.flat_map(|part| {
        let all = part.providers().flat_map(|provider| provider.models());
        all.map(|model| model.id().to_owned()).collect::<Vec<_>>()
    });
    models
        .filter(|model| listing(model).is_some_and(|it| !it.makes_media))
        .collect()
}

#[test]
fn no_rate_falls_with_the_length_of_the_input() {
    let (none, usual) = (task(""), Terms::default());
    let models = catalogued(&[
        "anthropic",
        "openai",
        "google",
        "deepseek",
        "x-ai",
        "mistral",
    ]);
    assert!(models.len() > 100, "{} models", models.len());
    for model in &models {
        let rate = Rate::of(&[model.as_str()], &usual, &none).unwrap();
        let lengths = [0, 1, 99_999, 100_001, 199_999, 200_001, 272_001, 1_000_000];
        let costs = lengths.map(|input| rate.worst(input, 1000, true));
        assert!(costs.is_sorted(), "{model}: {costs:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// The cap is held if this is: whatever an answer does within its bounds is
    /// covered, and a shrunk call costs no more.
    #[test]
    fn no_answer_costs_more_than_its_worst_case(
        model in proptest::sample::select(catalogued(&["anthropic", "openai", "google", "deepseek"])),
        asked in proptest::sample::select(vec!["", "flex", "priority", "fast"]),
        billed in proptest::sample::select(vec!["", "default", "flex", "as asked"]),
        in_us in any::<bool>(),
        is_long in any::<bool>(),
        parts in prop::array::uniform4(0_u64..300_000),
        output in 0_u64..200_000,
        room in 0_u64..1_000,
    ) {
        let none = task("");
        let mut asked = if asked.is_empty() { Terms::default() } else { tier(asked) };
        asked.region = in_us.then(|| "us".to_owned());
        let Ok(rate) = Rate::of(&[model.as_str()], &asked, &none) else {
            return Ok(());
        };
        prop_assume!(!is_long || rate.knows_long_cache());
        let [input, cached, written, hour] = parts;
        let (written, hour) = if is_long { (written, hour) } else { (written + hour, 0) };
        let mut terms = asked.clone();
        if billed != "as asked" {
            terms.service_tier = Some(billed.to_owned()).filter(|word| !word.is_empty());
        }
        let used = Rate::of(&[model.as_str()], &terms, &none).unwrap();
        let cost = used.cost(&tokens([input, output, cached, written, hour]), 0);
        let all: u64 = parts.iter().sum();
        let worst = rate.worst(all, output, is_long);
        prop_assert!(cost <= worst, "{model}: {cost:?} > {worst:?}");
        prop_assert!(worst <= rate.worst(all + room, output, is_long));
        prop_assert!(worst <= rate.worst(all, output + room, is_long));
    }
}
