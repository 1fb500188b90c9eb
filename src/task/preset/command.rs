//! Which agent a command line starts.

use super::{PRESETS, Preset, Words};

/// Finds the agent that a command line starts, and the index of the word that
/// names its program: words for the agent go behind it.
///
/// Looks through what starts other programs (`env`, `nice`, `timeout`, `npx`,
/// `uvx`, `pipx run`, `python -m`, `node SCRIPT` and the like), not into shells and
/// containers.
pub fn of_command(argv: &[String]) -> Option<(&'static Preset, usize)> {
    let mut at = 0;
    loop {
        let word = argv.get(at)?;
        if let Some(preset) = by_program(word) {
            return Some((preset, at));
        }
        // Each starter is left behind, so that this ends.
        let starter = STARTERS
            .iter()
            .find(|starter| starter.is_called(file_name(word)))?;
        at = starter.behind(argv, at)?;
    }
}

/// A program that starts the one named behind it.
struct Starter {
    /// What it is called.
    names: Words,
    /// The words one of which has to follow, as in `pipx run`; empty: none.
    verbs: &'static [Words],
    /// Its flags that take a value.
    valued: Words,
    /// What else may stand before the program.
    also: Also,
}

/// What else may stand before a program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Also {
    Nothing,
    /// `NAME=value`, any number of them.
    Variables,
    /// One word, as the seconds of `timeout`.
    OneWord,
}

#[rustfmt::skip]
const STARTERS: &[Starter] = &[
    Starter { names: &["env"], verbs: &[], valued: &["-u", "--unset", "-C", "--chdir"], also: Also::Variables },
    Starter { names: &["nice"], verbs: &[], valued: &["-n", "--adjustment"], also: Also::Nothing },
    Starter { names: &["ionice"], verbs: &[], valued: &["-c", "-n", "--class", "--classdata"], also: Also::Nothing },
    Starter { names: &["timeout"], verbs: &[], valued: &["-k", "-s", "--kill-after", "--signal"], also: Also::OneWord },
    Starter { names: &["stdbuf"], verbs: &[], valued: &["-i", "-o", "-e"], also: Also::Nothing },
    Starter { names: &["nohup", "setsid", "time"], verbs: &[], valued: &[], also: Also::Nothing },
    Starter { names: &["npx", "bunx", "pnpx"], verbs: &[], valued: &["-p", "--package"], also: Also::Nothing },
    Starter { names: &["npm"], verbs: &[&["exec"], &["x"]], valued: &["-p", "--package"], also: Also::Nothing },
    Starter { names: &["pnpm", "yarn"], verbs: &[&["dlx"], &["exec"]], valued: &["--package"], also: Also::Nothing },
    Starter { names: &["bun"], verbs: &[&["x"], &["run"]], valued: &[], also: Also::Nothing },
    Starter { names: &["uvx"], verbs: &[], valued: UV_VALUED, also: Also::Nothing },
    Starter { names: &["uv"], verbs: &[&["run"], &["tool", "run"]], valued: UV_VALUED, also: Also::Nothing },
    Starter { names: &["pipx"], verbs: &[&["run"]], valued: &["--spec", "--python", "--pip-args"], also: Also::Nothing },
    Starter { names: &["python"], verbs: &[], valued: &["-X", "-W"], also: Also::Nothing },
    Starter { names: &["node"], verbs: &[], valued: &["-r", "--require", "--import", "-C"], also: Also::Nothing },
];

const UV_VALUED: Words = &[
    "--from",
    "--with",
    "-w",
    "-p",
    "--python",
    "--project",
    "--directory",
    "--index-url",
];

impl Starter {
    fn is_called(&self, name: &str) -> bool {
        // `python3.12` is `python`.
        let plain = name.trim_end_matches(|letter: char| letter.is_ascii_digit() || letter == '.');
        self.names.contains(&name) || (plain == "python" && self.names.contains(&plain))
    }

    /// Returns the index of the word that names what it starts.
    fn behind(&self, argv: &[String], at: usize) -> Option<usize> {
        let mut next = at + 1;
        if !self.verbs.is_empty() {
            let rest = argv.get(next..)?;
            let is_next = |verb: &&Words| {
                verb.len() <= rest.len() && verb.iter().zip(rest).all(|(want, word)| want == word)
            };
            next += self.verbs.iter().find(is_next)?.len();
        }
        let mut words_left = usize::from(self.also == Also::OneWord);
        loop {
            let word = argv.get(next)?.as_str();
            if self.valued.contains(&word) {
                next += 2;
            } else if word.starts_with('-') || (self.also == Also::Variables && word.contains('='))
            {
                next += 1;
            } else if words_left > 0 {
                words_left -= 1;
                next += 1;
            } else {
                return Some(next);
            }
        }
    }
}

/// Finds a preset by the word that names a program: a name, a path, a package
/// with or without its version, a script inside of a package.
fn by_program(word: &str) -> Option<&'static Preset> {
    let find = |name: &str| {
        let mut presets = PRESETS.iter();
        presets.find(|preset| preset.programs.contains(&name))
    };
    let inside = word.rsplit_once("node_modules/").map(|(_, inside)| inside);
    let package = inside.unwrap_or(word);
    if let Some(scoped) = package.strip_prefix('@') {
        let mut parts = scoped.split('/');
        let (scope, name) = (parts.next()?, parts.next()?);
        return find(&format!("@{scope}/{}", without_version(name)));
    }
    if let Some(inside) = inside.filter(|inside| !inside.starts_with(".bin/")) {
        return find(inside.split('/').next()?);
    }
    let (folder, name) = word.rsplit_once('/').unwrap_or(("bin", word));
    let name = without_version(name);
    // Short names are other programs too: `./pi` is one of the user's.
    let is_installed = matches!(file_name(folder), "bin" | ".bin");
    find(name).filter(|_| is_installed || name.len() > SHORT)
}

/// A name of so many letters tells an agent only where programs are installed.
const SHORT: usize = 4;

/// Cuts `@1.2.3`, `==1.2.3`, `[extra]` from the name of a package.
fn without_version(name: &str) -> &str {
    let mut parts = name.split(['@', '=', '[', '>', '<', '~']);
    parts.next().unwrap_or(name)
}

fn file_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}
