//! The table of `docs/agents.md`: an agent's line is written by its own full run.

use std::fs;
use std::path::{Path, PathBuf};

use super::Behaviour;
use super::roster::Agent;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/agents.md")
}

/// Puts the results of a full run into the agent's line.
pub fn write(agent: &Agent, results: &[(Behaviour, String)]) {
    let cells = results.iter().map(|(_, result)| format!(" {result} |"));
    let line = format!("{}{}", beginning(agent), cells.collect::<String>());
    let text = fs::read_to_string(path()).expect("the page is there");
    let start = format!("| {} |", agent.name);
    let lines = text.lines().map(|old| match old.starts_with(&start) {
        true => line.as_str(),
        false => old,
    });
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    fs::write(path(), text).expect("the page can be written");
}

/// Reports whether the agent's line is of the version that is tested.
pub fn is_of_this_version(agent: &Agent) -> bool {
    let text = fs::read_to_string(path()).expect("the page is there");
    text.lines().any(|line| line.starts_with(&beginning(agent)))
}

fn beginning(agent: &Agent) -> String {
    format!("| {} | {} |", agent.name, agent.version)
}
