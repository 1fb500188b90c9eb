//! The front page: `agentguard --help` with its commands in groups.
//!
//! clap lists subcommands under one heading only, so the list is written here,
//! from the commands themselves; what is said about each stays in its own file.

use std::fmt::Write as _;

/// The groups in the order in which a newcomer meets them. A test sees to it
/// that every command stands in exactly one.
pub const GROUPS: [(&str, &[&str]); 6] = [
    (
        "Run",
        &[
            "run",
            "resume",
            "replay",
            "stop",
            "settle",
            "rollback",
            "dead-letters",
        ],
    ),
    ("Humans", &["inbox", "answer", "wait", "notify"]),
    (
        "Task files",
        &["init", "check", "chain", "verify", "drill", "schema"],
    ),
    (
        "Look",
        &[
            "runs", "show", "why", "diff", "logs", "failed", "locks", "breakers", "classify",
            "loops",
        ],
    ),
    (
        "Inside a run",
        &[
            "turn", "tool", "batch", "report", "escalate", "state", "lock", "mcp",
        ],
    ),
    ("Other", &["rm", "gc", "completions", "man"]),
];

/// Puts the commands of `command` under their headings.
pub fn grouped(command: clap::Command) -> clap::Command {
    let styles = command.get_styles().clone();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut list = String::new();
    for (heading, names) in GROUPS {
        // A String takes every write.
        let _ = writeln!(list, "{header}{heading}:{header:#}");
        for name in names {
            let about = command
                .find_subcommand(name)
                .and_then(|found| found.get_about())
                .map(ToString::to_string)
                .unwrap_or_default();
            let _ = writeln!(list, "  {literal}{name:<13}{literal:#}{about}");
        }
        list.push('\n');
    }
    let template = format!(
        "{{before-help}}{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{list}\
         {header}Options:{header:#}\n{{options}}{{after-help}}"
    );
    command.help_template(template)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_stands_in_exactly_one_group() {
        let command = crate::cli::command();
        let mut known: Vec<_> = command
            .get_subcommands()
            .filter(|it| !it.is_hide_set())
            .map(|it| it.get_name())
            .collect();
        let mut grouped: Vec<_> = GROUPS
            .iter()
            .flat_map(|(_, names)| *names)
            .copied()
            .collect();
        known.sort_unstable();
        grouped.sort_unstable();
        assert_eq!(grouped, known);
    }
}
