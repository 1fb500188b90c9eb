//! Tests over the fixtures in `fixtures/wire`, and over random input.
//!
//! A fixture's expectation stands beside it as `NAME.want`. `WIRE_BLESS=1`
//! writes them anew; the difference is then for a person to read.

mod hostile;
mod replies;
mod requests;

use std::path::{Path, PathBuf};

use super::Api;

/// The fixtures of all APIs: API, path, bytes.
fn fixtures(is_wanted: fn(&str) -> bool) -> Vec<(Api, PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire");
    let apis = [
        ("messages", Api::Messages),
        ("chat", Api::Chat),
        ("responses", Api::Responses),
        ("gemini", Api::Gemini),
    ];
    let mut found = Vec::new();
    for (folder, api) in apis {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if is_wanted(path.file_name().unwrap().to_str().unwrap()) {
                let bytes = std::fs::read(&path).unwrap();
                found.push((api, path, bytes));
            }
        }
    }
    assert!(!found.is_empty());
    found.sort_by(|(_, left, _), (_, right, _)| left.cmp(right));
    found
}

/// Compares with the expectation beside a fixture.
fn expect(fixture: &Path, found: &str) {
    let mut path = fixture.as_os_str().to_owned();
    path.push(".want");
    if std::env::var_os("WIRE_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, want, "fixture {}", fixture.display());
}
