//! Ready-made settings for agents that know nothing of us.
//!
//! A [`Preset`] says how one agent is driven without a terminal, how the address
//! and the token of the gateway get into it (variables, arguments, files in a
//! folder of the run), where its session id comes from, and by which words it
//! takes a session up again. The agent of a task is found by its name
//! ([`by_name`]) or by its command line ([`of_command`]).
//!
//! Nothing here touches the user's own settings of an agent: every preset moves
//! the agent's folder to `{home}`, a folder of the run that lasts over attempts
//! (`private`).
//!
//! A session is named by us where the agent lets us choose: every start that takes
//! up no session needs a fresh UUID, since agents refuse one that is there already.
//!
//! Not here: writing the files, starting the agent, and reading its output for its
//! session id (`driver`).
//!
//! Templates know these words: `{base}` (`http://127.0.0.1:PORT`), `{v1}` (the
//! same with `/v1`), `{token}`, `{home}`, `{session}` (a fresh UUID where the
//! agent lets us choose it, else the learnt id), `{prompt}`, `{model}`, `{program}`
//! (this binary) and `{socket}` (of the line protocol).
//!
//! Versions that each row was tried with stand in `tried`.

mod command;
mod list;
#[cfg(test)]
mod tests;

pub use command::of_command;
pub use list::{PRESETS, VOLATILE, VOLATILE_KEYS};

/// What a resumed agent is told; every one of them wants a text.
pub const GO_ON: &str = "Go on where you stopped.";

/// A list of words.
pub type Words = &'static [&'static str];

/// A list of names with templates.
pub type Pairs = &'static [(&'static str, &'static str)];

/// How one agent is driven.
#[derive(Debug)]
pub struct Preset {
    /// The name in a task file.
    pub name: &'static str,
    /// The agent's own name.
    pub title: &'static str,
    /// The version that the row was tried with.
    pub tried: &'static str,
    /// What the program may be called: file names, npm packages, Python modules.
    pub programs: Words,
    /// The APIs that it may speak, the usual one first.
    pub apis: &'static [Api],
    /// Variables that are set.
    pub env: Pairs,
    /// Variables that move its settings and sessions to `{home}`.
    pub private: Pairs,
    /// Whether it still comes to the gateway without `private`, whatever the user's
    /// own settings say; then they may be left out for who wants them used.
    pub allows_own: bool,
    /// Variables that the agent must not see, neither the user's nor those that
    /// the gateway sets for everybody.
    pub unset: Words,
    /// Files that are written before every start, below `{home}`.
    pub files: Pairs,
    /// Words put right behind the program.
    pub args: &'static [Insert],
    /// Words put there too where money is limited: they turn off tools that the
    /// provider runs at a fee, since the gateway refuses calls that offer them.
    pub capped: &'static [Insert],
    /// Words put there too where the task has tools: they name `agentguard mcp serve`
    /// as a server of the agent's. Empty: it is not known how.
    pub tools: &'static [Insert],
    /// The command line without a terminal; it has `{prompt}`.
    pub command: Words,
    /// The model of `command`, where the agent has to be told one.
    pub model: &'static str,
    /// Where the text of the task stands in a command line of the user's.
    pub prompt: Prompt,
    /// Flags and words of the user's by which calls may go past the gateway, since
    /// they replace ours.
    pub past: Words,
    /// How its session is named.
    pub session: Session,
    /// How a session is taken up again, where that works after a crash.
    pub resume: Option<Resume>,
    /// How it is started again after a crash, unless the task file says.
    pub restart: Restart,
    /// Failures after which it exits with 0.
    pub lies: &'static [Lie],
    /// How long an answer may be held back.
    pub hold: Hold,
    /// What differs between two starts that are the same, as patterns and what
    /// stands for them; beside [`VOLATILE`].
    pub volatile: Pairs,
}

/// A format of requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Api {
    /// Anthropic Messages.
    Messages,
    /// OpenAI Chat Completions.
    Chat,
    /// OpenAI Responses.
    Responses,
    /// Google Gemini.
    Gemini,
}

/// Words put into a command line.
#[derive(Debug)]
pub struct Insert {
    /// The words, as templates.
    pub words: Words,
    /// Left out where one of these stands in the command line already.
    pub unless: Words,
}

/// Where the text of the task stands.
#[derive(Debug)]
pub enum Prompt {
    /// Behind one of these flags (or joined to it by `=`).
    Flag(Words),
    /// The one word that is neither a flag, nor a value of a flag, nor the
    /// subcommand. Flags of neither list take one value.
    Word {
        /// Flags without a value.
        switches: Words,
        /// Flags that take all words up to the next flag.
        greedy: Words,
        /// The names of the subcommand that stands before it.
        verb: Words,
    },
}

/// How a session is named.
#[derive(Debug)]
pub struct Session {
    /// Words that give it an id of our choice.
    pub choose: Option<Insert>,
    /// The request header that tells it; the first call's, since sub-agents may
    /// have sessions of their own.
    pub header: Option<&'static str>,
    /// The field that tells it in the first JSON object on stdout that has it,
    /// where the command line asks for JSON.
    pub field: Option<&'static str>,
}

/// How a session is taken up again. The words stand in the place of the text of
/// the task, and have `{prompt}`.
#[derive(Debug)]
pub struct Resume {
    /// By its id.
    pub by_id: Words,
    /// The newest one of `{home}`, which is the run's own.
    pub last: Words,
    /// Flags and words of a command line that takes up a session by itself.
    pub unless: Words,
}

/// How an agent is started again after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// By its own command for it.
    Native,
    /// From its beginning, with the recorded answers.
    Replay,
}

/// A failure after which an agent exits with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The last call was refused (400, 401, 403).
    Refused,
    /// The last call failed after all tries (429, 5xx, connection lost).
    Failed,
    /// The last answer was cut short, and was taken for whole.
    Cut,
}

/// How long an answer may be held back, in milliseconds; `None`: longer than the
/// 330 s that were tried.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    /// Without a byte.
    pub silent_ms: Option<u64>,
    /// After the head, with comments in the stream; `Some(0)`: they do harm.
    pub comments_ms: Option<u64>,
    /// After the head, with events that say nothing.
    pub events_ms: Option<u64>,
}

/// What is filled into templates.
#[derive(Clone, Copy, Debug)]
pub struct Values<'a> {
    /// The address, without a slash at its end.
    pub base: &'a str,
    /// The key of the run.
    pub token: &'a str,
    /// The agent's folder of the run.
    pub home: &'a str,
    /// The session: a UUID of ours, or the one learnt.
    pub session: &'a str,
    /// The text for the agent.
    pub prompt: &'a str,
    /// The model.
    pub model: &'a str,
    /// Whether money is limited.
    pub is_capped: bool,
    /// Whether it is given the tools of the task.
    pub has_tools: bool,
    /// The socket of the run.
    pub socket: &'a str,
    /// This program.
    pub program: &'a str,
}

impl Values<'_> {
    /// Returns `template` with its words filled in, in one pass: what is filled
    /// in is not looked at again. Other braces stay.
    pub fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some(start) = rest.find('{') {
            filled.push_str(&rest[..start]);
            rest = &rest[start..];
            let value = rest
                .find('}')
                .and_then(|end| Some((end, self.value(&rest[1..end])?)));
            match value {
                Some((end, value)) => {
                    filled.push_str(&value);
                    rest = &rest[end + 1..];
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled.push_str(rest);
        filled
    }

    fn value(&self, name: &str) -> Option<String> {
        let value = match name {
            "base" => self.base,
            "v1" => return Some(format!("{}/v1", self.base)),
            "token" => self.token,
            "home" => self.home,
            "session" => self.session,
            "prompt" => self.prompt,
            "model" => self.model,
            "socket" => self.socket,
            "program" => self.program,
            _ => return None,
        };
        Some(value.to_owned())
    }
}

impl Preset {
    /// Returns its own command line.
    pub fn default_command(&self, values: &Values<'_>) -> Vec<String> {
        self.command.iter().map(|word| values.fill(word)).collect()
    }

    /// Returns the command line of a first start: `argv` with the words that the
    /// agent needs behind its program, the word at `program`.
    pub fn start(&self, argv: &[String], program: usize, values: &Values<'_>) -> Vec<String> {
        let inserts = self.inserts(values).chain(&self.session.choose);
        insert(argv, program, inserts, values)
    }

    /// Returns the command line that takes up a session again: by its id where
    /// `is_known`, else the newest one of `{home}`.
    ///
    /// The text of the task gives way to `values.prompt`. `None` where the agent
    /// cannot do it, where `argv` does so by itself, or where that text is not found.
    pub fn resume(
        &self,
        argv: &[String],
        program: usize,
        values: &Values<'_>,
        is_known: bool,
    ) -> Option<Vec<String>> {
        let resume = self.resume.as_ref()?;
        let behind = argv.get(program + 1..)?;
        if resume.unless.iter().any(|flag| has(behind, flag)) {
            return None;
        }
        let words = if is_known { resume.by_id } else { resume.last };
        let text = find_text(&self.prompt, behind)?;
        let mut resumed: Vec<String> = argv[..=program].to_vec();
        resumed.extend_from_slice(&behind[..text.at]);
        // Joined by `=`: the flag stays, and the text becomes a word of its own.
        resumed.extend(text.flag);
        resumed.extend(words.iter().map(|word| values.fill(word)));
        resumed.extend_from_slice(&behind[text.at + 1..]);
        Some(insert(&resumed, program, self.inserts(values), values))
    }

    fn inserts(&self, values: &Values<'_>) -> impl Iterator<Item = &Insert> + use<'_> {
        let capped = values.is_capped.then_some(self.capped);
        let tools = values.has_tools.then_some(self.tools);
        let more = [capped, tools].into_iter().flatten().flatten();
        self.args.iter().chain(more)
    }

    /// Returns the first of the user's flags that may lead past the gateway.
    pub fn leads_past(&self, argv: &[String], program: usize) -> Option<&'static str> {
        let behind = argv.get(program + 1..)?;
        self.past.iter().copied().find(|flag| has(behind, flag))
    }
}

/// Where the text of the task stands: the word `at`, which is `flag=TEXT` where
/// there is a `flag`.
struct Text {
    at: usize,
    flag: Option<String>,
}

fn find_text(prompt: &Prompt, words: &[String]) -> Option<Text> {
    match prompt {
        Prompt::Flag(flags) => words.iter().enumerate().find_map(|(index, word)| {
            if flags.contains(&word.as_str()) {
                let at = index + 1;
                return (at < words.len()).then_some(Text { at, flag: None });
            }
            let (flag, _) = word.split_once('=')?;
            let flag = flags.contains(&flag).then(|| flag.to_owned())?;
            Some(Text {
                at: index,
                flag: Some(flag),
            })
        }),
        Prompt::Word {
            switches,
            greedy,
            verb,
        } => {
            let mut plain = plain_words(words, switches, greedy).into_iter().peekable();
            plain.next_if(|index| verb.contains(&words[*index].as_str()));
            let at = plain.next()?;
            // Several may be one text, or a text and its files; and behind two
            // dashes our flags would be text.
            let is_sure = plain.next().is_none() && !words[..at].iter().any(|word| word == "--");
            is_sure.then_some(Text { at, flag: None })
        }
    }
}

/// Returns the indices of the words that are neither flags nor values of flags.
fn plain_words(words: &[String], switches: Words, greedy: Words) -> Vec<usize> {
    let mut found = Vec::new();
    let (mut is_value, mut is_greedy, mut is_over) = (false, false, false);
    for (index, word) in words.iter().map(String::as_str).enumerate() {
        if !is_over && word.starts_with('-') && word.len() > 1 {
            is_over = word == "--";
            is_greedy = greedy.contains(&word);
            is_value = !is_over && !is_greedy && !word.contains('=') && !switches.contains(&word);
        } else if is_value {
            is_value = false;
        } else if is_over || !is_greedy {
            found.push(index);
        }
    }
    found
}

/// Tells whether a flag stands in a command line, alone or as `flag=value`.
fn has(words: &[String], flag: &str) -> bool {
    words.iter().any(|word| {
        let rest = word.strip_prefix(flag);
        rest.is_some_and(|rest| {
            rest.is_empty() || (flag.starts_with("--") && rest.starts_with('='))
        })
    })
}

fn insert<'a>(
    argv: &[String],
    program: usize,
    inserts: impl IntoIterator<Item = &'a Insert>,
    values: &Values<'_>,
) -> Vec<String> {
    let (before, behind) = argv.split_at((program + 1).min(argv.len()));
    let added = inserts
        .into_iter()
        .filter(|insert| !insert.unless.iter().any(|flag| has(behind, flag)))
        .flat_map(|insert| insert.words.iter().map(|word| values.fill(word)));
    before
        .iter()
        .cloned()
        .chain(added)
        .chain(behind.iter().cloned())
        .collect()
}

/// Returns the preset called `name`.
pub fn by_name(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

/// Returns every name, in the order of the table.
pub fn names() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().map(|preset| preset.name)
}
