//! The house keeps its shape: arrows go one way, pure rooms stay pure.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may look at whom. A room may always look at itself and at the leaves.
const ARROWS: &[(&str, &[&str])] = &[
    ("policy", &[]),
    ("machine", &["policy"]),
    ("task", &[]),
    ("process", &[]),
    ("staging", &[]),
    ("store", &[]),
    ("channel", &[]),
    ("drill", &["machine", "policy", "task"]),
    ("observe", &["machine", "policy", "task"]),
    (
        "human",
        &[
            "drill", "machine", "observe", "policy", "store", "task", "tools",
        ],
    ),
    ("tools", &["machine", "policy", "process", "task"]),
    ("verify", &["machine", "process", "task", "tools"]),
    (
        "driver",
        &[
            "channel", "drill", "human", "machine", "observe", "policy", "process", "staging",
            "store", "task", "tools", "verify",
        ],
    ),
    (
        "cli",
        &[
            "channel", "drill", "driver", "human", "machine", "observe", "policy", "process",
            "staging", "store", "task", "tools", "verify",
        ],
    ),
];

const LEAVES: &[&str] = &["ids", "clock", "money", "exit_code"];

/// What the pure rooms may not name.
const IMPURE: &[&str] = &[
    "tokio",
    "rusqlite",
    "reqwest",
    "indicatif",
    "std::fs",
    "std::process",
    "std::net",
    "std::env",
    "std::thread",
    "SystemTime",
    "Instant::now",
    "rand::rng",
    "println!",
    "eprintln!",
];

#[test]
fn arrows_go_one_way() {
    let arrows: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    let mut problems = Vec::new();
    for (room, path, text) in sources() {
        let Some(allowed) = arrows.get(room.as_str()) else {
            assert!(
                LEAVES.contains(&room.as_str()),
                "room `{room}` is not in the table"
            );
            continue;
        };
        for (number, line) in code_lines(&text) {
            for target in targets(line) {
                let known = arrows.contains_key(target) || LEAVES.contains(&target);
                let fine = target == room || LEAVES.contains(&target) || allowed.contains(&target);
                if known && !fine {
                    problems.push(format!(
                        "{}:{number}: {room} looks at {target}",
                        path.display()
                    ));
                }
            }
        }
    }
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn pure_rooms_touch_nothing() {
    let mut problems = Vec::new();
    for (room, path, text) in sources() {
        if !["machine", "policy", "task"].contains(&room.as_str()) {
            continue;
        }
        for (number, line) in code_lines(&text) {
            if let Some(word) = IMPURE.iter().find(|word| line.contains(**word)) {
                problems.push(format!("{}:{number}: {word}", path.display()));
            }
        }
    }
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn only_the_command_line_prints() {
    let mut problems = Vec::new();
    for (room, path, text) in sources() {
        for (number, line) in code_lines(&text) {
            let prints = ["println!", "eprintln!", "dbg!("]
                .iter()
                .any(|word| line.contains(word));
            if prints && room != "cli" {
                problems.push(format!("{}:{number}", path.display()));
            }
        }
    }
    assert_eq!(problems, Vec::<String>::new());
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<_> = sources()
        .into_iter()
        .filter(|(_, _, text)| !text.starts_with("//!"))
        .map(|(_, path, _)| path)
        .collect();
    assert_eq!(silent, Vec::<PathBuf>::new());
}

/// Every source file with its room, tests left out.
fn sources() -> Vec<(String, PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    assert!(found.len() > 30, "the sources were not found");
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<(String, PathBuf, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of ours").flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                collect(root, &path, found);
            }
        } else if name.ends_with(".rs")
            && name != "tests.rs"
            && name != "lib.rs"
            && name != "main.rs"
        {
            let inside = path.strip_prefix(root).expect("it is below");
            let first = inside.components().next().expect("a name");
            let first = first.as_os_str().to_string_lossy();
            let room = first.strip_suffix(".rs").unwrap_or(&first).to_owned();
            let text = fs::read_to_string(&path).expect("source is text");
            found.push((room, inside.to_owned(), text));
        }
    }
}

/// The lines of code before the file's own tests, comments left out.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .take_while(|(_, line)| !line.starts_with("#[cfg(test)]"))
        .map(|(number, line)| (number + 1, line.split("//").next().unwrap_or_default()))
}

/// Rooms that a line names after `crate::`.
fn targets(line: &str) -> Vec<&str> {
    line.split("crate::")
        .skip(1)
        .map(|rest| {
            let end = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
            &rest[..end.unwrap_or(rest.len())]
        })
        .collect()
}
