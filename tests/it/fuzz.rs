//! The fuzz targets on stable: their corpus, and a moment of mutation.
//!
//! `AGENTGUARD_SEED` gives the seed, `AGENTGUARD_FUZZ_MS` the time of each
//! target. The n-th input of a seed is always the same, however fast the
//! machine; a failure prints it.

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

#[path = "../../fuzz/src/lib.rs"]
mod promises;

/// Longest input that is made, in bytes.
const BYTES_MAX: usize = 16 * 1024;
/// Longest that one input may take, on any machine and unoptimised.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
fn frames_keep_their_promises() {
    run("frame", promises::frame);
}

#[test]
fn task_files_keep_their_promises() {
    run("task_file", promises::task_file);
}

#[test]
fn the_classifier_keeps_its_promises() {
    run("classify", promises::classify);
}

#[test]
fn the_loop_detector_keeps_its_promises() {
    run("loops", promises::loops);
}

#[test]
fn model_calls_keep_their_promises() {
    run("request", promises::request);
}

#[test]
fn streams_keep_their_promises() {
    run("stream", promises::stream);
}

#[test]
fn translations_keep_their_promises() {
    run("translate", promises::translate);
}

#[test]
fn messages_of_mcp_keep_their_promises() {
    run("mcp", promises::mcp);
}

#[test]
fn scripts_keep_their_promises() {
    run("script", promises::script);
}

/// Replays the corpus of a target, then mutates it until the time is up.
fn run(target: &str, promise: fn(&[u8])) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "`{target}` has a corpus");
    for (name, bytes) in &corpus {
        hold(promise, bytes, &format!("corpus {target}/{name}"));
    }
    let seed = number("AGENTGUARD_SEED", 7);
    let time = Duration::from_millis(number("AGENTGUARD_FUZZ_MS", 1500));
    let words = words();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (start, mut count) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        let bytes = mutated(&corpus, &words, &mut random);
        hold(
            promise,
            &bytes,
            &format!("{target}, seed {seed}, input {count}"),
        );
        count += 1;
    }
    println!(
        "{target}: {} of the corpus, {count} mutations, seed {seed}",
        corpus.len()
    );
}

/// Calls the promise; when it is broken, says on what.
fn hold(promise: fn(&[u8]), bytes: &[u8], what: &str) {
    let start = Instant::now();
    let kept = panic::catch_unwind(AssertUnwindSafe(|| promise(bytes)));
    let took = start.elapsed();
    let input = String::from_utf8_lossy(bytes);
    if let Err(cause) = kept {
        println!("broken by {what}: {input:?}");
        panic::resume_unwind(cause);
    }
    assert!(took < PATIENCE, "{what} took {took:?}: {input:?}");
}

/// Reads a corpus, in the order of the names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let entries =
        fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut corpus: Vec<_> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    corpus.sort();
    corpus
}

/// Reads the words of `fuzz/words.dict`.
fn words() -> Vec<String> {
    let words = include_str!("../../fuzz/words.dict").lines();
    words
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        // libFuzzer writes line ends in hexadecimal.
        .map(|line| line.replace(r"\x0a", r"\n"))
        .map(|line| serde_json::from_str(&line).expect("a word is a JSON text"))
        .collect()
}

/// Makes an input: one of the corpus, changed in a few places.
fn mutated(corpus: &[(String, Vec<u8>)], words: &[String], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = any(corpus, random).1.clone();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        let end = random.random_range(at..=bytes.len().min(at + 64));
        match random.random_range(0..8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..end, any(words, random).bytes())),
            3 => {
                // A piece of another input.
                let other = &any(corpus, random).1;
                let from = random.random_range(0..=other.len());
                let to = random.random_range(from..=other.len());
                drop(bytes.splice(at..end, other[from..to].iter().copied()));
            }
            4 => {
                let piece = bytes[at..end].repeat(random.random_range(2..20));
                drop(bytes.splice(at..at, piece));
            }
            5 => bytes.insert(at, *any(b"{}[]\",:\\\n\0 -0e.#&*!|>'%", random)),
            _ if at < bytes.len() => bytes[at] = random.next_u32() as u8,
            _ => {}
        }
    }
    bytes.truncate(BYTES_MAX);
    bytes
}

fn any<'a, T>(from: &'a [T], random: &mut ChaCha8Rng) -> &'a T {
    &from[random.random_range(0..from.len())]
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}
