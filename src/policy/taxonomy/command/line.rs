//! What a shell command is, as far as its exit code and its output need it.
//!
//! A tolerant splitter, not a shell: words, quotes, `&&`, `||`, `;`, `|`; wrappers
//! such as `sudo`, `timeout 5`, `bash -c`, `docker exec` are looked through. A
//! command it misreads is treated as any other command, which is the safe side.

use super::programs::{negative, reads, runs_tests};
use crate::policy::taxonomy::text::head;

/// Bytes of a command that are looked at.
const BYTES_MAX: usize = 8 * 1024;

/// Simple commands kept of one line.
const PARTS_MAX: usize = 64;

/// How a simple command is joined to the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Joint {
    Start,
    And,
    Or,
    Then,
    Pipe,
}

/// One program with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Simple {
    joint: Joint,
    words: Vec<String>,
}

/// A command line, split.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Command {
    parts: Vec<Simple>,
    /// The caller swallows failures: `|| true`.
    pub ignores_failure: bool,
    /// The status of an HTTP call is printed behind its body.
    pub prints_status: bool,
}

impl Command {
    /// Splits a command line. Never fails.
    pub(in super::super) fn parse(line: &str) -> Self {
        let line = head(line, BYTES_MAX);
        let mut command = Self {
            parts: Vec::new(),
            ignores_failure: false,
            prints_status: line.contains("%{http_code}") || line.contains("%{response_code}"),
        };
        command.add(line, 0);
        command.ignores_failure = command.parts.iter().any(|part| {
            part.joint == Joint::Or
                && matches!(
                    part.words.first().map(String::as_str),
                    Some("true" | ":" | "echo")
                )
        });
        command
    }

    fn add(&mut self, line: &str, depth: usize) {
        for mut part in split(line) {
            let inner = self.unwrap(&mut part.words);
            match inner {
                Some(script) if depth < 3 => self.add(&script, depth + 1),
                _ if part.words.is_empty() => {}
                _ if self.parts.len() < PARTS_MAX => self.parts.push(part),
                _ => return,
            }
        }
    }

    /// Removes wrappers in front of the program; returns the script of a nested shell.
    fn unwrap(&mut self, words: &mut Vec<String>) -> Option<String> {
        for _ in 0..8 {
            let program = program_name(words.first()?);
            let skip = match program.as_str() {
                "sudo" | "nice" | "nohup" | "time" | "stdbuf" | "command" | "exec" | "env"
                | "doas" | "ionice" | "setsid" | "busybox" | "xvfb-run" | "unbuffer" => {
                    1 + options(words, 1)
                }
                "timeout" | "gtimeout" => 2 + options(words, 1),
                "npx" | "bunx" | "uvx" | "winpty" => 1 + options(words, 1),
                "uv" | "poetry" | "pipenv" | "pdm" | "hatch" | "rye" | "pixi" | "conda"
                | "micromamba"
                    if words.get(1).is_some_and(|word| word == "run") =>
                {
                    2 + options(words, 2)
                }
                "bundle" | "pnpm" | "yarn" | "npm" | "mise"
                    if words.get(1).is_some_and(|word| word == "exec") =>
                {
                    2 + options(words, 2)
                }
                "python" | "python3" | "py" if words.get(1).is_some_and(|word| word == "-m") => 2,
                "bash" | "sh" | "zsh" | "dash" | "ksh" | "ash" => {
                    let at = words
                        .iter()
                        .position(|word| word.starts_with('-') && word.ends_with('c'))?;
                    return words.get(at + 1).cloned();
                }
                "docker" | "podman" | "kubectl" | "oc" | "nerdctl" => return after_exec(words),
                "ssh" => return after_ssh(words),
                word if word.contains('=') && !word.starts_with('=') => 1,
                _ => return None,
            };
            words.drain(..skip.min(words.len()));
        }
        None
    }

    /// Returns program and arguments of the command whose exit code is seen.
    fn decider(&self) -> Option<(String, &[String])> {
        self.parts.last().and_then(named)
    }

    /// Returns program and arguments of the command that produced the output.
    fn source(&self) -> Option<(String, &[String])> {
        let is_idle = |part: &&Simple| part.joint == Joint::Then && is_idle(part);
        let idle = self.parts.iter().rev().take_while(is_idle).count();
        let parts = &self.parts[..self.parts.len() - idle];
        let start = parts.iter().rposition(|part| part.joint != Joint::Pipe);
        parts.get(start.unwrap_or(0)).and_then(named)
    }

    /// Returns the name of the program whose exit code is seen, empty if unknown.
    pub(in super::super) fn program(&self) -> String {
        self.decider().map(|(name, _)| name).unwrap_or_default()
    }

    /// Whether any part runs `name`.
    pub(in super::super) fn runs(&self, name: &str) -> bool {
        self.parts
            .iter()
            .filter_map(named)
            .any(|(program, _)| program == name)
    }

    /// Whether the output is something read, not something answered: never scanned.
    pub(in super::super) fn is_reader(&self) -> bool {
        self.source()
            .is_some_and(|(name, arguments)| reads(&name, arguments))
    }

    /// Whether the command works through several things, one after the other: a loop, `xargs`,
    /// `find -exec`, a pattern of file names.
    pub(in super::super) fn repeats(&self) -> bool {
        self.parts.iter().any(|part| {
            let has = |wanted: &[&str]| {
                part.words
                    .iter()
                    .any(|word| wanted.contains(&word.as_str()))
            };
            let first = part.words.first().map(|word| program_name(word));
            match first.as_deref() {
                Some("for" | "while" | "until" | "xargs" | "parallel") => true,
                Some("find") => has(&["-exec", "-execdir", "-ok"]),
                Some("fd" | "fdfind") => has(&["-x", "-X", "--exec"]),
                Some(name) if !reads(name, &part.words[1..]) => part.words[1..]
                    .iter()
                    .any(|word| word.contains('*') && !word.contains(char::is_whitespace)),
                _ => false,
            }
        })
    }

    /// Whether the exit code that is seen belongs to another command than the one that worked:
    /// `./deploy; echo done`, `curl … | jq .id`.
    pub(in super::super) fn hides_exit_code(&self) -> bool {
        let Some(last) = self.parts.last().filter(|_| self.parts.len() > 1) else {
            return false;
        };
        last.joint == Joint::Pipe || last.joint == Joint::Then && is_idle(last)
    }

    /// Whether exit code `code` of this command means "looked, and found nothing" or the like.
    pub(in super::super) fn finds_nothing(&self, code: i64) -> bool {
        self.decider()
            .is_some_and(|(name, arguments)| negative(&name, arguments, code))
    }

    /// Whether the program's name says that it shows something: `./show_logs.sh`.
    pub(in super::super) fn looks(&self) -> bool {
        self.source()
            .is_some_and(|(name, _)| crate::policy::taxonomy::acting::looks(&name))
    }

    /// Whether this command runs tests.
    pub(in super::super) fn tests(&self) -> bool {
        self.parts
            .iter()
            .filter_map(named)
            .any(|(name, arguments)| runs_tests(&name, arguments))
    }
}

/// Whether a command only says that another one is over.
fn is_idle(part: &Simple) -> bool {
    let name = part.words.first().map(|word| program_name(word));
    matches!(
        name.as_deref(),
        Some("echo" | "true" | ":" | "printf" | "date" | "exit")
    )
}

fn named(part: &Simple) -> Option<(String, &[String])> {
    let (first, rest) = part.words.split_first()?;
    Some((program_name(first), rest))
}

fn program_name(word: &str) -> String {
    let name = word
        .rsplit(['/', '\\'])
        .next()
        .unwrap_or(word)
        .trim_start_matches('(');
    name.strip_suffix(".exe").unwrap_or(name).to_owned()
}

/// Counts the options after position `from`, with `NAME=value` words.
fn options(words: &[String], from: usize) -> usize {
    let rest = words.iter().skip(from);
    rest.take_while(|word| word.starts_with('-') || word.contains('=') && !word.contains('/'))
        .count()
}

/// `docker exec NAME cmd`, `kubectl exec POD -- cmd`: the inner command.
fn after_exec(words: &[String]) -> Option<String> {
    let verb = words
        .iter()
        .skip(1)
        .take(3)
        .position(|word| word == "exec" || word == "run")?
        + 1;
    if let Some(dashes) = words.iter().position(|word| word == "--") {
        return Some(rejoin(&words[dashes + 1..]));
    }
    if words[verb] == "run" || program_name(&words[0]) == "kubectl" {
        return None;
    }
    let mut at = verb + 1;
    while words.get(at).is_some_and(|word| word.starts_with('-')) {
        let takes_value = matches!(
            words[at].as_str(),
            "-e" | "-u" | "-w" | "--env" | "--user" | "--workdir"
        );
        at += if takes_value { 2 } else { 1 };
    }
    words
        .get(at + 1..)
        .filter(|rest| !rest.is_empty())
        .map(rejoin)
}

/// `ssh [options] host cmd …`: the remote command, if there is one.
fn after_ssh(words: &[String]) -> Option<String> {
    let mut at = 1;
    while let Some(word) = words.get(at).filter(|word| word.starts_with('-')) {
        let takes_value = word.len() == 2 && "bcDEeFIiJLlmOopQRSWw".contains(&word[1..]);
        at += if takes_value { 2 } else { 1 };
    }
    words
        .get(at + 1..)
        .filter(|rest| !rest.is_empty())
        .map(|rest| rest.join(" "))
}

fn rejoin(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = !word.is_empty()
            && !word.contains(|c: char| c.is_whitespace() || "'\"|&;<>()$`".contains(c));
        if is_plain {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Splits a line into simple commands; redirections are dropped, a here-document ends the line.
fn split(line: &str) -> Vec<Simple> {
    let mut parts = Vec::new();
    let mut current = Simple {
        joint: Joint::Start,
        words: Vec::new(),
    };
    let mut word = String::new();
    let mut has_word = false;
    let mut chars = line.chars().peekable();
    let finish_word = |word: &mut String, has_word: &mut bool, current: &mut Simple| {
        if std::mem::take(has_word) {
            current.words.push(std::mem::take(word));
        }
    };
    while let Some(c) = chars.next() {
        let joint = match c {
            '\'' | '"' => {
                has_word = true;
                while let Some(inner) = chars.next() {
                    if inner == c {
                        break;
                    }
                    if inner == '\\' && c == '"' {
                        word.extend(chars.next());
                    } else {
                        word.push(inner);
                    }
                }
                continue;
            }
            '\\' => {
                // An escaped line break joins lines; anything else is taken as it is.
                if let Some(next) = chars.next().filter(|next| *next != '\n') {
                    has_word = true;
                    word.push(next);
                }
                continue;
            }
            '<' if chars.peek() == Some(&'<') => break,
            '>' | '<' => {
                if word.chars().all(|c| c.is_ascii_digit()) {
                    word.clear();
                    has_word = false;
                }
                finish_word(&mut word, &mut has_word, &mut current);
                skip_redirection(&mut chars);
                continue;
            }
            '&' if chars.peek() == Some(&'&') => {
                chars.next();
                Joint::And
            }
            '|' if chars.peek() == Some(&'|') => {
                chars.next();
                Joint::Or
            }
            '|' => Joint::Pipe,
            ';' | '\n' | '&' => Joint::Then,
            c if c.is_whitespace() => {
                finish_word(&mut word, &mut has_word, &mut current);
                continue;
            }
            c => {
                has_word = true;
                word.push(c);
                continue;
            }
        };
        finish_word(&mut word, &mut has_word, &mut current);
        let next = Simple {
            joint,
            words: Vec::new(),
        };
        let done = std::mem::replace(&mut current, next);
        if !done.words.is_empty() {
            parts.push(done);
        }
        if parts.len() >= PARTS_MAX {
            return parts;
        }
    }
    finish_word(&mut word, &mut has_word, &mut current);
    if !current.words.is_empty() {
        parts.push(current);
    }
    parts
}

fn skip_redirection(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) {
    while chars
        .peek()
        .is_some_and(|c| *c == '>' || *c == '&' || *c == ' ')
    {
        chars.next();
    }
    while chars
        .peek()
        .is_some_and(|c| !c.is_whitespace() && !";|&".contains(*c))
    {
        chars.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_table() {
        #[rustfmt::skip]
        let rows = [
            ("plain", "curl -s https://example.com", "curl"),
            ("the last of a chain decides", "cd /x && grep foo bar", "grep"),
            ("the last of a pipeline decides", "cat f | grep foo", "grep"),
            ("wrappers are looked through", "sudo -E timeout 5 rsync a b", "rsync"),
            ("a nested shell is looked into", "bash -lc 'cd /x && pytest -q'", "pytest"),
            ("docker exec is looked into", "docker exec -it web grep foo /etc/x", "grep"),
            ("kubectl exec is looked into", "kubectl exec pod -- test -f /x", "test"),
            ("ssh with a command is looked into", "ssh -p 22 host 'grep foo /x'", "grep"),
            ("ssh without a command is ssh", "ssh host", "ssh"),
            ("environment and redirections are dropped", "A=b FOO=1 make test 2>&1 >out.txt", "make"),
            ("python modules are programs", "python3 -m pytest", "pytest"),
            ("quotes hold together", "echo 'a && b' && wc -l f", "wc"),
            ("nothing is nothing", "", ""),
        ];
        for (name, line, want) in rows {
            assert_eq!(Command::parse(line).program(), want, "row: {name}");
        }
    }

    #[test]
    fn readers_and_negatives() {
        for line in [
            "cat a.log",
            "kubectl logs pod",
            "journalctl -u x",
            "curl -s https://example.com/a/b.json",
            "git log",
            "cat x | jq .",
        ] {
            assert!(Command::parse(line).is_reader(), "{line}");
        }
        for line in [
            "curl -s https://api.example.com/v1/x",
            "curl -s https://api.example.com/v1 | jq .",
            "make",
            "kubectl apply -f x.yaml",
        ] {
            assert!(!Command::parse(line).is_reader(), "{line}");
        }
        for (line, code) in [
            ("grep x f", 1),
            ("terraform plan -detailed-exitcode", 2),
            ("robocopy a b", 3),
            ("cd r && git diff --quiet", 1),
        ] {
            assert!(Command::parse(line).finds_nothing(code), "{line}");
        }
        for (line, code) in [
            ("grep x f", 2),
            ("robocopy a b", 8),
            ("make", 1),
            ("false", 1),
            ("git push", 1),
        ] {
            assert!(!Command::parse(line).finds_nothing(code), "{line}");
        }
    }

    #[test]
    fn swallowed_failures_and_tests_are_seen() {
        assert!(Command::parse("rm x || true").ignores_failure);
        assert!(Command::parse("npm run test:unit").tests());
        assert!(Command::parse("cargo test --all").tests());
        assert!(!Command::parse("cargo build").tests());
    }
}
