//! Tests of the translation: tables per feature, and round trips in which the
//! readers of [`super::super`] judge what was written.

mod hostile;
mod replies;
mod requests;
mod streams;

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::sse::{self, Frame};
use super::Api;

/// The APIs that are translated, each with the folder of its fixtures.
const APIS: [(Api, &str); 3] = [
    (Api::Messages, "messages"),
    (Api::Chat, "chat"),
    (Api::Responses, "responses"),
];

/// Returns the fixtures of all APIs: API, path, bytes.
fn fixtures(is_wanted: fn(&str) -> bool) -> Vec<(Api, PathBuf, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/wire");
    let mut found = Vec::new();
    for (api, folder) in APIS {
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

/// Returns the other two APIs.
fn others(from: Api) -> impl Iterator<Item = Api> {
    APIS.into_iter()
        .map(|(api, _)| api)
        .filter(move |to| *to != from)
}

/// Returns the frames of a stream.
fn frames(bytes: &[u8]) -> Vec<Frame> {
    let (mut reader, mut frames) = (sse::Reader::default(), Vec::new());
    reader.feed(bytes);
    while let Some(frame) = reader.next_frame().unwrap() {
        frames.push(frame);
    }
    frames.extend(reader.finish());
    frames
}

fn tree(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}
