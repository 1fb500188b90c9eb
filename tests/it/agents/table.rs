//! The table of the README and of `docs/agents.md`: an agent's line in them is
//! written by its own full run.

use std::fs;
use std::path::{Path, PathBuf};

use super::Behaviour;
use super::roster::Agent;

fn pages() -> impl Iterator<Item = PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["README.md", "docs/agents.md"]
        .map(|name| root.join(name))
        .into_iter()
}

/// Puts the results of a full run into the agent's lines.
pub fn write(agent: &Agent, results: &[(Behaviour, String)]) {
    let cells = results.iter().map(|(_, result)| format!(" {result} |"));
    let line = format!("{}{}", beginning(agent), cells.collect::<String>());
    let start = format!("| {} |", agent.name);
    for page in pages() {
        let text = fs::read_to_string(&page).expect("the page is there");
        let lines = text.lines().map(|old| match old.starts_with(&start) {
            true => line.as_str(),
            false => old,
        });
        let text: String = lines.flat_map(|line| [line, "\n"]).collect();
        fs::write(&page, text).expect("the page can be written");
    }
}

/// Reports whether the agent's lines are of the version that is tested.
pub fn is_of_this_version(agent: &Agent) -> bool {
    pages().all(|page| {
        let text = fs::read_to_string(page).expect("the page is there");
        text.lines().any(|line| line.starts_with(&beginning(agent)))
    })
}

fn beginning(agent: &Agent) -> String {
    format!("| {} | {} |", agent.name, agent.version)
}
