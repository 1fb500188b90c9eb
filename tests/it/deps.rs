//! What `deny.toml` says of dependencies, held offline.

use std::process::Command;

use serde_json::Value;

#[test]
fn every_dependency_has_an_allowed_licence_and_comes_from_the_registry() {
    let allowed = allowed_licences();
    let banned = ["serde_yml", "serde_yaml", "openssl"];
    let mut problems = Vec::new();
    for package in packages() {
        let name = package["name"].as_str().unwrap_or_default();
        let licence = package["license"].as_str().unwrap_or("none");
        if !is_allowed(licence, &allowed) {
            problems.push(format!("{name}: licence {licence}"));
        }
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.starts_with("registry+")) {
            problems.push(format!("{name}: source {source:?}"));
        }
        if banned.contains(&name) {
            problems.push(format!("{name} is banned in deny.toml"));
        }
    }
    assert_eq!(problems, Vec::<String>::new());
}

pub fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked", "--offline"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .output()
        .expect("cargo is what runs this test");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    // Only what is resolved for this platform; others are not on this machine.
    let used: Vec<&str> = metadata["resolve"]["nodes"]
        .as_array()
        .expect("nodes")
        .iter()
        .filter_map(|node| node["id"].as_str())
        .collect();
    let packages = metadata["packages"].as_array().expect("packages");
    let is_used = |package: &&Value| package["id"].as_str().is_some_and(|id| used.contains(&id));
    packages.iter().filter(is_used).cloned().collect()
}

/// `A OR B` needs one, `A AND B` both; `/` is an old way to write OR.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let expression = expression.replace(['(', ')'], "").replace('/', " OR ");
    expression.split(" OR ").any(|option| {
        option
            .split(" AND ")
            .all(|licence| allowed.iter().any(|known| known == licence.trim()))
    })
}

fn allowed_licences() -> Vec<String> {
    let text = include_str!("../../deny.toml");
    let list = text
        .split("allow = [")
        .nth(1)
        .and_then(|rest| rest.split("\n]").next());
    let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
    let found: Vec<String> = list
        .expect("an allow list")
        .lines()
        .filter_map(quoted)
        .collect();
    assert!(found.len() > 3, "deny.toml was not understood");
    found
}
