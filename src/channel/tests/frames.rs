//! Frames as data: the corpus in `fixtures/protocol/`, and bytes nobody chose.

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use crate::channel::frame::{self, Code, Error};
use crate::channel::lines::{Line, Splitter};
use crate::channel::method::{Call, Said};

const GOOD: &str = include_str!("../../../fixtures/protocol/good.jsonl");
const BAD: &str = include_str!("../../../fixtures/protocol/bad.jsonl");

/// A line that has to be refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    name: String,
    line: String,
    code: i32,
    /// The whole sentence.
    message: String,
    /// The id to answer under, where the line shows one.
    #[serde(default)]
    id: Value,
}

/// Reads a line as a connection does.
fn read(line: &str) -> Result<Call, (Option<String>, Error)> {
    let text = |id: Option<frame::Id>| id.map(|id| id.as_json().to_owned());
    let request = frame::parse(line).map_err(|rejection| (text(rejection.id), rejection.error))?;
    Call::parse(&request.method, request.params).map_err(|error| (text(request.id), error))
}

#[test]
fn every_good_frame_of_the_corpus_is_read() {
    for line in GOOD.lines() {
        read(line).unwrap_or_else(|(_, error)| panic!("{line}\n{error}"));
    }
}

#[test]
fn every_bad_frame_of_the_corpus_is_refused_as_written() {
    let mut wrong = String::new();
    for row in BAD.lines() {
        let bad: Bad = serde_json::from_str(row).unwrap_or_else(|error| panic!("{row}\n{error}"));
        let (id, code, message) = match read(&bad.line) {
            Ok(call) => (None, 0, format!("taken as {call:?}")),
            Err((id, error)) => (id, error.code().number(), error.to_string()),
        };
        let id: Value = id.map_or(Value::Null, |id| serde_json::from_str(&id).unwrap());
        if (&id, code, &message) != (&bad.id, bad.code, &bad.message) {
            wrong += &format!(
                "row: {}\n  got  {id} {code} {message}\n  want {} {} {}\n",
                bad.name, bad.id, bad.code, bad.message
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_depth_is_bounded_before_anything_is_parsed() {
    let nested = |depth: usize| {
        let inner = "[".repeat(depth) + &"]".repeat(depth);
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"turn","params":{{"messages":[{{"a":{inner}}}]}}}}"#
        )
    };
    assert!(
        read(&nested(frame::DEPTH_MAX - 4)).is_ok(),
        "the frame, params, messages and a message are four"
    );
    let (_, error) = read(&nested(frame::DEPTH_MAX - 3)).unwrap_err();
    assert_eq!(
        error,
        Error::TooDeep {
            depth_max: frame::DEPTH_MAX
        }
    );
    let (_, error) = read(&"[".repeat(10_000_000)).unwrap_err();
    assert_eq!(error.code(), Code::TooDeep);
    let brackets_in_text = format!(
        r#"{{"jsonrpc":"2.0","method":"turn","params":{{"error":"{}\""}}}}"#,
        "[".repeat(1000)
    );
    assert!(read(&brackets_in_text).is_ok());
}

#[test]
fn deep_args_are_refused_and_not_a_crash() {
    let deep = "[".repeat(125) + &"]".repeat(125);
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tool","params":{{"name":"t","args":{{"a":{deep}}}}}}}"#
    );
    match read(&line) {
        Ok(_) => {}
        Err((_, error)) => assert!(
            matches!(error.code(), Code::InvalidParams | Code::TooDeep),
            "{error}"
        ),
    }
}

#[test]
fn messages_are_kept_byte_for_byte() {
    let message = r#"{ "role":"user",  "z":1.0, "a":1e2,"big":123456789012345678901234567890,"s":"\u0041\ud800" }"#;
    let line = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"turn","params":{{"messages":[ {message} ]}}}}"#
    );
    let Ok(Call::Turn(turn)) = read(&line) else {
        panic!("a turn")
    };
    let Said::New(kept) = turn.said else {
        panic!("messages")
    };
    assert_eq!(kept[0].get(), message);
}

#[test]
fn money_is_exact() {
    let cost = |text: &str| {
        let line = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"turn","params":{{"usage":{{"cost_usd":{text}}}}}}}"#
        );
        let Ok(Call::Turn(turn)) = read(&line) else {
            panic!("a turn")
        };
        turn.usage.unwrap().cost_nano_usd
    };
    assert_eq!(cost("0.1"), Some(100_000_000));
    assert_eq!(cost("\"0.123456789123\""), Some(123_456_790));
    assert_eq!(cost("1.2e-05"), Some(12_000));
    assert_eq!(cost("null"), None);
}

/// Everything a connection would make of a stream, in order.
fn outcome(pieces: &[&[u8]]) -> Vec<String> {
    let mut splitter = Splitter::new(64, 256);
    let mut outcome = vec![];
    let mut take = |line: Line| {
        outcome.push(match line {
            Line::Text(text) => format!("{:?}", read(&text)),
            other => format!("{other:?}"),
        });
    };
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() {
            let (taken, line) = splitter.feed(rest);
            assert!(splitter.capacity() <= 2 * 256 + 8, "bounded memory");
            rest = &rest[taken..];
            line.into_iter().for_each(&mut take);
        }
    }
    splitter.end().into_iter().for_each(take);
    outcome
}

/// Bytes of a frame, some of them changed, dropped or doubled.
fn mutated_frame() -> impl Strategy<Value = Vec<u8>> {
    let lines: Vec<&str> = GOOD.lines().collect();
    let change = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (
        prop::sample::select(lines),
        prop::collection::vec(change, 0..4),
    )
        .prop_map(|(line, changes)| {
            let mut bytes = line.as_bytes().to_vec();
            for (place, byte, kind) in changes {
                let place = place.index(bytes.len().max(1));
                match kind {
                    _ if bytes.is_empty() => {}
                    0 => bytes[place] = byte,
                    1 => drop(bytes.remove(place)),
                    2 => bytes.insert(place, byte),
                    _ => bytes.truncate(place),
                }
            }
            bytes.push(b'\n');
            bytes
        })
}

proptest! {
    #[test]
    fn any_bytes_cut_anywhere_mean_the_same_and_none_panics(
        parts in prop::collection::vec(prop_oneof![
            3 => mutated_frame(),
            1 => prop::collection::vec(any::<u8>(), 0..300),
        ], 0..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        let bytes = parts.concat();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
        places.extend([0, bytes.len()]);
        places.sort_unstable();
        let pieces: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        prop_assert_eq!(outcome(&pieces), outcome(&[&bytes]));
    }

    #[test]
    fn any_text_gets_an_answer_that_is_one_line_of_json(text in "[^\n]{0,200}") {
        if let Err(rejection) = frame::parse(&text) {
            let answer = frame::render_answer(rejection.id.as_ref(), &Err(rejection.error));
            prop_assert_eq!(answer.matches('\n').count(), 1);
            let value: Value = serde_json::from_str(&answer).unwrap();
            prop_assert!(value["error"]["code"].is_i64());
        }
    }
}
